"""Every site does what it says, in a machine; and the same plan and seed give the same run."""

from __future__ import annotations

import pytest

from vpmu import KvmRunError, Machine
from vpmu.faults import SITES, FaultPlan, parse_rule
from vpmu.payloads import path
from vpmu.see.vcpu_api import GuestTrap
from vpmu.spec.csr import Csr
from vpmu.spec.sbi import ConfigFlag, Eid, PmuFid, SbiError, SbiRet, StartFlag, StopFlag
from vpmu.trace.recorder import Recorder

from ..hart.assemble import NOP, WFI, code

RAM = 0x80000000
PAGE = RAM + 0x8000
REF_CYCLES = 10


def build(*rules: str, profile: str = "kvm-7.2", seed: int = 0) -> Machine:
    plan = FaultPlan(tuple(parse_rule(rule) for rule in rules), seed=seed)
    return Machine(profile, host_pmu="full", memory=1 << 20, faults=plan)


def started(machine: Machine, value: int = 0) -> SbiRet:
    vcpu = machine.vcpu(0)
    answer = vcpu.ecall(Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 3, 1, ConfigFlag.CLEAR_VALUE, REF_CYCLES, 0)
    assert answer == (0, 3)
    answer = vcpu.ecall(Eid.PMU, PmuFid.COUNTER_START, 3, 1, StartFlag.SET_INIT_VALUE, value)
    assert isinstance(answer, SbiRet)
    return answer


def count(machine: Machine) -> int:
    return machine.vcpu(0).csr_read(Csr.CYCLE + 3)


def test_every_site_is_tested_here() -> None:
    names = " ".join(name for name in globals() if name.startswith("test_"))
    assert [site for site in SITES if site.replace(".", "_") not in names] == []


@pytest.mark.parametrize("profile", ["spec-3.0", "kvm-7.2"])
def test_perf_create(profile: str) -> None:
    machine = build("perf.create:event=ref-cycles,errno=EBUSY,times=1", profile=profile)
    call = (Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 3, 1, 0, REF_CYCLES, 0)
    assert machine.vcpu(0).ecall(*call) == (SbiError.NOT_SUPPORTED, 0)
    assert machine.vcpu(0).ecall(*call) == (0, 3)


def test_perf_enable() -> None:
    machine = build("perf.enable:state=error")
    assert started(machine) == (0, 0)
    machine.vcpu(0).work(100)
    assert count(machine) == 0
    strict = build("perf.enable:state=error", profile="spec-3.0")
    assert started(strict) == (SbiError.FAILED, 0)


def test_perf_period() -> None:
    machine = build("perf.period:errno=EINVAL")
    started(machine, -100 & (1 << 64) - 1)
    machine.vcpu(0).work(1000)
    assert machine.vcpu(0).overflows == 0


def test_perf_read() -> None:
    machine = build("perf.read:add=7,after=50")
    started(machine)
    machine.vcpu(0).work(100)
    assert count(machine) == 107


@pytest.mark.parametrize("held", [0, 40])
def test_perf_starve(held: int) -> None:
    rule = "perf.starve:counters=16,after=60" + f",for={held}" * bool(held)
    machine = build(rule)
    started(machine)
    machine.vcpu(0).work(200)
    assert count(machine) == 60  # a pinned event that lost its counter stays in ERROR
    vcpu = machine.vcpu(0)
    vcpu.ecall(Eid.PMU, PmuFid.COUNTER_STOP, 3, 1, 0)
    vcpu.ecall(Eid.PMU, PmuFid.COUNTER_START, 3, 1, 0, 0)
    vcpu.work(10)
    assert count(machine) == (70 if held else 60)


def test_hart_counter() -> None:
    machine = build("hart.counter:add=1000,after=60,times=18")
    started(machine)
    machine.vcpu(0).work(100)
    assert count(machine) == 1100


@pytest.mark.parametrize(("effect", "pending"), [("drop", False), ("delay=50", True), ("duplicate", True)])
def test_hart_overflow(effect: str, pending: bool) -> None:
    machine = build(f"hart.overflow:{effect}")
    started(machine, -100 & (1 << 64) - 1)
    machine.vcpu(0).work(110)
    assert bool(machine.vcpu(0).overflows) is (effect == "duplicate")
    machine.vcpu(0).work(50)
    assert bool(machine.vcpu(0).overflows) is pending


@pytest.mark.parametrize("access", ["read", "write"])
def test_kvm_snapshot(access: str) -> None:
    machine = build(f"kvm.snapshot:access={access},after=50,fault")
    vcpu = machine.vcpu(0)
    assert vcpu.ecall(Eid.PMU, PmuFid.SNAPSHOT_SET_SHMEM, PAGE, 0, 0) == (0, 0)
    started(machine)
    vcpu.work(100)
    stop = vcpu.ecall(Eid.PMU, PmuFid.COUNTER_STOP, 3, 1, StopFlag.TAKE_SNAPSHOT)
    start = vcpu.ecall(Eid.PMU, PmuFid.COUNTER_START, 3, 1, StartFlag.INIT_SNAPSHOT, 0)
    assert (stop[0], start[0]) == ((0, -1) if access == "read" else (-1, 0))  # type: ignore[index]


def test_kvm_allocate() -> None:
    machine = build("kvm.allocate:fail,times=1")
    vcpu = machine.vcpu(0)
    assert vcpu.ecall(Eid.PMU, PmuFid.SNAPSHOT_SET_SHMEM, PAGE, 0, 0) == (SbiError.FAILED, 0)
    assert vcpu.ecall(Eid.PMU, PmuFid.SNAPSHOT_SET_SHMEM, PAGE, 0, 0) == (0, 0)


