"""An event source whose counts a test advances by hand."""

from __future__ import annotations

from vpmu.hart.events import HartEvent, Mode

MODES = (Mode.VU, Mode.VS)


class FakeSource:
    """Counts per event and mode; `wanted` is the last set that the PMU asked for."""

    def __init__(self) -> None:
        self.wanted: frozenset[HartEvent] = frozenset()
        self.at = {key: number for number, key in enumerate(((e, m) for e in HartEvent for m in MODES), 1)}
        self.words = [0] * (1 + len(self.at))

    def words_of(self, event: HartEvent, modes: Mode) -> tuple[int, ...]:
        return tuple(self.at[event, mode] for mode in MODES if mode in modes)

    def want(self, events: frozenset[HartEvent]) -> None:
        self.wanted = events

    def run(self, instructions: int, mode: Mode = Mode.VS, **others: int) -> None:
        """Retire instructions at one cycle each; other events by the names of HartEvent, in lower case."""
        happened = {"cycles": instructions, "instructions": instructions, **others}
        for name, number in happened.items():
            event = HartEvent[name.upper()]
            # A hart may leave uncounted what nobody wants: make a PMU that forgets to ask fail.
            if event in self.wanted:
                self.words[self.at[event, mode]] += number
