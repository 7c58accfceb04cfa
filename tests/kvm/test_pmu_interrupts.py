"""Requests of interrupts, and what the guest does to them."""

from __future__ import annotations

import struct

import pytest

from vpmu.kvm.interrupts import VcpuInterrupts
from vpmu.profiles.profiles import get_profile
from vpmu.spec.csr import Irq
from vpmu.vmm.machine import Machine

LCOFI = 1 << Irq.LCOFI
SOFT = 1 << Irq.SOFTWARE
TIMER = 1 << Irq.TIMER


def test_a_request_is_seen_at_the_next_entry() -> None:
    irq = VcpuInterrupts()
    irq.set(Irq.LCOFI)
    irq.set(Irq.TIMER)
    assert irq.hvip == 0
    assert irq.flush() == LCOFI | TIMER
    irq.unset(Irq.TIMER)
    assert irq.flush() == LCOFI
    irq.reset()
    assert irq.flush() == 0


def test_only_known_numbers() -> None:
    irq = VcpuInterrupts()
    for number in (0, 2, 12, 14, 64):
        with pytest.raises(ValueError, match="expected one of 1, 5, 9, 13"):
            irq.set(number)


def test_guest_clears_lcofi() -> None:
    irq = VcpuInterrupts()
    irq.set(Irq.LCOFI)
    irq.flush()
    irq.sync(0)
    assert irq.flush() == 0
    irq.set(Irq.LCOFI)
    assert irq.flush() == LCOFI


def test_a_request_during_the_clearing_is_not_lost() -> None:
    """F53: the new request is marked before the exit is looked at."""
    irq = VcpuInterrupts()
    irq.set(Irq.LCOFI)
    irq.flush()
    irq.set(Irq.LCOFI)
    irq.sync(0)
    assert irq.flush() == LCOFI


def test_guest_sets_bits_itself() -> None:
    irq = VcpuInterrupts()
    irq.flush()
    irq.sync(LCOFI | SOFT)
    assert irq.pending == SOFT  # of LCOFI only the clearing is taken over
    assert irq.flush() == LCOFI | SOFT  # but the guest goes on seeing what it set
    irq.sync(0)
    assert irq.flush() == 0


def test_guest_cannot_change_timer_and_external() -> None:
    irq = VcpuInterrupts()
    irq.set(Irq.TIMER)
    irq.flush()
    irq.sync(0)
    assert irq.flush() == TIMER


@pytest.mark.parametrize(
    ("name", "survives"), [("kvm-6.12", SOFT), ("kvm-7.2", SOFT | LCOFI), ("spec-3.0", SOFT | LCOFI)]
)
def test_lcofi_over_one_reg(name: str, survives: int) -> None:
    """O13: before 52c6b7d20d3e a pending LCOFI is not among what KVM_GET_ONE_REG shows."""
    profile = get_profile(name)
    irq, other = VcpuInterrupts(), VcpuInterrupts()
    irq.set(Irq.LCOFI)
    irq.set(Irq.SOFTWARE)
    saved = irq.one_reg_sip(profile)
    assert saved == survives
    other.set_one_reg_sip(saved, profile)
    assert other.flush() == survives


@pytest.mark.parametrize(("name", "shown", "guest"), [("kvm-6.12", 0x6000, 0), ("kvm-7.2", 0x2000, LCOFI)])
def test_lcofi_set_by_one_reg(name: str, shown: int, guest: int) -> None:
    """Recorded with KVM's ioctls: 7.2.13 shows 0x2000, 6.12.117 shows 0x6000 and the guest nothing."""
    profile = get_profile(name)
    irq = VcpuInterrupts()
    irq.set_one_reg_sip(0x2000, profile)
    assert irq.one_reg_sip(profile) == shown
    assert irq.flush() == guest
    irq.set_one_reg_sip(SOFT, profile)
    assert irq.one_reg_sip(profile) == SOFT


def test_lcofi_by_one_reg_is_gone_after_a_run() -> None:
    """The bit where KVM put it does not exist on the hart, from which KVM reads hvip back after a run."""
    vcpu = Machine("kvm-6.12", host_pmu="full", memory=1 << 20).vcpu(0)
    vcpu.interrupts.set_one_reg_sip(0x2000, vcpu.profile)
    vcpu.run(max_instructions=0)
    assert vcpu.interrupts.one_reg_sip(vcpu.profile) == 0


@pytest.mark.parametrize(
    ("name", "goes_on"), [("kvm-6.10", False), ("kvm-6.12", False), ("kvm-7.2", True), ("spec-3.0", True)]
)
def test_wfi_with_lcofi_pending(name: str, goes_on: bool) -> None:
    """Privileged ISA, "Wait for Interrupt": enabled in sie is enough. KVM looked at the wrong bit
    (52c6b7d20d3e).
    """
    machine = Machine(name, host_pmu="full", memory=1 << 20)
    vcpu = machine.vcpu(0)
    vcpu.write(0x80000000, struct.pack("<2I", 0x10500073, 0x0000006F))  # wfi; j .
    vcpu.pc = 0x80000000
    vcpu.hart.set("sie", LCOFI)
    vcpu.set_interrupt(Irq.LCOFI)
    assert machine.run(max_instructions=10).stop == ("budget" if goes_on else "idle")
    vcpu.set_interrupt(Irq.TIMER)
    vcpu.hart.set("sie", LCOFI | TIMER)
    assert machine.run(max_instructions=10).stop == "budget", "any other interrupt wakes it"
