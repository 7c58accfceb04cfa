"""One run of a campaign and its verdict. A result is a function of the plan and the run's number alone."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from ..errors import BootError, VpmuError
from ..faults.chance import Chances
from ..faults.plan import FaultPlan
from ..trace.recorder import Record, Recorder, note_end
from .guests import Outcome, Station, prepare, record_boot
from .plan import CampaignPlan, Guest, Run
from .verdict import Verdict

MAX_STATIONS = 4
Result = dict[str, object]


class Runner:
    """Runs of one plan, in one process; keeps the machines of the last few guests."""

    def __init__(self, plan: CampaignPlan, folder: Path | None = None) -> None:
        import_module("vpmu.hart.hot_tier")  # it pays over many runs, if not in one: see Hart.run
        self.plan, self.folder = plan, folder
        self._stations: OrderedDict[tuple[Guest, str, str], Station] = OrderedDict()
        self._references: dict[tuple[Guest, str, str, int], Outcome] = {}
        self._lost: dict[tuple[Guest, str, str], BootError] = {}
        self._alike: tuple[object, ...] = ()
        self._chances: Chances[Result] = Chances()
        self.made = 0
        """Runs that were made; the others were known to be the same as one of these."""

    def run(self, number: int) -> Result:
        """The result of one run; never raises for what a guest or a fault does."""
        run = self.plan.run(number)
        faults = self.plan.fault_plan(run.fault, run.seed)
        chances = self._chances_of(run)
        known = chances.find(faults)
        if known is None:
            try:
                station = self.station(run)
                outcome = (
                    self._reference(run)
                    if not faults
                    else station.run(faults, run.seed, self.plan.limit(run.guest))
                )
                verdict, reason = self.judge(run, faults, outcome)
            except BootError as error:
                return {**described(run), "verdict": str(Verdict.GUEST_LOST), "reason": str(error)}
            except VpmuError as error:
                return {**described(run), "verdict": str(Verdict.UNEXPECTED), "reason": str(error)}
            known = {**as_object(outcome), "verdict": str(verdict), "reason": reason}
            chances.note(outcome.drawn, known)
            self.made += 1
        return {**described(run), **known}

    def _chances_of(self, run: Run) -> Chances[Result]:
        """What came of the runs before this one that differ from it in chance alone. Runs are given out in
        the order of the plan, where such runs are neighbours: nothing is kept of others.
        """
        alike = (*_station_key(run), run.fault, run.seed if run.guest.kind == "random" else 0)
        if alike != self._alike:
            self._alike, self._chances = alike, Chances()
        return self._chances

    def is_ready(self, number: int) -> bool:
        """Whether the machine for a run is there."""
        return _station_key(self.plan.run(number)) in self._stations

    def make_ready(self, number: int) -> None:
        """Make the machine for a run, if it is not there; what is wrong with it, `run` says."""
        with suppress(VpmuError):
            self.station(self.plan.run(number))

    def station(self, run: Run) -> Station:
        """The machine for a run, made if it is not there."""
        key = _station_key(run)
        if key in self._lost:  # it would end as it did: a boot is a function of its inputs
            raise self._lost[key]
        station = self._stations.get(key)
        if station is None:
            try:
                station = self._stations[key] = prepare(*key, self.folder)
            except BootError as error:
                self._lost[key] = error
                raise
            while len(self._stations) > MAX_STATIONS:
                self._stations.popitem(last=False)
        return station

    def judge(self, run: Run, faults: FaultPlan, outcome: Outcome) -> tuple[Verdict, str]:
        """Verdict and reason: against the hart's own counts, and against the same run without faults."""
        if outcome.host_lost:
            return Verdict.HOST_LOST, outcome.reason
        if outcome.lost:
            return Verdict.GUEST_LOST, outcome.reason
        if outcome.hung:
            return Verdict.GUEST_HUNG, outcome.reason
        if outcome.findings:
            return Verdict.SILENTLY_WRONG, str(outcome.findings[0])
        if not faults or not outcome.injected:
            return Verdict.AS_SPECIFIED, "no fault happened" if faults else ""
        reference = self._reference(run)
        news = {
            call: times - reference.calls.get(call, 0)
            for call, times in outcome.calls.items()
            if not call.endswith(" SUCCESS") and times > reference.calls.get(call, 0)
        }
        if news:
            return Verdict.DEGRADED, "the guest was told: " + ", ".join(news)
        if outcome.status != reference.status:
            return (
                Verdict.DEGRADED,
                f"the guest ended with status {outcome.status}, without faults {reference.status}",
            )
        if outcome.calls != reference.calls:
            return Verdict.DEGRADED, "the guest went another way"
        return Verdict.AS_SPECIFIED, "the fault made no difference to the guest"

    def _reference(self, run: Run) -> Outcome:
        key = (run.guest, run.profile, run.host_pmu, run.seed if run.guest.kind == "random" else 0)
        if key not in self._references:
            self._references[key] = self.station(run).run(FaultPlan(), run.seed, self.plan.limit(run.guest))
        return self._references[key]


def _station_key(run: Run) -> tuple[Guest, str, str]:
    return run.guest, run.profile, run.host_pmu


def record_run(plan: CampaignPlan, number: int, folder: Path | None = None) -> list[Record]:
    """The trace of a run, which is done again for it. Raises VpmuError."""
    run = plan.run(number)
    recorder = Recorder()
    try:
        station = prepare(run.guest, run.profile, run.host_pmu, folder, recorder)
    except BootError as error:
        record_boot(run.profile, run.host_pmu, recorder)
        note_end(recorder, "lost", str(error), ok=False, values=0, wrong=0)
        return recorder.records
    recorder.records.clear()
    outcome = station.run(plan.fault_plan(run.fault, run.seed), run.seed, plan.limit(run.guest))
    note_end(recorder, outcome.stop, outcome.reason, ok=not (outcome.lost or outcome.hung),
             values=outcome.values, wrong=len(outcome.findings))  # fmt: skip
    return recorder.records


def described(run: Run) -> Result:
    """What names a run."""
    return {
        "run": run.number, "guest": run.guest.name, "host_pmu": run.host_pmu, "profile": run.profile,
        "fault": run.fault, "seed": run.seed,
    }  # fmt: skip


def as_object(outcome: Outcome) -> Result:
    """What a run did, without anything that another machine or another day would change."""
    return {
        "stop": outcome.stop, "status": outcome.status, "instructions": outcome.instructions,
        "virtual_ns": outcome.virtual_ns, "injected": outcome.injected, "values": outcome.values,
        "output": hashlib.sha256(outcome.output).hexdigest()[:16],
        "calls": outcome.calls,
        "findings": [{**asdict(finding), "text": str(finding)} for finding in outcome.findings[:8]],
    }  # fmt: skip


def died(plan: CampaignPlan, number: int, verdict: Verdict, reason: str) -> Result:
    """The result of a run that took its worker with it, or never came back."""
    return {**described(plan.run(number)), "verdict": str(verdict), "reason": reason}
