"""The host's firmware: which physical counter an event gets.

Source: OpenSBI lib/sbi/sbi_pmu.c (pmu_ctr_find_hw), 1.6 as recorded; drivers/perf/riscv_pmu_sbi.c
(pmu_sbi_ctr_get_idx).
"""

from __future__ import annotations

from collections.abc import Iterable

from vpmu.hart.events import Mode
from vpmu.hart.pmu import PhysicalPmu
from vpmu.perf.driver import MappedEvent


class Firmware:
    """Gives out the counters of one hart. `held` are those that are taken, by whomever."""

    def __init__(self, pmu: PhysicalPmu, held: Iterable[int], *, fixed_fallback: bool) -> None:
        self._pmu = pmu
        self.held = set(held)
        self._fixed_fallback = fixed_fallback or pmu.layout.smcntrpmf
        self._prefer_programmable = pmu.layout.sscofpmf
        self.start = pmu.restart
        """counter_start with SET_INIT_VALUE; the next wrap requests an interrupt."""

    def match(self, event: MappedEvent, modes: Mode) -> int | None:
        """counter_config_matching: configure a free counter for the event, or None.

        Without Sscofpmf cycles and instructions live on cycle and instret. With it they prefer an
        hpmcounter, which can filter and interrupt, and fall back to those two.
        """
        held = self.held
        index: int | None = None
        if event.fixed is None or self._prefer_programmable:
            for candidate in event.counters:
                if candidate not in held:
                    index = candidate
                    break
        if index is None:
            index = event.fixed
            if index is None or index in held:
                return None
            if self._prefer_programmable and not self._fixed_fallback:
                return None
        held.add(index)
        self._pmu.configure(index, event.selector, modes)
        return index

    def release(self, index: int) -> None:
        """counter_stop with RESET, of a counter that stands still."""
        self._pmu.forget(index)
        self.held.remove(index)
