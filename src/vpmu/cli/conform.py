"""Run the conformance suite for SBI PMU implementations, and say of every disagreement with the specification
whether it is known.

Targets: `in-process` (a scripted guest under --profile; `all`: under every profile), `agent` (the same
machine running the agent in machine code), `opensbi` (real OpenSBI on our hart; also `opensbi:FILE` and
`opensbi:SUITE`), `qemu` (OpenSBI on QEMU), `kvm` (real KVM, of this machine or as `vpmu peers kvm` starts it:
a Debian host on our own hart; `kvm:SUITE`: of another suite; `--on qemu`, or `kvm:SUITE@qemu`: in QEMU;
`--host-kernel`: your own build), `serial:DEVICE` (a board). What is
expected of a release that nobody looked at is identified first, as `vpmu identify` does it. Prints KTAP.
Exit status 0 without unexpected results, 1 otherwise. With `--baseline`, what an earlier run wrote, 1 where
a test got worse, whatever else is unexpected: that fails a job, or a step of `git bisect run`, for a
regression alone. A test that is known to bring the host down is `host lost` on the model, and left out on a
real one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..files import write_file
from .options import (
    Subparsers,
    add_host_options,
    add_inject_option,
    add_json,
    fault_plan,
    host_options,
    names,
    natural,
)
from .output import print_json, say
from .parser import in_file, out_file

if TYPE_CHECKING:
    from ..conform.kvm import HostOptions
    from ..conform.suite import Test
    from ..conform.target import Target
    from ..conform.verdict import Outcome
    from ..faults import FaultPlan
    from ..profiles.profiles import Profile


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu conform`."""
    parser = subparsers.add_parser("conform", description=__doc__)
    parser.add_argument(
        "--target", default="in-process", metavar="TARGET", help="what to test (default %(default)s)"
    )
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="profile of the target: for in-process and agent what runs, else what is expected; `all`: every "
        "one (in-process: the default)",
    )
    parser.add_argument(
        "--host-pmu",
        default="qemu-virt",
        metavar="NAME",
        help="host PMU of our own machines (default %(default)s)",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT",
        help="tests whose identifier contains TEXT, in any case; may be repeated",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the tests and stop")
    parser.add_argument("--junit", metavar="FILE", type=out_file, help="write JUnit XML")
    parser.add_argument("--html", metavar="FILE", type=out_file, help="write the matrix page")
    parser.add_argument(
        "--baseline", metavar="FILE", type=in_file,
        help="what --json or --junit wrote before: say what changed, and fail only for what got worse",
    )  # fmt: skip
    parser.add_argument("--random", type=natural, metavar="N", help="N random sequences instead of the suite")
    parser.add_argument(
        "--seed", type=natural, default=0, metavar="S", help="seed of the random sequences (default 0)"
    )
    parser.add_argument(
        "--against",
        metavar="TARGET",
        help="with --random: the target whose answers are compared with the model's",
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="print only what is unexpected, and the sum"
    )
    for option, what in (("--with", "on"), ("--without", "off")):
        parser.add_argument(
            option,
            dest=f"{option[2:]}_" if option == "--with" else option[2:],
            type=names,
            action="extend",
            default=[],
            metavar="BEHAVIOUR",
            help=f"switch behaviours {what}: of our own machines, and in what is expected of others",
        )
    add_host_options(parser)
    add_inject_option(parser)
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run what was asked for; the exit status."""
    from ..conform import baseline
    from ..conform.report import as_object, exit_status, in_words, junit, ktap
    from ..conform.suite import load_suite
    from ..conform.verdict import run_suite

    if args.random is not None:
        return run_random(args)
    if args.against is not None:
        raise UsageError("--against", expected="--random N beside it", got="no --random")
    tests = chosen(load_suite(), args.only)
    before = None if args.baseline is None else baseline.read(args.baseline)
    if args.list:
        return print_list(tests, as_json=args.json)
    columns: list[tuple[Target, list[Outcome]]] = []
    for profile in profiles(args):
        target = opened(args, profile)
        try:
            outcomes = run_suite(target, tests)
        finally:
            target.close()
        columns.append((target, outcomes))
        if not args.json:
            print("\n".join(shown(list(ktap(target, outcomes)), quiet=args.quiet)), flush=True)
    changes = None if before is None else baseline.compare(columns, before)
    if args.json:
        objects = [as_object(target, outcomes) for target, outcomes in columns]
        told = objects[0] if len(objects) == 1 else {"runs": objects, "results": objects[0]["results"]}
        print_json(told if changes is None else {**told, "baseline": changes.as_object()})
    elif len(columns) > 1 and not args.quiet:
        for target, outcomes in columns:
            print(f"# {target.profile.name}: {in_words(outcomes)}")
    if args.junit:
        write_file(args.junit, junit(columns))
    if args.html:
        from ..report.conformance import matrix

        write_file(args.html, matrix(columns))
    if changes is None:
        return exit_status([outcomes for _, outcomes in columns])
    if not args.json:
        for line in changes.lines():
            print(f"# {line}")
    return 1 if changes.worse else 0


def chosen(tests: Sequence[Test], only: list[str]) -> list[Test]:
    """The tests that `--only` chooses; without it all. UsageError for a text that chooses none."""
    wanted = [text.casefold() for text in only]
    for text in wanted:
        if not any(text in test.id.casefold() for test in tests):
            raise UsageError("--only", expected="a part of a test's identifier (see --list)", got=text)
    return [test for test in tests if not only or any(text in test.id.casefold() for text in wanted)]


def shown(lines: list[str], *, quiet: bool) -> list[str]:
    """The report, or with `--quiet` its failures with their calls and the sum."""
    if not quiet:
        return lines
    kept, failing = [], False
    for line in lines:
        failing = line.startswith("not ok") or (failing and line.startswith("#"))
        if failing:
            kept.append(line)
    return kept if lines[-1] in kept else [*kept, f"{lines[1]}: {lines[-1][2:]}"]


def profiles(args: argparse.Namespace) -> list[str | None]:
    """The profiles to run under, one after the other; None leaves it to the target."""
    from ..profiles.profiles import PROFILES

    if args.profile == "all" or (args.profile is None and args.target == "in-process"):
        return list(PROFILES)
    return [args.profile]


def opened(args: argparse.Namespace, profile: str | None) -> Target:
    """The target, with the profile that is expected of it: that of its release, identified where nobody
    looked at the release.
    """
    from ..conform.targets import OURS
    from ..profiles.profiles import changed, get_profile

    ours = args.target in OURS
    implementation: Profile | str | None = profile
    if ours and (args.with_ or args.without):
        implementation = get_profile(profile or "spec-3.0", args.with_, args.without)
    target = open_target(args.target, implementation, args.host_pmu, fault_plan(args), host_options(args))
    try:
        if profile is None and not ours:
            identify_unknown(target, args.host_pmu)
        if not ours:
            target.profile = changed(target.profile, args.with_, args.without)
    except BaseException:
        target.close()
        raise
    return target


def identify_unknown(target: Target, host_pmu: str) -> None:
    """Give a target of a release that nobody looked at the profile that fits its answers, and say so."""
    from ..conform.agent import AgentTarget

    if not isinstance(target, AgentTarget) or target.identity.known:
        return
    from ..conform.identify.fit import identify

    found = identify(target, host_pmu)
    what = f"nearest {found.fit.nearest.name}" + "".join(
        f", {'with' if one.has else 'without'} {one.behaviour.name}" for one in found.unfit
    )
    target.description = f"{target.description.partition('; expected:')[0]}; identified: {what}"


def open_target(
    name: str,
    profile: str | Profile | None,
    host_pmu: str,
    faults: FaultPlan | None = None,
    host: HostOptions | None = None,
) -> Target:
    """The target of that name. Raises UsageError for one that does not exist, TargetError where it cannot be
    had.
    """
    from ..conform.targets import open_target as open_

    return open_(name, profile, host_pmu, faults, host)


def run_random(args: argparse.Namespace) -> int:
    """`--random`: sequences against the properties, or against a real target."""
    for name in ("only", "list", "junit", "html", "inject", "baseline"):
        if getattr(args, name):
            raise UsageError(f"--random with --{name}", expected="one of them", got="both")
    from ..conform.explore import explore

    report = explore(args.random, args.seed, args.against, args.profile, args.host_pmu, host_options(args))
    if args.json:
        print_json(report.as_object())
    else:
        lines = report.lines()
        print(lines[-1] if args.quiet and report.passed else "\n".join(lines))
    return 0 if report.passed else 1


def print_list(tests: list[Test], *, as_json: bool) -> int:
    """`--list`."""
    if as_json:
        print_json({"tests": [{"id": test.id, "title": test.title, "spec": test.spec} for test in tests]})
    else:
        for test in tests:
            say(f"{test.id:28}  {test.title} [{test.spec}]")
    return 0
