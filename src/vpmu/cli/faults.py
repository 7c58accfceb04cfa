"""Faults to order: the sites, the catalogue of eighty failure scenarios, and checks of fault plans.

    vpmu faults                      the sites, with what a rule can match and do there
    vpmu faults check PLAN ...       validate plans (files, or rules SITE:KEY=VALUE,...)
    vpmu faults list                 the catalogue, F1 to F80
    vpmu faults show F10             one scenario: its plan, its guest, what every profile must answer
    vpmu faults run F10 ... | --all  run scenarios and say what held
    vpmu faults run --all --on kvm   the same in a stock host's kernel on our hart: what real KVM makes of it

Exit status 0 when every row is as the catalogue says, 1 when one is not, 2 for a plan that is none.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..files import write_file
from .options import Subparsers, add_host_options, add_json, names
from .output import print_json, say
from .parser import out_file
from .verdict_table import print_table

if TYPE_CHECKING:
    from ..campaign.catalogue import Row, Scenario

_ACTIONS = ("sites", "check", "list", "show", "run")


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu faults`."""
    parser = subparsers.add_parser("faults", description=__doc__)
    parser.add_argument("action", nargs="?", choices=_ACTIONS, default="sites", help="default: sites")
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios (F10), or plans for check")
    parser.add_argument("--all", action="store_true", help="run: every scenario")
    parser.add_argument(
        "--profile", type=names, action="extend", metavar="NAMES", help="run: these profiles only"
    )
    parser.add_argument("--junit", metavar="FILE", type=out_file, help="run: write JUnit XML")
    parser.add_argument("-v", "--verbose", action="store_true", help="run: every step and its answer")
    parser.add_argument(
        "--on", metavar="TARGET", help="run: in real KVM, kvm:trixie or kvm with --host-kernel"
    )
    add_host_options(parser, on=False)
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do it; the exit status."""
    for option in ("all", "profile", "verbose", "junit", "on"):
        if getattr(args, option) and args.action != "run" and (option, args.action) != ("all", "show"):
            raise UsageError(f"faults {args.action}", expected=f"no --{option} (it belongs to run)")
    if args.action in ("sites", "list") and args.names:
        raise UsageError(f"faults {args.action}", expected="no name", got=args.names[0])
    if args.action == "sites":
        return print_sites(as_json=args.json)
    if args.action == "check":
        return check(args.names, as_json=args.json)
    from ..campaign.catalogue import find_scenarios, load_catalogue

    if args.all or args.action == "list":
        if args.names:
            raise UsageError("--all and names", expected="one of them", got=" ".join(args.names))
        scenarios = list(load_catalogue().values())
    else:
        if not args.names:
            raise UsageError(
                f"faults {args.action}", expected="names of scenarios such as F10, or --all", got="none"
            )
        scenarios = find_scenarios(args.names)
    if args.action == "list":
        return print_list(scenarios, as_json=args.json)
    if args.action == "show":
        return show(scenarios, as_json=args.json)
    if args.on is not None or args.host_kernel is not None:
        from .faults_real import run_on

        return run_on(scenarios, args)
    return run_scenarios(scenarios, args)


def print_sites(*, as_json: bool) -> int:
    """The sites."""
    from ..faults import SITES
    from ..faults.plan import WORDS
    from ..faults.sites import COMMON

    if as_json:
        sites = [
            {"site": site.name, "summary": site.summary, "match": site.matches, "effect": dict(site.effect),
             "timed": site.timed}
            for site in SITES.values()
        ]  # fmt: skip
        print_json({"sites": sites, "words": list(WORDS)})
        return 0
    for site in SITES.values():
        say(f"{site.name:14}  {site.summary}")
        for what, words in (("effect", site.effect), ("match", site.match)):
            if words:
                say(f"    {what:6}      {', '.join(f'{key} ({kind})' for key, kind in words.items())}")
    print()
    say(f"Every rule can match {', '.join(COMMON)}, and has the kernel's words: {', '.join(WORDS)}.")
    return 0


def check(plans: list[str], *, as_json: bool) -> int:
    """Validate plans; the first bad one ends it with its message."""
    from ..faults import plan_of

    if not plans:
        raise UsageError("faults check", expected="plans", got="none")
    loaded = [(text, plan_of(text)) for text in plans]
    if as_json:
        objects = [
            {"plan": text, "name": plan.name, "summary": plan.summary, "seed": plan.seed,
             "rules": [rule.source for rule in plan.rules]}
            for text, plan in loaded
        ]  # fmt: skip
        print_json({"plans": objects})
        return 0
    for text, plan in loaded:
        print(f"{text}: {len(plan.rules)} rule{'s' * (len(plan.rules) != 1)}, seed {plan.seed}")
        for rule in plan.rules:
            print(f"    {rule.source}")
    return 0


def print_list(scenarios: list[Scenario], *, as_json: bool) -> int:
    """The catalogue."""
    if as_json:
        objects = [
            {"id": s.id, "layer": s.layer, "title": s.title, "exists": not s.absent, "absent": s.absent}
            for s in scenarios
        ]
        print_json({"scenarios": objects})
        return 0
    for scenario in scenarios:
        here = " (not here)" * bool(scenario.absent)
        say(f"{scenario.id:4} {scenario.layer:13}  {scenario.title}{here}")
    absent = sum(bool(scenario.absent) for scenario in scenarios)
    print(f"{len(scenarios) - absent} of {len(scenarios)} exist here")
    return 0


def show(scenarios: list[Scenario], *, as_json: bool) -> int:
    """Scenarios in full."""
    if as_json:
        print_json({"scenarios": [as_object(scenario) for scenario in scenarios]})
        return 0
    for scenario in scenarios:
        print(f"{scenario.id}  {scenario.title}  [{scenario.layer}]")
        for text in filter(None, (scenario.note, scenario.absent and f"Not here: {scenario.absent}")):
            print(f"    {text}")
        for rule in scenario.plan.rules:
            print(f"    --inject {rule.source}")
        for step in scenario.steps:
            clauses = "; ".join(f"{who}: {what}" if who else what for who, what in step.clauses)
            print(f"    {step.text:44} | {clauses}" if clauses else f"    {step.text}")
    return 0


def as_object(scenario: Scenario) -> dict[str, object]:
    """One scenario for JSON."""
    from ..profiles.profiles import get_profile

    profiles = {name: get_profile(name) for name in scenario.profiles}
    return {
        "id": scenario.id, "layer": scenario.layer, "title": scenario.title, "note": scenario.note,
        "absent": scenario.absent, "host_pmu": scenario.host_pmu,
        "rules": [rule.source for rule in scenario.plan.rules],
        "steps": [
            {"step": step.text, "expected": {p: step.expected(profiles[p]) for p in profiles}}
            for step in scenario.steps
        ],
    }  # fmt: skip


def run_scenarios(scenarios: list[Scenario], args: argparse.Namespace) -> int:
    """Run scenarios, print a table or an object; 0 where everything held."""
    from ..campaign.catalogue import PROFILES, run_scenario

    wanted = None if args.profile is None else list(dict.fromkeys(args.profile))
    rows = [row for scenario in scenarios for row in run_scenario(scenario, wanted)]
    absent = [scenario for scenario in scenarios if scenario.absent]
    if args.junit:
        write_file(args.junit, as_junit(scenarios, rows))
    if args.json:
        print_json(
            {
                "results": [row.as_object() for row in rows],
                "absent": [{"id": s.id, "title": s.title, "reason": s.absent} for s in absent],
                "unexpected": sum(not row.held for row in rows),
            }
        )
        return 0 if all(row.held for row in rows) else 1
    if len(scenarios) == 1 or args.verbose:
        for row in rows:
            print_row(row)
    else:
        print_matrix(scenarios, rows, list(PROFILES if wanted is None else wanted))
    for scenario in absent:
        print(f"{scenario.id}: does not exist here: {scenario.absent}")
    unexpected = [row for row in rows if not row.held]
    for row in unexpected:
        for answer in row.answers:
            if not answer.held:
                print(
                    f"{row.id} {row.profile}: {answer.step}: "
                    f"expected {answer.expected}, got {answer.observed}"
                )
        if not row.injected and all(answer.held for answer in row.answers):
            print(f"{row.id} {row.profile}: the fault was never asked for")
    there = len(scenarios) - len(absent)
    print(f"{there} scenario{'s' * (there != 1)}, {len(rows)} rows, {len(unexpected)} unexpected")
    return 1 if unexpected else 0


def as_junit(scenarios: list[Scenario], rows: list[Row]) -> str:
    """JUnit XML: a row for each scenario and profile, and what does not exist here as skipped."""
    from ..junit import Case, document

    cases = []
    for row in rows:
        wrong = [f"{a.step}: expected {a.expected}, got {a.observed}" for a in row.answers if not a.held]
        failure = None if row.held else (wrong or ["the fault was never asked for"])[0]
        text = "\n".join([str(row.verdict), *wrong])
        cases.append(Case(f"faults.{row.profile}", row.id, failure=failure, text=text))
    cases += [Case("faults", s.id, skipped=s.absent) for s in scenarios if s.absent]
    return document([("vpmu.faults", cases)])


def print_row(row: Row) -> None:
    """One row with all its steps."""
    print(f"{row.id} {row.profile}: {row.verdict}")
    for answer in row.answers:
        mark = " " if answer.expected is None else "=" if answer.held else "!"
        line = f"  {mark} {answer.step:44} {answer.observed}"
        print(line if answer.held else f"{line}   (expected {answer.expected})")
    for finding in row.findings:
        print(f"    {finding}")


def print_matrix(scenarios: list[Scenario], rows: list[Row], profiles: list[str]) -> None:
    """Scenarios by profiles."""
    verdicts = {(row.id, row.profile): str(row.verdict) for row in rows}
    lines = [
        [
            scenario.id,
            scenario.title if len(scenario.title) < 60 else f"{scenario.title[:57]}...",
            *(verdicts.get((scenario.id, profile), "-") for profile in profiles),
        ]
        for scenario in scenarios
        if not scenario.absent
    ]
    print_table(["id", "scenario", *profiles], lines)
