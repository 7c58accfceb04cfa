"""Where two runs part: the last instruction up to which both have the same state, by bisection, and what of
the state is another one behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..hart.memory import PAGE
from ..vmm.snapshot_pages import find_backings
from ..vmm.state_hash import state_parts, state_values
from .recipe import Running

PIECES = 16
"""Hashes in one pass over a stretch of both runs."""
SHOWN = 8
VISIBLE = ("registers", "CSRs", "memory")
"""Parts that the guest sees, whoever is below it."""

Told = Callable[[str, float], None]
Same = Callable[[Running, Running], bool]


@dataclass(frozen=True, slots=True)
class Changed:
    """One value that is not the same in both."""

    part: str
    name: str
    first: object
    second: object

    def __str__(self) -> str:
        return f"{self.part}: {self.name} {_shown(self.first)} and {_shown(self.second)}"


@dataclass(frozen=True, slots=True)
class Parting:
    """Both runs are the same after `instruction`, and not after the next one."""

    instruction: int
    changed: tuple[Changed, ...]
    more: int = 0
    """Values that are left out."""


def _shown(value: object) -> str:
    return f"{value:#x}" if type(value) is int else str(value)[:60]


def same_parts(parts: frozenset[str] | None) -> Same:
    """Two runs are the same where these parts of their states are; None: all."""

    def same(one: Running, two: Running) -> bool:
        if one.at != two.at or (one.result is None) != (two.result is None):
            return False
        if parts is None:
            return one.machine.state_hash() == two.machine.state_hash()
        mine, other = state_parts(one.machine), state_parts(two.machine)
        return all(mine.get(name) == other.get(name) for name in parts)

    return same


def comparable(one: Running, two: Running, *, visible: bool) -> frozenset[str]:
    """The parts that are the same in both now; `visible`: of those that the guest sees."""
    mine, other = state_parts(one.machine), state_parts(two.machine)
    return frozenset(
        name for name, value in mine.items()
        if other.get(name) == value and (not visible or name.rpartition(" ")[2] in VISIBLE)
    )  # fmt: skip


def part(
    one: Running,
    two: Running,
    high: int,
    same: Same,
    told: Told = lambda what, share: None,
) -> tuple[int, Running, Running]:
    """The last instruction up to which two runs are the same, which they are now, and are not at `high`; and
    both runs at the first one where they are not.
    """
    low, width = one.at, max(1, high - one.at)
    one.keep()
    two.keep()
    while high - low > 1:
        told("bisect", 1 - (high - low) / width)
        one, two = one.back(), two.back()
        step, differs = max(1, (high - low) // PIECES), False
        while low + step < high:
            one.to(low + step)
            two.to(low + step)
            if not same(one, two):
                high, differs = low + step, True
                break
            low += step
        if differs:
            one, two = one.back(), two.back()
            one.to(low)
            two.to(low)
        one.keep()
        two.keep()
    one.to(high)
    two.to(high)
    return low, one, two


def changes(one: Running, two: Running, parts: frozenset[str] | None) -> tuple[tuple[Changed, ...], int]:
    """What differs in the states of two runs, the first few of it, and how much more."""
    found: list[Changed] = []
    mine, other = state_values(one.machine), state_values(two.machine)
    for name, value in mine.items():
        if parts is None or name in parts:
            found += _values(name, "", value, other.get(name, {}))
    if parts is None or "memory" in parts:
        found += _memory(one, two)
    return tuple(found[:SHOWN]), max(0, len(found) - SHOWN)


def _values(part: str, path: str, one: object, two: object) -> list[Changed]:
    if one == two:
        return []
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        found = []
        for name in one.keys() | two.keys():
            found += _values(part, f"{path}.{name}" if path else str(name), one.get(name), two.get(name))
        return sorted(found, key=lambda changed: changed.name)
    return [Changed(part, path, one, two)]


def _memory(one: Running, two: Running) -> list[Changed]:
    """The words that differ in the pages that differ."""
    found = []
    first, second = one.machine.memory, two.machine.memory
    backings = zip(find_backings(first), find_backings(second), strict=False)
    bases = {id(region.backing): region.base - region.offset for region in first.regions.values()}
    for mine, other in backings:
        if mine.view == other.view:
            continue
        for page in range(min(mine.size, other.size) // PAGE):
            left, right = (side.view[page * PAGE : (page + 1) * PAGE] for side in (mine, other))
            if left != right:
                for at, (a, b) in enumerate(zip(left.cast("Q"), right.cast("Q"), strict=True)):
                    if a != b:
                        where = bases[id(mine)] + page * PAGE + 8 * at
                        found.append(Changed("memory", f"{where:#x}", a, b))
                if len(found) > SHOWN:
                    return found
    return found
