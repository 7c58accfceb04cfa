"""Host PMUs described in TOML files: the counters of the host's harts, and what its firmware and kernel
make of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from vpmu.errors import UnknownNameError
from vpmu.files import parse_toml, read_toml
from vpmu.hart.events import HartEvent
from vpmu.hart.pmu import FIRST_PROGRAMMABLE, MAX_PROGRAMMABLE, CounterLayout, Selector
from vpmu.perf.event_map import COUNTABLE
from vpmu.perf.toml_table import Table

OVERFLOW_LATENCY = {
    "none": "after the instruction that overflows the counter",
    "unknown": "late or never (QEMU signals it from a timer in virtual time, which host work delays)",
}
SCOUNTOVF = {
    "masked": "0, because hcounteren shows a guest no counter (Sscofpmf)",
    "unmasked": "the overflow flags of the host's counters (QEMU 10 masks nothing)",
    "virtual": "the overflow flags of the guest's own counters (no KVM below it; KVM never does it)",
    "traps": "an illegal instruction: the host delegates counters, menvcfg.CDE is 1 (Smcdeleg)",
}
DIRECTORY = Path(__file__).with_name("host_pmus")


@dataclass(frozen=True, slots=True)
class HostPmuDescription:
    """One host: harts, firmware (OpenSBI) and the kernel's RISC-V PMU driver."""

    name: str
    summary: str
    counters: CounterLayout
    """The counters of each hart."""
    events: Mapping[str, frozenset[int]]
    """Generic events that the host can count, by the perf tool's names -> hpmcounters that can count each."""
    raw_events: Mapping[int, Selector] = field(default_factory=dict)
    """Raw selectors (perf type RAW) that the firmware can program -> what they count; on any hpmcounter."""
    claimed: frozenset[int] = frozenset()
    """Counters that other users of the host hold for ever."""
    fixed_fallback: bool = True
    """The firmware gives cycle or instret when no hpmcounter is free, even where these two have no mode
    filter. False: only with Smcntrpmf (OpenSBI commit 65bb705f, 2026-03).
    """
    raw_event_bits: int = 48
    """How wide a raw config the host driver accepts (48 before SBI 3.0, 56 from it on)."""
    ssaia: bool = True
    """The hart has Ssaia: KVM can pass overflow interrupts on to a guest."""
    ecall_retires: bool = False
    """An ECALL counts as a retired instruction: QEMU does so, the ISA says that it does not retire."""
    overflow_latency: str = "none"
    """When an overflow reaches the host, one of OVERFLOW_LATENCY."""
    scountovf: str = "masked"
    """What a guest that reads scountovf gets, one of SCOUNTOVF."""

    @property
    def num_hw_counters(self) -> int:
        """cycle, instret and the hpmcounters."""
        return len(self.counters.indices)

    def countable(self) -> Iterator[tuple[str, frozenset[int], Selector]]:
        """(perf's name, hpmcounters, what is counted) of each generic event."""
        for name, counters in self.events.items():
            yield name, counters, COUNTABLE[name]

    def countable_raw(self) -> Iterator[tuple[int, frozenset[int], Selector]]:
        """(config, hpmcounters, what is counted) of each raw event."""
        hpmcounters = frozenset(index for index in self.counters.indices if index >= FIRST_PROGRAMMABLE)
        for config, selector in self.raw_events.items():
            yield config, hpmcounters, selector


def host_pmu_names() -> list[str]:
    """Names of the descriptions that come with vpmu."""
    return sorted(path.stem for path in DIRECTORY.glob("*.toml"))


def load_host_pmu(name_or_path: str | Path) -> HostPmuDescription:
    """Read a description by name, or from a file (anything with a `/` or a `.toml`).

    FileError with one line that names file, line, key, what was expected and what came; UnknownNameError for
    a name.
    """
    name = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in name or name.endswith(".toml"):
        return _read(Path(name_or_path))
    return _load_own(name)


def describe_host_pmu(text: str, name: str) -> HostPmuDescription:
    """The description in the text of a file of that name. FileError."""
    return _describe(Table(Path(name), "", parse_toml(text, name), text))


@cache
def _load_own(name: str) -> HostPmuDescription:
    path = DIRECTORY / f"{name}.toml"
    if not path.is_file():
        raise UnknownNameError("host PMU", name, host_pmu_names(), layer="perf")
    return _read(path)


def _read(path: Path) -> HostPmuDescription:
    content, text = read_toml(path)
    return _describe(Table(path, "", content, text))


def _describe(root: Table) -> HostPmuDescription:
    name, summary = root.text("name"), root.text("summary")
    counters, host = root.table("counters"), root.table("host")
    programmable = counters.integer("programmable", 0, MAX_PROGRAMMABLE)
    hpmcounters = frozenset(range(FIRST_PROGRAMMABLE, FIRST_PROGRAMMABLE + programmable))
    events_table = root.table("events")
    events = {
        event: events_table.indices(event, hpmcounters, allow_any=True)
        for event in events_table.names(COUNTABLE, "countable event")
    }
    raw_table = root.table("raw_events", optional=True)
    raw_events = {
        raw_table.hex_key(key, bits=56): (HartEvent(raw_table.choice(key, list(HartEvent))),)
        for key in raw_table.names()
    }
    layout = CounterLayout(
        programmable=programmable,
        width=counters.integer("width", 1, 64),
        sscofpmf=counters.boolean("sscofpmf"),
        smcntrpmf=counters.boolean("smcntrpmf"),
        overflow_interrupts=counters.boolean("overflow_interrupts"),
        one_counter_per_event=counters.boolean("one_counter_per_event"),
        cycle_costs=_cycle_costs(root.table("cycle_costs", optional=True)),
        selectors=_selectors(events, raw_events, hpmcounters),
    )
    description = HostPmuDescription(
        name=name,
        summary=summary,
        counters=layout,
        events=events,
        raw_events=raw_events,
        claimed=host.indices("claimed", frozenset(layout.indices), allow_any=False),
        fixed_fallback=host.boolean("fixed_fallback"),
        raw_event_bits=host.integer("raw_event_bits", 1, 56),
        ssaia=host.boolean("ssaia"),
        ecall_retires=counters.boolean("ecall_retires"),
        overflow_latency=counters.choice("overflow_latency", OVERFLOW_LATENCY),
        scountovf=counters.choice("scountovf", SCOUNTOVF),
    )
    for table in (root, counters, host):
        table.refuse_unknown_keys()
    return description


def _cycle_costs(table: Table) -> dict[HartEvent, int]:
    """Extra cycles by event; what a cycle is made of cannot be cycles or instructions themselves."""
    known = [event for event in HartEvent if event not in (HartEvent.CYCLES, HartEvent.INSTRUCTIONS)]
    return {HartEvent(event): table.integer(event, 0, 10_000) for event in table.names(known, "event")}


def _selectors(
    events: Mapping[str, frozenset[int]], raw_events: Mapping[int, Selector], hpmcounters: frozenset[int]
) -> dict[Selector, frozenset[int]]:
    """What each hpmcounter must be able to count, so that the events above can be had."""
    selectors: dict[Selector, frozenset[int]] = dict.fromkeys(raw_events.values(), hpmcounters)
    for event, indices in events.items():
        selector = COUNTABLE[event]
        selectors[selector] = selectors.get(selector, frozenset()) | indices
    return selectors
