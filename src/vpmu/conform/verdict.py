"""From what a target answered to a verdict on each test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ..profiles.behaviours import BEHAVIOURS, B
from .calls import Call, Result
from .script import Step
from .suite import Test
from .target import Facts, Target, TargetLost, probe

MODEL = "in-process"
"""Name of the target that has no host to lose."""


class Verdict(StrEnum):
    """pass: as the specification says. known divergence: as a behaviour of the target's profile says.
    host lost: so, too, but nobody is left to be asked.
    """

    PASS = "pass"
    DIVERGENCE = "known divergence"
    HOST_LOST = "host lost"
    UNEXPECTED = "unexpected"
    SKIPPED = "skipped"
    LOST = "target lost"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one test. `behaviours`: names of those that explain the divergences."""

    test: Test
    verdict: Verdict
    reason: str = ""
    behaviours: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    results: tuple[Result, ...] = ()
    notes: dict[int, str] = field(default_factory=dict)
    """By number of the call: what was expected of it where it did not give that."""

    def as_object(self) -> dict[str, object]:
        """One entry of `results` in `--json`."""
        return {
            "id": self.test.id,
            "title": self.test.title,
            "spec": self.test.spec,
            "verdict": str(self.verdict),
            "reason": self.reason,
            "behaviour": ", ".join(self.behaviours) or None,
            "citations": [
                {"name": name, "commit": BEHAVIOURS[name].commit, "subject": BEHAVIOURS[name].subject,
                 "reference": BEHAVIOURS[name].reference}
                for name in self.behaviours
            ],
            "calls": [
                {
                    "call": call.script(self.results),
                    "result": str(result),
                    "expected": self.notes.get(number, ""),
                }
                for number, (call, result) in enumerate(zip(self.calls, self.results, strict=False))
            ],
        }  # fmt: skip


def run_suite(target: Target, tests: Iterable[Test]) -> list[Outcome]:
    """Run the tests in order. After `target lost` the remaining ones are skipped, where it stays so."""
    outcomes: list[Outcome] = []
    facts = probe(target)
    lost = ""
    for test in tests:
        if lost:
            outcomes.append(Outcome(test, Verdict.SKIPPED, lost))
            continue
        outcome = run_test(target, test, facts)
        if outcome.verdict is Verdict.LOST and not target.revives:
            lost = f"the target was lost in {test.id}"
        outcomes.append(outcome)
    return outcomes


def run_test(target: Target, test: Test, facts: Facts) -> Outcome:
    """Run one test on a fresh PMU and judge it."""
    names = facts.numbers
    why_not = missing(target, test, facts)
    if why_not:
        return Outcome(test, Verdict.SKIPPED, why_not)
    places = {step.name: number for number, step in enumerate(test.steps) if step.name}
    calls = tuple(step.call(names, places) for step in test.steps)
    try:
        target.reset(pmu=test.pmu)
        results = tuple(target.run(calls))
    except TargetLost as lost:
        return Outcome(test, Verdict.LOST, str(lost), calls=calls)
    return judge(target, test, calls, results, facts)


def missing(target: Target, test: Test, facts: Facts) -> str:
    """Why the test says nothing about this target; empty where it does."""
    lacking = {step.op for step in test.steps} & target.missing
    if lacking:
        return f"the target cannot do operation {' '.join(sorted(lacking))}"
    if not test.pmu and not target.switches:
        return "the target's PMU extension cannot be switched off"
    unknown = [name for name in test.needs if name not in facts.numbers]
    if unknown:
        return f"the target has no {' '.join(unknown)}"
    deadly = takes_host_down(test, {behaviour.name for behaviour in target.profile.behaviours})
    if deadly and target.name != MODEL:
        fix = BEHAVIOURS[deadly[0]]
        return f"brings down a host with {fix.name} ({fix.commit} mends it): done to the model only"
    for name in test.without:
        if name in {behaviour.name for behaviour in target.profile.behaviours}:
            return f"means nothing with {name}"
    return ""


def judge(
    target: Target, test: Test, calls: Sequence[Call], results: Sequence[Result], facts: Facts
) -> Outcome:
    """Compare each result with the specification's expectation, then with those of the profile's
    behaviours.
    """
    active = {behaviour.name for behaviour in target.profile.behaviours}
    names = dict(facts.numbers)
    names.update(
        {step.name: result.value for step, result in zip(test.steps, results, strict=True) if step.name}
    )
    used: list[str] = []
    notes: dict[int, str] = {}
    unexplained: list[str] = []
    for number, (step, result) in enumerate(zip(test.steps, results, strict=True)):
        if number and results[number - 1].lost:
            break
        if result.errno is not None and target.profile.has(B.PERF_FAILURE_ENDS_KVM_RUN):
            # The guest dies here: what it would have seen afterwards, nobody knows.
            notes[number] = step.expected.text
            used.append(B.PERF_FAILURE_ENDS_KVM_RUN.name)
            break
        applying = [(who, expected) for who, expected in step.divergences if active.issuperset(who)]
        explained = next((who for who, expected in applying if expected.met(result, names)), None)
        if step.expected.met(result, names):
            continue
        notes[number] = step.expected.text
        if explained is None:
            unexplained.append(_complaint(number, step, result, applying))
        else:
            used += [name for name in explained if name not in used]
    kept = (tuple(calls), tuple(results))
    if unexplained:
        return Outcome(test, Verdict.UNEXPECTED, "; ".join(unexplained), tuple(used), *kept, notes)
    stale = [name for name in expected_behaviours(test, active) if name not in used]
    if stale and not used:
        reason = f"as the specification says, although the profile has {', '.join(stale)}"
        return Outcome(test, Verdict.UNEXPECTED, reason, (), *kept, notes)
    verdict = Verdict.HOST_LOST if any(result.lost for result in results) else Verdict.DIVERGENCE
    return Outcome(test, verdict if used else Verdict.PASS, "", tuple(used), *kept, notes)


def takes_host_down(test: Test, active: set[str]) -> list[str]:
    """Behaviours of a profile with which this test brings down a host, and whatever runs on it."""
    return [
        name
        for step in test.steps
        for who, expected in step.divergences
        if active.issuperset(who) and any(one.lost for one in expected.alternatives)
        for name in who
    ]


def expected_behaviours(test: Test, active: set[str]) -> list[str]:
    """Behaviours of the profile that this test is there to find, unless it says that they may not show."""
    found: list[str] = []
    for step in test.steps:
        for who, _ in step.divergences:
            hart = any(BEHAVIOURS[name].project == "QEMU" for name in who)  # shows on QEMU's hart alone
            if active.issuperset(who) and not (test.lenient or hart):
                found += [name for name in who if name not in found]
    return found


def _complaint(
    number: int, step: Step, result: Result, applying: Sequence[tuple[tuple[str, ...], object]]
) -> str:
    wanted = step.expected.text
    for who, expected in applying:
        wanted += f", or with {', '.join(who)}: {getattr(expected, 'text', expected)}"
    return f"call {number + 1} `{step.text}`: expected {wanted}, got {result}"
