"""The core-local interruptor (sifive,clint0): software interrupts and the timer of M mode.

Layout as on QEMU's virt: msip at 4 * hart, mtimecmp at 0x4000 + 8 * hart, mtime at 0xBFF8.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """The CLINT of some harts. mtime cannot be written: virtual time is one for all."""

    def __init__(self, harts: Sequence[ClintHart]) -> None:
        self._harts = harts

    def read(self, offset: int, size: int = 4) -> int:
        """A register, or four bytes of one."""
        if offset < MTIMECMP:
            return self._msip(offset // 4)
        if MTIMECMP <= offset < MTIME:
            value = self._compare((offset - MTIMECMP) // 8)
        else:
            value = self._harts[0].ticks if self._harts else 0
        return value >> 8 * (offset & 4)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        """A register, or four bytes of one; where nothing is, nothing happens."""
        if offset < MTIMECMP:
            hart = offset // 4
            if hart < len(self._harts):
                lines = self._harts[hart].get("lines") & ~IP_MSI
                self._harts[hart].set("lines", lines | (IP_MSI if value & 1 else 0))
        elif offset < MTIME:
            hart = (offset - MTIMECMP) // 8
            if hart < len(self._harts):
                shift = 8 * (offset & 4)
                mask = (1 << 8 * size) - 1 << shift & (1 << 64) - 1
                new = self._harts[hart].get("mtimecmp") & ~mask | value << shift & mask
                self._harts[hart].set("mtimecmp", new)

    def _msip(self, hart: int) -> int:
        return int(hart < len(self._harts) and bool(self._harts[hart].get("lines") & IP_MSI))

    def _compare(self, hart: int) -> int:
        return self._harts[hart].get("mtimecmp") if hart < len(self._harts) else 0
