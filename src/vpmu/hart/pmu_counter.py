"""One counter of a hart's PMU."""

from __future__ import annotations

from vpmu.hart.counter_layout import FIXED, CounterLayout, Selector
from vpmu.hart.events import ALL_MODES


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
