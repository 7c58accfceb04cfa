"""An event source whose counts a test advances by hand."""

from __future__ import annotations

from collections import Counter

from vpmu.hart.events import HartEvent, Mode


class FakeSource:
    """Counts per event and mode; `wanted` is the last set that the PMU asked for."""

    def __init__(self) -> None:
        self.wanted: frozenset[HartEvent] = frozenset()
        self.counts: Counter[tuple[HartEvent, Mode]] = Counter()

    def count(self, event: HartEvent, modes: Mode) -> int:
        return sum(self.counts[event, mode] for mode in (Mode.VU, Mode.VS) if mode in modes)

    def want(self, events: frozenset[HartEvent]) -> None:
        self.wanted = events

    def run(self, instructions: int, mode: Mode = Mode.VS, **others: int) -> None:
        """Retire instructions at one cycle each; other events by the names of HartEvent, in lower case."""
        happened = {"cycles": instructions, "instructions": instructions, **others}
        for name, number in happened.items():
            event = HartEvent[name.upper()]
            # A hart may leave uncounted what nobody wants: make a PMU that forgets to ask fail.
            if event in self.wanted:
                self.counts[event, mode] += number
