"""Counting a guest's events from outside by the names of perf: what `vpmu stat` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpmu.errors import UsageError
from vpmu.perf.event import EventState, PerfError
from vpmu.rows import Rows
from vpmu.spec.sbi_events import EventType, event_by_name, split_event_idx

if TYPE_CHECKING:
    from vpmu.vmm.machine import Machine
    from vpmu.vmm.outside_counter import OutsideCounter

NOT_SUPPORTED, NOT_COUNTED = "<not supported>", "<not counted>"


@dataclass(frozen=True, slots=True)
class Counted:
    """An event and its count; where there is none `value` is None, and `why` one of perf's two phrases."""

    event: str
    value: int | None
    why: str = ""
    errno: int | None = None


class Counting:
    """Counters of events, from now on. `read` says what they have counted so far."""

    def __init__(self, machine: Machine, events: Sequence[str]) -> None:
        parsed = [split_event(event) for event in events]
        self.events = tuple(events)
        self._counters = [_open(machine, event, modifiers) for event, modifiers in parsed]

    def read(self) -> list[Counted]:
        """One for each event, in their order."""
        return [counted(event, counter) for event, counter in zip(self.events, self._counters, strict=True)]

    def rows(self) -> Rows:
        """The same as a table: event, count, and why there is none."""
        return Rows(("event", "count", "why"), [(one.event, one.value, one.why) for one in self.read()])

    def __getitem__(self, event: str) -> int | None:
        """The count of one event; None where there is none."""
        return counted(event, self._counters[self.events.index(event)]).value

    def __repr__(self) -> str:
        return f"Counting({', '.join(f'{one.event}={_said(one)}' for one in self.read())})"

    def _repr_html_(self) -> str:
        return self.rows()._repr_html_()


def split_event(text: str) -> tuple[str, str]:
    """`NAME:MODIFIERS` as (name, modifiers); modifiers are of `u`, `k`, `h`, `m`, `G` and `H` (see
    outside_counter.modes_of); none of them is all. UsageError otherwise.
    """
    name, _, modifiers = text.partition(":")
    if modifiers.strip("ukhmGH") or name == "fw":
        raise UsageError(f"event {text!r}: a perf event with modifiers of u, k, h, m, G and H is expected")
    event = event_by_name(name)
    if split_event_idx(event.event_idx)[0] not in (EventType.HW, EventType.CACHE, EventType.RAW):
        raise UsageError(f"event {text!r} has no meaning outside the guest")
    return event.name, modifiers


def _said(one: Counted) -> str:
    return one.why or f"{one.value:,}"


def _open(machine: Machine, event: str, modifiers: str) -> OutsideCounter | PerfError:
    """The counter, or the PerfError with which the host refused it."""
    try:
        return machine.open_counter(event, modifiers)
    except PerfError as error:
        return error


def counted(event: str, counter: OutsideCounter | PerfError) -> Counted:
    """What a counter of `event` says now."""
    if isinstance(counter, PerfError):
        return Counted(event, None, NOT_SUPPORTED, counter.errno)
    if counter.state is not EventState.ACTIVE:
        return Counted(event, None, NOT_COUNTED)
    return Counted(event, counter.read())
