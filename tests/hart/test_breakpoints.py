"""Breakpoints: both engines and compiled regions stop exactly there, and a stop changes nothing."""

from __future__ import annotations

import os
import random

import pytest

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.exits import Stop
from vpmu.hart.hart import Hart
from vpmu.hart.hot_tier import HotTier

from .assemble import encode
from .guest import ALL, BASE, ENGINES, SV39, VECTOR, boot, map_pages
from .test_hot import CODE, _compile_everything, _facts, _hart

LOOP = (
    encode("addi", rd=5, rs1=5, imm=1),
    encode("addi", rd=6, rs1=6, imm=2),
    encode("jal", imm=-8),
)


def _stops(hart: Hart, budget: int) -> list[tuple[int, int]]:
    """Where a run of so many instructions was stopped: (pc, instructions before it)."""
    found, start = [], hart.instructions
    while (left := budget - (hart.instructions - start)) > 0:
        if hart.run(left) is Stop.BREAKPOINT:
            found.append((hart.pc, hart.instructions - start))
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_stops_before_the_instruction_and_goes_on_past_it(engine: str) -> None:
    hart = boot(engine, LOOP)
    hart.memory.breakpoints.add(BASE + 4)
    assert hart.run(100) is Stop.BREAKPOINT
    assert (hart.pc, hart.x(5), hart.x(6), hart.instructions) == (BASE + 4, 1, 0, 1)
    assert hart.run(100) is Stop.BREAKPOINT
    assert (hart.x(5), hart.x(6), hart.instructions) == (2, 2, 4)
    hart.memory.breakpoints.remove(BASE + 4)
    assert hart.run(5) is Stop.BUDGET
    assert hart.instructions == 9


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_that_ends_there_by_its_budget_has_not_been_stopped(engine: str) -> None:
    """The next one is; nothing but a stop at this pc lets a run pass."""
    hart = boot(engine, LOOP)
    hart.memory.breakpoints.add(BASE)
    assert hart.run(1) is Stop.BREAKPOINT
    assert hart.run(3) is Stop.BUDGET
    assert hart.pc == BASE
    assert hart.run(1) is Stop.BREAKPOINT
    hart.pc = BASE + 8  # skips the rest of the loop
    assert hart.run(2) is Stop.BREAKPOINT
    assert (hart.pc, hart.instructions) == (BASE, 4)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_holds_for_every_mapping_and_survives_stores_and_slots(engine: str) -> None:
    hart = boot(engine, LOOP)
    there = BASE + 0x6000
    map_pages(hart, {there: (BASE, ALL)})
    hart.set("satp", SV39)
    hart.memory.breakpoints.add(BASE)
    assert hart.run(1) is Stop.BREAKPOINT
    hart.pc = there
    assert hart.run(1) is Stop.BREAKPOINT
    assert hart.pc == there
    hart.memory.write(BASE, hart.memory.read(BASE, 12))
    assert _stops(hart, 9) == [(there, 3), (there, 6)]
    hart.memory.set_slot(1, BASE + (1 << 20), 4096)
    assert _stops(hart, 4) == [(there, 0), (there, 3)]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_instruction_that_traps_is_met_again_when_the_handler_returns(engine: str) -> None:
    hart = boot(engine, [encode("lw", rd=5, imm=0, rs1=6)], x={6: 0x1000}, satp=0)
    map_pages(hart, {})
    hart.set("satp", SV39)
    hart.memory.breakpoints.add(BASE)
    assert hart.run(4) is Stop.BREAKPOINT
    assert hart.run(4) is Stop.BUDGET
    assert hart.pc == VECTOR + 16


