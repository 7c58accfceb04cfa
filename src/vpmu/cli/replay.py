"""Run recorded tables (`SCRIPT LINE => RESULT`) against the model: the mailbox payload, in machine code,
does every script line again, and every recorded line is compared. Prints the lines that disagree and `N of
M lines agree`. With --on the real kernel does it, on vpmu's own hart: KVM of a Debian suite (`kvm:trixie`)
or, with --host-kernel, of your own build; or OpenSBI in M mode (`opensbi`, `opensbi:SUITE`, `opensbi:FILE`).
There a line may differ for one of two reasons that are told: the model of that release answers as the real
thing does (a fix came between), or the recorded host decided it (src/vpmu/conform/recorded_hosts.toml).
--with perf-failure-ends-kvm-run undoes that fix in the real kernel.

Values that no model can know (reads of `time`, and what a profile itself calls undetermined) agree with
anything and are counted. Exit status 0 when all lines agree or differ for such a reason, 1 when one does not,
2 for a file that is no table.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..errors import UnknownNameError, UsageError
from ..profiles.behaviour import Behaviour
from .options import (
    Subparsers,
    add_host_options,
    add_inject_option,
    add_json,
    add_profile_options,
    fault_plan,
    host_options,
)
from .output import print_json
from .parser import in_file

if TYPE_CHECKING:
    from ..conform.real_vm import RealHosts
    from ..vmm.replay_firmware import RealFirmware
    from ..vmm.replay_report import Replayed, Report
    from ..vmm.replay_table import Run, Table


MOST_OF_A_LINE = 8
"""Answers to one line of a table that are printed: a call that went astray may have hundreds."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu replay`."""
    parser = subparsers.add_parser("replay", description=__doc__)
    parser.add_argument("tables", nargs="+", metavar="TABLE", type=in_file, help="recorded tables")
    add_profile_options(parser, host_pmu=None)
    parser.add_argument(
        "--on", metavar="HOST", help="replay on the real thing, on vpmu: kvm, kvm:SUITE, opensbi, ..."
    )
    add_host_options(parser, on=False)
    add_inject_option(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="print the last line only")
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Replay the tables; the exit status."""
    from ..vmm.replay_table import read_table

    # Every file is read before the first one runs: a malformed table must not come after minutes of replay.
    tables = [read_table(path) for path in args.tables]

    from ..vmm.replay_machine import Options, check_table
    from ..vmm.replay_report import replay_table

    make_monitor: Callable[[Run], Replayed]
    hosts: RealHosts | RealFirmware | None = None
    if args.on is not None and args.on.partition(":")[0] == "opensbi":
        from ..conform.machine_link import opensbi_image
        from ..vmm.replay_firmware import RealFirmware

        if args.inject:
            raise UsageError("--on with --inject", expected="one of them", got="both")
        hosts = RealFirmware(str(opensbi_image(args.on)))
        for table in tables:
            check_table(table, hosts.profile())
        make_monitor = hosts.monitor
    elif args.on is not None or args.host_kernel is not None:
        hosts = real_hosts(args)
        make_monitor = hosts.monitor
    else:
        for table in tables:
            check_table(table, args.profile)
        make_monitor = Options(
            args.profile, tuple(args.with_), tuple(args.without), args.host_pmu, args.engine, fault_plan(args)
        ).monitor
    reports: list[Report] = []
    reasons: Counter[str] = Counter()
    told: list[dict[int, str]] = []
    for table in tables:
        report = replay_table(table, make_monitor)
        reports.append(report)
        told.append({} if hosts is None else why_not(report, table, hosts, tuple(args.with_)))
        reasons.update(told[-1].values())
        if not args.json and not args.quiet:
            print_report(report, of_many=len(tables) > 1, told=told[-1])
    lines, agree = sum(report.lines for report in reports), sum(report.agree for report in reports)
    undetermined: Counter[str] = Counter()
    for report in reports:
        undetermined.update(report.undetermined)
    if args.json:
        print_json(
            {
                "profile": args.profile,
                "lines": lines,
                "agree": agree,
                **({} if hosts is None else {"others": dict(sorted(reasons.items()))}),
                "undetermined": dict(sorted(undetermined.items())),
                "tables": [as_object(report, why) for report, why in zip(reports, told, strict=True)],
            }
        )
    else:
        print(f"{agree} of {lines} lines agree{in_words(undetermined)}")
        for why, number in reasons.most_common():
            print(f"{number} of the others: {why}")
    unexplained = (
        line for report, why in zip(reports, told, strict=True) for line in report.disagreements
        if line.line not in why
    )  # fmt: skip
    return 1 if any(unexplained) else 0


def why_not(
    report: Report, table: Table, hosts: RealHosts | RealFirmware, with_: tuple[str, ...]
) -> dict[int, str]:
    """Number of a line -> why the real kernel answers it otherwise, where that is known."""
    from ..conform.recorded_hosts import explained
    from ..vmm.replay_machine import Options
    from ..vmm.replay_report import replay_table, shared

    if not report.disagreements:
        return {}
    profile = hosts.profile()
    model = replay_table(table, Options(profile, with_).monitor)
    as_the_model = f"the model of {profile} answers as the real thing does"
    return explained(report.disagreements) | dict.fromkeys(shared(report, model), as_the_model)


def real_hosts(args: argparse.Namespace) -> RealHosts:
    """The hosts of `--on` and `--host-kernel`. Raises UsageError, PeerAbsent."""
    from ..conform.kvm import source_of
    from ..conform.real_vm import RealHosts
    from ..conform.targets import host_options as named
    from ..conform.targets import is_kvm
    from ..vmm.linux.progress import Progress

    name = args.on or "kvm"
    if not is_kvm(name) or name.endswith("@qemu"):
        raise UsageError("--on", expected="kvm, kvm:SUITE, opensbi or opensbi:SUITE", got=name)
    if args.inject:
        raise UsageError("--on with --inject", expected="one of them", got="both")
    args.on = None
    source = source_of(named(name, host_options(args)))
    return RealHosts(source, Progress(quiet=args.quiet or args.json), undone(args))


def undone(args: argparse.Namespace) -> tuple[str, ...]:
    """The fixes that `--with` takes out of the real kernel. Raises UsageError for others."""
    from ..peers.host_faults import UNDO
    from ..profiles.behaviours import B

    if args.without:
        raise UsageError("--without", expected="a model", got="a real kernel")
    known = {behaviour.name: behaviour.commit for behaviour in vars(B).values()
             if isinstance(behaviour, Behaviour) and behaviour.commit in UNDO}  # fmt: skip
    for name in args.with_:
        if name not in known:
            raise UnknownNameError("fix that can be undone in a real kernel", name, known)
    return tuple(known[name] for name in args.with_)


def print_report(report: Report, *, of_many: bool, told: Mapping[int, str]) -> None:
    """The lines of one table that disagree, but for those whose reason is `told`, and its own sum where there
    are several tables.
    """
    shown: dict[int, int] = {}
    for line in report.disagreements:
        if line.line in told:
            continue
        shown[line.line] = shown.get(line.line, 0) + 1
        if shown[line.line] > MOST_OF_A_LINE:
            continue
        print(f"{line.path}:{line.line}:")
        print(f"    recorded {line.recorded or '(nothing)'}")
        print(f"    got      {'(nothing)' if line.got is None else line.got}")
    for number, times in shown.items():
        if times > MOST_OF_A_LINE:
            print(f"{report.path}:{number}: and {times - MOST_OF_A_LINE} more answers to this line")
    if of_many:
        print(f"{report.path}: {report.agree} of {report.lines} lines agree{in_words(report.undetermined)}")


def in_words(undetermined: Mapping[str, int]) -> str:
    """` (K of them undetermined by the model: 3 time reads, …)`, or nothing."""
    if not undetermined:
        return ""
    parts = ", ".join(f"{number} {reason}" for reason, number in sorted(undetermined.items()))
    return f" ({sum(undetermined.values())} of them undetermined by the model: {parts})"


def as_object(report: Report, why: Mapping[int, str]) -> dict[str, object]:
    """One table of `--json`."""
    return {
        "path": report.path,
        "lines": report.lines,
        "agree": report.agree,
        "undetermined": report.undetermined,
        "disagreements": [
            {"line": line.line, "recorded": line.recorded, "got": line.got}
            | ({"why": why[line.line]} if line.line in why else {})
            for line in report.disagreements
        ],
    }
