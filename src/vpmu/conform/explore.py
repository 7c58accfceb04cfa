"""Random testing: sequences against the properties of the specification, or a target against the model of
its profile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..brief import Brief
from ..profiles.behaviour import Behaviour
from ..profiles.profiles import get_profile
from ..spec.sbi import Eid, PmuFid, SbiError
from .calls import Call, Operand, Result, as_table, pmu
from .in_process import InProcessTarget
from .properties import Properties
from .sequences import Generator, shrink
from .target import PAGE, SCRATCH_PAGES, Facts, Target, TargetLost, probe
from .targets import open_target

if TYPE_CHECKING:
    from .kvm import HostOptions

TABLE_SCRATCH = 0x88100000
"""Where tables have the pages of a test: inside the memory of the machine that replays them."""
MAX_FINDINGS = 10
TIME = 1
"""The counter that is a clock, as `c` numbers them."""


@dataclass(slots=True)
class Finding:
    """One disagreement, as short as it could be made: its calls, the target's answers, and what speaks
    against them.
    """

    number: int
    reason: str
    calls: list[Call]
    results: list[Result]
    behaviours: tuple[str, ...] = ()
    """Those of the profile that explain it (`no NAME`: one that it lacks). Empty: nothing does."""

    def lines(self) -> list[str]:
        """A section of a table that `vpmu replay` takes."""
        why = [f"# known divergence: {', '.join(self.behaviours)}"] if self.behaviours else []
        return [f"# ######## sequence {self.number}", f"# {self.reason}", *why,
                *as_table(self.calls, self.results)]  # fmt: skip

    def as_object(self) -> dict[str, object]:
        """An entry of `--json`."""
        table = as_table(self.calls, self.results)
        return {"sequence": self.number, "reason": self.reason, "behaviours": list(self.behaviours),
                "table": table}  # fmt: skip


@dataclass(slots=True, repr=False)
class Exploration(Brief):
    """What came of a run of `--random`."""

    description: str
    profile: str
    seed: int
    sequences: int = 0
    calls: int = 0
    findings: list[Finding] = field(default_factory=list)
    known: list[Finding] = field(default_factory=list)
    """One example of each divergence that behaviours of the profile explain."""
    diverging: int = 0
    """Sequences with such a divergence."""
    lost: str = ""

    @property
    def passed(self) -> bool:
        """No disagreement, and the target still lives."""
        return not self.findings and not self.lost

    def lines(self) -> list[str]:
        """The report: a table that `vpmu replay` takes, one section per finding."""
        out = [
            f"# {self.description}",
            f"# {self.sequences} sequences, {self.calls} calls, seed {self.seed}, profile {self.profile}",
        ]
        for finding in (*self.known, *self.findings):
            out += finding.lines()
        if self.known:
            out.append(f"# {self.diverging} sequences with {len(self.known)} known divergences")
        if self.lost:
            out.append(f"# target lost: {self.lost}")
        out.append(f"# {len(self.findings)} disagreements")
        return out

    def as_object(self) -> dict[str, object]:
        """The object of `--json`."""
        return {
            "target": self.description,
            "profile": self.profile,
            "seed": self.seed,
            "sequences": self.sequences,
            "calls": self.calls,
            "lost": self.lost or None,
            "diverging": self.diverging,
            "known": [finding.as_object() for finding in self.known],
            "results": [finding.as_object() for finding in self.findings],
        }


def explore(
    count: int,
    seed: int,
    against: str | None,
    profile: str | None,
    host_pmu: str = "qemu-virt",
    host: HostOptions | None = None,
) -> Exploration:
    """Run `count` sequences: in process against the properties, less what behaviours of the profile explain,
    or on the target `against` and on the model of its profile. Stops after MAX_FINDINGS. Raises TargetError
    where the target cannot be had.
    """
    target = open_target(against or "in-process", profile, host_pmu, host=host)
    try:
        facts = probe(target)
        judge = _Compared(target, facts, host_pmu) if against is not None else _Checked(target, facts)
        known = _Known(target, facts, host_pmu) if against is None else None
        report = Exploration(target.description, target.profile.name, seed)
        generator = Generator(facts, seed)
        prologue = generator.prologue()
        for number in range(count):
            calls = generator.sequence()
            report.sequences, report.calls = number + 1, report.calls + len(calls)
            try:
                if judge.reason(prologue, calls) is None:
                    continue
                if known is None:
                    report.findings.append(_shortest(judge, prologue, calls, number))
                elif known.unexplained(calls) is not None:
                    found = _shortest(judge, prologue, calls, number, known.fails)
                    found.reason = known.unexplained(found.calls) or found.reason
                    report.findings.append(found)
                else:
                    report.diverging += 1
                    if known.news(calls):
                        found = _shortest(judge, prologue, calls, number, known.news)
                        found.behaviours = known.learn(found.calls)
                        report.known.append(found)
            except TargetLost as lost:
                report.lost = str(lost)
                break
            if len(report.findings) >= MAX_FINDINGS:
                break
    finally:
        target.close()
    return report


def _shortest(
    judge: _Checked | _Compared, prologue: list[Call], calls: list[Call], number: int,
    also: Callable[[list[Call]], bool] = lambda calls: True,
) -> Finding:  # fmt: skip
    best = shrink(calls, lambda candidate: judge.reason(prologue, candidate) is not None and also(candidate))
    reason = judge.reason(prologue, best) or "it does not happen every time"
    return Finding(number, reason, [_rebased(call, judge.target) for call in best], list(judge.results))


class _Checked:
    """One target against the properties."""

    def __init__(self, target: Target, facts: Facts) -> None:
        self.target, self._facts = target, facts
        self.results: Sequence[Result] = ()

    def reason(self, prologue: list[Call], calls: list[Call]) -> str | None:
        """What is wrong with the answers to `calls`."""
        self.target.reset()
        self.results = self.target.run(calls)
        properties = Properties(self._facts)
        for number, (call, result) in enumerate(zip(calls, self.results, strict=True)):
            broken = properties.violation(call, call.resolve(self.results), result)
            if broken is not None:
                return f"call {number + 1}: {broken}"
        return None


class _Known:
    """Divergences that behaviours of a profile explain: without them (or with what the specification has and
    this profile has not yet) the same calls keep the properties.
    """

    def __init__(self, target: Target, facts: Facts, host_pmu: str) -> None:
        self._profile, self._facts, self._host_pmu = target.profile, facts, host_pmu
        self._ours = target.profile.behaviours ^ get_profile("spec-3.0").behaviours
        self._found: frozenset[Behaviour] = frozenset()
        self._without: dict[frozenset[Behaviour], _Checked] = {}

    def _broken(self, calls: list[Call], without: frozenset[Behaviour]) -> str | None:
        """What the calls break even where these behaviours are as the specification has them."""
        checked = self._without.get(without)
        if checked is None:
            profile = replace(self._profile, behaviours=self._profile.behaviours ^ without)
            checked = self._without[without] = _Checked(InProcessTarget(profile, self._host_pmu), self._facts)
        return checked.reason([], calls)

    def unexplained(self, calls: list[Call]) -> str | None:
        """What is wrong whatever the behaviours are."""
        return self._broken(calls, self._ours)

    def fails(self, calls: list[Call]) -> bool:
        """Whether something is wrong whatever the behaviours are."""
        return self.unexplained(calls) is not None

    def news(self, calls: list[Call]) -> bool:
        """Whether it takes others than those that were found before."""
        return self.unexplained(calls) is None and self._broken(calls, self._found) is not None

    def learn(self, calls: list[Call]) -> tuple[str, ...]:
        """The fewest behaviours that explain the calls; they count as found."""
        needed = self._ours
        for behaviour in sorted(self._ours, key=lambda behaviour: behaviour.name):
            if self._broken(calls, needed - {behaviour}) is None:
                needed -= {behaviour}
        self._found |= needed
        has = self._profile.behaviours
        return tuple(sorted(one.name if one in has else f"no {one.name}" for one in needed))


class _Compared:
    """One target against the model of its profile."""

    def __init__(self, target: Target, facts: Facts, host_pmu: str) -> None:
        self.target, self._facts = target, facts
        self._model = InProcessTarget(target.profile, host_pmu)
        self._counted = None
        if target.name == "kvm" and target.interrupts:  # on our own hart
            from .model_link import model_target

            self._counted = model_target(target.profile)
        self.results: Sequence[Result] = ()

    def reason(self, prologue: list[Call], calls: list[Call]) -> str | None:
        """Where the target answers otherwise than the model."""
        before = [*stop_all(self._facts), *prologue]
        self._model.reset()
        ours = self._model.run([_moved_pages(call, self.target, self._model) for call in (*before, *calls)])
        if any(result.lost for result in ours):
            return None  # not to be done to a real host
        self.target.reset()
        real = self.target.run([*before, *calls])
        skip = len(before)
        self.results = real[skip:]
        for number, (call, got, modelled) in enumerate(zip(calls, self.results, ours[skip:], strict=True)):
            if not agree(call, got, modelled, undetermined=self._model.undetermined[skip + number]):
                return f"call {number + 1} `{call.script()}`: the model answers {modelled}, the target {got}"
        return self._miscounted(before, calls)

    def _miscounted(self, before: list[Call], calls: list[Call]) -> str | None:
        """Where a counter reads otherwise than that of the model, which counts the same code: on our own
        hart no instruction of the host's enters.
        """
        if self._counted is None:
            return None
        counted = self._counted
        counted.reset()
        exact = counted.run([_moved_pages(call, self.target, counted) for call in (*before, *calls)])
        skip = len(before)
        for number, (call, got, ours) in enumerate(zip(calls, self.results, exact[skip:], strict=True)):
            read = call.op == "c" and call.operands[0] != TIME
            if read and got != ours and not self._model.undetermined[skip + number]:
                return f"call {number + 1} `{call.script()}`: the model counts {ours}, the target {got}"
        return None


def agree(call: Call, got: Result, modelled: Result, *, undetermined: bool) -> bool:
    """Whether two answers say the same. What a hardware counter reads is the hart's business, not the
    interface's.
    """
    if call.op != "e":
        return call.op != "c" or (got.trap is None) == (modelled.trap is None)
    if got.error != modelled.error or got.errno != modelled.errno:
        return False
    eid, fid = call.operands[:2]
    if undetermined or got.error != SbiError.SUCCESS or eid != Eid.PMU:
        return True
    if fid == PmuFid.COUNTER_FW_READ and isinstance(call.operands[2], int) and call.operands[2] < 19:
        return True
    return got.value == modelled.value


def stop_all(facts: Facts) -> list[Call]:
    """counter_stop with RESET of every counter, and of index 1, to which firmware may have bound
    something.
    """
    return [pmu(PmuFid.COUNTER_STOP, 0, facts.numbers["ALL"], 1), pmu(PmuFid.COUNTER_STOP, 1, 1, 1)]


def _moved_pages(call: Call, old: Target, new: Target) -> Call:
    return _shift(call, old.scratch, new.scratch)


def _rebased(call: Call, target: Target) -> Call:
    return _shift(call, target.scratch, TABLE_SCRATCH)


def _shift(call: Call, old: int, new: int) -> Call:
    def moved(operand: Operand) -> Operand:
        if isinstance(operand, int) and old <= operand < old + SCRATCH_PAGES * PAGE:
            return operand - old + new
        return operand

    return Call(call.op, tuple(moved(operand) for operand in call.operands))
