"""Run the guest's own perf in the fetched Debian guest: `vpmu perf stat -e cycles,instructions true`.

Options of the machine stand before perf's own arguments. `perf record` also brings its samples out of the
guest: as collapsed stacks and as a flame graph (SVG). Unless --host-pmu is given, it runs on the host PMU
`sampling` without the snapshot page, because Linux's driver samples once per time slice with it
(docs/linux.md).
"""

from __future__ import annotations

import argparse
import base64
import gzip
import shlex
import sys
import zlib

from ..errors import UsageError
from ..files import write_file
from .boot import add_guest_options, booting, finish, prepare, run_alone, summary, write_out
from .options import DEFAULT_HOST_PMU, Subparsers, add_json
from .output import print_json
from .warm import possible, run_warm

DATA = "/tmp/perf.data"
_BEGIN, _END = b"\n@vpmu-samples@\n", b"@vpmu-samples-end@\n"
_FIELDS = "comm,tid,time,period,event,ip,sym,dso"


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
        default="perf.folded",
        help="perf record: where the collapsed stacks go (default %(default)s)",
    )
    parser.add_argument(
        "--flame-graph",
        metavar="FILE",
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
    output = SamplesOut(None if args.json else write_out)
    command = record_command(args.arguments[1:]) if records else shlex.join(["perf", *args.arguments])
    if args.timeout is None and possible(args, command):
        outcome = run_warm(args, command, output)
    else:
        boot = prepare(args, command, output)
        with booting(args, boot) as machine:
            outcome = run_alone(machine, boot, args)
    output.close()
    extra = save_samples(output, args) if records and output.data else {}
    if args.json:
        print_json({**summary(outcome), **extra})
    return finish(outcome, quiet=args.json)


def record_command(arguments: list[str]) -> str:
    """A shell command: `perf record` with call graphs, then its samples as text, compressed, between two
    marks.
    """
    own = (
        [] if any(a in ("-g", "--call-graph") or a.startswith("--call-graph=") for a in arguments) else ["-g"]
    )
    record = shlex.join(["perf", "record", *own, "-o", DATA, *arguments])
    return (
        f"{record}; status=$?; if [ -s {DATA} ]; then echo; echo @vpmu-samples@; "
        f"perf script -i {DATA} -F {_FIELDS} 2>/dev/null | gzip -c | base64; echo @vpmu-samples-end@; fi; "
        "exit $status"
    )


class SamplesOut:
    """Passes the command's output on and keeps what stands between the marks."""

    def __init__(self, output: object) -> None:
        self._output = output
        self._held = b""
        self._inside = False
        self.data = b""

    def __call__(self, data: bytes) -> None:
        self._held += data
        if not self._inside:
            at = self._held.find(_BEGIN)
            if at < 0:  # what may be the beginning of the mark waits
                keep = next(
                    (
                        n
                        for n in range(min(len(_BEGIN), len(self._held)), 0, -1)
                        if _BEGIN.startswith(self._held[-n:])
                    ),
                    0,
                )
                self._pass(self._held[: len(self._held) - keep])
                self._held = self._held[len(self._held) - keep :]
                return
            self._pass(self._held[:at])
            self._held, self._inside = self._held[at + len(_BEGIN) :], True
        if _END in self._held:
            self.data, _, self._held = self._held.partition(_END)
            self._inside = False

    def close(self) -> None:
        """Pass on what waits."""
        if not self._inside:
            self._pass(self._held)
        self._held = b""

    def _pass(self, data: bytes) -> None:
        if data and callable(self._output):
            self._output(data)


def save_samples(output: SamplesOut, args: argparse.Namespace) -> dict[str, object]:
    """Write both files; what `--json` says of them."""
    from ..vmm.linux.samples import flame_graph, parse_script

    try:
        text = gzip.decompress(base64.b64decode(output.data)).decode("utf-8", "replace")
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise UsageError(f"the samples came damaged out of the guest: {error}", layer="guest") from None
    samples = parse_script(text)
    title = f"perf {shlex.join(args.arguments)}"
    for path, content in (
        (args.collapsed, samples.collapsed()),
        (args.flame_graph, flame_graph(samples, title)),
    ):
        write_file(path, content)
    if not args.json:
        print(
            f"vpmu: {samples.count} samples, {samples.weight:,} {samples.event}:",
            f"{args.collapsed}, {args.flame_graph}",
            file=sys.stderr,
        )
    return {
        "samples": samples.count,
        "weight": samples.weight,
        "collapsed": args.collapsed,
        "flame_graph": args.flame_graph,
    }
