"""Counting a whole guest from outside, as `perf stat` on the host would."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

from vpmu.hart.events import ALL_MODES, Mode
from vpmu.hart.hart import Hart
from vpmu.hart.pmu import Selector
from vpmu.perf.description import HostPmuDescription
from vpmu.perf.event import EventState, PerfError, PerfProvider
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
    """See Machine.open_counter: on perf, of a guest in VS and VU mode."""
    if name.startswith("r") and name[1:] and all(c in "0123456789abcdef" for c in name[1:].lower()):
        kind, config = int(PerfType.RAW), int(name[1:], 16)
    else:
        kind, config = EVENTS[name]
    wanted = modes_of(modifiers)
    attr = PerfEventAttr(
        type=kind, config=config, config1=1, exclude_host=True, exclude_hv=True, disabled=False,
        exclude_user=Mode.VU not in wanted, exclude_kernel=Mode.VS not in wanted,
    )  # fmt: skip
    return OutsideCounter([provider.create(attr, None) for provider in providers])


PRIVILEGES = {"u": Mode.U | Mode.VU, "k": Mode.S | Mode.VS, "h": Mode.S, "m": Mode.M}
WORLDS = {"G": Mode.VU | Mode.VS, "H": Mode.U | Mode.S | Mode.M}


def modes_of(modifiers: str) -> Mode:
    """The modes that perf's words name on a hart with all its modes: u, k, h (the hypervisor's own: HS), and
    m for M mode, each of both worlds; G and H are the guest's and the host's. None of a kind: all of it.
    """
    privileges = [PRIVILEGES[word] for word in modifiers if word in PRIVILEGES]
    worlds = [WORLDS[word] for word in modifiers if word in WORLDS]
    found = reduce(or_, privileges, Mode(0)) if privileges else ALL_MODES
    return found & (reduce(or_, worlds, Mode(0)) if worlds else ALL_MODES)


@dataclass(slots=True)
class HartCount:
    """What a hart has counted of an event since this was made, past its PMU."""

    hart: Hart
    selector: Selector
    modes: Mode
    state: EventState = EventState.ACTIVE
    start: int = 0

    def __post_init__(self) -> None:
        self.hart.want_too(self.selector)
        self.start = self._total()

    def _total(self) -> int:
        return sum(self.hart.count(event, self.modes) for event in self.selector)

    def read(self) -> int:
        """The count."""
        return self._total() - self.start


def count_harts(
    harts: Iterable[Hart], host: HostPmuDescription, name: str, modifiers: str = ""
) -> OutsideCounter:
    """Count on harts past their PMU, which is firmware's, in the modes that the modifiers name. Raises
    PerfError for an event that the host's description lacks.
    """
    raw = re.fullmatch(r"r([0-9a-f]+)", name, re.IGNORECASE)
    rows = {config: selector for config, _, selector in host.countable_raw()} if raw else {}
    generic = {row: selector for row, _, selector in host.countable()}
    selector = rows.get(int(raw[1], 16)) if raw else generic.get(name)
    if selector is None:
        raise PerfError(errno.ENOENT, f"the host PMU {host.name} does not count {name}")
    return OutsideCounter([HartCount(hart, selector, _modes_on(hart, modifiers)) for hart in harts])


def _modes_on(hart: Hart, modifiers: str) -> Mode:
    """Of a hart with two modes VS and VU stand for S and U."""
    wanted = modes_of(modifiers)
    if hart.whole:
        return wanted
    return (Mode.VS if Mode.S in wanted else Mode(0)) | (Mode.VU if Mode.U in wanted else Mode(0))
