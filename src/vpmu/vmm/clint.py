"""The core-local interruptor (sifive,clint0): software interrupts and the timer of M mode.

Layout as on QEMU's virt: msip at 4 * hart, mtimecmp at 0x4000 + 8 * hart, mtime at 0xBFF8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from vpmu.spec.privileged import IP_MSI

MSIP, MTIMECMP, MTIME = 0, 0x4000, 0xBFF8


class ClintHart(Protocol):
    """A hart as the CLINT sees it: its words by name, and its clock in ticks."""

    def get(self, name: str) -> int: ...

    def set(self, name: str, value: int) -> None: ...

    @property
    def ticks(self) -> int: ...


class Clint:
    """The CLINT of some harts. mtime cannot be written: virtual time is one for all. `software` is called
    with (hart, level) when a software interrupt of M mode is raised or withdrawn, `rearmed` with the hart
    whose timer was set.
    """

    def __init__(
        self,
        harts: Sequence[ClintHart],
        software: Callable[[int, bool], None],
        rearmed: Callable[[int], None],
    ) -> None:
        self._harts, self._software, self._rearmed = harts, software, rearmed

    def read(self, offset: int, size: int = 4) -> int:
        """A register, or four bytes of one."""
        if offset < MTIMECMP:
            hart = offset // 4
            return int(hart < len(self._harts) and bool(self._harts[hart].get("lines") & IP_MSI))
        if offset < MTIME:
            hart = (offset - MTIMECMP) // 8
            value = self._harts[hart].get("mtimecmp") if hart < len(self._harts) else 0
        else:
            value = self._harts[0].ticks
        return value >> 8 * (offset & 4)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        """A register, or four bytes of one; where nothing is, nothing happens."""
        if offset < MTIMECMP:
            if offset // 4 < len(self._harts):
                self._software(offset // 4, bool(value & 1))
        elif offset < MTIME:
            hart = (offset - MTIMECMP) // 8
            if hart < len(self._harts):
                shift = 8 * (offset & 4)
                mask = (1 << 8 * size) - 1 << shift & (1 << 64) - 1
                new = self._harts[hart].get("mtimecmp") & ~mask | value << shift & mask
                self._harts[hart].set("mtimecmp", new)
                self._rearmed(hart)
