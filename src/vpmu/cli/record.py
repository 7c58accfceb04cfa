"""Do a run and write what it is a function of, and hashes of its state on the way, as a small file, with
which `vpmu verify` does it again on any machine.

GUEST is an image, the name of a bundled payload, or 'linux: COMMAND'. A small image goes into the file, of a
large one its digest. Exit status 0 when the file is written, however the guest ended; 2 for what cannot be
run.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from ..errors import UsageError
from .diverge import add_recipe_options, recipe_of
from .limits import count, within
from .options import DEFAULT_PROFILE, Subparsers, add_json, read_input
from .output import print_json
from .parser import in_file_or_stdin, out_file


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu record`."""
    parser = subparsers.add_parser("record", description=__doc__)
    parser.add_argument("guest", metavar="GUEST", help="an image, a payload, or 'linux: COMMAND'")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=out_file, default="run.vpmu",
        help="the record (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--profile", default=DEFAULT_PROFILE, metavar="NAME", help="implementation (default %(default)s)"
    )
    add_recipe_options(parser)
    parser.add_argument(
        "--interval", type=count, default=0, metavar="N",
        help="instructions from one hash to the next (default: as many as give 128 to 256 of them)",
    )  # fmt: skip
    parser.add_argument(
        "--window", type=window, metavar="FIRST:LAST", help="hashes between these instructions only"
    )
    parser.add_argument("--input", metavar="FILE", type=in_file_or_stdin, help="console input ('-': stdin)")
    parser.add_argument(
        "--type", dest="typed", type=typed, action="append", default=[], metavar="INSTRUCTION:TEXT",
        help="console input that comes at an instruction (\\n is a new line); may be repeated",
    )  # fmt: skip
    add_json(parser)
    return parser


def window(text: str) -> tuple[int, int]:
    """Two instructions, the first one smaller."""
    first, colon, last = text.partition(":")
    if not colon or not first.isdigit() or not last.isdigit() or int(first) >= int(last):
        raise argparse.ArgumentTypeError(f"expected FIRST:LAST such as 1000:2000, got {text!r}")
    return int(first), int(last)


def typed(text: str) -> tuple[int, str]:
    """An instruction, and what is typed there."""
    at, colon, words = text.partition(":")
    if not colon or not at.isdigit():
        raise argparse.ArgumentTypeError(f"expected INSTRUCTION:TEXT such as 1000:ls\\n, got {text!r}")
    return int(at), words.replace("\\n", "\n").encode("utf-8", "surrogateescape").hex()


def run(args: argparse.Namespace) -> int:
    """Record; the exit status."""
    from ..campaign.record import record
    from ..vmm.linux.progress import Progress

    recipe = recipe_of(args, args.guest, args.profile)
    given = [] if args.input is None else [(0, read_input(args.input).hex())]
    recipe = replace(recipe, input=(*given, *args.typed))
    if args.window is not None and args.interval:
        raise UsageError("--window with --interval", expected="one of them", got="both")
    first, last = args.window or (0, None)
    progress = Progress(quiet=args.json or not sys.stderr.isatty())
    with within(args.host_timeout):
        made = record(
            recipe, first=first, last=last, interval=args.interval,
            told=lambda at: progress.note(f"at instruction {at:,}"),
        )  # fmt: skip
    progress.finish()
    made.save(args.output)
    told = (
        f"{made.stop}; {made.end.instruction:,} instructions, {made.calls:,} calls, "
        f"{len(made.points)} hashes, the last one {made.end.hash}"
    )
    if args.json:
        print_json({"stop": made.stop, "instructions": made.end.instruction, "calls": made.calls,
                    "points": len(made.points), "hash": made.end.hash, "file": args.output})  # fmt: skip
    else:
        print(f"vpmu: {args.output}: {told}", file=sys.stderr)
    return 0
