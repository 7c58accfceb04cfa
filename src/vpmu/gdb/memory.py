"""Guest memory as a debugger names it: by virtual address of a mode, walked without a trace.

The page tables are read as the hart would read them (privileged ISA, 12.3 to 12.5; 22.5 for the second
stage), but no accessed or dirty bit is set, nothing is cached and no permission is asked for: a debugger sees
what is mapped. What is no memory (a device) is not read: reading one can change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum

from vpmu.hart import state
from vpmu.hart.hart import Hart
from vpmu.hart.memory import MemoryFault, PhysicalMemory
from vpmu.spec.sbi import U64

_LEVELS = {8: 3, 9: 4, 10: 5}
_PPN = (1 << 44) - 1
_VALID, _LEAF, _NAPOT = 1, 0xE, 1 << 63
_BARE = 0


class Space(IntEnum):
    """Whose addresses they are."""

    PHYSICAL = 0
    """M mode's: none is translated."""
    HOST = 1
    """Of S and U mode."""
    GUEST = 2
    """Of VS and VU mode: a page table of the guest, and the host's second stage below it."""


class Unmapped(Exception):
    """There is no memory at a virtual address."""


def space_of(hart: Hart) -> Space:
    """Where a hart is now. A hart without the hypervisor extension's modes has one space, its guest's."""
    if not hart.whole:
        return Space.GUEST
    if hart.get("virt"):
        return Space.GUEST
    return Space.PHYSICAL if hart.get("mode") == state.MACHINE else Space.HOST


def physical(hart: Hart, address: int, space: Space | None = None) -> int:
    """Physical address (of machine.memory) of a virtual one; `space`: None for where the hart is.
    Unmapped.
    """
    space = space_of(hart) if space is None else space
    memory, read = hart.memory, hart.memory.read
    if space is Space.PHYSICAL:
        return address
    if not hart.whole:
        return _walk(lambda at: read(at, 8), hart.get("satp"), address)
    if space is Space.HOST:
        atp = hart.get("other_satp" if hart.get("virt") else "satp")
        return _walk(lambda at: read(at, 8), atp, address)
    atp, second = hart.get("satp" if hart.get("virt") else "other_satp"), hart.get("hgatp")
    found = _walk(lambda at: read(_second(memory, second, at), 8), atp, address)
    return _second(memory, second, found)


def spaces(hart: Hart) -> tuple[Space, ...]:
    """All that a hart can be in, the present one first."""
    if not hart.whole:
        return (Space.GUEST,)
    known = (Space.HOST, Space.GUEST, Space.PHYSICAL) if "h" in hart.isa else (Space.HOST, Space.PHYSICAL)
    here = space_of(hart)
    return (here, *(space for space in known if space is not here))


def read(hart: Hart, address: int, size: int) -> bytes:
    """Bytes at a virtual address of the current mode, as many as there are. Unmapped where the first one is
    not there.
    """
    parts: list[bytes] = []
    for at, length in pieces(address, size):
        try:
            parts.append(hart.memory.read(physical(hart, at), length))
        except (MemoryFault, Unmapped):
            if not parts:
                raise Unmapped(hex(at)) from None
            break
    return b"".join(parts)


def write(hart: Hart, address: int, data: bytes) -> None:
    """Write at a virtual address of the current mode, all or nothing. Unmapped."""
    places = []
    for at, length in pieces(address, len(data)):
        try:
            place = physical(hart, at)
            hart.memory.read(place, length)
        except MemoryFault:
            raise Unmapped(hex(at)) from None
        places.append((place, length))
    for place, length in places:
        hart.memory.write_through(place, data[:length])
        data = data[length:]


def pieces(address: int, size: int) -> Iterator[tuple[int, int]]:
    """(address, length) of the parts of a range that lie in one page each; addresses wrap."""
    while size > 0:
        length = min(size, 4096 - address % 4096)
        yield address, length
        address, size = address + length & U64, size - length


def _walk(entry_at: Callable[[int], bytes], atp: int, address: int) -> int:
    """The first stage. `entry_at`: the eight bytes at an address of the tables."""
    if atp >> 60 == _BARE:
        return address
    levels = _LEVELS.get(atp >> 60, 0)
    top = address >> 9 * levels + 11
    if not levels or top not in (0, U64 >> 9 * levels + 11):
        raise Unmapped(hex(address))
    return _through(entry_at, (atp & _PPN) << 12, levels, 511, address)


def _second(memory: PhysicalMemory, hgatp: int, address: int) -> int:
    """The second stage: the root has four times the entries."""
    levels = _LEVELS.get(hgatp >> 60, 0)
    if hgatp >> 60 == _BARE:
        return address
    if not levels or address >> 9 * levels + 14:
        raise Unmapped(hex(address))
    return _through(lambda at: memory.read(at, 8), (hgatp & _PPN) << 12, levels, 2047, address)


def _through(
    entry_at: Callable[[int], bytes], table: int, levels: int, mask: int, address: int
) -> int:  # fmt: skip
    for level in reversed(range(levels)):
        shift = 12 + 9 * level
        try:
            entry = int.from_bytes(entry_at(table + 8 * (address >> shift & mask)), "little")
        except MemoryFault:
            raise Unmapped(hex(address)) from None
        mask = 511
        if not entry & _VALID:
            break
        table = (entry >> 10 & _PPN) << 12
        if entry & _LEAF:
            if entry & _NAPOT and level == 0:
                shift = 16
            return table >> shift << shift | address & (1 << shift) - 1
    raise Unmapped(hex(address))
