"""A run is walked in both directions: every position has one state, however it was reached."""

from __future__ import annotations

import random

import pytest

from vpmu.errors import MachineError, UnknownNameError, UsageError
from vpmu.faults.read import plan_of
from vpmu.travel.stops import Breakpoint, Stops, Watchpoint
from vpmu.travel.travel import Traveller, travel
from vpmu.vmm.catch import Catch, parse_catch
from vpmu.vmm.machine import Machine


def _machine(payload: str = "overflow") -> Machine:
    machine = Machine(host_pmu="sampling")  # a host with Ssaia, which overflow interrupts need
    machine.load(payload)
    return machine


def _hashes(payload: str, positions: list[int]) -> dict[int, str]:
    machine = _machine(payload)
    found = {}
    for position in sorted(positions):
        machine.run(position - machine.instructions)
        found[position] = machine.state_hash()
    return found


@pytest.mark.parametrize("payload", ["overflow", "snapshot", "counting"])
def test_walks_at_random_land_on_the_state_of_a_straight_run(payload: str) -> None:
    chosen = random.Random(payload)
    end = _machine(payload).run().instructions
    wanted = _hashes(payload, [chosen.randrange(1, end) for _ in range(20)])
    traveller = travel(_machine(payload))
    for _ in range(100):
        position = chosen.choice(list(wanted))
        if chosen.randrange(2):
            traveller.goto(min(position + chosen.randrange(400), end - 1))
            traveller.back(traveller.position - position)
        else:
            traveller.goto(max(position - chosen.randrange(400), 0))
            traveller.onwards(limit=position)
        assert traveller.position == position
        assert traveller.machine.state_hash() == wanted[position]


def _all(traveller: Traveller, stops: Stops) -> list[tuple[int, int, str]]:
    found = []
    while (arrival := traveller.onwards(stops)).hit is not None:
        found.append((arrival.hit.position, arrival.hit.order, arrival.hit.words))
    return found


@pytest.mark.parametrize("catch", ["overflow", "sbi:PMU", "refusal", "csr"])
def test_backwards_meets_what_forwards_met(catch: str) -> None:
    traveller = travel(_machine("overflow" if catch == "overflow" else "counting"))
    stops = Stops(catches=frozenset([parse_catch(catch)]))
    forwards = _all(traveller, stops)
    assert forwards
    backwards = []
    while (arrival := traveller.backwards(stops)).hit is not None:
        backwards.append((arrival.hit.position, arrival.hit.order, arrival.hit.words))
    assert backwards == forwards[::-1]
    assert arrival.why == "beginning"
    assert traveller.position == 0


def test_breakpoints_and_watchpoints() -> None:
    traveller = travel(_machine("counting"))
    traveller.onwards(limit=2000)
    hart = traveller.machine.vcpu(0).hart
    pc, stack = hart.pc, hart.x(2)
    traveller.goto(0)
    stops = Stops(frozenset([Breakpoint(pc, pc)]), frozenset([Watchpoint(stack & ~7, 8, "rw", stack)]))
    forwards = []
    for _ in range(5):
        hit = traveller.onwards(stops).hit
        assert hit is not None
        forwards.append((hit.position, hit.order, hit.kind))
    backwards = []
    for _ in range(4):
        hit = traveller.backwards(stops).hit
        assert hit is not None
        backwards.append((hit.position, hit.order, hit.kind))
    assert backwards == forwards[-2::-1]


def test_what_is_changed_stays_changed() -> None:
    traveller = travel(_machine("counting"))
    traveller.goto(500)
    vcpu = traveller.machine.vcpu(0)
    vcpu.hart.set_x(31, 0x1234)
    traveller.keep()
    traveller.goto(100)
    assert vcpu.hart.x(31) != 0x1234
    traveller.goto(600)
    traveller.goto(501)
    assert vcpu.hart.x(31) == 0x1234


def test_output_comes_once() -> None:
    heard = bytearray()
    machine = Machine(console_out=heard.extend)
    machine.load("hello")
    traveller = travel(machine)
    traveller.onwards()
    said = bytes(heard)
    traveller.goto(0)
    traveller.onwards()
    assert said
    assert heard == said


def test_what_cannot_be_walked_is_one_line() -> None:
    with pytest.raises(MachineError, match=r"budget of memory .* too small: expected at least"):
        travel(_machine(), budget=1)
    faulty = _machine()
    faulty.inject(plan_of("perf.create:event=cycles,errno=EBUSY"))
    with pytest.raises(MachineError, match="time travel: expected a machine without a fault plan"):
        travel(faulty)
    traveller = travel(_machine())
    assert traveller.back(10).why == "beginning"
    with pytest.raises(MachineError, match="instruction: expected 0 or later"):
        traveller.goto(-1)


def test_catches_are_named() -> None:
    assert parse_catch("overflow:3") == Catch("overflow", 3)
    assert parse_catch("csr 0xc03") == parse_catch("csr:hpmcounter3") == Catch("csr", 3)
    assert str(parse_catch("sbi pmu")) == "sbi:PMU"
    with pytest.raises(UnknownNameError, match="unknown event to catch 'overflw'; did you mean overflow"):
        parse_catch("overflw")
    with pytest.raises(UsageError, match="CSR to catch"):
        parse_catch("csr 0x100")


def test_a_small_budget_is_kept_and_walks_are_right() -> None:
    chosen = random.Random(3)
    end = _machine("snapshot").run().instructions
    wanted = _hashes("snapshot", [chosen.randrange(1, end) for _ in range(12)])
    least = travel(_machine("snapshot")).ring.size
    for room in (1.5, 2, 4):
        traveller = travel(_machine("snapshot"), int(least * room) + (1 << 20))
        for _ in range(40):
            position = chosen.choice(list(wanted))
            traveller.goto(position)
            traveller.ring.take()
            assert traveller.machine.state_hash() == wanted[position]
            assert traveller.ring.size <= traveller.ring.budget or len(traveller.ring.positions) <= 2
