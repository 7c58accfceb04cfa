"""Which counters a hart has, and what they can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vpmu.hart.events import HartEvent

CYCLE = 0
INSTRET = 2
FIRST_PROGRAMMABLE = 3
MAX_PROGRAMMABLE = 29
FIXED: Mapping[int, HartEvent] = {CYCLE: HartEvent.CYCLES, INSTRET: HartEvent.INSTRUCTIONS}
"""Counters that can count one event only, by index. Index 1 is `time`, which is no counter."""

Selector = tuple[HartEvent, ...]
"""What a counter counts: the instructions that cause any of these events. No instruction causes two
events of one selector.
"""


@dataclass(frozen=True, slots=True)
class CounterLayout:
    """The counters that a hart has, and what they can do."""

    programmable: int = 16
    """How many hpmcounters, from hpmcounter3 on: 0 to 29."""
    width: int = 64
    """Implemented bits of an hpmcounter; cycle and instret always have 64."""
    sscofpmf: bool = True
    """Mode filters and an overflow flag for hpmcounters. Without it they count in all modes."""
    smcntrpmf: bool = False
    """Mode filters for cycle and instret. Without it they count in all modes."""
    overflow_interrupts: bool = True
    """False: Sscofpmf's overflow flag never becomes 1, as on QEMU 10."""
    one_counter_per_event: bool = False
    """True: of several counters on one event, only the one configured first counts, until it is
    configured anew; cycles and instructions are exempt. As on QEMU up to 10 (target/riscv/pmu.c maps an
    event to one counter).
    """
    cycle_costs: Mapping[HartEvent, int] = field(default_factory=dict, hash=False)
    """The cost model: an instruction takes one cycle, and these more where it causes the event."""
    selectors: Mapping[Selector, frozenset[int]] | None = field(default=None, hash=False)
    """Which hpmcounters can count a selector; None: each can count everything."""

    def __post_init__(self) -> None:
        if not 0 <= self.programmable <= MAX_PROGRAMMABLE:
            expected = f"0 to {MAX_PROGRAMMABLE}"
            raise ValueError(f"programmable counters: expected {expected}, got {self.programmable}")
        if not 1 <= self.width <= 64:
            raise ValueError(f"counter width: expected 1 to 64 bits, got {self.width}")

    @property
    def indices(self) -> tuple[int, ...]:
        """Indices of all counters."""
        return CYCLE, INSTRET, *range(FIRST_PROGRAMMABLE, FIRST_PROGRAMMABLE + self.programmable)
