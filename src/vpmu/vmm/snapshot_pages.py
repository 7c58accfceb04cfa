"""The memory of a snapshot: slots, and which pages of what lies behind them were written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import MachineError
from ..hart.memory import MAX_REGIONS, PAGE, HostMemory, PhysicalMemory

DIRTY = 2
HASHED = 4
"""Written since the last snapshot, and not since the last hash of the state."""
TOUCHED = bytes(int(flags != 0) for flags in range(256))
_WRITTEN = bytes(int(flags & (DIRTY | HASHED) != 0) for flags in range(256))


@dataclass(frozen=True, slots=True)
class Slot:
    """A memory slot: where it lies, in which backing (by number), from which byte of it on."""

    number: int
    base: int
    size: int
    backing: int
    offset: int
    readonly: bool
    first_page: int


def find_backings(memory: PhysicalMemory) -> list[HostMemory]:
    """The backings of all slots, each once, in the order of the slots."""
    found: list[HostMemory] = []
    for number in sorted(memory.regions):
        backing = memory.regions[number].backing
        if not any(backing is other for other in found):
            found.append(backing)
    return found


def find_slots(memory: PhysicalMemory, backings: list[HostMemory]) -> tuple[Slot, ...]:
    return tuple(
        Slot(
            number, region.base, region.size,
            next(i for i, backing in enumerate(backings) if backing is region.backing),
            region.offset, region.readonly, region.first_page,
        )
        for number, region in sorted(memory.regions.items())
    )  # fmt: skip


def check_slots(slots: tuple[Slot, ...], backings: list[HostMemory], pages: int) -> None:
    """Slots that reach out of their backing would reach into the host. Raises ValueError."""
    end = -1
    for slot in sorted(slots, key=lambda slot: slot.base):
        numbers = (slot.number, slot.base, slot.size, slot.backing, slot.offset, slot.first_page)
        wrong = any(type(number) is not int or number < 0 for number in numbers)
        wrong = wrong or slot.readonly not in (True, False) or not slot.size
        wrong = wrong or (slot.base | slot.size | slot.offset) % PAGE != 0 or slot.base < end
        wrong = wrong or slot.base + slot.size > 1 << 64 or slot.first_page + slot.size // PAGE > pages
        if wrong or slot.offset + slot.size > backings[slot.backing].size:
            raise ValueError(f"memory slot {slot.number}")
        end = slot.base + slot.size
    if len(slots) > MAX_REGIONS or len({slot.number for slot in slots}) != len(slots):
        raise ValueError(f"{len(slots)} memory slots")


def find_written(memory: PhysicalMemory, backings: list[HostMemory], flags: bytes) -> list[bytes]:
    """Per backing: which of its pages are dirty (1), by the flags of all slots. What lies outside of every
    slot
    now, but did not always, is found by the flags of its neighbours' page numbers.
    """
    written = flags.translate(_WRITTEN)
    masks = []
    for backing in backings:
        mask, pages = b"", backing.size // PAGE
        for region in memory.regions.values():
            if region.backing is backing:
                # page 0 of the backing has this number: slots cut out of one another keep their pages'
                # numbers
                origin = region.first_page - region.offset // PAGE
                if origin >= 0 and origin + pages <= len(written):
                    part = written[origin : origin + pages]
                else:
                    at, count = region.offset // PAGE, region.size // PAGE
                    part = bytes(at) + written[region.first_page : region.first_page + count]
                    part = part.ljust(pages, b"\0")
                mask = union(mask, part) if mask else part
        masks.append(mask)
    return masks


def union(one: bytes, other: bytes) -> bytes:
    if len(one) != len(other):
        raise MachineError("snapshot of another machine: memory slots")
    return (int.from_bytes(one, "little") | int.from_bytes(other, "little")).to_bytes(len(one), "little")


def runs(mask: bytes) -> Iterator[tuple[int, int]]:
    """[first, last) of each run of pages that are marked."""
    first = mask.find(1)
    while first >= 0:
        last = mask.find(0, first)
        if last < 0:
            last = len(mask)
        yield first, last
        first = mask.find(1, last)


def forget_code(
    memory: PhysicalMemory, backings: list[HostMemory], changed: list[list[tuple[int, int]]]
) -> None:
    """Decoded instructions of changed pages are void; `changed`: runs of pages, by backing."""
    for region in memory.regions.values():
        number = next(i for i, backing in enumerate(backings) if backing is region.backing)
        begin, end = region.offset // PAGE, (region.offset + region.size) // PAGE
        origin = region.first_page - begin
        for first, last in changed[number]:
            if first < end and begin < last:
                memory.forget_code(origin + max(first, begin), origin + min(last, end) - 1)