@pytest.mark.parametrize("counting", [Counting.NOTHING, Counting.CLASSES], ids=["plain", "classes"])
@pytest.mark.parametrize("seed", [0, 3, 4, 8, 9, 10, 11, 15])
def test_engines_and_regions_stop_at_the_same_instructions(seed: int, counting: Counting) -> None:
    """Random programs, breakpoints that come and go, stops by budget in between."""
    rnd = random.Random(seed)
    native, reference = (_hart(engine, seed, counting) for engine in ENGINES)
    free = _hart("native", seed, counting)  # nobody stops it
    met = 0
    for turn in range(150):
        at = native.pc + 4 * rnd.randrange(-3, 8) if turn % 2 else CODE + 4 * rnd.randrange(180)
        for hart in (native, reference):
            points = hart.memory.breakpoints
            (points.remove if at in points else points.add)(at)
        budget = rnd.choice((1, 2, 5, 40, 400))
        stops = [hart.run(budget) for hart in (native, reference)]
        got, expected = _facts(native), _facts(reference)
        assert got == {name: expected[name] for name in got}, turn
        assert stops[0] is stops[1], turn
        met += stops[0] is Stop.BREAKPOINT
        if ahead := native.instructions - free.instructions:
            assert free.run(ahead) is Stop.BUDGET
        facts = _facts(free)
        got.pop("exit"), facts.pop("exit")
        if stops[0] is Stop.BREAKPOINT:
            assert got == {name: facts[name] for name in got}, "a stop changes nothing"
        elif stops[0] is not Stop.BUDGET:
            break
        if turn % 40 == 20:
            _compile_everything(native)
    assert met > 3


def test_kept_regions_of_a_page_are_used_but_those_that_hold_the_instruction() -> None:
    hart = boot("native", LOOP * 30 + (encode("jal", imm=-360),))
    hart.memory.write(BASE, b"".join(word.to_bytes(4, "little") for word in LOOP))
    tier = hart.memory.hot_tier = HotTier(hart.memory, eager=True)
    hart.run(4_000_000)
    tier.finish()
    hart.run(4_000_000)
    assert tier.installed
    hart.memory.breakpoints.add(BASE + 4)
    for _ in range(3):
        before = hart.instructions
        assert hart.run(600_000) is Stop.BREAKPOINT
        assert hart.pc == BASE + 4
        assert hart.instructions - before <= 3


def test_a_child_of_a_fork_stops_too() -> None:
    hart = boot("native", LOOP)
    hart.memory.breakpoints.add(BASE + 8)
    hart.run(1)
    child = os.fork()
    if child == 0:
        os._exit(0 if hart.run(10) is Stop.BREAKPOINT and hart.pc == BASE + 8 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_what_is_no_place_is_refused() -> None:
    points = boot("native", LOOP).memory.breakpoints
    with pytest.raises(ValueError, match="even"):
        points.add(BASE + 1)
    with pytest.raises(KeyError):
        points.remove(BASE)


def test_many_come_and_go_in_any_order() -> None:
    """The engines have what a placement of all that are left would give them: in two slots that show the same
    memory, and in none.
    """
    rnd = random.Random(5)
    hart = boot("native", LOOP)
    memory, breakpoints = hart.memory, hart.memory.breakpoints
    memory.set_slot(1, BASE + (1 << 24), 1 << 16, backing=memory.regions[0].backing)
    places = [
        start + 2 * rnd.randrange(1 << 9) for start in (BASE, BASE + (1 << 24), 0x1000) for _ in range(99)
    ]
    handlers = [lambda vcpu: True, lambda vcpu: False]
    there: set[tuple[int, int]] = set()
    for _ in range(2000):
        place, which = rnd.choice(places), rnd.randrange(2)
        if (place, which) in there and rnd.random() < 0.3:
            breakpoints.add(place, handlers[which])  # once more, which changes nothing
        elif (place, which) in there:
            breakpoints.remove(place, handlers[which])
            there.remove((place, which))
        else:
            breakpoints.add(place, handlers[which])
            there.add((place, which))
        told = list(breakpoints._table[: memory.shared.words[state.SHARED["breakpoint_count"]]])
        physical = {place for place, _ in there if place >= BASE}
        host = memory.regions[0].backing.address
        assert told == sorted({host + (place - BASE) % (1 << 24) for place in physical})
    before = breakpoints._by_host
    breakpoints.placed()
    assert {host: set(here) for host, here in before.items()} == {
        host: set(here) for host, here in breakpoints._by_host.items()
    }
    assert breakpoints.offsets(host) == {at - host for at in told}


@pytest.mark.parametrize("seed", range(4))
def test_each_of_many_is_met(seed: int) -> None:
    rnd = random.Random(seed)
    count = 700
    chosen = {BASE + 4 * number for number in range(count) if rnd.random() < 0.6}
    hart = boot("native", [encode("addi", rd=5, rs1=5, imm=1)] * count)
    for place in rnd.sample(sorted(chosen), len(chosen)):
        hart.memory.breakpoints.add(place)
    assert [pc for pc, _ in _stops(hart, count)] == sorted(chosen)
