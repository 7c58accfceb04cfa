"""Exits of a guest's hart that its engine answers itself, as whoever plays the level below has answered them
before.

Such an answer stands as long as nobody has done anything that could change it. The engine counts the exits
that it has answered so; they are made up for when the hart stops (see.standing). The rows of counters are
those of `published`; a call's row holds the registers that name it and those that answer it. Nothing here is
state: no row stands between two runs. `privileged/guest/standing.py` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from vpmu.hart import state
from vpmu.hart.events import HartEvent, Mode
from vpmu.hart.published import PublishedCounters

if TYPE_CHECKING:
    from vpmu.hart.hart import Hart
    from vpmu.hart.pmu import Selector

U64: Final = (1 << 64) - 1
_COUNTERS, _TOTALS, _CALLS, _SIP, _TAKEN, _RETIRED, _STREAK = state.STANDING_WORDS.values()
_TIMES = state.CALL.index("times")


class CounterRow(NamedTuple):
    """A counter is `start` and what `counted` has reached in `modes`, modulo `mask` + 1. `total`, where a
    read adds that to what was read before: what was.
    """

    start: int
    mask: int
    counted: Selector
    modes: Mode
    total: int | None = None


class Taken(NamedTuple):
    """What the engine has answered: exits at all, and by row of a call."""

    exits: int
    calls: list[int]


class StandingAnswers:
    """The table of one hart. `costs`: the cost model of its cycles."""

    def __init__(self, hart: Hart, costs: Mapping[HartEvent, int]) -> None:
        self._words, self._first = hart.words, hart.counters_at // 8
        self._counters = PublishedCounters(hart, costs, overflow=False)
        self._calls = self._first + state.CALLS_AT // 8
        self._sip, self._taken = self._first + _SIP, self._first + _TAKEN

    def withdraw(self) -> None:
        """Nothing stands any more."""
        for word in (_COUNTERS, _TOTALS, _CALLS):
            self._words[self._first + word] = 0

    def enter(self, sip: int) -> None:
        """The guest is entered with these pending interrupts."""
        self._words[self._sip] = sip

    def put_counter(self, index: int, row: CounterRow) -> bool:
        """The counter is read so from now on; False where the engine cannot."""
        if not self._counters.put_row(index, row.start, row.mask, row.counted, row.modes):
            return False
        words, first, bit = self._words, self._first, 1 << index
        if row.total is not None:
            words[self._total(index)] = row.total
            words[first + _TOTALS] |= bit
        words[first + _COUNTERS] |= bit
        return True

    def total(self, index: int) -> int:
        """What reads of a counter have added up to."""
        return self._words[self._total(index)]

    def _total(self, index: int) -> int:
        return self._first + state.COUNTER_ROW * (index + 1) + state.STANDING_TOTAL

    def put_call(self, eid: int, fid: int, argument: int | None, a0: int, a1: int) -> bool:
        """The call is answered so from now on, `argument` in its a0 (None: whatever is there); False where no
        row is left.
        """
        number = self._words[self._first + _CALLS]
        if number == state.MAX_CALLS:
            return False
        row = self._calls + state.CALL_ROW * number
        values = (eid, fid, argument or 0, argument is None, a0, a1, 0)
        for word, value in enumerate(values):
            self._words[row + word] = value & U64
        self._words[self._first + _CALLS] = number + 1
        return True

    @property
    def taken(self) -> int:
        """Exits that were answered since they were last asked for."""
        return self._words[self._taken]

    def take_streak(self) -> tuple[int, int]:
        """How many exits were answered since the last instruction that retired, or since this was last asked
        for; and how many instructions had retired then.
        """
        words, first = self._words, self._first
        streak = words[first + _STREAK]
        words[first + _STREAK] = 0
        return streak, words[first + _RETIRED]

    def take(self) -> Taken | None:
        """What was answered since it was last asked for; None: nothing."""
        words, first = self._words, self._first
        exits = words[self._taken]
        if not exits:
            return None
        rows = [self._calls + state.CALL_ROW * number + _TIMES for number in range(words[first + _CALLS])]
        taken = Taken(exits, [words[row] for row in rows])
        for row in (*rows, self._taken):
            words[row] = 0
        return taken
