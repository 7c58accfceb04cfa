"""When rules fire: the kernel's words, the seed, and what a rule matches."""

from __future__ import annotations

from vpmu.faults import FaultPlan, Injector, parse_rule
from vpmu.trace.recorder import Recorder


def injector(*rules: str, seed: int = 0) -> Injector:
    return Injector(FaultPlan(tuple(parse_rule(rule) for rule in rules), seed=seed))


def fired(rule: str, calls: int = 10, seed: int = 0, size: int = 1) -> list[int]:
    at = injector(rule, seed=seed)
    return [n for n in range(1, calls + 1) if at.ask("perf.create", size=size, event="cycles") is not None]


def test_the_words_of_the_kernel() -> None:
    assert fired("perf.create:errno=EIO") == list(range(1, 11))
    assert fired("perf.create:errno=EIO,times=2") == [1, 2]
    assert fired("perf.create:errno=EIO,times=0") == []
    assert fired("perf.create:errno=EIO,interval=3") == [3, 6, 9]
    assert fired("perf.create:errno=EIO,interval=3,times=2") == [3, 6]
    assert fired("perf.create:errno=EIO,probability=0") == []
    # should_fail() lets a call pass while more space is left than it takes
    assert fired("perf.create:errno=EIO,space=40", size=16) == [3, 4, 5, 6, 7, 8, 9, 10]


def test_calls_are_numbered_from_one() -> None:
    assert fired("perf.create:errno=EIO,call=3") == [3]
    assert fired("perf.create:errno=EIO,call=2-4+9") == [2, 3, 4, 9]


def test_probability_is_a_function_of_the_seed() -> None:
    rule = "perf.create:errno=EIO,probability=30"
    once = fired(rule, 1000, seed=5)
    assert once == fired(rule, 1000, seed=5)
    assert once != fired(rule, 1000, seed=6)
    assert 240 < len(once) < 360


def test_rules_do_not_disturb_each_other() -> None:
    alone = injector("perf.create:errno=EIO,probability=50")
    beside = injector("perf.create:errno=EIO,probability=50", "perf.read:freeze,probability=50")
    pattern = []
    for at in (alone, beside):
        answers = []
        for _ in range(50):
            answers.append(at.ask("perf.create", event="cycles") is not None)
            at.ask("perf.read", event="cycles")
        pattern.append(answers)
    assert pattern[0] == pattern[1]


def test_what_matches() -> None:
    at = injector("perf.create:event=cycles,hart=1,after=100,before=200,pc=0x1000-0x2000,errno=EIO")
    now, pc = 150, 0x1800
    at.clock, at.pc = lambda: now, lambda hart: pc
    assert at.ask("perf.create", 1, event="cycles")
    assert not at.ask("perf.create", 0, event="cycles")
    assert not at.ask("perf.create", 1, event="instructions")
    assert not at.ask("perf.read", 1, event="cycles")
    now = 99
    assert not at.ask("perf.create", 1, event="cycles")
    now = 200
    assert not at.ask("perf.create", 1, event="cycles")
    now, pc = 150, 0x2001
    assert not at.ask("perf.create", 1, event="cycles")


def test_the_first_rule_that_fires_decides() -> None:
    at = injector("perf.create:errno=EIO,times=1", "perf.create:errno=EBUSY")
    effects = [at.ask("perf.create", event="cycles") for _ in range(3)]
    assert [effect and effect["errno"] for effect in effects] == [5, 16, 16]
    assert at.fired_by_rule == (1, 2)


def test_timed_sites_happen_once_unless_told_otherwise() -> None:
    assert parse_rule("perf.starve:counters=1").times == 1
    assert parse_rule("perf.starve:counters=1,times=-1").times == -1


def test_next_time() -> None:
    at = injector("perf.starve:counters=1,after=500", "perf.create:errno=EIO,after=100")
    assert at.next_time(0) == 500  # a rule that only calls lead to needs no stop
    assert at.next_time(500) is None
    at.until.append(300)
    assert at.next_time(0) == 300


def test_a_fault_is_in_the_trace() -> None:
    recorder = Recorder()
    at = Injector(FaultPlan((parse_rule("perf.create:errno=EIO"),)), recorder)
    at.ask("perf.create", 2, event="cycles")
    (record,) = recorder.records
    assert (record.layer, record.actor, record.action, record.hart) == ("perf", "fault", "create", 2)
    assert record.result == {"errno": 5}


def test_state_comes_back() -> None:
    at = injector("perf.create:errno=EIO,probability=50,times=9")
    state = at.state()
    first = [at.ask("perf.create", event="cycles") is not None for _ in range(30)]
    at.set_state(state)
    assert [at.ask("perf.create", event="cycles") is not None for _ in range(30)] == first
