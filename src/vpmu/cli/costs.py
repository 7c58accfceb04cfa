"""What each call of a guest costs a real host: instructions of its kernel, exact, by layer and by function.

HOST is `kvm:SUITE` (default kvm:trixie) or, with --host-kernel, your own build. The layers are KVM, perf, the
RISC-V PMU driver and the kernel's own SBI calls; what they have others do (locks, memory) is theirs. Firmware
is modelled and retires nothing, unless --firmware names a real one.

With `--baseline`, a table that `--json` printed before: which calls cost
more or less now, and in which functions. Exit status 1 where a call costs more than the baseline says, by
more than `--slack`, else 0; 1 where the host is lost, 4 where it cannot be had on this machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError
from .explain_real import NO_NAMES
from .host import hooked_host
from .options import Subparsers, add_host_options, add_json, natural
from .output import print_json, table
from .parser import in_file

if TYPE_CHECKING:
    from ..conform.cost_changes import CostChange
    from ..conform.costs import Cost

SHOWN = 12
"""Functions of a call, without --verbose."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu costs`."""
    parser = subparsers.add_parser("costs", description=__doc__)
    parser.add_argument(
        "host", nargs="?", default="kvm", metavar="HOST", help="which one (default kvm:trixie)"
    )
    add_host_options(parser, on=False)
    parser.add_argument(
        "--firmware", metavar="FILE", type=in_file,
        help="real firmware below the host, and its share: OpenSBI's fw_dynamic.bin, or 'opensbi' (fetched)",
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT",
        help="calls whose name holds TEXT, and the functions that they pass; may be repeated",
    )  # fmt: skip
    parser.add_argument("--baseline", metavar="FILE", type=in_file, help="a table that --json printed before")
    parser.add_argument(
        "--slack", type=natural, default=0, metavar="N",
        help="instructions that a call may cost more than the baseline says (default 0)",
    )  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true", help="all functions that a call passes")
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure, print; the exit status."""
    from ..conform.cost_changes import as_document, changes, read_document
    from ..conform.costs import costs, named

    baseline = None if args.baseline is None else read_document(args.baseline)
    if args.slack and baseline is None:
        raise UsageError("--slack", expected="--baseline beside it", got="none")
    named(args.only)
    host = hooked_host(args, firmware=args.firmware)
    found = list(costs(host, args.only))
    kernel = host.target.facts.kernel
    if baseline is None:
        if args.json:
            print_json(as_document(kernel, found))
        else:
            print(f"{kernel.split(' #')[0]} on vpmu: instructions of the host for each call of a guest\n")
            if not host.kernel.functions:
                print(f"{NO_NAMES}\n")
            print(as_table(found))
            for cost in found if args.only or args.verbose else ():
                print(f"\n{cost.name}")
                print(functions(cost, everything=args.verbose))
        return 0
    told = [
        one for one in changes(baseline[1], found)
        if one.after is not None or not args.only
    ]  # fmt: skip
    worse = [one for one in told if one.by > args.slack]
    if args.json:
        print_json(
            {
                **as_document(kernel, found), "baseline": baseline[0],
                "changes": [one.as_object() for one in told if one.before != one.after],
                "worse": [one.name for one in worse],
            }
        )  # fmt: skip
    else:
        print("\n".join(compared(baseline[0], kernel, told, verbose=args.verbose)))
        more = f"more than {args.slack:,} instructions more" if args.slack else "more"
        print(f"{len(worse)} of {len(told)} calls cost {more} than before")
    return 1 if worse else 0


def as_table(costs: Sequence[Cost]) -> str:
    """Calls by layers."""
    from ..debug.call_tree import LAYERS

    layers = [layer for layer in LAYERS if any(layer in cost.layers for cost in costs)]
    rows = [
        [cost.name, f"{cost.total:,}", *(f"{cost.layers.get(layer, 0):,}" for layer in layers)]
        for cost in costs
    ]
    return table(["call", "all", *layers], rows, right=frozenset(range(1, len(layers) + 2)))


def functions(cost: Cost, *, everything: bool) -> str:
    """The functions of one call, the dearest first."""
    ordered = sorted(cost.functions.items(), key=lambda item: -item[1][1])
    shown = ordered if everything else ordered[:SHOWN]
    rows = [[layer, name, str(calls), f"{own:,}"] for (layer, name), (calls, own) in shown]
    if len(shown) < len(ordered):
        rest = ordered[SHOWN:]
        rows.append(["", f"and {len(rest)} more (--verbose)", "", f"{sum(own for _, (_, own) in rest):,}"])
    return table(("layer", "function", "calls", "instructions"), rows, right=frozenset({2, 3}))


def compared(before: str, after: str, told: Sequence[CostChange], *, verbose: bool) -> list[str]:
    """Two tables against each other: each call, and what changed in those that cost something else."""
    lines = [f"before: {before}", f"now:    {after}", ""]
    rows = []
    for one in told:
        layers = ", ".join(f"{change.name} {change.by:+,}" for change in one.layers)
        cells = ["-" if number is None else f"{number:,}" for number in (one.before, one.after)]
        rows.append([one.name, *cells, f"{one.by:+,}" if one.by else "", layers])
    lines += [table(("call", "before", "now", "", "where"), rows, right=frozenset({1, 2, 3})), ""]
    for one in told:
        if one.functions:
            lines.append(f"{one.name}: {one.by:+,}")
            shown = one.functions if verbose else one.functions[:SHOWN]
            lines += [
                f"    {row.layer:12} {row.name:40} {row.before:>6,} {row.after:>6,} {row.by:>+6,}"
                for row in shown
            ]
            if len(shown) < len(one.functions):
                lines.append(f"    and {len(one.functions) - len(shown)} more functions (--verbose)")
    return lines
