"""Runs by what chance decided in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vpmu.faults.chance import Chances
from vpmu.faults.injector import MOST_DRAWN, Injector
from vpmu.faults.plan import FaultPlan
from vpmu.faults.read import plan_of

RULES = plan_of("perf.create:errno=EBUSY,probability=30") + plan_of(
    "kvm.interrupt:irq=13,drop,probability=50"
)


def guest(plan: FaultPlan, rounds: int) -> tuple[str, Injector]:
    """Something whose way depends on every answer: a refused event is asked for again."""
    injector, way = Injector(plan), ""
    for _ in range(rounds):
        if injector.ask("perf.create") is not None:
            way += "E"
            continue
        way += "." if injector.ask("kvm.interrupt", irq=13) is None else "d"
    return way, injector


@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=60), st.integers(1, 6))
def test_what_is_found_is_what_a_run_gives(seeds: list[int], rounds: int) -> None:
    chances: Chances[str] = Chances()
    ways = set()
    for seed in seeds:
        plan = RULES.with_seed(seed)
        way, injector = guest(plan, rounds)
        ways.add(way)
        found = chances.find(plan)
        assert found in (None, way)
        if found is None:
            chances.note(injector.drawn, way)
            assert chances.find(plan) == way
    assert len(chances._ended) == len(ways)


def test_a_plan_without_chance_has_one_run() -> None:
    chances: Chances[str] = Chances()
    assert chances.find(FaultPlan()) is None
    chances.note([], "the same")
    assert chances.find(FaultPlan(seed=5)) == "the same"


def test_of_a_run_with_many_decisions_nothing_is_kept() -> None:
    plan = plan_of("perf.create:errno=EBUSY,probability=50").with_seed(1)
    injector = Injector(plan)
    for _ in range(1000):
        injector.ask("perf.create")
    assert len(injector.drawn) == MOST_DRAWN + 1
    chances: Chances[str] = Chances()
    chances.note(injector.drawn, "gone")
    assert chances.find(plan) is None
