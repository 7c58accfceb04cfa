"""Sstc in a guest of a model: stimecmp, its interrupt at its instruction, and what set_timer is then."""

from __future__ import annotations

import random

import pytest

from vpmu import Machine
from vpmu.hart.exits import Stop
from vpmu.hart.state import TICK_NS, VU
from vpmu.spec.csr import SSTATUS_SIE, Csr, Irq
from vpmu.spec.sbi import Eid

from .assemble import NOP, WFI, code, csr, encode
from .guest import BASE, ENGINES, VECTOR, boot

pytestmark = [pytest.mark.usefixtures("built_engine"), pytest.mark.parametrize("engine", ENGINES)]

STIP = 1 << Irq.TIMER
INTERRUPT = 1 << 63 | Irq.TIMER
A0 = 10
READ, WRITE = csr("csrrs", 5, Csr.STIMECMP), csr("csrrw", 0, Csr.STIMECMP, A0)
LOOP = encode("jal", imm=0)


def test_without_sstc_there_is_no_such_csr(engine: str) -> None:
    for word in (READ, WRITE):
        hart = boot(engine, [word])
        assert hart.run(1) is Stop.ILLEGAL
        assert hart.get("stip") == 0


def test_a_user_program_may_not_touch_it(engine: str) -> None:
    """hcounteren and henvcfg are KVM's; VU takes a virtual-instruction exception, which KVM sends back."""
    hart = boot(engine, [READ], isa={"sstc"}, mode=VU)
    assert hart.run(1) is Stop.VIRTUAL


def test_what_is_written_is_read(engine: str) -> None:
    hart = boot(engine, [WRITE, READ], isa={"sstc"}, x={A0: 0x123456789ABCDEF0})
    assert hart.get("stimecmp") == (1 << 64) - 1  # a reset: never
    hart.run(2)
    assert hart.x(5) == 0x123456789ABCDEF0


@pytest.mark.parametrize("cycle", [0, 1, 2, 7, (1 << 64) // TICK_NS, (1 << 64) - 1])
def test_sip_shows_the_comparison(engine: str, cycle: int) -> None:
    """STIP is set while time >= stimecmp, and cannot be written."""
    hart = boot(
        engine, [WRITE, csr("csrrw", 6, Csr.SIP, 0), csr("csrrs", 7, Csr.SIP)], isa={"sstc"}, x={A0: cycle}
    )
    hart.time_ns = 2 * TICK_NS
    hart.run(3)
    expected = STIP if cycle <= 2 else 0
    assert (hart.x(6), hart.x(7)) == (expected, expected)


@pytest.mark.parametrize("seed", range(20))
def test_the_interrupt_comes_at_its_instruction(engine: str, seed: int) -> None:
    """Whatever budgets the run is cut into, the trap is taken when `time` reaches stimecmp, not before."""
    rng = random.Random(seed)
    cycle = rng.randrange(1, 40)
    hart = boot(engine, [WRITE, LOOP], isa={"sstc"}, x={A0: cycle}, sie=STIP, sstatus=SSTATUS_SIE)
    hart.memory.write(VECTOR, code([LOOP]))
    hart.time_ns = begin = rng.randrange(0, TICK_NS)
    at = cycle * TICK_NS
    while hart.time_ns < at:
        assert hart.get("traps_vs") == 0
        hart.run(rng.randrange(1, 300))
    hart.run(1)
    assert (hart.get("traps_vs"), hart.get("scause"), hart.get("sepc")) == (1, INTERRUPT, BASE + 4)
    # no instruction retired between the tick and the trap: the handler's own are all since
    hart = boot(engine, [WRITE, LOOP], isa={"sstc"}, x={A0: cycle}, sie=STIP, sstatus=SSTATUS_SIE)
    hart.memory.write(VECTOR, code([csr("csrrs", 6, Csr.TIME), NOP, LOOP]))
    hart.time_ns = begin
    for _ in range(60):
        hart.run(rng.choice((1, 37, 100, 999)))
    assert hart.x(6) == cycle


def test_a_new_comparison_takes_the_interrupt_back(engine: str) -> None:
    """As a handler does it: STIP is no latch."""
    hart = boot(
        engine, [csr("csrrs", 6, Csr.SIP), WRITE, csr("csrrs", 7, Csr.SIP)], isa={"sstc"}, x={A0: 1 << 40}
    )
    hart.set("stimecmp", 0)
    hart.run(3)
    assert (hart.x(6), hart.x(7)) == (STIP, 0)


def test_wfi_waits_for_it(engine: str) -> None:
    """A machine goes to sleep and jumps to the tick."""
    machine = Machine(memory=4 << 20, engine=engine)
    machine.load(code([WRITE, WFI, csr("csrrs", 6, Csr.TIME), LOOP]))
    vcpu = machine.vcpu(0)
    vcpu.regs[A0] = 1000
    vcpu.hart.set("sie", STIP)
    machine.run(max_instructions=10)
    assert vcpu.regs[6] == 1000
    assert vcpu.hart.get("traps_vs") == 0  # sstatus.SIE is 0: it only wakes


def test_a_wait_without_the_enable_is_for_ever(engine: str) -> None:
    machine = Machine(memory=4 << 20, engine=engine)
    machine.load(code([WRITE, WFI, LOOP]))
    machine.vcpu(0).regs[A0] = 1000
    assert machine.run(max_instructions=10).stop == "idle"
    assert machine.vcpu(0).csr_read(Csr.STIMECMP) == 1000


@pytest.mark.parametrize("profile", ["kvm-6.9", "kvm-7.2", "spec-3.0", "opensbi-1.6"])
def test_set_timer_is_the_same_timer(engine: str, profile: str) -> None:
    """kvm_riscv_vcpu_update_vstimecmp, and OpenSBI's timer with Sstc."""
    vcpu = Machine(profile=profile, memory=1 << 20, engine=engine).vcpu(0)
    assert vcpu.ecall(Eid.TIME, 0, 12345) == (0, 0)
    assert vcpu.csr_read(Csr.STIMECMP) == 12345
    assert vcpu.timer_ns is None  # sie does not enable it: nothing to wait for
    assert vcpu.csr_read(Csr.SIP) == 0
    vcpu.work(12345 * TICK_NS)
    assert vcpu.csr_read(Csr.SIP) == STIP
    vcpu.reset()
    assert vcpu.csr_read(Csr.STIMECMP) == (1 << 64) - 1
    assert vcpu.csr_read(Csr.SIP) == 0


def test_a_snapshot_keeps_it(engine: str) -> None:
    """Taken before the tick, the interrupt comes at the same instruction in the copy."""
    machine = Machine(memory=4 << 20, engine=engine)
    machine.load(code([WRITE, LOOP]))
    hart = machine.vcpu(0).hart
    hart.set("stvec", hart.pc + 4)
    hart.set("sie", STIP)
    hart.set("sstatus", SSTATUS_SIE)
    machine.vcpu(0).regs[A0] = 50
    machine.run(max_instructions=3000)
    copy = machine.fork()
    for one in (machine, copy):
        one.run(max_instructions=2000)
        assert one.vcpu(0).hart.get("traps_vs") == 0
        one.run(max_instructions=1)
        assert one.vcpu(0).hart.get("traps_vs") == 1
        assert one.time == 5001
