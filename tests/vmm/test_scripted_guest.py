"""The scripted guest: SBI calls, CSRs, memory and work from Python, on the path that machine code takes."""

from __future__ import annotations

import errno

import pytest

from vpmu import KvmRunError, Machine
from vpmu.hart.memory import MemoryFault
from vpmu.see.vcpu_api import GuestTrap
from vpmu.spec.csr import Csr
from vpmu.spec.sbi import BaseFid, ConfigFlag, Eid, PmuFid, SbiError, SbiRet, StartFlag, StopFlag

CYCLES, INSTRUCTIONS, CACHE_MISSES, SET_TIMER = 0x1, 0x2, 0x4, 0xF0005
ALL = (1 << 41) - 1 & ~2
RAM = 0x80000000


def bind(machine: Machine, event: int, flags: int = ConfigFlag.CLEAR_VALUE) -> int:
    ret = machine.vcpu(0).ecall(Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 0, ALL, flags, event, 0)
    assert isinstance(ret, SbiRet)
    assert ret.error == SbiError.SUCCESS
    assert ret.value is not None
    return ret.value


@pytest.mark.parametrize("profile", ["spec-3.0", "kvm-6.12", "kvm-7.2"])
def test_a_count_is_what_was_worked(profile: str) -> None:
    machine = Machine(profile=profile, memory=1 << 20)
    vcpu = machine.vcpu(0)
    counter = bind(machine, INSTRUCTIONS)
    assert vcpu.ecall(Eid.PMU, PmuFid.COUNTER_START, counter, 1, StartFlag.SET_INIT_VALUE, 1000) == (0, 0)
    vcpu.work(12_345)
    assert vcpu.csr_read(Csr.CYCLE + counter) == 13_345
    assert vcpu.ecall(Eid.PMU, PmuFid.COUNTER_STOP, counter, 1, StopFlag.RESET) == (0, 0)
    vcpu.work(10)
    assert machine.instructions == 12_355
    assert machine.time == 12_355


def test_probe_and_unknown_calls() -> None:
    vcpu = Machine(memory=1 << 20).vcpu(0)
    assert vcpu.ecall(Eid.BASE, BaseFid.PROBE_EXTENSION, Eid.PMU) == (0, 1)
    assert vcpu.ecall(Eid.PMU, PmuFid.NUM_COUNTERS) == (0, 41)
    assert vcpu.ecall(Eid.PMU, 9) == (SbiError.NOT_SUPPORTED, 0)
    assert vcpu.ecall(0x12345678, 0) == (SbiError.NOT_SUPPORTED, 0)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOMEM, errno.EBUSY])
def test_the_seed_by_script(number: int) -> None:
    call = (Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 0, ALL, 0, CACHE_MISSES, 0)
    options = {"host_pmu": "full", "memory": 1 << 20, "refuse": {"cache-misses": number}}
    before = Machine(profile="kvm-6.9", **options).vcpu(0)  # type: ignore[arg-type]
    with pytest.raises(KvmRunError) as caught:
        before.ecall(*call)
    assert caught.value.errno == number
    after = Machine(profile="kvm-7.2", **options).vcpu(0)  # type: ignore[arg-type]
    assert after.ecall(*call) == (SbiError.NOT_SUPPORTED, 0)


def test_an_overflow_comes_at_its_instruction() -> None:
    machine = Machine(host_pmu="full", memory=1 << 20)
    vcpu = machine.vcpu(0)
    counter = bind(machine, INSTRUCTIONS)
    vcpu.ecall(Eid.PMU, PmuFid.COUNTER_START, counter, 1, StartFlag.SET_INIT_VALUE, -1000)
    vcpu.work(999)
    assert vcpu.overflows == 0
    vcpu.work(1)
    assert vcpu.overflows == 1
    assert vcpu.csr_read(Csr.SIP) >> 13 & 1


def test_a_firmware_counter_counts_calls() -> None:
    machine = Machine(memory=1 << 20)
    vcpu = machine.vcpu(0)
    counter = bind(machine, SET_TIMER, 0)
    vcpu.ecall(Eid.PMU, PmuFid.COUNTER_START, counter, 1, StartFlag.SET_INIT_VALUE, 0)
    for _ in range(3):
        vcpu.ecall(Eid.TIME, 0, (1 << 64) - 1)
    assert vcpu.ecall(Eid.PMU, PmuFid.COUNTER_FW_READ, counter) == (0, 3)


def test_memory_and_the_snapshot_page() -> None:
    machine = Machine(memory=1 << 20)
    vcpu, page = machine.vcpu(0), RAM + 0x4000
    vcpu.write(page, b"\xff" * 4096)
    assert vcpu.read(page, 2) == b"\xff\xff"
    assert vcpu.ecall(Eid.PMU, PmuFid.SNAPSHOT_SET_SHMEM, page, 0, 0) == (0, 0)
    counter = bind(machine, CYCLES)
    vcpu.ecall(Eid.PMU, PmuFid.COUNTER_START, counter, 1, StartFlag.SET_INIT_VALUE, 0)
    vcpu.work(5000)
    assert vcpu.ecall(Eid.PMU, PmuFid.COUNTER_STOP, counter, 1, StopFlag.TAKE_SNAPSHOT) == (0, 0)
    assert int.from_bytes(vcpu.read(page + 8, 8), "little") == 5000
    with pytest.raises(MemoryFault):
        vcpu.read(RAM - 1, 2)


def test_what_traps_in_a_guest_traps_in_a_script() -> None:
    vcpu = Machine(memory=1 << 20).vcpu(0)
    with pytest.raises(GuestTrap) as caught:
        vcpu.csr_read(Csr.CYCLE + 9)  # no event is bound to it
    assert caught.value.cause == 2


def test_harts_are_counted_apart() -> None:
    machine = Machine(memory=1 << 20, harts=2)
    first, second = machine.vcpu(0), machine.vcpu(1)
    first.work(100)
    second.work(30)
    assert (first.hart.instructions, second.hart.instructions, machine.instructions) == (100, 30, 130)
