"""Run a campaign: the product of faults, profiles, host PMUs, guests and seeds, and what became of every run.

PLAN is a TOML file (see `docs/faults.md`); the results go to a folder as JSON lines and as an SQLite file,
with a
report in HTML. A campaign that was stopped goes on where it was: run it again with the same folder.
Verdicts: as specified, degraded gracefully, silently wrong (a count is not what the hart did), guest hung,
guest lost (a guest that does not boot, too), host lost. Exit status 0 when all runs have results, 1 when a
run could not be made or has a verdict of --fail-on, 5 when a guest brought the host down.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING

from ..campaign.verdict import Verdict
from ..errors import HOST_LOST_STATUS
from ..files import write_file
from .limits import count
from .options import Subparsers, add_json, names
from .output import print_json
from .parser import in_file, out_file, out_folder
from .verdict_table import print_table

if TYPE_CHECKING:
    from ..campaign.plan import CampaignPlan
    from ..campaign.run import Result
    from ..campaign.shrink import Case

MOST_REASONS = 8
"""Different ways in which guests were lost that are told."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu campaign`."""
    parser = subparsers.add_parser("campaign", description=__doc__)
    parser.add_argument("plan", metavar="PLAN", type=in_file, help="the campaign's TOML file")
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=out_folder,
        help="where results go (default: PLAN without .toml)",
    )  # fmt: skip
    parser.add_argument("-j", "--workers", type=count, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler instead of processes here")
    parser.add_argument("--check", action="store_true", help="check the plan and say how many runs it has")
    parser.add_argument("--no-cases", action="store_true", help="do not look for the shortest plans")
    parser.add_argument(
        "--fail-on", type=verdicts, action="extend", default=[], metavar="VERDICT",
        help="exit with 1 if a run has this verdict (silently-wrong, guest-lost, ...); may be repeated",
    )  # fmt: skip
    parser.add_argument("--junit", metavar="FILE", type=out_file, help="write JUnit XML, a case a cell")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    add_json(parser)
    return parser


def verdicts(text: str) -> list[str]:
    """Verdicts by name, comma separated, with hyphens or spaces between their words."""
    known = [str(verdict) for verdict in Verdict]
    wanted = [name.replace("-", " ") for name in names(text)]
    for name in wanted:
        if name not in known:
            listed = ", ".join(verdict.replace(" ", "-") for verdict in known)
            raise argparse.ArgumentTypeError(f"unknown verdict {name!r}; known: {listed}")
    return wanted


def run(args: argparse.Namespace) -> int:
    """Run the campaign; the exit status."""
    from ..campaign.process import spawned

    with spawned(0 if args.check or args.scheduler else args.workers) as workers:  # begin during the imports
        return _run(args, workers)


def _run(args: argparse.Namespace, workers: list[Popen[bytes]]) -> int:
    from ..campaign.coordinator import campaign
    from ..campaign.plan import load_campaign
    from ..campaign.run import Runner
    from ..campaign.shrink import find_cases
    from ..report.campaign import page

    plan = load_campaign(args.plan)
    if args.check:
        if args.json:
            print_json({"runs": len(plan), "digest": plan.digest, "plan": plan.as_object()})
        else:
            print(f"{args.plan}: {len(plan)} runs")
        return 0
    folder = Path(args.output) if args.output else Path(args.plan).with_suffix("")
    started = time.perf_counter()
    shown = Progress(len(plan), quiet=args.quiet or args.json)
    digest, results = campaign(
        plan, folder, workers=args.workers, progress=shown, scheduler=args.scheduler, spawned=workers,
        note=lambda text: print(f"vpmu: {text}", file=sys.stderr),
    )  # fmt: skip
    shown.close()
    seconds = time.perf_counter() - started
    looking = Progress(0, quiet=args.quiet or args.json, what="wrong results looked at")
    cases = [] if args.no_cases else find_cases(plan, results, Runner(plan, folder), args.workers, looking)
    looking.close()
    write_file(folder / "report.html", page(plan, results, cases))
    if args.json:
        print_json(
            {
                "runs": len(results), "hash": digest, "folder": str(folder), "seconds": round(seconds, 3),
                "verdicts": dict(Counter(str(result["verdict"]) for result in results)),
                "matrix": matrix(results), "cases": [case.as_object() for case in cases],
            }
        )  # fmt: skip
    else:
        print_results(plan, results, cases, looked=not args.no_cases)
        rate = shown.new / seconds
        told = f"{rate:,.{0 if rate >= 100 else 1}f} runs/s" if shown.new else "nothing was left to do"
        print(f"{len(results)} runs, {told}; results {digest[:16]} in {folder}")
    bad = {str(Verdict.UNEXPECTED), *args.fail_on}
    if args.junit:
        write_file(args.junit, as_junit(results, bad))
    verdicts = {str(result["verdict"]) for result in results}
    return 1 if verdicts & bad else HOST_LOST_STATUS if Verdict.HOST_LOST in verdicts else 0


class Progress:
    """One line on stderr, at most ten times a second: how many runs, how fast, how long yet."""

    def __init__(self, total: int, *, quiet: bool, what: str = "runs") -> None:
        self.new = 0
        self._what = what
        self._total, self._quiet = total, quiet or not sys.stderr.isatty()
        self._started = time.perf_counter()
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Told of every result."""
        self.new += 1
        now = time.perf_counter()
        if self._quiet or (now - self._last < 0.1 and done != total):
            return
        self._last = now
        rate = self.new / max(now - self._started, 1e-9)
        left = (total - done) / rate
        print(
            f"\r{done}/{total} {self._what}, {rate:.0f}/s, {left:.0f} s left   ",
            end="",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        """End the line."""
        if not self._quiet and self.new:
            print(file=sys.stderr)


def matrix(results: list[Result]) -> list[dict[str, object]]:
    """Runs by guest, host PMU, profile and fault, with their verdicts."""
    cells: dict[tuple[str, str, str, str], Counter[str]] = {}
    for result in results:
        key = tuple(str(result[name]) for name in ("guest", "host_pmu", "profile", "fault"))
        cells.setdefault(key, Counter())[str(result["verdict"])] += 1  # type: ignore[arg-type]
    return [
        {"guest": guest, "host_pmu": host, "profile": profile, "fault": fault, "verdicts": dict(counts)}
        for (guest, host, profile, fault), counts in cells.items()
    ]


def as_junit(results: list[Result], bad: set[str]) -> str:
    """JUnit XML: a cell of the matrix fails where a run of it has a verdict of `bad`."""
    from ..junit import Case, document

    cases = []
    for cell in matrix(results):
        verdicts = cell["verdicts"]
        assert isinstance(verdicts, dict)
        told = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
        cases.append(
            Case(
                f"campaign.{cell['profile']}.{cell['host_pmu']}", f"{cell['guest']}: {cell['fault']}",
                failure=told if bad & set(verdicts) else None, text=told,
            )
        )  # fmt: skip
    return document([("vpmu.campaign", cases)])


def print_results(plan: CampaignPlan, results: list[Result], cases: list[Case], *, looked: bool) -> None:
    """Faults by profiles, the shortest plans of what is silently wrong, and why a guest was lost."""
    rows, implementations = [], plan.implementations
    for guest in plan.guests:
        for fault, _ in plan.faults:
            row = [guest.name, fault]
            for profile in implementations:
                counts = Counter(
                    str(result["verdict"])
                    for result in results
                    if (result["guest"], result["fault"], result["profile"]) == (guest.name, fault, profile)
                )
                told = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
                row.append(told or "-")
            rows.append(row)
    print_table(["guest", "fault", *implementations], rows)
    for case in cases:
        print(f"\nsilently wrong in {case.profile} ({case.runs} run{'s' * (case.runs != 1)}): {case.finding}")
        print(f"    guest {case.guest}" + (f", steps {'; '.join(case.steps)}" if case.steps else ""))
        print(f"    plan  {' '.join(case.rules) or 'none: no fault is needed'}")
        if case.behaviours:
            print(f"    right without {', '.join(case.behaviours)}")
    wrong = sum(result["verdict"] == Verdict.SILENTLY_WRONG for result in results)
    if looked and (others := wrong - sum(case.runs for case in cases)):
        print(f"\n{others} more runs are silently wrong, and no case stands for them")
    lost = Counter(
        (str(result["profile"]), str(result["guest"]), str(result["reason"]))
        for result in results
        if result["verdict"] == Verdict.GUEST_LOST
    )
    for (profile, name, reason), number in lost.most_common(MOST_REASONS):
        print(f"\nguest lost in {profile} ({number} run{'s' * (number != 1)}): {reason}\n    guest {name}")
    if cases or lost:
        print()
