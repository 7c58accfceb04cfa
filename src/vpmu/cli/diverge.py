"""Find where two runs of one guest part: the first call, the first count and the first instruction, what each
did before, and the behaviours, with their commits, that explain it.

A and B are a profile each, or what else is another one in that run, joined by `+`: an engine (native,
reference), a fault (a plan's file or SITE:KEY=VALUE,...), a kernel's file; or a real kernel (kvm:SUITE), or
two files of `vpmu record`.
Exit status 0 when the runs are the same, 1 when they part, 2 for what cannot be run.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..files import read_text
from .limits import add_host_timeout, add_timeout, count, nanoseconds, within
from .options import (
    DEFAULT_HOST_PMU,
    DEFAULT_PROFILE,
    Subparsers,
    add_build_options,
    add_inject_option,
    add_json,
    fault_plan,
    memory_size,
    names,
    natural,
)
from .output import print_json

if TYPE_CHECKING:
    from ..campaign.diverge import At, Call, Divergence
    from ..campaign.recipe import Recipe

ENGINES = ("native", "reference")


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """What a recipe is made of, beside its guest and its profile."""
    parser.add_argument("--with", dest="with_", type=names, action="extend", default=[], metavar="BEHAVIOUR",
                        help="switch behaviours on")  # fmt: skip
    parser.add_argument("--without", type=names, action="extend", default=[], metavar="BEHAVIOUR",
                        help="switch behaviours off")  # fmt: skip
    parser.add_argument(
        "--host-pmu", default=DEFAULT_HOST_PMU, metavar="NAME", help="host PMU (default %(default)s)"
    )
    parser.add_argument("--engine", choices=ENGINES, default="native", help="what runs it (default native)")
    add_inject_option(parser)
    parser.add_argument("--seed", type=natural, default=0, metavar="N", help="of the machine and its faults")
    parser.add_argument("-m", "--memory", type=memory_size, default=0, metavar="SIZE", help="guest memory")
    parser.add_argument("--smp", type=count, default=1, metavar="N", help="harts (default 1)")
    parser.add_argument("--isa", metavar="STRING", help="what the harts have, as `vpmu run --isa`")
    parser.add_argument("--append", default="", metavar="TEXT", help="boot arguments")
    parser.add_argument("--suite", default="trixie", help="whose Debian 'linux: COMMAND' is")
    parser.add_argument("--max-instructions", type=count, metavar="N", help="end a run after so many")
    add_timeout(parser)
    add_host_timeout(parser)


def recipe_of(args: argparse.Namespace, guest: str, profile: str) -> Recipe:
    """The recipe that the options describe. VpmuError."""
    from ..campaign.recipe import Recipe
    from ..perf.description import load_host_pmu
    from ..profiles.profiles import get_profile

    get_profile(profile, args.with_, args.without)
    load_host_pmu(args.host_pmu)
    host, text = args.host_pmu, ""
    if "/" in host or host.endswith(".toml"):
        text = read_text(host, "perf")
    isa = None if args.isa is None else _isa(args.isa, profile)
    plan = fault_plan(args)
    return Recipe(
        guest, profile, tuple(args.with_), tuple(args.without), host, text, args.engine, args.memory,
        args.smp, isa, args.append, args.seed, faults=() if plan is None else _sources(plan),
        fault_seed=0 if plan is None else plan.seed, limit=args.max_instructions or 0,
        ends_ns=nanoseconds(args.timeout) or 0, suite=args.suite,
    )  # fmt: skip


def _isa(text: str, profile: str) -> tuple[str, ...]:
    """The extensions of `--isa`. UsageError."""
    from ..vmm import isa

    kvm = profile.startswith("kvm")
    found = isa.parse(text, isa.DEFAULT_ISA if kvm else isa.FIRMWARE_ISA)
    isa.check(found, has_sscofpmf=True, answered_by_kvm=kvm)
    return tuple(sorted(found))


def _sources(plan: object) -> tuple[str, ...]:
    return tuple(rule.source for rule in plan.rules)  # type: ignore[attr-defined]


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu diverge`."""
    parser = subparsers.add_parser("diverge", description=__doc__)
    parser.add_argument("first", metavar="A", help="a profile, or what else is another one")
    parser.add_argument("second", metavar="B", nargs="?", help="the same for the other run")
    parser.add_argument(
        "guest", metavar="GUEST", nargs="?",
        help="an image, the name of a bundled payload, or 'linux: COMMAND'",
    )  # fmt: skip
    add_build_options(parser)
    add_recipe_options(parser)
    add_json(parser)
    return parser


def side(text: str, base: Recipe) -> Recipe:
    """The recipe of one side: the words of A or B over what both have. VpmuError."""
    from ..faults import plan_of
    from ..faults.sites import SITES
    from ..profiles.profiles import get_profile

    made = base
    for word in text.split("+"):
        if word in ENGINES:
            made = replace(made, engine=word)
        elif word.partition(":")[0] in SITES or (word.endswith(".toml") and _is_plan(word)):
            made = replace(made, faults=(*made.faults, *_sources(plan_of(word))))
        elif "/" in word and not word.endswith(".toml"):
            if made.command is None:
                raise UsageError("a kernel in A or B", expected="a guest 'linux: COMMAND'", got=made.guest)
            made = replace(made, kernel=word)
        else:
            get_profile(word, base.with_, base.without)
            made = replace(made, profile=word)
    return made


