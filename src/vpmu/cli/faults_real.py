"""`vpmu faults run ... --on kvm:SUITE`: the catalogue in a real host's kernel."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..files import write_file
from .options import host_options
from .output import print_json, say, table

if TYPE_CHECKING:
    from ..campaign.catalogue import Scenario
    from ..campaign.real_catalogue import RealRow


def run_on(scenarios: list[Scenario], args: argparse.Namespace) -> int:
    """Run them; 0 where real KVM answers as the model of its release, 1 where not, 4 where there is none."""
    from dataclasses import replace

    from ..campaign.real_catalogue import Fate, run_real, summary
    from ..conform.hooked import HookedHost
    from ..conform.kvm import VPMU
    from ..conform.target import PeerAbsent
    from ..conform.targets import host_options as of_target
    from ..conform.targets import is_kvm
    from ..vmm.linux.progress import Progress

    name = args.on if args.on is not None else "kvm"
    if not is_kvm(name):
        raise UsageError("--on", expected="kvm, kvm:SUITE", got=name)
    if args.profile:
        raise UsageError("--profile with --on", expected="one of them", got="both")
    options = of_target(name, host_options(args))
    if not options.on:
        options = replace(options, on=VPMU)
    try:
        host = HookedHost(replace(options, progress=Progress(quiet=args.json)))
    except PeerAbsent as absent:
        say(f"skip: {absent.what}")
        return absent.exit_status
    rows = [run_real(host, scenario) for scenario in scenarios]
    other = [row for row in rows if row.differences]
    counts = summary(rows)
    if args.junit:
        write_file(args.junit, as_junit(host.target.profile.name, rows))
    if args.json:
        print_json(
            {
                "kernel": host.target.facts.kernel, "model": host.target.profile.name,
                "results": [row.as_object() for row in rows],
                "fates": {str(fate): number for fate, number in counts.items()},
            }
        )  # fmt: skip
        return 1 if other else 0
    carried = [row for row in rows if row.fate is not Fate.NOT_CARRIED]
    print(f"{host.target.facts.kernel.split(' #')[0]} on vpmu; the model: {host.target.profile.name}\n")
    print(table(("", "real KVM", "faults", "scenario"), [cells(row) for row in rows], right=frozenset({2})))
    print()
    if len(rows) == 1 or args.verbose:
        for row in carried:
            for answer in row.answers:
                say(f"{row.id} {answer.step} → {answer.observed}")
    for row in other:
        for line in row.differences:
            say(f"{row.id} differs from the model: {line}")
    said = ", ".join(f"{number} {fate}" for fate, number in counts.items() if number)
    print(f"{len(carried)} of {len(rows)} scenarios on the real kernel: {said}")
    return 1 if other else 0


def as_junit(model: str, rows: list[RealRow]) -> str:
    """JUnit XML: a scenario fails where real KVM does not answer as the model of its release."""
    from ..campaign.real_catalogue import Fate
    from ..junit import Case, document

    cases = []
    for row in rows:
        told = [str(row.fate), *(f"{answer.step} → {answer.observed}" for answer in row.answers)]
        cases.append(
            Case(
                f"faults.real.{model}", row.id, failure=row.differences[0] if row.differences else None,
                skipped=row.note if row.fate is Fate.NOT_CARRIED else None,
                text="\n".join([*told, *row.differences]),
            )
        )  # fmt: skip
    return document([("vpmu.faults.real", cases)])


def cells(row: RealRow) -> tuple[str, str, str, str]:
    """One line of the table."""
    what = f"{row.title} ({row.note})" if row.note else row.title
    return row.id, str(row.fate), str(row.injected) if row.injected else "", what
