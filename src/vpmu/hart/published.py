"""What a hart's engine reads of its counters: a table behind the translation contexts (state.GUEST_COUNTERS).

Its first row holds which counters the engine answers (bit i; bit SCOUNTOVF_ANSWERED: scountovf too) and OF of
all. The row of counter i says how its value follows from words of the hart's state: start, width as a mask,
how many terms, and the terms: offset of a word in bits 31:0, its weight above. A counter that is stopped has
no terms. Nothing here is state: it follows from the PMU, which writes it when a counter is programmed
(PhysicalPmu.publish). `privileged/counters.py` reads it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from vpmu.hart import state
from vpmu.hart.events import HartEvent, Mode

if TYPE_CHECKING:
    from vpmu.hart.hart import Hart
    from vpmu.hart.pmu import Selector

U64: Final = (1 << 64) - 1
MAX_TERMS: Final = state.COUNTER_ROW - 4  # the row's last word: hart.standing


class PublishedCounters:
    """The table of one hart. `costs`: the cost model of its cycles; `overflow`: the engine answers scountovf
    as well.
    """

    def __init__(self, hart: Hart, costs: Mapping[HartEvent, int], *, overflow: bool) -> None:
        self._words, self._words_of = hart.words, hart.words_of
        self._first = hart.counters_at // 8
        self._costs = tuple(costs.items())
        self._known = overflow << state.SCOUNTOVF_ANSWERED
        self._open = False
        self._terms = lru_cache(maxsize=256)(self._terms_of)

    def answer(self, allowed: bool) -> None:
        """Whether the engine may answer, or somebody wants to know of every read."""
        self._open = allowed
        self._words[self._first] = self._known if allowed else 0

    def put(self, index: int, start: int, mask: int, counted: Selector, modes: Mode) -> None:
        """Counter `index` is `start` and what `counted` has reached in `modes`, modulo `mask` + 1."""
        bit = 1 << index
        known = self._known | bit if self.put_row(index, start, mask, counted, modes) else self._known & ~bit
        if known != self._known:
            self._known = known
            self.answer(self._open)

    def put_row(self, index: int, start: int, mask: int, counted: Selector, modes: Mode) -> bool:
        """Write the row of a counter; False where it is the sum of more words than a row holds."""
        terms = self._terms(counted, modes)
        if len(terms) > MAX_TERMS:
            return False
        row = self._first + state.COUNTER_ROW * (index + 1)
        self._words[row] = start & U64
        self._words[row + 1] = mask
        self._words[row + 2] = len(terms)
        self._words[row + 3 : row + 3 + len(terms)] = terms
        return True

    def put_overflow(self, flags: int) -> None:
        """OF of all counters."""
        self._words[self._first + 1] = flags

    def _terms_of(self, counted: Selector, modes: Mode) -> memoryview:
        """The words that a selector is the sum of, as `PhysicalPmu` adds them."""
        parts = [(event, 1) for event in counted]
        if HartEvent.CYCLES in counted:
            parts += self._costs
        terms = [8 * word | weight << 32 for event, weight in parts for word in self._words_of(event, modes)]
        return memoryview(array("Q", terms))
