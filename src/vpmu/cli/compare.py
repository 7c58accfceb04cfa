"""Run one guest on two implementations and say what changed: the end, the answers of the SBI, exits,
instructions, the first call that differs. Prints Markdown.

Two profiles: also the behaviours, with their commits, that explain it. Real kernels (`kvm:SUITE`, or
--host-kernel for each build): also what each call costs the host, and the functions of both kernels where the
runs part; the guest is a payload of 4 MB at most, or Linux. A profile against a real kernel holds the
model against it, for payloads.

Exit status 0 when nothing differs that the guest could tell, 1 when something does, 2 for what cannot be run,
4 where a host cannot be had on this machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..errors import UsageError
from ..files import write_file
from .limits import add_limits, limited
from .options import (
    DEFAULT_HOST_PMU,
    Subparsers,
    add_build_options,
    add_inject_option,
    add_json,
    fault_plan,
    natural,
)
from .output import print_json
from .parser import out_file

if TYPE_CHECKING:
    from ..campaign.compare import Comparison
    from ..campaign.compare_real import RealComparison

_Compared = TypeVar("_Compared", "Comparison", "RealComparison")


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu compare`."""
    parser = subparsers.add_parser("compare", description=__doc__)
    parser.add_argument(
        "sides", metavar="SIDE", nargs="+",
        help="what it is held against and what is new, each a profile or kvm:SUITE (builds: --host-kernel), "
        "and the guest: ELF or flat image, a bundled payload, or 'linux: COMMAND' (booted for every run)",
    )  # fmt: skip
    add_build_options(parser)
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
    from . import compare_real

    if compare_real.is_real(args):
        return compare_real.run(args)
    if len(args.sides) != 3:
        got = " ".join(args.sides)
        raise UsageError("compare", expected="two profiles or kvm:SUITE, and GUEST", got=got)
    from ..campaign.compare import LINUX, compare
    from ..faults import FaultPlan
    from ..report.compare import markdown, page
    from ..vmm.linux.progress import Progress as TerminalProgress
    from .images import find_image

    shown = TerminalProgress(quiet=args.json or not sys.stderr.isatty())

    def told(what: str, share: float) -> None:
        shown.step(what)
        shown.update(share)

    first, second, name = args.sides
    image = name if name.startswith(LINUX) else str(find_image(name))
    found = compare(
        first, second, image, fault_plan(args) or FaultPlan(), name=name,
        host_pmu=args.host_pmu, limited=lambda machine: limited(args, machine),
        progress=told,
    )  # fmt: skip
    shown.finish()
    return show(args, found, markdown, page, as_object)


def show(
    args: argparse.Namespace, found: _Compared, markdown: Callable[[_Compared], str],
    page: Callable[[_Compared], str], told: Callable[[_Compared], dict[str, object]],
) -> int:  # fmt: skip
    """Write and print a comparison in the forms that were asked for; the exit status."""
    text = markdown(found)
    for path, content in ((args.markdown, text), (args.html, page(found) if args.html else "")):
        if path is not None:
            write_file(path, content)
    if args.json:
        print_json(told(found))
    else:
        print(text, end="")
    return 1 if found.changed else 0


def as_object(found: Comparison) -> dict[str, object]:
    """The comparison of two profiles for JSON."""
    return {
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
    }  # fmt: skip
