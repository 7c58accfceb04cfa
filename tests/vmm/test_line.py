"""The line between a guest's software and whoever runs the machine."""

from __future__ import annotations

import pytest

from vpmu.conform.calls import Call, pmu
from vpmu.conform.model_link import model_target
from vpmu.profiles.profiles import get_profile
from vpmu.spec.sbi import PmuFid
from vpmu.vmm.line import ANSWER, BASE, DOORBELL, MAX_REQUEST, REQUEST
from vpmu.vmm.machine import Machine


def test_both_directions_and_the_doorbell() -> None:
    machine = Machine(memory=1 << 20, line=True)
    line = machine.board.line
    assert line is not None
    line.ask(b"question")
    assert machine.memory.read(BASE, 8) == (8).to_bytes(8, "little")
    assert machine.memory.read(BASE + REQUEST, 8) == b"question"
    machine.memory.write(BASE + 8, (6).to_bytes(8, "little"))
    machine.memory.write(BASE + ANSWER, b"answer!")
    assert line.answer() == b"answer"
    event = machine.bus.write(DOORBELL, 0x1234, 8)
    assert event is not None
    assert event.kind == "line"
    assert line.doorbell.value == 0x1234
    with pytest.raises(ValueError, match="at most"):
        line.ask(bytes(MAX_REQUEST + 1))


def test_a_snapshot_keeps_it() -> None:
    machine = Machine(memory=1 << 20, line=True)
    assert machine.board.line is not None
    machine.board.line.ask(b"one")
    fork = machine.fork()
    assert fork.board.line is not None
    assert fork.memory.read(BASE + REQUEST, 3) == b"one"
    assert Machine(memory=1 << 20).board.line is None


def test_the_agent_over_memory_answers_as_the_model() -> None:
    target = model_target(get_profile("kvm-7.2"))
    target.reset()
    first = target.run([pmu(PmuFid.NUM_COUNTERS), Call("w", (5,))])
    target.reset()
    assert target.run([pmu(PmuFid.NUM_COUNTERS), Call("w", (5,))]) == first
    assert first[0].value > 30
    assert first[1].value == 5
