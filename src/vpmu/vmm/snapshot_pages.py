"""The memory of a snapshot: slots, and which pages of what lies behind them were written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import MachineError
from ..hart.memory import MAX_REGIONS, PAGE, HostMemory, PhysicalMemory
from ..hart.stale import runs
from ..hart.state import PAGE_BASE, PAGE_DIRTY, PAGE_HASHED, PAGE_STALE, PAGE_TOUCHED, PAGE_UNSAVED

__all__ = ["runs"]
_KNOWN = PAGE_TOUCHED | PAGE_DIRTY | PAGE_HASHED
TOUCHED = bytes(int(flags & _KNOWN != 0) for flags in range(256))
_WRITTEN = bytes(int(flags & (PAGE_DIRTY | PAGE_HASHED) != 0) for flags in range(256))
STALE_TOO = bytes(int(flags & (PAGE_DIRTY | PAGE_HASHED | PAGE_STALE) != 0) for flags in range(256))
_BASE = bytes(PAGE_TOUCHED | PAGE_BASE if flags else 0 for flags in range(256))
STALE = bytes(flags | PAGE_STALE for flags in range(256))
UNSAVED = bytes(flags | PAGE_UNSAVED for flags in range(256))


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


def find_written(
    memory: PhysicalMemory, backings: list[HostMemory], flags: bytes, which: bytes = _WRITTEN
) -> list[bytes]:
    """Per backing: which of its pages are dirty (1), by the flags of all slots. What lies outside of every
    slot now, but did not always, is found by the flags of its neighbours' page numbers. `which`: the flags
    that count, STALE_TOO for pages that stale contents make other than the base as well. What somebody else
    sees may have been written at any time.
    """
    written = flags.translate(which)
    masks = []
    for backing in backings:
        mask, pages = b"", backing.size // PAGE
        if not backing.lendable:
            masks.append(b"\1" * pages)
            continue
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


def with_base(masks: list[bytes], base: list[bytes]) -> list[bytes]:
    """Pages that are marked, or were at the machine's base: all, where slots have come or gone since."""
    if [*map(len, masks)] != [*map(len, base)]:
        return [b"\1" * len(mask) for mask in masks]
    return [union(mask, old) for mask, old in zip(masks, base, strict=True)]


def find_origin(memory: PhysicalMemory, backing: HostMemory) -> int | None:
    """The number of a backing's first page, where all slots number its pages alike, each page of it once, and
    nobody but the machine sees them; else None.
    """
    regions = [region for region in memory.regions.values() if region.backing is backing]
    origins = {region.first_page - region.offset // PAGE for region in regions}
    origin = origins.pop()
    alone = not origins and origin >= 0 and origin + backing.size // PAGE <= memory._next_page
    return origin if alone and backing.lendable else None


def known_of(flags: bytes) -> bytes:
    """What is known of a machine's pages in the state of a snapshot with these flags."""
    return flags.translate(_BASE)


def find_lendable(memory: PhysicalMemory, backings: list[HostMemory]) -> int | None:
    """The largest backing of which pages may be stale or unsaved, by its number."""
    lendable = [at for at, backing in enumerate(backings) if find_origin(memory, backing) is not None]
    return max(lendable, key=lambda at: backings[at].size, default=None)


def mark(flags: bytearray, origin: int, pages: Iterable[tuple[int, int]], how: bytes) -> None:
    """Mark runs of pages of a backing, whose first page has the number `origin`, as STALE or UNSAVED."""
    for first, last in pages:
        flags[origin + first : origin + last] = flags[origin + first : origin + last].translate(how)


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
