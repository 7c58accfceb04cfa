"""Run the guest's own perf in the fetched Debian guest: `vpmu perf stat -e cycles,instructions true`.

Options of the machine stand before perf's own arguments. `perf record` also brings its samples out of the
guest: as collapsed stacks and as a flame graph (SVG), for each event its own; with -o FILE perf's own data
too. `perf report -i FILE` (script, annotate) reads such a file in the guest again: perf.data of the folder
where no -i is given. Unless --host-pmu is given, it runs on the host PMU
`sampling` without the snapshot page, because Linux's driver samples once per time slice with it
(docs/linux.md).
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path

from ..errors import UsageError
from ..files import write_file
from ..vmm.linux.files_out import FilesOut
from ..vmm.linux.perf_command import GUEST_INPUT, READING, SAMPLES, Recording, reading, recording
from ..vmm.linux.samples import Samples, flame_graph, parse_script
from ..vmm.loader import LoadedImage, read_file
from .boot import Streams, add_guest_options, booting, finish, prepare, run_alone, summary
from .check import checking
from .debugger import check_debug
from .ended import ended
from .options import DEFAULT_HOST_PMU, Subparsers, add_json
from .output import print_json
from .parser import out_file
from .warm import possible, run_warm


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu perf`."""
    parser = subparsers.add_parser(
        "perf", description=__doc__, usage="vpmu perf [options of the machine] ARGS..."
    )
    add_guest_options(parser)
    parser.set_defaults(host_pmu=None)
    parser.add_argument(
        "--collapsed",
        metavar="FILE",
        type=out_file,
        default="perf.folded",
        help="perf record: where the collapsed stacks go (default %(default)s)",
    )
    parser.add_argument(
        "--flame-graph",
        metavar="FILE",
        type=out_file,
        default="perf.svg",
        help="perf record: where the flame graph goes (default %(default)s)",
    )
    parser.add_argument("--cold", action="store_true", help="boot, instead of going on from the kept guest")
    add_json(parser)
    parser.add_argument(
        "arguments", metavar="ARGS", nargs=argparse.REMAINDER, help="arguments of the guest's perf"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Boot, run perf; its exit status."""
    if not args.arguments:
        raise UsageError("no arguments for perf", expected="such as: vpmu perf stat -e cycles true")
    records = args.arguments[0] == "record"
    if args.host_pmu is None:
        args.host_pmu = "sampling" if records else DEFAULT_HOST_PMU
        if records:
            args.without = [*args.without, "snapshot"]
    streams = Streams(kept=args.json)
    output = FilesOut(streams.out)
    files: dict[str, bytes | Path] = {}
    wanted = None
    if records:
        wanted = recording(args.arguments[1:])
        command = wanted.command
    elif args.arguments[0] in READING:
        default = "perf.data" if Path("perf.data").exists() else None
        words, source = reading(args.arguments, default, colour=sys.stdout.isatty())
        if source is not None:
            files[GUEST_INPUT] = read_file(source)
        command = shlex.join(["perf", *words])
    else:
        command = shlex.join(["perf", *args.arguments])
    kernel: LoadedImage | None
    check = checking(args)
    check_debug(args)
    if not files and possible(args, command):
        outcome, machine, kernel = run_warm(args, command, output, streams.err)
    else:
        boot = prepare(args, command, output, files, streams.err)
        with booting(args, boot, check) as machine:
            outcome = run_alone(machine, boot, args)
        kernel = boot.loaded
    output.close()
    extra = {} if wanted is None else save_samples(output, wanted, args)
    end_of_it = ended(machine, kernel, outcome.result, args)
    if args.json:
        extra |= {} if check is None else check.as_object()
        print_json({**summary(outcome), **end_of_it.as_object(), **streams.as_object(), **extra})
    return finish(outcome, end_of_it, quiet=args.json, check=check)


def save_samples(output: FilesOut, wanted: Recording, args: argparse.Namespace) -> dict[str, object]:
    """Write what came out of the guest: perf's data, and for each event stacks and a flame graph. Answers
    what `--json` says of them.
    """

    text, data = output.file(SAMPLES), output.file("data")
    if text is None:
        return {}
    told: dict[str, object] = {}
    if wanted.output is not None and data is not None:
        write_file(wanted.output, data)
        told["data"] = wanted.output
        _say(args, f"perf's data: {wanted.output} ({len(data):,} bytes; vpmu perf report -i {wanted.output})")
    found = parse_script(text.decode("utf-8", "replace")) or [Samples()]
    title = f"perf {shlex.join(args.arguments)}"
    events = []
    for samples in found:
        apart = samples.event if len(found) > 1 else ""
        collapsed, graph = _named(args.collapsed, apart), _named(args.flame_graph, apart)
        write_file(collapsed, samples.collapsed().encode())
        write_file(graph, flame_graph(samples, f"{title}: {apart}" if apart else title).encode())
        _say(args, f"{samples.count} samples, {samples.weight:,} {samples.event}: {collapsed}, {graph}")
        events.append({
            "event": samples.event, "samples": samples.count, "weight": samples.weight,
            "collapsed": collapsed, "flame_graph": graph,
        })  # fmt: skip
    return {**told, "samples": sum(samples.count for samples in found), "events": events}


def _named(path: str, event: str) -> str:
    """The file of one event among several: `perf.svg` is `perf.cycles.svg`."""
    if not event:
        return path
    file = Path(path)
    return str(
        file.with_name(f"{file.stem}.{re.sub(r'[^A-Za-z0-9_-]+', '-', event).strip('-')}{file.suffix}")
    )


def _say(args: argparse.Namespace, text: str) -> None:
    if not args.json:
        print(f"vpmu: {text}", file=sys.stderr)
