"""Interrupts: what is pending, and which one is taken (privileged ISA, 3.1.9 and 21.4.3; AIA, chapter 5)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def pending():
    """mip: what software latched, what devices hold, and the timers that have expired."""
    bits = s.sip | s.lines | (s.hvip & IP_VS)
    time = now()
    if time >= s.mtimecmp:
        bits = bits | IP_MTI
    if s.menvcfg & ENVCFG_STCE:
        bits = bits & ~IP_STI
        if time >= s.stimecmp:
            bits = bits | IP_STI
        if s.henvcfg & ENVCFG_STCE and time + s.htimedelta >= s.vstimecmp:
            bits = bits | IP_VSTI
    return bits


def guest_pending(bits):
    """vsip of the pending bits: VS interrupts one lower, and those that hvien gives the guest as they are."""
    view = ((bits & s.hideleg & IP_VS) >> 1) | (s.hvip & s.hvien & ~s.hideleg & IP_LCOFI)
    return view | (bits & s.hideleg & s.mideleg & IP_LCOFI)


def guest_enabled():
    """vsie: the storage of hie, one lower; bit 13 has one of its own while hvien gives it."""
    view = ((s.mie & s.hideleg & IP_VS) >> 1) | (s.vsie_own & s.hvien & ~s.hideleg & IP_LCOFI)
    return view | (s.mie & s.hideleg & s.mideleg & IP_LCOFI)


def highest(bits):
    """The interrupt that comes first: M before S before VS, external, software, timer, last LCOFI."""
    if bits & IP_MEI:
        return 11
    if bits & IP_MSI:
        return 3
    if bits & IP_MTI:
        return 7
    if bits & IP_SEI:
        return 9
    if bits & IP_SSI:
        return 1
    if bits & IP_STI:
        return 5
    if bits & IP_SGEI:
        return 12
    if bits & IP_VSEI:
        return 10
    if bits & IP_VSSI:
        return 2
    if bits & IP_VSTI:
        return 6
    return 13


def check_interrupts():
    """Take the pending interrupt of highest priority, if one is enabled."""
    bits = pending()
    enabled = bits & s.mie
    if enabled == 0 and (s.hvip & s.hvien) == 0 and (s.hvictl & HVICTL_VTI) == 0:
        return RESUME
    chosen = enabled & ~s.mideleg
    if chosen and (s.mode != MACHINE or s.mstatus & MSTATUS_MIE):
        return interrupt(highest(chosen), MACHINE)
    if s.mode == MACHINE:
        return RESUME
    chosen = enabled & s.mideleg & ~s.hideleg
    if chosen and (s.virt or s.mode == USER or s.sstatus & SSTATUS_SIE):
        return interrupt(highest(chosen), SUPERVISOR)
    if s.virt == 0 or (s.mode == SUPERVISOR and (s.sstatus & SSTATUS_SIE) == 0):
        return RESUME
    if s.hvictl:
        chosen = guest_topi()
        if chosen:
            return interrupt(chosen >> 16, USER)
        return RESUME
    chosen = guest_pending(bits) & guest_enabled()
    if chosen:
        return interrupt(highest(chosen), USER)
    return RESUME


def can_wake():
    """Whether WFI goes on: an interrupt is pending that is enabled by itself, whatever delegation says."""
    bits = pending()
    if bits & s.mie or (s.hvictl & HVICTL_VTI and guest_topi()):
        return 1
    return (guest_pending(bits) & guest_enabled()) != 0
