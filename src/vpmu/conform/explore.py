"""Random testing: sequences against the properties of the specification, or a target against the model of
its profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..brief import Brief
from ..spec.sbi import Eid, PmuFid, SbiError
from .calls import Call, Operand, Result, as_table, pmu
from .in_process import InProcessTarget
from .properties import Properties
from .sequences import Generator, shrink
from .target import PAGE, SCRATCH_PAGES, Facts, Target, TargetLost, probe
from .targets import open_target

TABLE_SCRATCH = 0x88100000
"""Where tables have the pages of a test: inside the memory of the machine that replays them."""
MAX_FINDINGS = 10


@dataclass(slots=True)
class Finding:
    """One disagreement, as short as it could be made: its calls, the target's answers, and what speaks
    against them.
    """

    number: int
    reason: str
    calls: list[Call]
    results: list[Result]


@dataclass(slots=True, repr=False)
class Exploration(Brief):
    """What came of a run of `--random`."""

    description: str
    profile: str
    seed: int
    sequences: int = 0
    calls: int = 0
    findings: list[Finding] = field(default_factory=list)
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
        for finding in self.findings:
            out += [
                f"# ######## sequence {finding.number}",
                f"# {finding.reason}",
                *as_table(finding.calls, finding.results),
            ]
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
            "results": [
                {
                    "sequence": finding.number,
                    "reason": finding.reason,
                    "table": as_table(finding.calls, finding.results),
                }
                for finding in self.findings
            ],
        }


def explore(
    count: int, seed: int, against: str | None, profile: str | None, host_pmu: str = "qemu-virt"
) -> Exploration:
    """Run `count` sequences: in process against the properties, or on the target `against` and on the model
    of its profile. Stops after MAX_FINDINGS. Raises TargetError where the target cannot be had.
    """
    target = open_target(against or "in-process", profile, host_pmu)
    try:
        facts = probe(target)
        judge = _Compared(target, facts, host_pmu) if against is not None else _Checked(target, facts)
        report = Exploration(target.description, target.profile.name, seed)
        generator = Generator(facts, seed)
        prologue = generator.prologue()
        for number in range(count):
            calls = generator.sequence()
            report.sequences, report.calls = number + 1, report.calls + len(calls)
            try:
                reason = judge.reason(prologue, calls)
                if reason is not None:
                    report.findings.append(_shortest(judge, prologue, calls, number))
            except TargetLost as lost:
                report.lost = str(lost)
                break
            if len(report.findings) >= MAX_FINDINGS:
                break
    finally:
        target.close()
    return report


def _shortest(judge: _Checked | _Compared, prologue: list[Call], calls: list[Call], number: int) -> Finding:
    best = shrink(calls, lambda candidate: judge.reason(prologue, candidate) is not None)
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


class _Compared:
    """One target against the model of its profile."""

    def __init__(self, target: Target, facts: Facts, host_pmu: str) -> None:
        self.target, self._facts = target, facts
        self._model = InProcessTarget(target.profile, host_pmu)
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