def _is_plan(word: str) -> bool:
    """Whether a TOML file is a fault plan rather than a profile."""
    from ..files import read_toml

    return "rules" in read_toml(word)[0]


def run(args: argparse.Namespace) -> int:
    """Find where they part; the exit status."""
    with within(args.host_timeout):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from ..campaign.diverge import diverge
    from ..vmm.linux.progress import Progress
    from . import diverge_real

    if diverge_real.is_real(args):
        return diverge_real.run(args)
    if args.second is None:
        raise UsageError("diverge", expected="A, B and GUEST, or two records", got=args.first)
    if args.guest is None:
        from .verify import compare_records

        return compare_records(args.first, args.second, as_json=args.json)
    base = recipe_of(args, args.guest, DEFAULT_PROFILE)
    base.parts()
    one, two = side(args.first, base), side(args.second, base)
    shown = Progress(quiet=args.json or not sys.stderr.isatty())

    def told(what: str, share: float) -> None:
        shown.step(what)
        shown.update(share)

    found = diverge(one, two, (args.first, args.second), told)
    shown.finish()
    if args.json:
        print_json(as_object(found))
    else:
        print("\n".join(lines(found)))
    return 1 if found.found else 0


def lines(found: Divergence) -> list[str]:
    """For a person."""
    one, two = found.first, found.second
    told = [f"{found.guest}: {one.name} and {two.name}"]
    if not found.found:
        return [
            *told,
            f"the same: {len(one.calls):,} calls, {one.end:,} instructions, the state at the end",
        ]
    numbers = [None if at is None else at.numbers for at in (found.any_call, found.call)]
    once = numbers[0] == numbers[1]
    for head, at in (
        ("first call that differs", found.call if once else found.any_call),
        ("first call that matters", None if once else found.call),
        ("first call behind which the PMU below the guest differs", found.kept),
        ("first count that differs", found.count),
    ):
        if at is not None:
            told += ["", f"{head}: {at.what}", *_at(found, at)]
    if found.instruction is not None:
        told += ["", f"states: the same up to instruction {found.instruction:,}, and not behind the next one"]
        told += [f"  {changed}" for changed in found.changed]
        told += [f"  and {found.more} more"] * bool(found.more)
        for name, place in zip((one.name, two.name), found.places, strict=True):
            told += [f"  {name}: {line}" for line in place[:2]]
    if found.unlike:
        told += ["", f"not compared, for it differs from the beginning: {', '.join(found.unlike)}"]
    told += ["", f"end: {one.side.end} and {two.side.end}"]
    for explained in found.explained:
        behaviour = explained.behaviour
        where = one.name if explained.in_first else two.name
        told.append(
            f"explained by {behaviour.name} of {where}: {behaviour.commit} {behaviour.subject}: "
            f"changed alone, {explained.change}"
        )
    return told


def _at(found: Divergence, at: At) -> list[str]:
    told = []
    names = found.first.name, found.second.name
    for name, call, number, place, before in zip(
        names, at.calls, at.numbers, at.places, at.before, strict=True
    ):
        told.append(f"  {name}: {'never' if call is None else _call(call, number)}")
        told += [f"    {line}" for line in place]
        told += [f"    before: {_call(one)}" for one in before]
    return told


def _call(call: Call, number: int | None = None) -> str:
    from ..trace.views import as_text

    which = "" if number is None else f"number {number + 1}, "
    return f"{which}instruction {call.instruction:,}: {' '.join(as_text(call.record).split())}"


def as_object(found: Divergence) -> dict[str, object]:
    """For `--json`."""

    def at(place: At | None) -> object:
        if place is None:
            return None
        return {"what": place.what, "sides": [
            None if call is None else {
                "number": number + 1, "instruction": call.instruction, "args": call.record.args,
                "result": call.record.result, "where": list(where),
            }
            for call, number, where in zip(place.calls, place.numbers, place.places, strict=True)
        ]}  # fmt: skip

    return {
        "guest": found.guest, "first": found.first.name, "second": found.second.name, "parted": found.found,
        "first_call": at(found.any_call), "call": at(found.call), "count": at(found.count),
        "pmu": at(found.kept), "instruction": found.instruction,
        "changed": [
            {"part": one.part, "name": one.name, "first": one.first, "second": one.second}
            for one in found.changed
        ],
        "unlike": list(found.unlike), "ends": [found.first.side.end, found.second.side.end],
        "behaviours": [
            {"name": one.behaviour.name, "commit": one.behaviour.commit, "subject": one.behaviour.subject,
             "in_first": one.in_first, "change": one.change}
            for one in found.explained
        ],
    }  # fmt: skip
