"""Run one guest under two profiles and say what changed: the end, the answers of the SBI, exits,
instructions, the
first call that differs, and the behaviours, with their commits, that explain it. Prints Markdown.

Exit status 0 when nothing differs, 1 when something does, 2 for what cannot be run.
"""

from __future__ import annotations

import argparse
import sys

from ..files import write_file
from .limits import add_limits, limited
from .options import DEFAULT_HOST_PMU, Subparsers, add_inject_option, add_json, fault_plan, natural
from .output import print_json
from .parser import in_file, out_file


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu compare`."""
    parser = subparsers.add_parser("compare", description=__doc__)
    parser.add_argument("first", metavar="PROFILE", help="what it is held against")
    parser.add_argument("second", metavar="PROFILE", help="what is new")
    parser.add_argument(
        "image", metavar="GUEST", type=in_file,
        help="ELF or flat image, the name of a bundled payload, or 'linux: COMMAND' (booted for every run)",
    )  # fmt: skip
    parser.add_argument(
        "--host-pmu", default=DEFAULT_HOST_PMU, metavar="NAME", help="host PMU (default %(default)s)"
    )
    add_inject_option(parser)
    parser.add_argument("--seed", type=natural, default=0, metavar="N", help="seed of the faults (default 0)")
    add_limits(parser)
    for action in parser._actions:
        if action.dest == "max_instructions":
            action.help = "of each run (default 50M; Linux: 10,000M)"
    parser.add_argument("--markdown", metavar="FILE", type=out_file, help="write the Markdown to a file")
    parser.add_argument("--html", metavar="FILE", type=out_file, help="write a page")
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Compare; the exit status."""
    from ..campaign.compare import LINUX, compare
    from ..faults import FaultPlan
    from ..report.compare import markdown, page
    from ..vmm.linux.progress import Progress as TerminalProgress
    from .images import find_image

    shown = TerminalProgress(quiet=args.json or not sys.stderr.isatty())

    def told(what: str, share: float) -> None:
        shown.step(what)
        shown.update(share)

    image = args.image if args.image.startswith(LINUX) else str(find_image(args.image))
    found = compare(
        args.first, args.second, image, fault_plan(args) or FaultPlan(), name=args.image,
        host_pmu=args.host_pmu, limited=lambda machine: limited(args, machine),
        progress=told,
    )  # fmt: skip
    shown.finish()
    text = markdown(found)
    for path, content in ((args.markdown, text), (args.html, page(found) if args.html else "")):
        if path is not None:
            write_file(path, content)
    if args.json:
        print_json(
            {
                "changed": found.changed,
                "rows": [{"what": what, "first": one, "second": two} for what, one, two in found.rows],
                "differs_at": found.differs_at,
                "parted": None if found.parted is None else list(found.parted),
                "findings": [list(found.first.findings), list(found.second.findings)],
                "behaviours": [
                    {"name": one.behaviour.name, "commit": one.behaviour.commit, "in_first": one.in_first,
                     "change": one.change}
                    for one in found.explained
                ],
            }
        )  # fmt: skip
    else:
        print(text, end="")
    return 1 if found.changed else 0
