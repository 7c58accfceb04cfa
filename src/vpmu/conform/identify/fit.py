"""From a target's answers to the behaviours that explain them.

The hypothesis begins as the profile of the release that the target says it is. The model answers every
sequence under it; where the target answers otherwise, the behaviours that the sequence names are switched,
one or two at a time, until nothing gets better. A behaviour is told where the model with it and without it
answers differently, and the target as one of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations

from ...perf.description import HostPmuDescription
from ...profiles.behaviour import Behaviour
from ...profiles.behaviours import BEHAVIOURS, B
from ...profiles.profiles import IMPL_ID_OPENSBI, Profile
from ...spec.csr import Irq
from ..agent import Identity, identity_of, profile_for
from ..calls import Call
from ..in_process import InProcessTarget
from ..suite import Test
from ..target import Facts, Target, TargetLost, probe
from ..verdict import missing
from .found import Found, Told
from .probes import HIDDEN, sequences_for
from .releases import Fit, fit_releases

Signature = tuple[bool, ...] | None
"""Which of the expectations that stand in a test the answers meet, in order; None: the machine is lost."""
Set = frozenset[Behaviour]
_FEATURES = (B.FW_READ_HI, B.EVENT_GET_INFO, B.RAW_V2)
"""Of the specification, also in firmware."""
_IN_WORDS = {
    "the target has no LCOFI": "the guest gets no overflow interrupts here",
    "the target has no EVINFO": "event_get_info is not there",
    "the target has no FWHI": "counter_fw_read_hi is not there",
    "the target has no SHMEM": "there is no shared memory",
    "the target has no MISSES": "no counter counts TLB misses here",
}
"""What it means that a target lacks one of the facts of `target.probe`."""
_LIVES = 3
"""How often a target that is lost is brought anew."""
_PAIRS = 12
"""Suspects up to which two are switched at once."""


def identify(
    target: Target,
    host_pmu: str | HostPmuDescription = "qemu-virt",
    reopen: Callable[[], Target] | None = None,
) -> Found:
    """Say which implementation `target` is. `host_pmu`: the host that the model has, as alike as can be;
    `reopen`: brings the same target anew where a sequence has lost it, which then tells nothing.

    Leaves the target's profile as the one that was found. Raises TargetError and TargetLost.
    """
    identity = identity_of(target)
    start = target.profile = profile_for(identity)
    facts = _facts(target)
    model = _model(start, host_pmu)
    considered = _considered(identity)
    why_not: dict[Behaviour, str] = {}
    asked: dict[Test, Signature] = {}
    lost: dict[Test, str] = {}
    for behaviour in considered:
        for test in sequences_for()[behaviour]:
            reason = lost.get(test) or missing(target, test, facts) or model.missing(test)
            if not reason and test not in asked:
                try:
                    asked[test] = signature(target, test, facts)
                except TargetLost:
                    reason = lost[test] = f"{test.id} lost the target"
                    if not target.revives:
                        if reopen is None or len(lost) > _LIVES:
                            raise
                        target = reopen()
                        target.profile = start
            if reason:
                why_not.setdefault(behaviour, _IN_WORDS.get(reason, reason))
    behaviours = _fitted(model, asked, considered)
    told = [_told(one, behaviours, model, asked, why_not) for one in considered]
    fit = fit_releases(identity, start, [one for one in told if one.sure])
    found = Found(identity, target.description, _profile(identity, fit, told), fit, tuple(told))
    same = found.profile.behaviours == fit.nearest.behaviours
    target.profile = fit.nearest if same else found.profile
    return found


def _considered(identity: Identity) -> list[Behaviour]:
    """The behaviours that an implementation of this kind may have."""
    projects = ("OpenSBI", "QEMU") if identity.impl_id == IMPL_ID_OPENSBI else ("Linux",)
    features = [one for one in _FEATURES if one.project not in projects]
    return features + [one for one in BEHAVIOURS.values() if one.project in projects]


def _facts(target: Target) -> Facts:
    """What the target has; whether overflows interrupt is asked whatever its profile says."""
    facts = probe(target)
    target.reset()
    enabled = [Call("C", (0, 1 << Irq.LCOFI))]
    if target.interrupts and target.run(enabled)[0].value >> Irq.LCOFI & 1:
        facts.numbers["LCOFI"] = 1
    return facts


def signature(target: Target, test: Test, facts: Facts) -> Signature:
    """Run the test on a fresh PMU; which expectations its answers meet. Raises TargetLost."""
    places = {step.name: number for number, step in enumerate(test.steps) if step.name}
    target.reset(pmu=test.pmu)
    results = target.run([step.call(facts.numbers, places) for step in test.steps])
    names = dict(facts.numbers)
    names.update((step.name, one.value) for step, one in zip(test.steps, results, strict=True) if step.name)
    return tuple(
        expected.met(result, names)
        for step, result in zip(test.steps, results, strict=True)
        for expected in (step.expected, *(other for _, other in step.divergences))
    )


@cache
def _model(start: Profile, host_pmu: str | HostPmuDescription) -> _Model:
    return _Model(start, host_pmu)


class _Model:
    """What implementations with any behaviours answer."""

    def __init__(self, start: Profile, host_pmu: str | HostPmuDescription) -> None:
        self._start, self._host = start, host_pmu
        self._answers: dict[tuple[Set, Test], Signature] = {}
        self._targets: dict[Set, tuple[InProcessTarget, Facts]] = {}

    @property
    def start(self) -> Set:
        return self._start.behaviours

    def missing(self, test: Test) -> str:
        """Why the model says nothing about this test; empty where it does."""
        target, facts = self._target(self.start)
        reason = missing(target, test, facts)
        return f"the model: {reason}" if reason else ""

    def answer(self, behaviours: Set, test: Test) -> Signature:
        """The signature under these behaviours."""
        key = behaviours, test
        if key not in self._answers:
            target, facts = self._target(behaviours)
            try:
                self._answers[key] = signature(target, test, facts)
            except TargetLost:
                self._answers[key] = None
        return self._answers[key]

    def _target(self, behaviours: Set) -> tuple[InProcessTarget, Facts]:
        if behaviours not in self._targets:
            target = InProcessTarget(replace(self._start, behaviours=behaviours), self._host)
            if not self._targets:
                self._targets[behaviours] = target, _facts(target)
            else:  # the machine is the same one
                self._targets[behaviours] = target, self._targets[self.start][1]
        return self._targets[behaviours]


def _fitted(model: _Model, asked: dict[Test, Signature], considered: Sequence[Behaviour]) -> Set:
    """The behaviours under which most of the answers are the model's, from those of `model.start` on."""
    named: dict[Test, list[Behaviour]] = {
        test: [one for one in considered if test in sequences_for()[one]] for test in asked
    }

    def wrong(behaviours: Set, tests: Iterable[Test]) -> int:
        return sum(model.answer(behaviours, test) != asked[test] for test in tests)

    behaviours = model.start
    while bad := [test for test in asked if model.answer(behaviours, test) != asked[test]]:
        suspects = list(dict.fromkeys(one for test in bad for one in named[test] if one not in HIDDEN))
        groups: list[tuple[Behaviour, ...]] = [(one,) for one in suspects]
        best = behaviours
        gain = 0
        while groups and not gain:
            for group in groups:
                tests = {*bad, *(test for one in group for test in sequences_for()[one] if test in asked)}
                switched = behaviours ^ frozenset(group)
                better = wrong(behaviours, tests) - wrong(switched, tests)
                if better > gain:
                    best, gain = switched, better
            few = len(groups[0]) == 1 and len(suspects) <= _PAIRS
            groups = list(combinations(suspects, 2)) if few else []
        if not gain:
            break
        behaviours = best
    return behaviours


