"""A run that limits of instructions cut into pieces is the run that nothing cuts."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from vpmu.hart.state import CONTEXT_SIZE, CONTEXTS, MODEL_DTLB_READ, REGISTER_WORDS, SINK, STATE
from vpmu.vmm.machine import Machine
from vpmu.vmm.snapshot import _providers
from vpmu.vmm.snapshot_state import device_state, vcpu_state

MODELS = slice(CONTEXTS + MODEL_DTLB_READ, CONTEXTS + CONTEXT_SIZE)
"""The modelled TLB and cache of the first translation context, and its counts."""
GUEST = [
    "pc",
    "sstatus",
    "stvec",
    "sscratch",
    "sepc",
    "scause",
    "stval",
    "satp",
    "sie",
    "sip",
    "time_ns",
    "count_vu",
    "count_vs",
    "stimecmp",
    "reservation",
]


def state_of(machine: Machine) -> list[object]:
    """All that a guest could see, and what the layers below hold."""
    told: list[object] = [device_state(machine), machine.instructions]
    for vcpu, perf in zip(machine.vcpus, _providers(machine), strict=True):
        state, _ = vcpu_state(vcpu, perf)
        state["hart"] = {name: vcpu.hart.get(name) for name in GUEST} | {
            "registers": [*vcpu.hart.words[:SINK], *vcpu.hart.words[SINK + 1 : REGISTER_WORDS]],
            "models": bytes(vcpu.hart.words.cast("B")[MODELS]),
        }
        told.append(state)
    told.append([bytes(region.backing.view) for region in machine.memory.regions.values()])
    return told


def pieces(machine: Machine, until: int, chosen: random.Random) -> None:
    while machine.instructions < until:
        left = until - machine.instructions
        machine.run(min(left, chosen.choice((1, 1, 2, 3, chosen.randrange(1, 500), max(until // 9, 1)))))


@pytest.mark.parametrize("payload", ["counting", "overflow", "snapshot", "failing-event", "firmware-counter"])
def test_payloads(payload: str) -> None:
    whole = Machine()
    whole.load(payload)
    whole.run()
    _compare(lambda: _loaded(payload), whole.instructions - 1, 3)


@pytest.mark.parametrize("profile", ["kvm-7.2", "opensbi-1.6"])
def test_harts_that_take_turns(profile: str) -> None:
    """Two harts that run for ever, in quanta: where a piece ends, the turn does not."""
    loop = bytes.fromhex("93021000b38252006ff0dfff")  # li t0, 1; add t0, t0, t0; j -4

    def build() -> Machine:
        machine = Machine(profile, harts=2)
        machine.load(loop)
        machine.vcpu(1).start(machine.vcpu(0).pc, 0)
        return machine

    _compare(build, 123_457, 2)


def _loaded(payload: str) -> Machine:
    machine = Machine()
    machine.load(payload)
    return machine


def _compare(build: Callable[[], Machine], until: int, seeds: int) -> None:
    straight = build()
    assert straight.run(until).stop == "budget"
    assert straight.instructions == until
    for seed in range(seeds):
        cut = build()
        pieces(cut, until, random.Random(seed))
        assert cut.instructions == until
        assert state_of(cut) == state_of(straight)


def test_what_is_compared_can_differ() -> None:
    one, other = _loaded("counting"), _loaded("counting")
    one.run(1000)
    other.run(1001)
    assert state_of(one) != state_of(other)
    assert STATE["time_ns"] < CONTEXTS // 8
