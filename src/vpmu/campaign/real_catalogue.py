"""The catalogue on real KVM, on our own hart: what a stock host's kernel makes of each failure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ..conform.calls import pmu
from ..peers.host_faults import HARDWARE, HostFaults
from ..profiles.profiles import get_profile
from ..spec.sbi import PmuFid
from .catalogue import SPEC, Scenario
from .real_script import NotReal, RealScript
from .script_text import Answered

if TYPE_CHECKING:
    from ..conform.hooked import HookedHost

SLACK = 2_000
"""Instructions of the agent between two steps, at most: they are counted, too."""

STEP_NS = 10_000
"""More than a step of the agent takes on the host: a stop of a counter is 3,700 instructions."""


class Fate(StrEnum):
    """What real KVM did, from harmless to fatal."""

    SURVIVES = "survives"
    """The guest was told what the specification says, and its counts are right."""
    DEGRADES = "degrades"
    """The guest was told that something cannot be had."""
    DEVIATES = "deviates"
    """An answer that the specification does not have."""
    LIES = "lies"
    """Success, and a count or a memory word that is not what the specification has there."""
    GUEST_DIES = "guest dies"
    """KVM_RUN fails."""
    HOST_DIES = "host dies"
    """The host's kernel does not answer any more."""
    NOT_CARRIED = "not carried"
    """The real stack has no place for it, or its guest needs a machine of the model."""


@dataclass(frozen=True, slots=True)
class RealRow:
    """One scenario on one kernel. `differences`: steps whose answers the model of this kernel has not."""

    id: str
    title: str
    fate: Fate
    answers: tuple[Answered, ...] = ()
    differences: tuple[str, ...] = ()
    injected: int = 0
    note: str = ""

    def as_object(self) -> dict[str, object]:
        """For JSON."""
        return {
            "id": self.id, "title": self.title, "fate": str(self.fate), "note": self.note,
            "injected": self.injected, "differences": list(self.differences),
            "answers": [{"step": a.step, "model": a.expected, "real": a.observed} for a in self.answers],
        }  # fmt: skip


def run_real(host: HookedHost, scenario: Scenario) -> RealRow:
    """One scenario in a fresh VM of a host that is as it was kept."""

    def not_carried(why: str) -> RealRow:
        return RealRow(scenario.id, scenario.title, Fate.NOT_CARRIED, note=why)

    if scenario.absent:
        return not_carried(scenario.absent)
    if scenario.host_pmu != "full":
        return not_carried(f"it is about a hart with the PMU {scenario.host_pmu}")
    if scenario.options.get("harts", 1) != 1:
        return not_carried("its guest has several vCPUs")
    profile = host.target.profile
    if not scenario.fits(profile.name):
        return not_carried(f"{profile.name} does not have what it is about")
    if scenario.options.keys() & {"starve", "refuse"}:
        return not_carried("its model is made so, without a fault")
    delays = [rule.effect.get("delay") for rule in scenario.plan.rules if rule.site in HARDWARE]
    if any(isinstance(delay, int) and delay < STEP_NS for delay in delays):
        return not_carried("its delay is shorter than a step of the agent takes")
    host.fresh()
    total = host.target.run([pmu(PmuFid.NUM_COUNTERS)])[0].value
    script = RealScript(host.target, total)
    faults = None
    try:
        faults = HostFaults(host.hooks, scenario.plan)
        if faults.not_carried:
            return not_carried(faults.not_carried[0][1])
        answers = script.run_real(scenario.steps, profile)
        injected = faults.fired
    except NotReal as error:
        return not_carried(str(error))
    finally:
        if faults is not None:
            faults.remove()
        host.hooks.remove()
    if scenario.plan and not injected and script.lost is None and not script.host_dead:
        return not_carried("the fault did not happen: nothing on the way asked for it")
    return RealRow(
        scenario.id, scenario.title, fate_of(script, answers), tuple(answers),
        tuple(
            f"{answer.step}: {answer.observed}, the model of {profile.name}: {answer.expected}"
            for answer in answers
            if answer.expected is not None and not alike(answer.observed, answer.expected)
        ),
        injected,
    )  # fmt: skip


def fate_of(script: RealScript, answers: list[Answered]) -> Fate:
    """What became of it, against what the specification has at each step."""
    if script.host_dead:
        return Fate.HOST_DIES
    if script.lost is not None:
        return Fate.GUEST_DIES
    spec = get_profile(SPEC)
    fate = Fate.LIES if script.silent else Fate.SURVIVES
    order = list(Fate)
    for step, answer in zip(script.steps, answers, strict=True):
        expected = step.expected(spec)
        if expected is None or expected == "skip" or alike(answer.observed, expected):
            continue
        if answer.observed.isdigit() and expected.isdigit():
            found = Fate.LIES
        elif answer.observed == "illegal" or _refuses(answer.observed):
            found = Fate.DEGRADES if not _refuses(expected) else Fate.DEVIATES
        else:
            found = Fate.DEVIATES
        fate = max(fate, found, key=order.index)
    return fate


def _refuses(answer: str) -> bool:
    return bool(re.fullmatch(r"[A-Z_]+", answer)) and answer != "SUCCESS"


def alike(observed: str, expected: str) -> bool:
    """The same answer; a count may have the agent's own instructions in it. A value behind SUCCESS is a
    counter's number, which the host's PMU decides.
    """
    if expected.startswith("~"):
        return expected[1:] in observed
    if observed.isdigit() and expected.isdigit():
        return expected == observed or (int(expected) > 0 and 0 <= int(observed) - int(expected) < SLACK)
    if observed.startswith("host lost"):
        return expected == "host lost"
    if observed.startswith("SUCCESS ") and expected.startswith("SUCCESS"):
        return True
    return observed == expected


def summary(rows: list[RealRow]) -> dict[Fate, int]:
    """How many had each fate."""
    return {fate: sum(row.fate is fate for row in rows) for fate in Fate}
