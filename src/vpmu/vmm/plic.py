"""The interrupt controller for the serial port: sifive,plic-1.0.0 at 0xc000000, as on QEMU's ``virt``."""

from __future__ import annotations

from collections.abc import Callable

from vpmu.errors import MachineError
from vpmu.vmm.devicetree import PLIC_SOURCES


class Plic:
    """A platform-level interrupt controller (sifive,plic-1.0.0) for level-triggered sources.

    Contexts are QEMU virt's: 2 i is M-mode of hart i, 2 i + 1 its S-mode.

    :param external: called with (hart, level) when the S-mode external interrupt line of a hart changes.
        `machine` is the same for M mode, where that is software.
    """

    PRIORITY, PENDING, ENABLE, CONTEXT = 0x0, 0x1000, 0x2000, 0x200000
    ENABLE_STRIDE, CONTEXT_STRIDE = 0x80, 0x1000
    MAX_PRIORITY = 7

    def __init__(self, harts: int, external: Callable[[int, bool], None]) -> None:
        self._external = external
        self.machine: Callable[[int, bool], None] | None = None
        self._contexts = 2 * harts
        self._level = [False] * self._contexts
        self.reset()

    def reset(self) -> None:
        """All sources off, nothing pending or claimed, every line low."""
        self._priority = [0] * (PLIC_SOURCES + 1)
        self._line = 0
        self._pending = 0
        self._claimed = 0
        self._enable = [0] * self._contexts
        self._threshold = [0] * self._contexts
        self._update()

    def set_line(self, source: int, level: bool) -> None:
        """The interrupt line of a device, 1 .. PLIC_SOURCES."""
        if not 0 < source <= PLIC_SOURCES:
            raise MachineError("no such interrupt source", expected=f"1..{PLIC_SOURCES}", got=source)
        bit = 1 << source
        if level:
            self._line |= bit
            self._pending |= bit & ~self._claimed
        else:
            self._line &= ~bit
        self._update()

    def read(self, offset: int, size: int = 4) -> int:
        """A 32-bit register; reading claim/complete claims."""
        if offset >= self.CONTEXT:
            context, register = divmod(offset - self.CONTEXT, self.CONTEXT_STRIDE)
            if context < self._contexts and register == 0:
                return self._threshold[context]
            if context < self._contexts and register == 4:
                return self._claim(context)
        elif offset >= self.ENABLE:
            context, register = divmod(offset - self.ENABLE, self.ENABLE_STRIDE)
            if context < self._contexts:
                return self._enable[context] >> 8 * register & 0xFFFFFFFF
        elif offset >= self.PENDING:
            return self._pending >> 8 * (offset - self.PENDING) & 0xFFFFFFFF
        elif offset // 4 <= PLIC_SOURCES:
            return self._priority[offset // 4]
        return 0

    def write(self, offset: int, value: int, size: int = 4) -> None:
        """A 32-bit register; writing claim/complete completes."""
        if offset >= self.CONTEXT:
            context, register = divmod(offset - self.CONTEXT, self.CONTEXT_STRIDE)
            if context < self._contexts and register == 0:
                self._threshold[context] = value & self.MAX_PRIORITY
            elif context < self._contexts and register == 4:
                self._complete(context, value)
        elif offset >= self.ENABLE:
            context, register = divmod(offset - self.ENABLE, self.ENABLE_STRIDE)
            if context < self._contexts:
                kept = self._enable[context] & ~(0xFFFFFFFF << 8 * register)
                sources = (1 << PLIC_SOURCES + 1) - 2  # source 0 does not exist
                self._enable[context] = (kept | value << 8 * register) & sources
        elif 0 < offset // 4 <= PLIC_SOURCES:
            self._priority[offset // 4] = value & self.MAX_PRIORITY
        self._update()

    def _best(self, context: int) -> int:
        """The pending, enabled source of highest priority above the threshold, the lowest of equals, or 0."""
        candidates = self._pending & self._enable[context]
        best, best_priority = 0, self._threshold[context]
        while candidates:
            source = (candidates & -candidates).bit_length() - 1
            candidates &= candidates - 1
            if self._priority[source] > best_priority:
                best, best_priority = source, self._priority[source]
        return best

    def _claim(self, context: int) -> int:
        source = self._best(context)
        if source:
            self._pending &= ~(1 << source)
            self._claimed |= 1 << source
            self._update()
        return source

    def _complete(self, context: int, source: int) -> None:
        """A level that is still high after completion is a new request."""
        bit = 1 << source if 0 < source <= PLIC_SOURCES else 0
        if bit & self._enable[context]:
            self._claimed &= ~bit
            self._pending |= bit & self._line

    def _update(self) -> None:
        told = self.machine, self._external
        for context in range(self._contexts):
            tell = told[context & 1]
            if tell is None:
                continue
            level = self._best(context) != 0
            if level != self._level[context]:
                self._level[context] = level
                tell(context // 2, level)
