"""The shortest plan, and the fewest steps, that still give a wrong count; and the behaviours that are to
blame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ..brief import Brief
from ..errors import VpmuError
from ..faults.plan import FaultPlan, Rule
from ..profiles.profiles import changed, get_profile, watched
from ..trace.recorder import Record, Recorder
from .guests import Outcome, PayloadStation, ScriptStation, Station, Stepping, prepare, random_steps
from .oracle import Finding
from .plan import CampaignPlan, Guest, is_real
from .run import Result, Runner
from .verdict import Verdict

MAX_CASES, MAX_RECORDS = 24, 400
_EVERYDAY = frozenset({"vcpu", "set_timer", "console_write", "send_ipi"})
"""Actors of which a running Linux has thousands of records."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Case(Brief):
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
    """How many runs of the campaign it stands for."""
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


Symptom = tuple[str, str]
"""How a value came to the guest, and the event whose it is."""


def find_cases(
    plan: CampaignPlan, results: Sequence[Result], runner: Runner, workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Case]:  # fmt: skip
    """The different ways in which this campaign's counts are silently wrong, one case each: no two guests,
    profiles or symptoms share one. `progress` is told how many of how many have been looked at.
    """
    groups: dict[tuple[str, str, str, Symptom], list[Result]] = {}
    for result in results:
        if result["verdict"] == Verdict.SILENTLY_WRONG:
            findings = result["findings"]
            assert isinstance(findings, list)
            symptom = str(findings[0]["way"]), str(findings[0]["event"])
            key = (str(result["profile"]), str(result["guest"]), str(result["fault"]), symptom)
            groups.setdefault(key, []).append(result)
    shortened: list[tuple[list[Result], _Short]] = []
    for done, ((*_, symptom), group) in enumerate(groups.items()):
        if progress is not None:
            progress(done, len(groups))
        number = group[0]["run"]
        assert isinstance(number, int)
        short = _shortest_case(plan, number, runner, symptom)
        if short is not None:
            shortened.append((group, short))
    different = list(dict.fromkeys(short for _, short in shortened))[:MAX_CASES]
    known = dict(zip(different, _cases(different, runner.folder, workers), strict=True))
    cases: dict[tuple[object, ...], Case] = {}
    for group, short in shortened:
        if short in known:
            first = group[0]
            case = replace(known[short], run=first["run"], fault=str(first["fault"]), runs=len(group))  # type: ignore[arg-type]
            same = (
                case.profile,
                case.guest,
                short.symptom,
                case.behaviours or case.finding,
                bool(case.rules),
            )
            other = cases.get(same)
            if other is not None:
                shorter = case if len(case.steps) < len(other.steps) else other
                case = replace(shorter, runs=case.runs + other.runs)
            cases[same] = case
    return list(cases.values())


def _cases(shorts: list[_Short], folder: Path | None, workers: int) -> list[Case]:
    """The cases of shortest runs; in processes of their own where there are enough of them."""
    if workers < 2 or len(shorts) < 4:
        return [_case(short, folder) for short in shorts]
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    try:
        with ProcessPoolExecutor(min(workers, len(shorts)), get_context("spawn")) as pool:
            return list(pool.map(_case, shorts, [folder] * len(shorts)))
    except BrokenProcessPool:
        raise VpmuError("a process that looked for the shortest plans died", expected="an answer",
                        got="none (--no-cases does without)", layer="campaign") from None  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Short:
    """What is left of a wrong run: a guest, the rules and steps that it needs, and what chance depends on."""

    guest: Guest
    profile: str
    host_pmu: str
    faults: FaultPlan
    steps: tuple[str, ...]
    seed: int
    limit: int
    symptom: Symptom | None = None

    def finding(self, outcome: Outcome) -> Finding | None:
        """The first wrong value with the symptom, or the first of all where no symptom is asked for."""
        found = (one for one in outcome.findings if self.symptom in (None, (one.way, one.event)))
        return next(found, None)

    def tried(self, station: Station) -> Outcome | None:
        """What the guest does on a station; None for steps that make no sense without others."""
        try:
            if self.steps and isinstance(station, Stepping):
                return station.run_steps(list(self.steps), self.faults)
            return station.run(self.faults, self.seed, self.limit)
        except VpmuError:
            return None

    def wrong(self, station: Station) -> bool:
        """Whether its counts are wrong there."""
        outcome = self.tried(station)
        return outcome is not None and self.finding(outcome) is not None and not outcome.lost

    def with_rules(self, rules: Sequence[Rule]) -> _Short:
        """The same with other rules; without any, no seed makes a difference but a random guest's."""
        faults = FaultPlan(tuple(rules), seed=self.faults.seed) if rules else FaultPlan()
        return replace(self, faults=faults, seed=self.seed if rules else 0)


