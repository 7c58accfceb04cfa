"""Counting a whole guest from outside, as `perf stat` on the host would."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vpmu.perf.event import PerfProvider
from vpmu.spec.perf import EVENTS, PerfEventAttr, PerfType


@dataclass(slots=True)
class OutsideCounter:
    """An event counted from outside the guest, one perf event per hart (Machine.open_counter)."""

    events: list[object] = field(default_factory=list)

    def read(self) -> int:
        """The sum over all harts."""
        return sum(event.read() for event in self.events)  # type: ignore[attr-defined]

    @property
    def state(self) -> object:
        """perf's state of the event on the first hart."""
        return self.events[0].state  # type: ignore[attr-defined]


def open_counter(providers: Iterable[PerfProvider], name: str, modifiers: str = "") -> OutsideCounter:
    """See Machine.open_counter."""
    if name.startswith("r") and name[1:] and all(c in "0123456789abcdef" for c in name[1:].lower()):
        kind, config = int(PerfType.RAW), int(name[1:], 16)
    else:
        kind, config = EVENTS[name]
    either = "u" in modifiers or "k" in modifiers
    attr = PerfEventAttr(
        type=kind, config=config, config1=1, exclude_host=True, exclude_hv=True, disabled=False,
        exclude_user=either and "u" not in modifiers, exclude_kernel=either and "k" not in modifiers,
    )  # fmt: skip
    return OutsideCounter([provider.create(attr, None) for provider in providers])
