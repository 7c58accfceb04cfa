"""Snapshots: what goes on from one is what would have gone on, in this machine, another one, and from a
file.
"""

from __future__ import annotations

import random
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from vpmu import Machine
from vpmu.errors import FileError, MachineError, VpmuError
from vpmu.faults import FaultPlan, parse_rule
from vpmu.hart.memory import PAGE, HostMemory
from vpmu.payloads import path
from vpmu.spec.csr import Csr
from vpmu.spec.sbi import ConfigFlag, Eid, PmuFid, StartFlag, StopFlag
from vpmu.vmm.machine import RunResult
from vpmu.vmm.snapshot import Snapshot
from vpmu.vmm.snapshot_file import _HEAD, load

RAM = 0x80000000


def outcome(run: RunResult) -> tuple[object, ...]:
    return run.stop, run.console, run.instructions, run.virtual_ns, run.sbi_calls, run.exit_counts


def loaded(profile: str, payload: str) -> Machine:
    machine = Machine(profile, host_pmu="full", memory=16 << 20)
    machine.load(str(path(payload)))
    return machine


@pytest.mark.parametrize("profile", ["spec-3.0", "kvm-6.9", "kvm-6.12", "kvm-7.2", "opensbi-1.6"])
@pytest.mark.parametrize("payload", ["counting", "overflow", "snapshot", "firmware-counter", "failing-event"])
def test_a_run_goes_on_as_if_nothing_had_been(profile: str, payload: str, tmp_path: Path) -> None:
    whole = loaded(profile, payload).run(max_instructions=20_000_000)
    for share in (0.3, 0.9):
        machine = loaded(profile, payload)
        machine.run(max_instructions=max(1, int(whole.instructions * share)))
        snapshot = machine.snapshot()
        assert outcome(machine.run(max_instructions=20_000_000)) == outcome(whole)
        machine.restore(snapshot)
        assert outcome(machine.run(max_instructions=20_000_000)) == outcome(whole)
        assert outcome(snapshot.machine().run(max_instructions=20_000_000)) == outcome(whole)
        snapshot.save(tmp_path / "file")
        again = Snapshot.load(tmp_path / "file")
        assert outcome(again.machine().run(max_instructions=20_000_000)) == outcome(whole)
        machine.restore(again)
        assert outcome(machine.run(max_instructions=20_000_000)) == outcome(whole)


def scripted() -> Machine:
    machine = Machine(host_pmu="full", memory=1 << 20)
    vcpu = machine.vcpu(0)
    for index, event in ((3, 10), (4, 9)):  # ref-cycles, stalled-cycles-backend
        vcpu.ecall(Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, index, 1, ConfigFlag.CLEAR_VALUE, event, 0)
    vcpu.ecall(Eid.PMU, PmuFid.COUNTER_START, 3, 1, StartFlag.SET_INIT_VALUE, -1000 & (1 << 64) - 1)
    vcpu.ecall(Eid.PMU, PmuFid.SNAPSHOT_SET_SHMEM, RAM + 0x8000, 0, 0)
    vcpu.work(400)
    return machine


def test_the_pmu_is_complete() -> None:
    machine = scripted()
    snapshot = machine.snapshot()

    def rest(machine: Machine) -> list[object]:
        vcpu = machine.vcpu(0)
        vcpu.work(601)
        answers: list[object] = [vcpu.csr_read(Csr.CYCLE + 3), vcpu.overflows, vcpu.interrupts.flush()]
        answers.append(vcpu.ecall(Eid.PMU, PmuFid.COUNTER_STOP, 3, 1, StopFlag.TAKE_SNAPSHOT))
        answers.append(vcpu.read(RAM + 0x8000, 16))
        answers.append(vcpu.pmu.live_events())
        return answers

    first = rest(machine)
    assert first[:2] == [1, 1]
    fork = snapshot.machine()
    machine.restore(snapshot)
    assert rest(machine) == first
    assert rest(fork) == first
    assert rest(snapshot.machine()) == first


def test_forks_are_apart() -> None:
    machine = scripted()
    fork = machine.fork()
    fork.vcpu(0).write(RAM, b"fork")
    fork.vcpu(0).work(10)
    assert machine.vcpu(0).read(RAM, 4) == b"\0" * 4
    assert machine.time == 400
    assert fork.time == 410


def test_counters_from_outside_go_back_with_the_machine() -> None:
    machine = Machine(host_pmu="full", memory=1 << 20)
    counter = machine.open_counter("instructions")
    machine.vcpu(0).work(100)
    snapshot = machine.snapshot()
    machine.vcpu(0).work(1000)
    assert counter.read() == 1100
    machine.restore(snapshot)
    assert counter.read() == 100
    machine.vcpu(0).work(5)
    assert counter.read() == 105


