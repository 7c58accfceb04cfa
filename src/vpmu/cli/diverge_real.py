"""`vpmu diverge` where a side is a real kernel (`kvm:SUITE`): the first call and count that differ, the
functions of both hosts on the way of that call, and what the models of both say it comes from.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ..errors import UsageError
from .options import fault_plan
from .output import print_json

if TYPE_CHECKING:
    from ..campaign.compare import Explained
    from ..campaign.compare_real import RealComparison


def is_real(args: argparse.Namespace) -> bool:
    """Whether A or B is a real kernel."""
    from ..conform.targets import is_kvm

    return bool(args.host_kernel) or (args.guest is not None and any(map(is_kvm, _words(args)[:-1])))


def _words(args: argparse.Namespace) -> list[str]:
    """The sides that are named, and the guest."""
    return [word for word in (args.first, args.second, args.guest) if word is not None]


def run(args: argparse.Namespace) -> int:
    """Find where they part; the exit status."""
    from ..campaign.compare_real import compare_real
    from ..conform.watched_guest import is_linux
    from ..faults import FaultPlan
    from ..vmm.linux.progress import Progress
    from .compare_real import sides as compare_real_sides
    from .images import find_image

    given = {"--engine": args.engine != "native", "--isa": args.isa, "--append": args.append,
             "--smp": args.smp != 1, "--memory": args.memory, "--with": args.with_,
             "--without": args.without, "--max-instructions": args.max_instructions}  # fmt: skip
    for name, value in given.items():
        if value:
            raise UsageError(name, expected="profiles in A and B", got="a real kernel")
    args.sides = _words(args)
    if len(args.sides) - 1 + len(args.host_kernel) != 2:
        raise UsageError("diverge", expected="two of PROFILE, kvm:SUITE and --host-kernel, then GUEST",
                         got=" ".join([*args.sides, *args.host_kernel]))  # fmt: skip
    sides, guest = compare_real_sides(args), args.sides[-1]
    image = guest if is_linux(guest) else str(find_image(guest))
    shown = Progress(quiet=args.json or not sys.stderr.isatty())
    found = compare_real(*sides, image, fault_plan(args) or FaultPlan(), name=guest, told=shown.step)
    explained: tuple[Explained, ...] = ()
    if found.changed:
        shown.step("the models of both")
        explained = explanations(found, guest)
    shown.finish()
    if args.json:
        print_json(as_object(found, explained))
    else:
        print("\n".join(lines(found, explained)))
    return 1 if found.changed else 0


def profiles(found: RealComparison) -> tuple[str, str]:
    """The models that stand for both sides: of a real kernel the nearest."""
    one, two = (
        side.label if side.guest is None else side.guest.host.target.profile.name
        for side in (found.first, found.second)
    )
    return one, two


def explanations(found: RealComparison, guest: str) -> tuple[Explained, ...]:
    """The behaviours that make the difference between the models of both, for the same guest."""
    from ..campaign.diverge import diverge
    from ..campaign.recipe import Recipe

    names = profiles(found)
    if names[0] == names[1]:
        return ()
    rules = tuple(rule.source for rule in found.faults.rules)
    one, two = (Recipe(guest, name, host_pmu="full", faults=rules) for name in names)
    return diverge(one, two, names).explained


def first_count(found: RealComparison) -> int | None:
    """The first reading of a counter that is not the same."""
    both = (found.first.run.counts, found.second.run.counts)
    different = (i for i, (one, two) in enumerate(zip(*both, strict=False)) if one != two)
    shorter = min(map(len, both)) if len(both[0]) != len(both[1]) else None
    return next(different, shorter)


def lines(found: RealComparison, explained: tuple[Explained, ...]) -> list[str]:
    """For a person."""
    from ..report.compare_real import around, paths

    one, two = found.first, found.second
    told = [f"{found.name}: {one.label} ({one.kernel}) and {two.label} ({two.kernel})"]
    if not found.changed:
        return [*told, f"the same: {len(one.run.calls):,} calls, {len(one.run.counts):,} counts, the end"]
    places = [] if found.differs_at is None else [("first call that differs", (found.differs_at,) * 2)]
    if found.parted is not None and found.parted != (found.differs_at,) * 2:
        places.append(("first call that matters", found.parted))
    for head, numbers in places:
        told += ["", f"{head}: number {numbers[0] + 1} and {numbers[1] + 1}"]
        for side, at in zip((one, two), numbers, strict=True):
            told += [f"  {side.label}:", *(f"    {line}" for line in around(side, at))]
    if found.paths:
        told += [
            "",
            "the hosts' functions on its way: what they return, and instructions with what they call",
        ]
        told += [f"  {line}" for line in paths(found)]
    count = first_count(found)
    if count is not None:
        shown = []
        for side in (one, two):
            counts = side.run.counts
            shown.append(f"{counts[count][0]:#x}: {counts[count][1]:,}" if count < len(counts) else "never")
        told += ["", f"first count that differs: reading {count + 1}: {shown[0]} and {shown[1]}"]
    told += ["", f"end: {one.run.end} and {two.run.end}"]
    names = profiles(found)
    for reason in explained:
        behaviour, where = reason.behaviour, names[0] if reason.in_first else names[1]
        told.append(
            f"explained by {behaviour.name} of {where}, a model: {behaviour.commit} {behaviour.subject}: "
            f"changed alone, {reason.change}"
        )
    return told


def as_object(found: RealComparison, explained: tuple[Explained, ...]) -> dict[str, object]:
    """For `--json`."""
    from .compare_real import as_object as compared

    return {
        **compared(found), "parted_by": list(profiles(found)), "count": first_count(found),
        "behaviours": [
            {"name": one.behaviour.name, "commit": one.behaviour.commit, "in_first": one.in_first,
             "change": one.change}
            for one in explained
        ],
    }  # fmt: skip
