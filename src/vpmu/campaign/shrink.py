"""The shortest plan, and the fewest steps, that still give a wrong count; and the behaviours that are to
blame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ..errors import VpmuError
from ..faults.plan import FaultPlan, Rule
from ..kvm.profiles import PROFILES
from ..trace.recorder import Record, Recorder
from .guests import Outcome, PayloadStation, ScriptStation, Station, prepare, random_steps
from .oracle import Finding
from .plan import CampaignPlan, Guest
from .run import Result, Runner
from .verdict import Verdict

MAX_CASES, MAX_RECORDS = 24, 400
_EVERYDAY = frozenset({"vcpu", "set_timer", "console_write", "send_ipi"})
"""Actors of which a running Linux has thousands of records."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """One way in which a count is silently wrong, as short as it could be made."""

    run: int
    profile: str
    guest: str
    fault: str
    finding: str
    rules: tuple[str, ...]
    steps: tuple[str, ...]
    behaviours: tuple[str, ...]
    """Each of these, switched off, makes it right."""
    runs: int
    """How many runs of the campaign show it."""
    samples: tuple[Finding, ...] = ()
    """What the guest read, and what the hart had done by then."""
    records: tuple[Record, ...] = ()
    """The trace of the shortest run."""

    def as_object(self) -> dict[str, object]:
        """For JSON."""
        return {
            "run": self.run, "profile": self.profile, "guest": self.guest, "fault": self.fault,
            "finding": self.finding, "rules": list(self.rules), "steps": list(self.steps),
            "behaviours": list(self.behaviours), "runs": self.runs,
        }  # fmt: skip


def shortest(items: Sequence[T], still: Callable[[list[T]], bool]) -> list[T]:
    """The items without which it goes away: halves, quarters and so on are left out as long as `still`
    holds.
    """
    kept = list(items)
    size = max(1, len(kept) // 2)
    while kept:
        at, left_out = 0, False
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            if still(fewer):
                kept, left_out = fewer, True
            else:
                at += size
        if size == 1 and not left_out:
            break
        size = max(1, size // 2)
    return kept


def find_cases(plan: CampaignPlan, results: Sequence[Result], runner: Runner) -> list[Case]:
    """The different ways in which this campaign's counts are silently wrong, one case each."""
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for result in results:
        if result["verdict"] == Verdict.SILENTLY_WRONG:
            findings = result["findings"]
            assert isinstance(findings, list)
            way = str(findings[0]["way"])
            key = (str(result["profile"]), str(result["guest"]), str(result["fault"]), way)
            groups.setdefault(key, []).append(result)
    cases: dict[tuple[object, ...], Case] = {}
    for group in groups.values():
        if len(cases) >= MAX_CASES:
            break
        number = group[0]["run"]
        assert isinstance(number, int)
        case = _case(plan, number, runner, len(group))
        if case is not None:
            same = (case.profile, case.behaviours or case.finding, bool(case.rules))
            if same not in cases or len(case.steps) < len(cases[same].steps):
                cases[same] = case
    return list(cases.values())


def _case(plan: CampaignPlan, number: int, runner: Runner, runs: int) -> Case | None:
    run = plan.run(number)
    station = runner.station(run)
    faults = plan.fault_plan(run.fault, run.seed)
    steps: list[str] = []

    def tried(rules: list[Rule], steps: list[str], station: Station = station) -> Outcome | None:
        some = replace(faults, rules=tuple(rules))
        try:
            if isinstance(station, ScriptStation) and steps:
                return station.run_steps(steps, some)
            return station.run(some, run.seed, plan.limit(run.guest))
        except VpmuError:
            return None  # steps without which others make no sense

    def wrong(rules: list[Rule], steps: list[str], station: Station = station) -> bool:
        outcome = tried(rules, steps, station)
        return outcome is not None and bool(outcome.findings) and not outcome.lost

    rules = list(faults.rules)
    if not wrong(rules, steps):
        return None
    rules = shortest(rules, lambda fewer: wrong(fewer, steps))
    if run.guest.kind == "random":
        steps = random_steps(int(run.guest.what), run.seed)
        steps = shortest(steps, lambda fewer: bool(fewer) and wrong(rules, fewer))
    once = [replace(rule, probability=100, times=1, interval=1) for rule in rules]
    if wrong(once, steps):
        rules = once
    outcome = tried(rules, steps)
    assert outcome is not None
    blamed = _blamed(run.guest, run.profile, run.host_pmu, lambda other: wrong(rules, steps, other))
    recorder = Recorder()
    traced = prepare(run.guest, run.profile, run.host_pmu, runner.folder, recorder)
    recorder.records.clear()
    tried(rules, steps, traced)
    return Case(
        number, run.profile, run.guest.name, run.fault, str(outcome.findings[0]),
        tuple(written(rule) for rule in rules), tuple(steps), blamed, runs,
        outcome.samples,
        _told(recorder.records),
    )  # fmt: skip


def _told(records: list[Record]) -> tuple[Record, ...]:
    """As much of a trace as a page has room for: its end; of a long one only what may be about counting."""
    if len(records) > MAX_RECORDS:
        records = [record for record in records if record.actor not in _EVERYDAY]
    return tuple(records[-MAX_RECORDS:])


def _blamed(guest: Guest, profile: str, host_pmu: str, wrong: Callable[[Station], bool]) -> tuple[str, ...]:
    """Behaviours of the profile, each of which by itself makes the difference."""
    if guest.kind == "linux":  # minutes of booting; a payload or a script shows the same
        return ()
    kind = _kind(guest)
    found = []
    for behaviour in sorted(PROFILES[profile].behaviours, key=lambda one: one.name):
        if behaviour.project == "Linux" and not wrong(
            kind(guest, profile, host_pmu, None, (behaviour.name,))
        ):
            found.append(behaviour.name)
    return tuple(found)


def _kind(guest: Guest) -> type[PayloadStation] | type[ScriptStation]:
    return PayloadStation if guest.kind == "payload" else ScriptStation


def written(rule: Rule) -> str:
    """A rule as an option, with the numbers that it has now."""
    words = ("probability", "interval", "times", "space")
    head, _, rest = rule.source.partition(":")
    parts = [part for part in rest.split(",") if part.partition("=")[0] not in words]
    if rule.probability != 100:
        parts.append(f"probability={rule.probability}")
    if rule.interval != 1:
        parts.append(f"interval={rule.interval}")
    if rule.times != -1:
        parts.append(f"times={rule.times}")
    if rule.space:
        parts.append(f"space={rule.space}")
    return f"{head}:{','.join(parts)}"


def plan_of_case(case: Case) -> FaultPlan:
    """The fault plan of a case."""
    from ..faults.read import parse_rule

    return FaultPlan(tuple(map(parse_rule, case.rules)))
