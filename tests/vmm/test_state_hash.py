"""The hash of a state: the same where the state is, another where a bit differs."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import pytest

from vpmu import Machine
from vpmu.hart import hart, hot_tier
from vpmu.hart import state as layout
from vpmu.hart.events import HartEvent
from vpmu.payloads import path
from vpmu.spec.sbi import ConfigFlag, Eid, PmuFid
from vpmu.vmm.snapshot import Snapshot
from vpmu.vmm.state_hash import ENGINE_WORDS, state_parts

PAYLOADS = ("counting", "overflow", "snapshot", "firmware-counter", "failing-event")
RAM = 0x80000000


def loaded(payload: str, profile: str = "kvm-7.2", **more: object) -> Machine:
    machine = Machine(profile, host_pmu="full", memory=16 << 20, **more)  # type: ignore[arg-type]
    machine.load(str(path(payload)))
    return machine


@pytest.mark.parametrize("profile", ["spec-3.0", "kvm-6.12", "kvm-7.2", "opensbi-1.6"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_both_engines_have_the_same(payload: str, profile: str) -> None:
    native, reference = (loaded(payload, profile, engine=engine) for engine in ("native", "reference"))
    seen = set()
    for steps in (1, 7, 100, 200, 700, 1000, 2000):
        assert native.run(steps).stop == reference.run(steps).stop
        assert state_parts(native) == state_parts(reference), native.instructions
        seen.add(native.state_hash())
    assert len(seen) > 1


@pytest.mark.parametrize("payload", PAYLOADS)
def test_it_comes_back_with_a_snapshot(payload: str, tmp_path: Path) -> None:
    machine = loaded(payload)
    machine.run(700)
    before = machine.state_hash()
    snapshot = machine.snapshot()
    assert machine.state_hash() == before
    machine.run(500)
    later = machine.state_hash()
    assert later != before
    snapshot.save(tmp_path / "file")
    for other in (snapshot.machine(), Snapshot.load(tmp_path / "file").machine()):
        assert other.state_hash() == before
        other.run(500)
        assert other.state_hash() == later
    machine.restore(snapshot)
    assert machine.state_hash() == before
    assert Snapshot.load(tmp_path / "file").become().state_hash() == before


def test_the_hash_of_pages_since_a_snapshot_is_that_of_all_pages() -> None:
    whole, parts = loaded("counting"), loaded("counting")
    rng = random.Random(3)
    for _ in range(40):
        page, data = RAM + 0x400000 + 4096 * rng.randrange(6), rng.choice((bytes(4096), b"\1", b"\2"))
        for machine in (whole, parts):
            machine.memory.write(page, data)
        if rng.random() < 0.3:
            kept = parts.snapshot()
            parts.memory.write(RAM + 0x500000, b"gone again")
            parts.state_hash()
            parts.restore(kept)
        whole.hashed = None  # all pages are hashed anew
        if rng.random() < 0.7:
            assert whole.state_hash() == parts.state_hash()


def test_a_store_of_the_guest_behind_a_hash_is_in_the_next_one() -> None:
    machine, anew = loaded("counting"), loaded("counting")
    for _ in range(60):
        for one in (machine, anew):
            one.run(37)
        anew.hashed = None
        assert machine.state_hash() == anew.state_hash()


def test_the_hot_tier_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> Machine:
        machine = Machine(memory=1 << 20)
        machine.memory.write(RAM, struct.pack("<3I", 0x00128293, 0x00533023, 0xFF9FF06F))
        # addi x5, x5, 1; sd x5, 0(x6); j -8
        machine.vcpu(0).hart.pc = RAM
        machine.vcpu(0).hart.set_x(6, RAM + 0x8000)
        return machine

    monkeypatch.setattr(hart, "HOT_AFTER", 0)
    monkeypatch.setattr(hart, "CHUNK", 50_000)
    for name in ("LOAD_AFTER", "LOOK_AFTER", "SAMPLES", "COLD_SAMPLES"):
        monkeypatch.setattr(hot_tier, name, 1)
    hot, deadline = made(), time.monotonic() + 20
    while not (hot.memory.hot_tier and hot.memory.hot_tier.installed) and time.monotonic() < deadline:
        hot.run(400_000)
    assert hot.memory.hot_tier is not None
    if not hot.memory.hot_tier.installed:
        pytest.skip("the host compiled no region in time")
    hot.run(1_000_000)
    monkeypatch.setattr(hot_tier, "SAMPLES", 1 << 40)  # nothing is compiled
    monkeypatch.setattr(hart, "CHUNK", 1 << 40)
    cold = made()
    cold.run(hot.instructions)
    assert cold.memory.hot_tier is None
    assert hot.state_hash() == cold.state_hash()


def test_every_bit_of_a_register_is_in_it() -> None:
    machine = loaded("counting")
    machine.run(500)
    words, before = machine.vcpu(0).hart.words, machine.state_hash()
    named = [at for name, at in layout.STATE.items() if name not in ENGINE_WORDS]
    for at in (*range(1, 32), *range(layout.F, layout.F + 32), *named):
        for bit in (0, 17, 63):
            words[at] ^= 1 << bit
            assert machine.state_hash() != before, at
            words[at] ^= 1 << bit
    assert machine.state_hash() == before


def test_a_bit_of_memory_of_a_device_and_of_the_pmu_is_in_it() -> None:
    machine = loaded("counting")
    before = machine.state_hash()
    machine.memory.write(RAM + 0x800123, b"\x10")
    assert machine.state_hash() != before
    machine.memory.write(RAM + 0x800123, b"\0")
    assert machine.state_hash() == before
    parts = state_parts(machine)
    machine.console_input(b"x")
    assert changed(parts, machine) == ["devices"]
    parts = state_parts(machine)
    machine.vcpu(0).ecall(Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 3, 1, ConfigFlag.AUTO_START, 1, 0)
    assert "hart 0 PMU" in changed(parts, machine)
    parts = state_parts(machine)
    machine.vcpu(0).work(instructions=10)
    assert {"hart 0 PMU", "hart 0 counts"} <= set(changed(parts, machine))


def changed(before: dict[str, str], machine: Machine) -> list[str]:
    return [part for part, digest in state_parts(machine).items() if digest != before[part]]


def test_looking_at_the_hart_past_its_pmu_changes_nothing() -> None:
    watched, alone = loaded("counting"), loaded("counting")
    watched.vcpu(0).hart.want_too([HartEvent.LOADS, HartEvent.DTLB_READ_MISS])
    for machine in (watched, alone):
        machine.run(2000)
    assert watched.state_hash() == alone.state_hash()


@pytest.mark.parametrize("harts", [1, 2])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_run_in_pieces_has_the_hash_of_a_straight_one(payload: str, harts: int) -> None:
    rng = random.Random(payload)
    straight, pieces = loaded(payload, harts=harts), loaded(payload, harts=harts)
    whole = loaded(payload).run().instructions
    for _ in range(12):
        target = rng.randrange(straight.instructions, whole)
        straight.run(target - straight.instructions)
        while pieces.instructions < target:
            pieces.run(
                min(target - pieces.instructions, rng.choice((1, 2, 30, 400)))
                if target < 5000
                else min(target - pieces.instructions, rng.choice((1, 1000, 100_000, 300_000)))
            )
        assert state_parts(pieces) == state_parts(straight), target
