"""Do a recorded run again and say whether it was the same, and where not: the first stretch between two
hashes, then the instruction, where one engine does what was recorded and the other one does not.

Exit status 0 when every run was the same, 1 when one was not, 2 for a file that is no record, is damaged, or
of another version.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .diverge import ENGINES
from .limits import add_host_timeout, within
from .options import Subparsers, add_json
from .output import print_json
from .parser import in_file

if TYPE_CHECKING:
    from ..campaign.record import Verified


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu verify`."""
    parser = subparsers.add_parser("verify", description=__doc__)
    parser.add_argument("records", metavar="FILE", type=in_file, nargs="+", help="of `vpmu record`")
    parser.add_argument("--engine", choices=ENGINES, help="what runs it (default: what ran it then)")
    parser.add_argument(
        "--any-version", action="store_true", help="try a record of another version of vpmu too"
    )
    add_host_timeout(parser)
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do them again; the exit status."""
    from ..campaign.record import load, verify
    from ..vmm.linux.progress import Progress

    found: list[tuple[str, Verified]] = []
    shown = Progress(quiet=args.json or not sys.stderr.isatty())

    def told(what: str, share: float) -> None:
        shown.step(what)
        shown.update(share)

    loaded = [(name, load(name, any_version=args.any_version)) for name in args.records]
    for name, recorded in loaded:
        with within(args.host_timeout):
            found.append((name, verify(recorded, engine=args.engine, progress=told)))
        shown.finish()
        if not args.json:
            print("\n".join(lines(name, found[-1][1])))
    if args.json:
        print_json({"runs": [as_object(name, one) for name, one in found]})
    return 0 if all(one.same for _, one in found) else 1


def lines(name: str, found: Verified) -> list[str]:
    """For a person."""
    record = found.record
    if found.same:
        return [f"{name}: the same: {record.end.instruction:,} instructions, {len(record.points)} hashes"]
    told = [
        f"{name}: not the same: between instruction {found.first:,} and {found.last:,}: "
        f"{', '.join(found.parts)}"
    ]
    if found.instruction is not None:
        told.append(
            f"  the same as {found.against} up to instruction {found.instruction:,}, and not behind the next"
        )
        told += [f"  {changed}" for changed in found.changed]
        told += [f"  and {found.more} more"] * bool(found.more)
    elif found.why_not:
        told.append(f"  not found to the instruction: {found.why_not}")
        told.append(f"  `vpmu record --window {found.first}:{found.last}` where it was recorded finds it")
    return told


def as_object(name: str, found: Verified) -> dict[str, object]:
    """For `--json`."""
    return {
        "file": name, "same": found.same, "first": found.first, "last": found.last,
        "parts": list(found.parts), "instruction": found.instruction, "against": found.against,
        "changed": [
            {"part": one.part, "name": one.name, "first": one.first, "second": one.second}
            for one in found.changed
        ],
        "why_not": found.why_not,
    }  # fmt: skip


def compare_records(first: str, second: str, *, as_json: bool) -> int:
    """`vpmu diverge` of two records, of whatever versions: the first point at which they differ."""
    from ..campaign.record import load

    one, two = (load(name, any_version=True) for name in (first, second))
    points = {point.instruction: point for point in one.points}
    before, found = 0, None
    common = 0
    for point in two.points:
        mine = points.get(point.instruction)
        if mine is None:
            continue
        common += 1
        if mine.hash != point.hash:
            found = point.instruction, tuple(
                name for name, a, b in zip(one.parts, mine.parts, point.parts, strict=False) if a != b
            )  # fmt: skip
            break
        before = point.instruction
    ends = one.end.instruction, two.end.instruction
    if found is None and (ends[0] != ends[1] or one.end.hash != two.end.hash):
        found = max(ends), ("the end",)
    if as_json:
        print_json({"same": found is None, "common": common, "first": before,
                    "last": None if found is None else found[0],
                    "parts": [] if found is None else list(found[1]),
                    "versions": [one.version, two.version]})  # fmt: skip
    elif found is None:
        print(f"{first} (vpmu {one.version}) and {second} (vpmu {two.version}): the same, {common} hashes")
    else:
        print(
            f"{first} (vpmu {one.version}) and {second} (vpmu {two.version}): part between instruction "
            f"{before:,} and {found[0]:,}: {', '.join(found[1])}"
        )
    return 0 if found is None else 1
