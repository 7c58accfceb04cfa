"""Where a kernel that runs on a hart has its memory: by the page table that it uses now, whatever the mode,
permissions and accessed bits are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from vpmu.hart.memory import MemoryFault

if TYPE_CHECKING:
    from vpmu.hart.hart import Hart
    from vpmu.hart.memory import PhysicalMemory

_LEVELS = {8: 3, 9: 4, 10: 5}
_PPN = (1 << 44) - 1
_SHIFT, _PAGE = 12, 1 << 12
_VALID, _LEAF = 1, 0xE


def physical(hart: Hart, memory: PhysicalMemory, address: int) -> int:
    """The physical address of a virtual one. MemoryFault where there is none."""
    satp = _satp(hart)
    if satp >> 60 not in _LEVELS:
        return address
    entry, shift, _ = _leaf(satp, address, lambda at: int.from_bytes(memory.read(at, 8), "little"))
    return _page(entry) >> shift << shift | address & (1 << shift) - 1


def physical_pages(hart: Hart, memory: PhysicalMemory, start: int, size: int) -> list[int]:
    """`physical` of the pages from an address on; each table is read once."""
    satp = _satp(hart)
    if satp >> 60 not in _LEVELS:
        return list(range(start, start + size, _PAGE))
    table = lru_cache(maxsize=None)(lambda at: struct.unpack("<512Q", memory.read(at, _PAGE)))
    pages: list[int] = []
    while len(pages) < size // _PAGE:
        address = start + len(pages) * _PAGE
        entry, shift, at = _leaf(satp, address, lambda at: table(at & -_PAGE)[at % _PAGE >> 3])
        if shift > _SHIFT:
            pages.append(_page(entry) >> shift << shift | address & (1 << shift) - 1)
            continue
        here = at % _PAGE >> 3  # all that this table has of them
        for entry in table(at & -_PAGE)[here : here + size // _PAGE - len(pages)]:
            if not (entry & _VALID and entry & _LEAF):
                raise MemoryFault(start + len(pages) * _PAGE)
            pages.append(_page(entry))
    return pages


def _satp(hart: Hart) -> int:
    return hart.get("other_satp" if hart.get("virt") else "satp")


def _page(entry: int) -> int:
    """The physical address in a page-table entry."""
    return (entry >> 10 & _PPN) << _SHIFT


def _leaf(satp: int, address: int, entry_at: Callable[[int], int]) -> tuple[int, int, int]:
    """(the leaf that translates an address, the bits of an offset into what it maps, where it stands)."""
    table = (satp & _PPN) << _SHIFT
    for level in reversed(range(_LEVELS[satp >> 60])):
        shift = _SHIFT + 9 * level
        at = table + 8 * (address >> shift & 511)
        entry = entry_at(at)
        if not entry & _VALID:
            break
        if entry & _LEAF:
            return entry, shift, at
        table = _page(entry)
    raise MemoryFault(address)