@pytest.mark.parametrize(("effect", "seen"), [("drop", 0), ("delay=500", 0), ("duplicate", 1)])
def test_kvm_interrupt(effect: str, seen: int) -> None:
    machine = build(f"kvm.interrupt:irq=13,{effect},times=1")
    started(machine, -100 & (1 << 64) - 1)
    vcpu = machine.vcpu(0)
    vcpu.work(100)
    assert vcpu.interrupts.flush() >> 13 == seen
    vcpu.work(1000)
    vcpu.interrupts.sync(vcpu.interrupts.flush() & ~(1 << 13))
    assert vcpu.interrupts.flush() >> 13 == (1 if effect == "duplicate" else 0)


def test_kvm_reset() -> None:
    machine = build("kvm.reset:skip")
    started(machine)
    machine.vcpu(0).reset()
    machine.vcpu(0).work(10)
    assert count(machine) == 10


def test_kvm_csr() -> None:
    machine = build("kvm.csr:counter=3,call=1,xor=0x100", "kvm.csr:counter=3,illegal")
    started(machine)
    assert count(machine) == 0x100
    with pytest.raises(GuestTrap):
        count(machine)


@pytest.mark.parametrize("effect", ["errno=EINTR", "reset", "migrate"])
def test_kvm_run(effect: str) -> None:
    machine = build(f"kvm.run:{effect},after=50")
    started(machine)
    if effect == "errno=EINTR":
        with pytest.raises(KvmRunError):
            machine.vcpu(0).work(100)
        return
    machine.vcpu(0).work(100)
    with pytest.raises(GuestTrap):
        count(machine)
    assert machine.vcpu(0).pmu.live_events() == 0


@pytest.mark.parametrize(
    ("effect", "answer"), [("error=DENIED", -4), ("drop", 0), ("delay=1ms", 0), ("duplicate", -7)]
)
def test_sbi_call(effect: str, answer: int) -> None:
    machine = build(f"sbi.call:function=counter_start,{effect}")
    assert started(machine)[0] == answer
    assert machine.time == (1_000_000 if effect == "delay=1ms" else 0)
    machine.vcpu(0).work(10)
    assert count(machine) == (0 if effect in ("drop", "error=DENIED") else 10)


@pytest.mark.parametrize("effect", ["remove", "readonly", "xor=0xff"])
def test_guest_memory(effect: str) -> None:
    from vpmu.hart.memory import MemoryFault

    machine = build(f"guest.memory:address=0x80008000,after=10,{effect}")
    vcpu = machine.vcpu(0)
    vcpu.write(PAGE, b"\1" * 8)
    vcpu.work(20)
    if effect == "remove":
        with pytest.raises(MemoryFault):
            vcpu.read(PAGE, 1)
    else:
        assert vcpu.read(PAGE, 2) == (b"\xfe\1" if effect == "xor=0xff" else b"\1\1")
    if effect == "readonly":
        with pytest.raises(MemoryFault):
            vcpu.write(PAGE, b"2")
    assert vcpu.read(PAGE - 1, 1) == b"\0"
    vcpu.write(PAGE + 4096, b"after")
    machine.inject(None)
    vcpu.write(PAGE, b"back")
    assert vcpu.read(PAGE, 4) == b"back"


def test_same_plan_same_seed_same_run() -> None:
    traces = []
    for seed in (1, 1, 2):
        recorder = Recorder()
        plan = FaultPlan(
            (parse_rule("sbi.call:function=counter_stop,error=FAILED,probability=50"),), seed=seed
        )
        machine = Machine(host_pmu="full", faults=plan, recorder=recorder)
        machine.load(str(path("failing-event")))
        machine.run(max_instructions=5_000_000)
        traces.append(recorder.records)
    assert traces[0] == traces[1]
    assert traces[0] != traces[2]


def test_without_a_plan_nothing_stands_in_the_way() -> None:
    machine = Machine(memory=1 << 20)
    vcpu = machine.vcpu(0)
    assert (vcpu.faults, vcpu.at_entry, vcpu.watch, machine.injection) == (None, None, None, None)
    assert type(vcpu.perf).__name__ == "HostPmuPerf"
    machine.inject(FaultPlan((parse_rule("perf.create:errno=EIO"),)))
    assert type(vcpu.perf).__name__ == "FaultyPerf"
    machine.inject(None)
    assert type(vcpu.perf).__name__ == "HostPmuPerf"
    assert vcpu.ecall(Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 0, 1, 0, 1, 0) == (0, 0)


@pytest.mark.parametrize("profile", ["kvm-7.2", "opensbi-1.6"])
def test_an_interrupt_that_is_late_comes_by_itself_to_a_guest_that_runs_and_to_one_that_waits(
    profile: str,
) -> None:
    for wait in (NOP, WFI):
        machine = build("kvm.interrupt:irq=1,delay=5us", profile=profile)
        vcpu = machine.vcpu(0)
        machine.memory.write(RAM, code([wait, *[NOP] * 20_000]))
        vcpu.pc = RAM
        vcpu.hart.set("stvec", RAM + 4 * 6_000)
        vcpu.hart.set("sstatus", 2)
        vcpu.hart.set("sie", 2)
        vcpu.set_interrupt(1)
        machine.run(max_instructions=8_000)
        assert vcpu.hart.get("scause") == 1 << 63 | 1
        assert vcpu.hart.get("sepc") == RAM + (4 if wait == WFI else 4 * 5_000)
        assert machine.time == (13_000 if wait == WFI else 8_000)
