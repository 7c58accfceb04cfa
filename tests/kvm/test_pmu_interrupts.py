"""Requests of interrupts, and what the guest does to them."""

from __future__ import annotations

import pytest

from vpmu.kvm.interrupts import VcpuInterrupts
from vpmu.profiles.profiles import get_profile
from vpmu.spec.csr import Irq

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


def test_migration_loses_lcofi() -> None:
    """O13, until 52c6b7d20d3e (7.3 and 7.2.9)."""
    for name, survives in (("kvm-6.12", SOFT), ("kvm-7.2", SOFT | LCOFI), ("spec-3.0", SOFT | LCOFI)):
        irq, other = VcpuInterrupts(), VcpuInterrupts()
        irq.set(Irq.LCOFI)
        irq.set(Irq.SOFTWARE)
        saved = irq.one_reg_sip()
        assert saved == SOFT | LCOFI
        other.set_one_reg_sip(saved, get_profile(name))
        assert other.flush() == survives
