"""Run a guest image and count its events from outside, as `perf stat` does around a program.

Prints perf's table on stderr: counts of the guest alone, `<not supported>` where the host PMU has no such
event, `<not counted>` where no counter was free. The time is the guest's virtual time. Event names are
those of perf, with its modifiers: `cycles:u` counts in user mode, `cycles:k` in supervisor mode. Exit
status as `vpmu run`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import UsageError
from ..files import write_file
from ..vmm.counting import NOT_COUNTED, Counted, split_event
from .check import checking
from .ended import ended, kernel_trouble
from .limits import limited
from .options import Subparsers, add_json, add_machine_options, build_machine, names, recording, watched
from .output import Console, as_object, exit_status, print_json, sum_up
from .parser import in_file, out_file

DEFAULT_EVENTS = ["cycles", "instructions", "branches", "branch-misses"]

_COUNTS_WIDTH, _UNIT_WIDTH, _NAME_WIDTH, _METRIC_WIDTH = 18, 4, 24, 38
"""Columns of perf's table (tools/perf/util/stat-display.c)."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What perf prints behind a count: it against another one."""

    base: str
    unit: str
    percent: bool


METRICS: Mapping[str, Metric] = {
    "instructions": Metric("cycles", "insn per cycle", False),
    "branch-misses": Metric("branches", "of all branches", True),
    "cache-misses": Metric("cache-references", "of all cache refs", True),
    "L1-dcache-load-misses": Metric("L1-dcache-loads", "of all L1-dcache accesses", True),
    "dTLB-load-misses": Metric("dTLB-loads", "of all dTLB cache accesses", True),
    "iTLB-load-misses": Metric("iTLB-loads", "of all iTLB cache accesses", True),
}


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu stat`."""
    parser = subparsers.add_parser("stat", description=__doc__)
    parser.add_argument(
        "image", metavar="IMAGE", type=in_file, help="ELF or flat image, or the name of a bundled payload"
    )
    parser.add_argument(
        "-e",
        "--event",
        dest="events",
        type=names,
        action="extend",
        metavar="EVENTS",
        help="events, comma separated",
    )
    parser.add_argument(
        "-x", "--field-separator", dest="separator", metavar="SEP", help="print fields separated by SEP"
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=out_file, help="print the table into FILE")
    add_machine_options(parser)
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the image and print the counts; the exit status."""
    from .images import find_image

    if args.json and (args.output or args.separator):
        raise UsageError("--json with -o or -x", expected="one of them", got="both")
    events = args.events if args.events is not None else DEFAULT_EVENTS
    if not events:
        raise UsageError("-e names no event")
    for event in events:
        split_event(event)  # a slip is said before anything runs
    check = checking(args)
    image = find_image(args.image)
    console = Console(None) if args.json else Console.on_stdout()
    with recording(args.trace) as recorder:
        machine = build_machine(args, recorder=recorder, console_out=console)
        loaded = machine.load(image)
        counting = machine.counting(*events)
        with watched(machine, recorder, check, loaded) as end:
            try:
                with limited(args, machine) as limits:
                    result = machine.run(**limits)
            finally:
                console.close()
            end(result)
        counted = counting.read()
        seconds = machine.time / 1e9
    end_of_it = ended(machine, loaded, result, args)
    said = kernel_trouble(loaded, console.data)
    if args.json:
        counts = [as_json(line, counted) for line in counted]
        told = {**as_object(result, console.text), **end_of_it.as_object()}
        if said is not None:
            told[said.kind] = said.words
        told |= {} if check is None else check.as_object()
        print_json({"counters": counts, "seconds": seconds, **told})
    else:
        if args.separator is not None:
            text = "\n".join(csv_line(line, counted, args.separator, seconds) for line in counted)
        else:
            text = text_table(args.image, counted, seconds)
        if args.output is None:
            print(text, file=sys.stderr)  # as perf
        else:
            write_file(args.output, text + "\n")
        if not result.ok:
            print(f"vpmu: {sum_up(result)}", file=sys.stderr)
            end_of_it.show()
        if said is not None:
            print(f"vpmu: guest: {said.text}: {said.words}", file=sys.stderr)
        if check is not None:
            check.show()
    status = exit_status(result) or int(said is not None)
    return status if check is None else check.status(status)


def metric(line: Counted, counted: Sequence[Counted]) -> tuple[float, str, bool] | None:
    """(value, unit, is a percentage) of what perf prints behind this count, if its base was counted too."""
    name, _, modifiers = line.event.partition(":")
    rule = METRICS.get(name)
    if rule is None or line.value is None:
        return None
    wanted = f"{rule.base}:{modifiers}" if modifiers else rule.base
    base = next((other.value for other in counted if other.event == wanted), None)
    if not base:
        return None
    return line.value / base * (100 if rule.percent else 1), rule.unit, rule.percent


def text_table(image: str, counted: Sequence[Counted], seconds: float) -> str:
    """perf stat's table."""
    lines = ["", f" Performance counter stats for '{image}':", ""]
    for line in counted:
        count = f"{line.value:,}" if line.value is not None else line.why
        text = f"{count:>{_COUNTS_WIDTH}} {'':<{_UNIT_WIDTH}} {line.event:<{_NAME_WIDTH}}"
        found = metric(line, counted)
        if found is not None:
            value, unit, percent = found
            text += f" # {value:7.2f}% {unit}" if percent else f" # {value:7.2f}  {unit}"
        if line.why == NOT_COUNTED:
            text += " " * _METRIC_WIDTH + "  (0.00%)"
        lines.append(text.rstrip())
    lines += ["", f"{seconds:18.9f} seconds time elapsed", ""]
    return "\n".join(lines)


def csv_line(line: Counted, counted: Sequence[Counted], separator: str, seconds: float) -> str:
    """perf stat's `-x`: count, unit, event, run time (ns), share of the time, metric, its unit."""
    ran = line.value is not None
    found = metric(line, counted)
    value, unit = ("", "") if found is None else (f"{found[0]:.2f}", found[1])
    fields = [
        str(line.value) if ran else line.why,
        "",
        line.event,
        str(round(seconds * 1e9)) if ran else "0",
        "0.00" if line.why == NOT_COUNTED else "100.00",
        value,
        unit,
    ]
    return separator.join(fields)


def as_json(line: Counted, counted: Sequence[Counted]) -> dict[str, object]:
    """One counter of `--json`: the count (null where there is none), and its metric."""
    found = metric(line, counted)
    return {
        "event": line.event,
        "value": line.value,
        "status": line.why.strip("<>") or "counted",
        "errno": line.errno,
        "metric_value": None if found is None else round(found[0], 4),
        "metric_unit": None if found is None else found[1],
    }
