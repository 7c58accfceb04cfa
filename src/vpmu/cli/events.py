"""The events that a guest can ask for by name: event_idx, the perf type and config behind it, and whether
the host PMU has counters for it. Firmware events are counted by the implementation itself, in software."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .options import DEFAULT_HOST_PMU, Subparsers, add_json
from .output import print_json, table

if TYPE_CHECKING:
    from ..perf.description import HostPmuDescription
    from ..spec.sbi_events import Event


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu events`."""
    parser = subparsers.add_parser("events", description=__doc__)
    parser.add_argument(
        "events", nargs="*", metavar="EVENT", help="these events only (default: all that have a name)"
    )
    parser.add_argument(
        "--host-pmu",
        default=DEFAULT_HOST_PMU,
        metavar="NAME",
        help="host PMU: a name or a TOML file (default %(default)s)",
    )
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the events; always 0."""
    from ..perf.description import load_host_pmu
    from ..spec.sbi_events import event_by_name, standard_events

    host = load_host_pmu(args.host_pmu)
    events = [event_by_name(name) for name in args.events] or list(standard_events().values())
    rows = [describe(event, host) for event in events]
    if args.json:
        print_json({"host_pmu": host.name, "events": rows})
        return 0
    heads = ("event", "event_idx", "perf type", "config", f"counters of {host.name}")
    cells = [
        (
            row["name"],
            f"{row['event_idx']:#07x}",
            row["perf_type_name"] or "-",
            hex_or_dash(row["perf_config"]),
            row["counters"],
        )
        for row in rows
    ]
    print(table(heads, cells))
    return 0


def describe(event: Event, host: HostPmuDescription) -> dict[str, object]:
    """One event and what `host` has for it, as `--json` prints it."""
    from ..spec.perf import EVENTS, PerfType
    from ..spec.sbi_events import EventType, split_event_idx

    kind, _ = split_event_idx(event.event_idx)
    perf_type, config = EVENTS.get(event.name, (None, None))
    if kind in (EventType.RAW, EventType.RAW_V2):
        perf_type, config = int(PerfType.RAW), event.event_data
    firmware = kind == EventType.FW
    counters = "in software" if firmware else hart_counters(host, event.name, config) or "none"
    return {
        "name": event.name,
        "event_idx": event.event_idx,
        "event_data": event.event_data,
        "perf_type": perf_type,
        "perf_type_name": None if perf_type is None else PerfType(perf_type).name,
        "perf_config": config,
        "supported": counters != "none",
        "counters": counters,
    }


def hart_counters(host: HostPmuDescription, name: str, config: int | None) -> str:
    """In words, the hart's counters that can count the event: `cycle, hpmcounter3-18`; empty for none."""
    found: set[int] = set()
    for known, counters, _ in host.countable():
        if known == name:
            found |= counters
            found |= {"cycles": {0}, "instructions": {2}}.get(name, set())
    if not found and name.startswith("r"):
        found = next((set(counters) for raw, counters, _ in host.countable_raw() if raw == config), set())
    return in_words(found)


def in_words(indices: Iterable[int]) -> str:
    """`cycle, instret, hpmcounter3-18` for {0, 2, 3..18}."""
    fixed = [name for index, name in ((0, "cycle"), (2, "instret")) if index in set(indices)]
    ranges: list[list[int]] = []
    for index in sorted(i for i in indices if i > 2):
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    spans = [f"hpmcounter{first}" if first == last else f"hpmcounter{first}-{last}" for first, last in ranges]
    return ", ".join(fixed + spans)


def hex_or_dash(value: object) -> str:
    """A number in hexadecimal, `-` for none."""
    return hex(value) if isinstance(value, int) else "-"