def test_only_what_changed_is_copied_and_all_of_it() -> None:
    machine = Machine(memory=4 << 20)
    rng = random.Random(3)
    vcpu = machine.vcpu(0)
    snapshots = []
    for _ in range(4):
        for _ in range(20):
            vcpu.write(RAM + rng.randrange(4 << 20) // 8 * 8, rng.randbytes(8))
        snapshots.append((machine.snapshot(), vcpu.read(RAM, 4 << 20)))
    for _ in range(12):
        vcpu.write(RAM + rng.randrange(4 << 20) // 8 * 8, rng.randbytes(8))
        snapshot, content = rng.choice(snapshots)
        machine.restore(snapshot)
        assert vcpu.read(RAM, 4 << 20) == content
    assert all(snapshot.pages <= 80 for snapshot, _ in snapshots)


def test_code_that_changed_runs_as_it_was() -> None:
    machine = Machine(memory=1 << 20)
    vcpu = machine.vcpu(0)
    add, jump = 0x00150513, 0xFFDFF06F  # addi a0, a0, 1; j -4
    vcpu.write(RAM, add.to_bytes(4, "little") + jump.to_bytes(4, "little"))
    vcpu.pc = RAM
    machine.run(max_instructions=100)
    snapshot = machine.snapshot()
    vcpu.write(RAM, (0x00250513).to_bytes(4, "little"))  # addi a0, a0, 2
    machine.run(max_instructions=100)
    assert vcpu.regs[10] == 150
    machine.restore(snapshot)
    machine.run(max_instructions=100)
    assert vcpu.regs[10] == 100


def test_a_plan_begins_anew_with_a_restore() -> None:
    machine = Machine(host_pmu="full", memory=1 << 20)
    snapshot = machine.snapshot()
    machine.inject(
        FaultPlan((
            parse_rule("perf.create:errno=EBUSY,times=1"),
            parse_rule("guest.memory:address=0x80001000,after=10,remove"),
        ))
    )  # fmt: skip
    call = (Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 3, 1, 0, 10, 0)
    for _ in range(3):
        assert machine.vcpu(0).ecall(*call)[0] == -2  # type: ignore[index]
        assert machine.vcpu(0).ecall(*call)[0] == 0  # type: ignore[index]
        machine.vcpu(0).write(RAM + 0x1000, b"x")
        machine.vcpu(0).work(20)
        assert len(machine.memory.regions) == 2
        machine.restore(snapshot)
        assert len(machine.memory.regions) == 1
        assert machine.vcpu(0).read(RAM + 0x1000, 1) == b"\0"


def test_what_does_not_fit() -> None:
    snapshot = Machine(memory=1 << 20).snapshot()
    for other in (
        Machine(memory=2 << 20), Machine("kvm-6.12", memory=1 << 20), Machine(memory=1 << 20, harts=2),
        Machine(memory=1 << 20, host_pmu="full"), Machine(memory=1 << 20, plic=True),
    ):  # fmt: skip
        with pytest.raises(MachineError, match="another machine"):
            other.restore(snapshot)
    faulty = Machine(memory=1 << 20, faults=FaultPlan((parse_rule("perf.create:errno=EIO"),)))
    with pytest.raises(MachineError, match="without a fault plan"):
        faulty.snapshot()


def test_a_profile_with_switched_behaviours_survives_the_file(tmp_path: Path) -> None:
    machine = Machine(
        "kvm-6.12", with_=["csr-illegal-without-config"], without=["read-accumulates"], memory=1 << 20
    )
    machine.snapshot().save(tmp_path / "file")
    again = Snapshot.load(tmp_path / "file").machine()
    assert again.profile.behaviours == machine.profile.behaviours


def test_damaged_files(tmp_path: Path) -> None:
    machine = loaded("kvm-7.2", "overflow")
    machine.run(max_instructions=500_000)
    good = tmp_path / "good"
    machine.snapshot().save(good)
    data = good.read_bytes()
    bad = tmp_path / "bad"
    rng = random.Random(1)
    for round_ in range(400):
        damaged = bytearray(data)
        if round_ % 3 == 0:
            del damaged[rng.randrange(len(damaged)) :]
        elif round_ % 3 == 1:
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        else:
            at = rng.randrange(len(damaged))
            damaged[at : at + rng.randrange(64)] = rng.randbytes(rng.randrange(64))
        bad.write_bytes(damaged)
        if bytes(damaged) == data:
            continue
        with pytest.raises(FileError) as caught:
            Snapshot.load(bad)
        assert "\n" not in str(caught.value)
    for nothing in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileError):
            Snapshot.load(nothing)


def test_headers_that_lie(tmp_path: Path) -> None:
    """A header whose checksum holds, and whose content does not."""
    import json
    import struct
    import zlib

    machine = scripted()
    good = tmp_path / "good"
    machine.snapshot().save(good)
    data = good.read_bytes()
    _, version, length, _ = struct.unpack("<16sIII", data[:28])
    header = json.loads(data[28 : 28 + length])
    rng = random.Random(2)

    def spoil(value: object, depth: int = 0) -> object:
        if isinstance(value, list) and value and (depth < 4 or rng.random() < 0.6):
            at = rng.randrange(len(value))
            return [*value[:at], spoil(value[at], depth + 1), *value[at + 1 :]]
        if isinstance(value, dict) and value:
            key = rng.choice(list(value))
            return {**value, key: spoil(value[key], depth + 1)}
        return rng.choice([None, -1, 2**70, "x", [], {}, ["dict", [[1, 2]]], ["bytes", "AAAA", 3], ["list"]])

    bad = tmp_path / "bad"
    for _ in range(600):
        raw = json.dumps(spoil(header)).encode()
        head = struct.pack("<16sIII", data[:16], version, len(raw), zlib.crc32(raw))
        bad.write_bytes(head + raw + data[28 + length :])
        with suppress(VpmuError):
            Snapshot.load(bad).machine()


@pytest.mark.parametrize("profile", ["kvm-7.2", "spec-3.0"])
def test_a_machine_that_has_refused_something_takes_a_file_from_before(profile: str, tmp_path: Path) -> None:
    machine = Machine(profile)
    machine.snapshot().save(tmp_path / "file")
    assert machine.vcpu(0).ecall(Eid.PMU, PmuFid.COUNTER_START, 0, 1 << 63, 1 << 40).error
    assert machine.vcpu(0).pmu.last_refusal is not None
    machine.restore(Snapshot.load(tmp_path / "file"))
    assert machine.vcpu(0).pmu.last_refusal is None


@pytest.mark.parametrize("aligned", [True, False], ids=["mapped", "read, as its pages lie anywhere"])
def test_a_file_of_our_own_is_mapped_and_never_written(aligned: bool, tmp_path: Path) -> None:
    file, machine = tmp_path / "file", Machine(memory=8 << 20)
    for page in (0, 1, 2, 700, 2047):
        machine.memory.write(RAM + page * PAGE, f"page {page}".encode())
    machine.snapshot().save(file)
    if not aligned:
        data = file.read_bytes()
        magic, version, length, _ = _HEAD.unpack_from(data)
        header = data[_HEAD.size : _HEAD.size + length].rstrip()
        assert (_HEAD.size + len(header)) % PAGE
        head = _HEAD.pack(magic, version, len(header), zlib.crc32(header))
        file.write_bytes(head + header + data[_HEAD.size + length :])
    before = file.read_bytes()
    read, mapped = load(file), load(file, ours=True)
    assert ("file" in maps_of(mapped.images[0])) == (aligned and sys.platform == "linux")
    assert mapped.images[0].view == read.images[0].view
    other = mapped.become()
    other.memory.write(RAM + 700 * PAGE, b"other")
    other.memory.write(RAM + 900 * PAGE, b"new")
    assert other.memory.read(RAM + 2 * PAGE, 6) == b"page 2"
    assert file.read_bytes() == before
    assert other.snapshot().images[0].view[700 * PAGE : 700 * PAGE + 8] == b"other700"
    with file.open("r+b") as stream:
        stream.seek(-PAGE, 2)
        stream.write(b"damage")
    with pytest.raises(FileError, match="checksum of the pages"):
        load(file, ours=True)


def maps_of(image: HostMemory) -> str:
    """What the system says of the address of an image."""
    if sys.platform != "linux":
        return ""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return "".join(line for line in lines if int(line.partition("-")[0], 16) == image.address)


def test_a_state_out_of_a_file_has_the_hash_that_it_had(tmp_path: Path) -> None:
    machine = Machine("kvm-7.2", host_pmu="full", memory=1 << 20)
    vcpu = machine.vcpu(0)
    for event in (1, 2, 0x10000, 0x20000):  # cycles, instructions, a cache event, a raw one
        vcpu.ecall(Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 0, (1 << 32) - 1, ConfigFlag.AUTO_START, event, 0)
    assert len(machine.snapshot().events[0]) > 1
    machine.snapshot().save(tmp_path / "file")
    again = Snapshot.load(tmp_path / "file").machine()
    assert again.state_hash() == machine.state_hash() == machine.fork().state_hash()