def blamed(plan: CampaignPlan, number: int) -> tuple[str, ...]:
    """Behaviours of a run's profile, each of which, switched off, makes its counts right. None for Linux."""
    return _blamed(_whole(plan, number))


def _whole(plan: CampaignPlan, number: int) -> _Short:
    """A run as it is, nothing left out."""
    run = plan.run(number)
    faults = plan.fault_plan(run.fault, run.seed)
    steps = random_steps(int(run.guest.what), run.seed) if run.guest.kind == "random" else []
    return _Short(run.guest, run.profile, run.host_pmu, faults, tuple(steps), run.seed, plan.limit(run.guest))


def _shortest_case(plan: CampaignPlan, number: int, runner: Runner, symptom: Symptom) -> _Short | None:
    short = replace(_whole(plan, number), symptom=symptom)
    station, faults, steps = runner.station(plan.run(number)), short.faults, list(short.steps)
    if not short.wrong(station):
        return None
    rules = shortest(faults.rules, lambda fewer: short.with_rules(fewer).wrong(station))
    short = short.with_rules(rules)
    if steps:
        fewest = shortest(
            steps, lambda fewer: bool(fewer) and replace(short, steps=tuple(fewer)).wrong(station)
        )
        short = replace(short, steps=tuple(fewest))
    once = short.with_rules([replace(rule, probability=100, times=1, interval=1) for rule in rules])
    return once if once.wrong(station) else short


def _case(short: _Short, folder: Path | None) -> Case:
    """The case of a shortest run: what is wrong, who is to blame, its trace."""
    recorder = Recorder()
    station = prepare(short.guest, short.profile, short.host_pmu, folder, recorder)
    recorder.records.clear()
    outcome = short.tried(station)
    assert outcome is not None
    return Case(
        0, short.profile, short.guest.name, "", str(short.finding(outcome)),
        tuple(written(rule) for rule in short.faults.rules), short.steps, _blamed(short), 0,
        outcome.samples,
        _told(recorder.records),
    )  # fmt: skip


def _told(records: list[Record]) -> tuple[Record, ...]:
    """As much of a trace as a page has room for: its end; of a long one only what may be about counting."""
    if len(records) > MAX_RECORDS:
        records = [record for record in records if record.actor not in _EVERYDAY]
    return tuple(records[-MAX_RECORDS:])


def _blamed(short: _Short) -> tuple[str, ...]:
    """Behaviours of the profile, each of which by itself makes the difference: of those that the run asks
    for, as no other can.
    """
    if short.guest.kind == "linux" or is_real(short.profile):
        return ()  # minutes of booting, a payload or a script shows the same; the real one has no switches
    profile, kind = get_profile(short.profile), _kind(short.guest)
    own, asked = watched(profile)
    short.tried(kind(short.guest, own, short.host_pmu))
    tried = sorted(one.name for one in profile.behaviours & asked if one.project == "Linux")
    return tuple(
        name
        for name in tried
        if not short.wrong(kind(short.guest, changed(profile, (), [name]), short.host_pmu))
    )


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