def _told(
    behaviour: Behaviour, behaviours: Set, model: _Model, asked: dict[Test, Signature],
    why_not: dict[Behaviour, str],
) -> Told:  # fmt: skip
    """What is known of one behaviour."""
    has = behaviour in behaviours
    tests = [test for test in sequences_for()[behaviour] if test in asked]
    if behaviour in HIDDEN or not tests:
        return Told(behaviour, has, HIDDEN.get(behaviour) or why_not.get(behaviour, "no sequence shows it"))
    other = behaviours ^ {behaviour}
    telling = [test for test in tests if model.answer(behaviours, test) != model.answer(other, test)]
    if not telling:
        beside = frozenset(one.name for one in behaviours - {behaviour})
        read = {
            test.id: _read(
                behaviour, test, asked[test], beside, modelled=asked[test] == model.answer(other, test)
            )
            for test in tests
        }
        votes = {vote for vote in read.values() if vote is not None}
        if len(votes) == 1:
            speaking = tuple(name for name, vote in read.items() if vote is not None)
            return Told(behaviour, votes.pop(), tests=speaking)
        reason = why_not.get(behaviour, "beside the other behaviours of this implementation it does not show")
        return Told(behaviour, has, reason)
    speaking = tuple(test.id for test in telling if asked[test] == model.answer(behaviours, test))
    against = [test.id for test in telling if asked[test] == model.answer(other, test)]
    if speaking and not against:
        return Told(behaviour, has, tests=speaking)
    return Told(
        behaviour,
        has,
        f"{', '.join(test.id for test in telling)}: answered neither as with nor as without it",
    )


def _read(
    behaviour: Behaviour, test: Test, answers: Signature, beside: frozenset[str], *, modelled: bool
) -> bool | None:
    """What the answers themselves say of a behaviour that the model always has: where a call answers as it
    should or as with the behaviour alone, which of the two; None where they say neither. That it is not there
    is no news where the model, which has it, answers the same.
    """
    if answers is None:
        return None
    flags = iter(answers)
    votes = set()
    for step in test.steps:
        right = next(flags)
        met = {who: next(flags) for who, _ in step.divergences}
        explained = any(flag for who, flag in met.items() if beside.issuperset(who))
        if met.get((behaviour.name,), right) != right and not explained:
            votes.add(not right)
    if test.lenient or modelled:
        votes.discard(False)
    return votes.pop() if len(votes) == 1 else None


def _profile(identity: Identity, fit: Fit, told: Sequence[Told]) -> Profile:
    """The profile that was found: what is told, and the rest as in the nearest one."""
    nearest = fit.nearest
    project = nearest.name.partition("-")[0]
    sure = {one.behaviour for one in told if one.sure}
    behaviours = nearest.behaviours - sure | {one.behaviour for one in told if one.sure and one.has}
    return replace(
        nearest, name=f"identified-{project}-{identity.release}", base=nearest.base,
        summary=f"{identity}, as vpmu identify found it", behaviours=behaviours,
        release=nearest.release if nearest.impl_id != identity.impl_id else identity.release,
        impl_version=identity.impl_version,
    )  # fmt: skip
