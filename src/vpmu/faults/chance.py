"""What chance decided in runs under one fault plan, and what came of each.

Nothing but chance tells runs of one guest apart that have the same rules and different seeds. So what came of
the same decisions comes of them again, and need not be run to be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from .injector import MOST_DRAWN, Drawn, fires
from .plan import FaultPlan

T = TypeVar("T")
Path = tuple[bool, ...]


class Chances(Generic[T]):
    """What came of runs that differ in the seed of their plan alone."""

    def __init__(self) -> None:
        self._asked: dict[Path, tuple[int, int]] = {}  # decisions so far -> who asks next: rule, how manyth
        self._ended: dict[Path, T] = {}

    def find(self, plan: FaultPlan) -> T | None:
        """What comes of the plan with its seed; None: nobody has seen it yet."""
        path: Path = ()
        while path not in self._ended:
            asked = self._asked.get(path)
            if asked is None:
                return None
            path += (fires(plan, *asked),)
        return self._ended[path]

    def note(self, drawn: Sequence[Drawn], what: T) -> None:
        """A run has come to its end, and these were its decisions (`Injector.drawn`), in their order."""
        if len(drawn) > MOST_DRAWN:
            return
        path: Path = ()
        for rule, number, hit in drawn:
            self._asked[path] = rule, number
            path += (hit,)
        self._ended[path] = what
