"""A plan at work: asked at every site, it answers with the effect of the rule that fires, or None.

Everything is a function of plan, seed and the sequence of questions: the random numbers of a rule come out of
(seed, rule, how many it has drawn), so rules do not disturb each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..trace.recorder import NULL, Recorder
from .plan import FaultPlan, Rule
from .sites import SITES

Effect = Mapping[str, object]
"""What a rule orders: key -> value, as `sites.SITES` has them."""

_U64 = (1 << 64) - 1
_MATCHED, _COUNT, _LEFT, _SPACE, _DRAWN, _FIRED = range(6)
Range = tuple[int, int]
Drawn = tuple[int, int, bool]
"""One decision of chance: rule, the how manyth of the rule, whether it fires."""
MOST_DRAWN = 64
"""Decisions of one run that are worth to be kept: after more of them hardly two runs are alike."""


def draw(seed: int, rule: int, number: int) -> int:
    """The `number`-th random number below 100 of a rule (splitmix64's finish over the three)."""
    word = (seed * 0x9E3779B97F4A7C15 + rule * 0xD1B54A32D192ED03 + number * 0x8CB92BA72F3D8DD7 + 1) & _U64
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _U64
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _U64
    return (word ^ word >> 31) % 100


def fires(plan: FaultPlan, rule: int, number: int) -> bool:
    """What chance decides when a rule asks it for the `number`-th time."""
    return draw(plan.seed, rule, number) < plan.rules[rule].probability


class Injector:
    """The state of a plan in one machine. `clock`: virtual ns; `pc`: hart -> its pc; the machine sets
    both.
    """

    def __init__(self, plan: FaultPlan, recorder: Recorder = NULL) -> None:
        self.plan = plan
        self.recorder = recorder
        self.clock: Callable[[], int] = lambda: 0
        self.pc: Callable[[int], int] = lambda hart: 0
        self._rules: dict[str, list[tuple[int, Rule]]] = {}
        for number, rule in enumerate(plan.rules):
            self._rules.setdefault(rule.site, []).append((number, rule))
        # per rule: calls matched, interval's count, times left, space left, numbers drawn, fired
        self._states = [[0, 0, rule.times, rule.space, 0, 0] for rule in plan.rules]
        self._times = sorted(
            time
            for rule in plan.rules
            if SITES[rule.site].timed
            for time in (rule.match.get("after"), rule.match.get("before"))
            if isinstance(time, int)
        )
        self.drawn: list[Drawn] = []
        """What chance has decided; see `vpmu.faults.chance`."""
        self.until: list[int] = []
        """Virtual times at which effects that lie ahead are due: late interrupts, counters given back."""

    def wants(self, *sites: str) -> bool:
        """True where a rule stands for one of these sites."""
        return any(site in self._rules for site in sites)

    @property
    def begun(self) -> bool:
        """Whether a rule has met a call that it is about."""
        return any(state[_MATCHED] for state in self._states)

    @property
    def fired(self) -> int:
        """How many faults have been injected."""
        return sum(state[_FIRED] for state in self._states)

    @property
    def fired_by_rule(self) -> tuple[int, ...]:
        """The same for each rule of the plan."""
        return tuple(state[_FIRED] for state in self._states)

    def ask(self, site: str, hart: int = 0, size: int = 1, **facts: object) -> Effect | None:
        """What shall happen here; `size`: the bytes that are moved. Facts that a rule names must be the
        rule's.
        """
        rules = self._rules.get(site)
        if rules is None:
            return None
        for number, rule in rules:
            if self._matches(rule, hart, facts) and self._fires(number, rule, size):
                if self.recorder.enabled:
                    shown = {key: value for key, value in facts.items() if value is not None}
                    self.recorder.emit(
                        SITES[site].layer, "fault", site.partition(".")[2], dict(rule.effect), hart=hart,
                        rule=number, **shown,
                    )  # fmt: skip
                return rule.effect
        return None

    @property
    def has_times(self) -> bool:
        """Whether there can be a `next_time`."""
        return bool(self._times or self.until)

    def next_time(self, now: int) -> int | None:
        """The next virtual time after `now` at which a rule or a late effect wants to be looked at."""
        due = [time for time in self._times if time > now]
        return min([*due[:1], *(time for time in self.until if time > now)], default=None)

    def state(self) -> list[list[int]]:
        """Everything that changes, for a snapshot."""
        return [list(state) for state in self._states]

    def set_state(self, states: list[list[int]]) -> None:
        """Go back to what `state` gave for the same plan."""
        self._states = [list(state) for state in states]

    def _matches(self, rule: Rule, hart: int, facts: Mapping[str, object]) -> bool:
        for key, wanted in rule.match.items():
            if key == "hart":
                if wanted != hart:
                    return False
            elif key == "after":
                if self.clock() < wanted:  # type: ignore[operator]
                    return False
            elif key == "before":
                if self.clock() >= wanted:  # type: ignore[operator]
                    return False
            elif key == "pc":
                if not within(self.pc(hart), wanted):
                    return False
            elif key == "call" or (key == "event" and wanted == "*"):
                pass  # the number of the call is known only when all else matches
            elif isinstance(wanted, tuple) and key == "address":
                if wanted[0] >= 0 and key in facts and not within(facts[key], wanted):
                    return False
            elif facts.get(key) != wanted:
                return False
        return True

    def _fires(self, number: int, rule: Rule, size: int) -> bool:
        """should_fail() of lib/fault-inject.c, after the call's own number."""
        state = self._states[number]
        state[_MATCHED] += 1
        calls = rule.match.get("call")
        if calls is not None and not any(within(state[_MATCHED], wanted) for wanted in calls):  # type: ignore[attr-defined]
            return False
        if rule.probability == 0 or state[_LEFT] == 0:
            return False
        if state[_SPACE] > size:
            state[_SPACE] -= size
            return False
        if rule.interval > 1:
            state[_COUNT] += 1
            if state[_COUNT] % rule.interval:
                return False
        if rule.probability < 100:
            state[_DRAWN] += 1
            hit = fires(self.plan, number, state[_DRAWN])
            if len(self.drawn) <= MOST_DRAWN:
                self.drawn.append((number, state[_DRAWN], hit))
            if not hit:
                return False
        if state[_LEFT] > 0:
            state[_LEFT] -= 1
        state[_FIRED] += 1
        return True


def within(value: object, wanted: object) -> bool:
    """Whether a number lies in a range, both ends included."""
    assert isinstance(wanted, tuple)
    return isinstance(value, int) and bool(wanted[0] <= value <= wanted[1])
