"""Accesses of a block that stand side by side: one look into the engine's cache is enough for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from vpmu.hart.generator.convention import RD, RS1
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.regions.find import Step
from vpmu.hart.state import WIDEST_ACCESS

PAGE_BYTES = 4096
WIDEST = (WIDEST_ACCESS, 64, 16)  # bytes: of two accesses further apart, one is in another page too often
SAVED, LOST = 2, 3  # of an access that needs no look of its own; of a step that is left to its handler
_ACCESSES = {Kind.LOAD: False, Kind.FP_LOAD: False, Kind.STORE: True, Kind.FP_STORE: True}
WITHOUT_RESULT = (Kind.STORE, Kind.FP_STORE, Kind.BRANCH, Kind.NOP)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an access is: so many bytes from what `root` stands for."""

    root: int
    is_store: bool
    offset: int
    size: int


@dataclass(slots=True)
class Reach:
    """Bytes `low` to `high` of a root that are known to lie in one page of the engine's cache, whose host
    address is `addend` more than the guest's. `stored`: there has been a store since.
    """

    addend: str
    low: int
    high: int
    stored: bool = False

    def holds(self, place: Place) -> bool:
        """Whether an access lies in it."""
        return self.low <= place.offset and place.offset + place.size <= self.high


def places(steps: Sequence[Step]) -> list[Place | None]:
    """The place of each step that is a load or a store. Two accesses have the same root where their base
    registers differ by what `addi` has added.
    """
    found: list[Place | None] = []
    roots: dict[int, tuple[int, int]] = {}  # register -> its root, and how far it is from there
    fresh = count()
    for step in steps:
        row = step.operation.row
        rd, rs1 = step.record >> RD & 255, step.record >> RS1 & 255
        place, moved = None, None
        if row.kind in _ACCESSES or row.name == "addi":
            root, offset = roots.setdefault(rs1, (next(fresh), 0))
            offset += step.imm
            if row.kind in _ACCESSES:
                place = Place(root, _ACCESSES[row.kind], offset, row.size)
            else:
                moved = root, offset
        if moved is not None:
            roots[rd] = moved
        elif row.kind not in WITHOUT_RESULT:
            roots.pop(rd, None)
        found.append(place)
    return found


def reach(found: Sequence[Place | None], position: int) -> tuple[int, int] | None:
    """From which byte to which byte behind it the access at `position` and those after it lie; None where it
    stands alone, or better would: where they lie in two pages, the handlers do the rest of the block.
    """
    first = found[position]
    assert first is not None
    for widest in WIDEST:
        low, high, together = first.offset, first.offset + first.size, 1
        for other in found[position + 1 :]:
            if other is not None and other.root == first.root and other.is_store == first.is_store:
                wider = min(low, other.offset), max(high, other.offset + other.size)
                if wider[1] - wider[0] <= widest:
                    (low, high), together = wider, together + 1
        apart = (high - low - 1) / PAGE_BYTES  # how likely
        if (together - 1) * SAVED > apart * (len(found) - position) * LOST:
            return low, high
    return None
