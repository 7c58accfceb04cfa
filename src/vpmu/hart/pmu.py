"""The physical PMU of a hart: cycle, instret and the programmable hpmcounters, with Sscofpmf and
Smcntrpmf.

Counters are lazy. A running one keeps the value it had at some moment (`base`) and what its event had
reached then (`mark`); its value now is `base + count - mark`, so nothing is done per instruction.
Source: RISC-V privileged ISA, chapters "Sscofpmf" and "Smcntrpmf".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from vpmu.hart.counter_layout import (
    CYCLE,
    FIRST_PROGRAMMABLE,
    FIXED,
    INSTRET,
    MAX_PROGRAMMABLE,
    CounterLayout,
    Selector,
)
from vpmu.hart.events import ALL_MODES, FAR, FOREVER, EventSource, HartEvent, Mode, Quiet

if TYPE_CHECKING:
    from vpmu.hart.published import PublishedCounters

__all__ = [
    "CYCLE", "FIRST_PROGRAMMABLE", "FIXED", "INSTRET", "MAX_PROGRAMMABLE", "CounterLayout", "PhysicalPmu",
    "Selector",
]  # fmt: skip

_NO_MODE: Final = Mode(0)
_SOON: Final = 1 << 44  # more events than a run lives to see
_EXEMPT: Final = frozenset((event,) for event in FIXED.values())


class Counter:
    """What `PhysicalPmu` knows of it."""

    __slots__ = (
        "base", "counted", "filters", "held", "index", "interrupts", "mark", "mask", "modes", "overflow",
        "running", "selector",
    )  # fmt: skip

    def __init__(self, index: int, layout: CounterLayout) -> None:
        fixed = index in FIXED
        self.index = index
        self.mask = (1 << (64 if fixed else layout.width)) - 1
        self.selector: Selector = (FIXED[index],) if fixed else ()
        self.counted: Selector = self.selector  # empty where something keeps the selector from counting
        self.modes = ALL_MODES
        self.filters = layout.smcntrpmf if fixed else layout.sscofpmf
        self.base = 0
        self.mark = 0
        self.running = False
        # It has an overflow flag, and it works: Smcntrpmf's mcyclecfg and minstretcfg have no OF bit.
        self.interrupts = layout.sscofpmf and layout.overflow_interrupts and not fixed
        self.overflow = False
        self.held: Selector | None = None  # the selector that nobody else may count (one_counter_per_event)


class Counters(dict[int, Counter]):
    """The counters by index."""

    def __missing__(self, index: int) -> Counter:
        raise ValueError(f"no counter {index}; counters: {', '.join(map(str, self))}")


class PhysicalPmu:
    """Counters of one hart over the events that `source` counts. Methods raise ValueError for a counter
    that does not exist.

    A counter is named by its index, as in the CSR numbers: cycle 0, instret 2, hpmcounter3 3, and so on.
    At power-on all counters are stopped, at 0, without an event (cycle and instret have theirs).
    """

    def __init__(
        self, source: EventSource, counters: CounterLayout | None = None, *, whole: bool = False
    ) -> None:
        layout = CounterLayout() if counters is None else counters
        self.layout = layout
        self._source, self._words = source, source.words
        self._terms = lru_cache(maxsize=256)(self._terms_of)
        """What a selector is the sum of, in some modes: a getter from the hart's words."""
        self.whole = whole  # the hart has all its modes; else VS and VU alone
        self._interrupts = layout.sscofpmf and layout.overflow_interrupts
        self._counters = Counters((index, Counter(index, layout)) for index in layout.indices)
        self._running: list[Counter] = []
        self._costs = tuple(layout.cycle_costs.items())
        self._most_cycles = 1 + sum(layout.cycle_costs.values())
        """Cycles that one instruction can take at most."""
        self._wanted: dict[HartEvent, int] = {}  # event -> how many running counters need it
        self._exclusive = layout.one_counter_per_event
        self._holders: dict[Selector, int] = {}  # only where `_exclusive`
        self._requests: list[int] = []
        self.quiet = Quiet()
        self.published: PublishedCounters | None = None
        """Where the hart's engine reads the counters; None: it does not."""

    # --- configuration
    def can_count(self, index: int, selector: Selector) -> bool:
        """True where counter `index` exists and can count `selector`."""
        if index in FIXED:
            return selector == (FIXED[index],)
        if index not in self._counters:
            return False
        selectors = self.layout.selectors
        return selectors is None or index in selectors.get(selector, ())

    def selector(self, index: int) -> Selector:
        """What counter `index` was told to count."""
        return self._counters[index].selector

    def filters(self, index: int) -> bool:
        """True where counter `index` honours a mode filter."""
        return self._counters[index].filters

    def configure(self, index: int, event: HartEvent | Selector | None, modes: Mode = ALL_MODES) -> None:
        """Write the event selector and mode filter of a counter and clear its overflow flag; the value
        stays.

        A counter that honours no filter counts in all modes whatever `modes` says. None: no event (cycle
        and instret keep theirs). ValueError for an event that the counter cannot count.
        """
        counter = self._counters[index]
        if event is None:
            selector: Selector = counter.selector if index in FIXED else ()
        else:
            selector = (event,) if isinstance(event, HartEvent) else event
            if not self.can_count(index, selector):
                raise ValueError(f"counter {index} cannot count {'+'.join(selector)}")
        running = counter.running
        if running:
            self.stop(index)
        counter.selector = counter.counted = selector
        counter.modes = modes if counter.filters else ALL_MODES
        if counter.overflow:
            self._clear_overflow(counter)
        if self._exclusive and (selector or counter.held is not None):
            self._hold(counter)
        if counter.modes is _NO_MODE:
            counter.counted = ()
        if running:
            self.start(index)

    def forget(self, index: int) -> None:
        """`configure` of a counter that stands still: no event, no filter, and no overflow flag."""
        counter = self._counters[index]
        if counter.running:
            self.configure(index, None)
            return
        counter.selector = counter.counted = counter.selector if index in FIXED else ()
        counter.modes = ALL_MODES
        if counter.overflow:
            self._clear_overflow(counter)
        if counter.held is not None:
            self._hold(counter)

    def _hold(self, counter: Counter) -> None:
        """With one_counter_per_event: give up the old selector, and take the new one if nobody has it."""
        if counter.held is not None:
            del self._holders[counter.held]
            counter.held = None
        if counter.selector and counter.selector not in _EXEMPT:
            if self._holders.setdefault(counter.selector, counter.index) == counter.index:
                counter.held = counter.selector
            else:
                counter.counted = ()

    # --- the counter registers --------------------------------------------------------------------
    def read(self, index: int) -> int:
        """Value now, unsigned, modulo 2^width."""
        counter = self._counters[index]
        if counter.running:
            self._advance(counter)
        return counter.base

    def follows(self, index: int) -> tuple[int, Selector, Mode] | None:
        """What an untouched counter is the sum of: see PerfEvent.follows. None where it may wrap soon."""
        counter = self._counters[index]
        if not counter.running:
            return counter.base, (), counter.modes
        self._advance(counter)
        if counter.mask - counter.base < _SOON:
            return None
        return counter.base - counter.mark, counter.counted, counter.modes

    def write(self, index: int, value: int) -> None:
        """Set the value modulo 2^width. A write never overflows; a wrap before it is kept."""
        counter = self._counters[index]
        if counter.running:
            self._advance(counter)
        counter.base = value & counter.mask
        self.quiet.until = 0
        self._publish(counter)

    def start(self, index: int) -> None:
        """Clear the inhibit bit: the counter counts from now on."""
        counter = self._counters[index]
        if counter.running:
            return
        wanted = self._wanted
        before = len(wanted)
        for event in counter.counted:
            wanted[event] = wanted.get(event, 0) + 1
        if len(wanted) != before:
            self._want()
        counter.mark = self._count(counter)
        counter.running = True
        self._running.append(counter)
        if counter.interrupts and not counter.overflow:
            self._overflows_within(counter)
        if self.published is not None:
            self._publish(counter)

    def restart(self, index: int, value: int) -> None:
        """Set the value, clear the overflow flag and start: `write`, `clear_overflow` and `start` at once."""
        counter = self._counters[index]
        counter.base = value & counter.mask
        if counter.overflow:
            self._clear_overflow(counter)
        if counter.running:
            counter.mark = self._count(counter)
            self._overflows_within(counter)
            self._publish(counter)
        else:
            self.start(index)

    def stop(self, index: int) -> None:
        """Set the inhibit bit: the counter keeps the value it has now."""
        counter = self._counters[index]
        if not counter.running:
            return
        self._advance(counter)
        counter.running = False
        self._running.remove(counter)
        if self.published is not None:
            self._publish(counter)
        wanted = self._wanted
        before = len(wanted)
        for event in counter.counted:
            wanted[event] -= 1
            if not wanted[event]:
                del wanted[event]
        if len(wanted) != before:
            self._want()

    def _want(self) -> None:
        """Tell the source what the running counters need; cycles need what they are made of."""
        events = frozenset(self._wanted)
        if self._costs and HartEvent.CYCLES in events:
            events |= frozenset(event for event, _ in self._costs)
        self._source.want(events)

    def mask(self, index: int) -> int:
        """2^width - 1 of a counter."""
        return self._counters[index].mask

    def running(self, index: int) -> bool:
        """True where the counter is not inhibited."""
        return self._counters[index].running

    @property
    def inhibit(self) -> int:
        """Bit i: counter i is stopped (mcountinhibit)."""
        return sum(1 << counter.index for counter in self._counters.values() if not counter.running)

    # --- overflow ---------------------------------------------------------------------------------
    @property
    def overflow_flags(self) -> int:
        """Bit i: counter i has wrapped since its flag was cleared (OF, as scountovf shows it)."""
        for counter in self._armed():
            self._advance(counter)
        return sum(1 << counter.index for counter in self._counters.values() if counter.overflow)

    def clear_overflow(self, index: int) -> None:
        """Clear OF, so that the next wrap requests an interrupt again."""
        counter = self._counters[index]
        if counter.running:
            self._advance(counter)
        self._clear_overflow(counter)

    def set_overflow(self, index: int) -> None:
        """Set OF by software: that requests no interrupt, and no wrap does until it is cleared."""
        counter = self._counters[index]
        if counter.running:
            self._advance(counter)
        counter.overflow = self.layout.sscofpmf and index not in FIXED
        self._publish_overflow()

    def budget(self) -> int | None:
        """How many more instructions may retire before a counter can request an interrupt; None: none
        ever will.

        An event happens at most once per instruction (a cycle as often as the cost model says), so the events
        left are a lower bound: ask again until it is 0.
        """
        least: int | None = None
        for counter in self._armed() if self._interrupts else ():
            self._advance(counter)
            if not counter.overflow:
                left = counter.mask + 1 - counter.base
                if self._costs and HartEvent.CYCLES in counter.counted:
                    left = max(left // self._most_cycles, 1)  # close to the end one instruction at a time
                if least is None or left < least:
                    least = left
        if self._requests:
            return 0
        if least is None:
            self.quiet.until = FOREVER
        elif least > FAR:
            retired = sum(self._terms((HartEvent.INSTRUCTIONS,), ALL_MODES)(self._words))
            self.quiet.until = retired + least - FAR
        return least

    def settle(self) -> None:
        """Bring the counters that can overflow up to date, as `poll` does."""
        if self._interrupts:
            for counter in self._armed():
                self._advance(counter)

    def poll(self) -> tuple[int, ...]:
        """Indices of the counters whose OF went from 0 to 1 since the last poll: each is one interrupt
        request.
        """
        self.settle()
        if not self._requests:
            return ()
        requests = tuple(self._requests)
        self._requests.clear()
        return requests

    # --- inside -----------------------------------------------------------------------------------
    def publish(self, table: PublishedCounters | None) -> None:
        """From now on the hart's engine reads the counters in `table`."""
        self.published = table
        for counter in self._counters.values():
            self._publish(counter)
        self._publish_overflow()

    def _publish(self, counter: Counter) -> None:
        if self.published is None:
            return
        start, counted = (counter.mark, counter.counted) if counter.running else (0, ())
        self.published.put(counter.index, counter.base - start, counter.mask, counted, counter.modes)

    def _publish_overflow(self) -> None:
        if self.published is not None:
            flags = sum(1 << counter.index for counter in self._counters.values() if counter.overflow)
            self.published.put_overflow(flags)

    def _clear_overflow(self, counter: Counter) -> None:
        counter.overflow = False
        self.quiet.until = 0
        self._publish_overflow()
        if counter.index in self._requests:
            self._requests.remove(counter.index)  # whoever takes the interrupt finds no flag

    def _armed(self) -> Iterator[Counter]:
        """Counters that can request an interrupt as they run."""
        for counter in self._running:
            if counter.interrupts and not counter.overflow and counter.counted:
                yield counter

    def _overflows_within(self, counter: Counter) -> None:
        """Somebody has to ask before this one can overflow, however few instructions have retired so far."""
        soonest = 0 if self._costs else counter.mask + 1 - counter.base - FAR
        if soonest < self.quiet.until:
            self.quiet.until = soonest

    def _terms_of(self, counted: Selector, modes: Mode) -> Callable[[Sequence[int]], tuple[int, ...]]:
        words = [word for event in counted for word in self._source.words_of(event, modes)]
        return itemgetter(*words, 0, 0)  # a tuple, however few they are: word 0 is always 0

    def _count(self, counter: Counter) -> int:
        """How often what the counter counts has happened."""
        counted, modes = counter.counted, counter.modes
        total = sum(self._terms(counted, modes)(self._words))
        if self._costs and HartEvent.CYCLES in counted:
            total += sum(cost * sum(self._terms((event,), modes)(self._words)) for event, cost in self._costs)
        return total

    def _advance(self, counter: Counter) -> None:
        """Bring `base` of a running counter up to date."""
        if self._costs:
            now = self._count(counter)
        else:  # the same without a call: nearly always
            now = sum(self._terms(counter.counted, counter.modes)(self._words))
        value = counter.base + now - counter.mark
        counter.mark = now
        counter.base = value & counter.mask
        if value > counter.mask and counter.interrupts and not counter.overflow:
            counter.overflow = True
            self._requests.append(counter.index)
            self.quiet.until = 0
            self._publish_overflow()
