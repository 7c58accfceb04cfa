"""Accesses of a block that lie beside each other: one look into the engine's cache does for all of them.

    sd ra, 24(sp)
    sd s0, 16(sp)
    sd s1, 8(sp)

They have the same base register, which nothing changes in between, and are near enough to be in one page,
mostly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vpmu.hart.generator.convention import RD, RS1
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.regions.find import Step

LOADS, STORES = (Kind.LOAD, Kind.FP_LOAD), (Kind.STORE, Kind.FP_STORE)
FEWEST = 3
"""Accesses for which a look of their own pays."""
REACH = 512
"""Bytes from the first to the last at most: one group in eight is on two pages."""


@dataclass(frozen=True, slots=True)
class Group:
    """Accesses to `low` up to `high` (exclusive) from their base register; `positions` of their steps in the
    block, the first of which looks.
    """

    stores: bool
    low: int
    high: int
    positions: tuple[int, ...]


def groups_of(steps: Sequence[Step]) -> list[Group]:
    """The groups of a block."""
    found = []
    for stores, positions in _same_base(steps):
        found += list(_near(steps, stores, positions))
    return found


def _same_base(steps: Sequence[Step]) -> list[tuple[bool, list[int]]]:
    """(stores or loads, positions) with one value of a base register each."""
    lines: dict[tuple[bool, int, int], list[int]] = {}
    written = dict.fromkeys(range(256), 0)
    for position, step in enumerate(steps):
        kind = step.operation.row.kind
        if kind in LOADS or kind in STORES:
            base = step.record >> RS1 & 255
            lines.setdefault((kind in STORES, base, written[base]), []).append(position)
        if kind not in STORES:
            written[step.record >> RD & 255] += 1
    return [(stores, positions) for (stores, _, _), positions in lines.items() if len(positions) >= FEWEST]


def _near(steps: Sequence[Step], stores: bool, positions: list[int]) -> Iterator[Group]:
    """Those of one base cut into groups that are near each other."""
    part: list[int] = []
    for position in sorted(positions, key=lambda position: steps[position].imm):
        if part and _end(steps[position]) - steps[part[0]].imm > REACH:
            yield from _group(steps, stores, part)
            part = []
        part.append(position)
    yield from _group(steps, stores, part)


def _group(steps: Sequence[Step], stores: bool, part: list[int]) -> Iterator[Group]:
    if len(part) >= FEWEST:
        ends = max(_end(steps[position]) for position in part)
        yield Group(stores, steps[part[0]].imm, ends, tuple(sorted(part)))


def _end(step: Step) -> int:
    return step.imm + step.operation.row.size
