"""CSRs of interrupts (privileged ISA, 3.1.9, 12.1.3 and 21.2.4 ff.; AIA, chapters 2, 5 and 6)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def injects():
    """Whether hvictl names the guest's interrupt: it may not see or clear what is pending (AIA, 6.3.2)."""
    return s.virt and s.hvictl & HVICTL_VTI


def read_sip():
    if injects():
        return forbidden()
    if s.virt:
        return guest_pending(pending())
    return pending() & s.mideleg & s.s_interrupts


def write_sip(value):
    """Software may change its own interrupt, and clear (or set) LCOFI."""
    if s.virt:
        return write_vsip(value)
    mask = (IP_SSI | IP_LCOFI) & s.mideleg & s.s_interrupts
    s.sip = (s.sip & ~mask) | (value & mask)
    return RESUME


def write_vsip(value):
    if s.hideleg & IP_VSSI:
        s.hvip = (s.hvip & ~IP_VSSI) | ((value << 1) & IP_VSSI)
    if s.hideleg & IP_LCOFI:
        mask = IP_LCOFI & s.mideleg
        s.sip = (s.sip & ~mask) | (value & mask)
    elif s.hvien & IP_LCOFI:
        s.hvip = (s.hvip & ~IP_LCOFI) | (value & IP_LCOFI)
    return RESUME


def read_sie():
    if injects():
        return forbidden()
    if s.virt:
        return guest_enabled()
    return s.mie & s.mideleg & s.s_interrupts


def write_sie(value):
    if s.virt:
        return write_vsie(value)
    mask = s.mideleg & s.s_interrupts
    s.mie = (s.mie & ~mask) | (value & mask)
    return RESUME


def write_vsie(value):
    mask = s.hideleg & IP_VS
    s.mie = (s.mie & ~mask) | ((value << 1) & mask)
    if s.hideleg & IP_LCOFI:
        mask = IP_LCOFI & s.mideleg
        s.mie = (s.mie & ~mask) | (value & mask)
    elif s.hvien & IP_LCOFI:
        s.vsie_own = value & IP_LCOFI
    return RESUME


def write_hie(value):
    s.mie = (s.mie & ~IP_VS) | (value & IP_VS)
    return RESUME


def write_hip(value):
    s.hvip = (s.hvip & ~IP_VSSI) | (value & IP_VSSI)
    return RESUME


def write_hvip(value):
    mask = IP_VS
    if s.isa & ISA_AIA:
        mask = IP_VS | IP_LCOFI
    s.hvip = value & mask
    return RESUME


def write_hideleg(value):
    mask = IP_VS
    if s.isa & ISA_AIA:
        mask = IP_VS | (s.s_interrupts & IP_LCOFI)
    s.hideleg = value & mask
    return RESUME


def write_hvien(value):
    s.hvien = value & IP_LCOFI
    return RESUME


def write_hvictl(value):
    s.hvictl = value & HVICTL_WRITABLE
    return RESUME


def write_mideleg(value):
    """The interrupts of VS are delegated for ever where there is a hypervisor."""
    mask = s.s_interrupts
    s.mideleg = value & mask
    if s.isa & ISA_H:
        s.mideleg = s.mideleg | IP_VS
    return RESUME


def write_mie(value):
    mask = s.s_interrupts | IP_MSI | IP_MTI | IP_MEI
    if s.isa & ISA_H:
        mask = mask | IP_VS
    s.mie = value & mask
    return RESUME


def write_mip(value):
    mask = s.s_interrupts
    if s.menvcfg & ENVCFG_STCE:
        mask = mask & ~IP_STI
    s.sip = (s.sip & ~mask) | (value & mask)
    if s.isa & ISA_H:
        write_hip(value)
    return RESUME


def virtual_mask():
    """What mvip shows while mvien is zero: the bits of mip that software latches (AIA, 5.3)."""
    if s.menvcfg & ENVCFG_STCE:
        return IP_SSI | IP_SEI
    return IP_SSI | IP_STI | IP_SEI


def write_mvip(value):
    mask = virtual_mask()
    s.sip = (s.sip & ~mask) | (value & mask)
    return RESUME


def top(bits):
    """An interrupt in the form of stopi: its number, and priority 1, since iprio is read-only zero."""
    if bits == 0:
        return 0
    return (highest(bits) << 16) | 1


def machine_topi():
    return top(pending() & s.mie & ~s.mideleg)


def read_stopi():
    if s.virt:
        return guest_topi()
    return top(pending() & s.mie & s.mideleg & ~s.hideleg)


def guest_topi():
    """vstopi: what is pending in vsip and enabled in vsie; or, but for an external interrupt, what hvictl
    names (AIA, 6.3.3). hviprio1 and hviprio2 are read-only zero, so the default order holds.
    """
    chosen = guest_pending(pending()) & guest_enabled()
    order = s.hvictl & 255
    if chosen & IP_SEI:
        if s.hvictl & HVICTL_VTI == 0 or (s.hvictl >> 16) & 0xFFF == 9:
            if (s.hvictl >> 16) & 0xFFF != 9 or order == 0:
                order = 255
            return named(9, order)
        if order == 0 and s.hvictl & HVICTL_DPR:
            return named(9, 255)
    if s.hvictl & HVICTL_VTI:
        if (s.hvictl >> 16) & 0xFFF == 9:
            return 0
        if order == 0 and s.hvictl & HVICTL_DPR:
            order = 255
        return named((s.hvictl >> 16) & 0xFFF, order)
    chosen = chosen & ~IP_SEI
    if chosen == 0:
        return 0
    return named(highest(chosen), 255)


def named(number, order):
    """An interrupt in the form of vstopi; its priority is 1 unless hvictl.IPRIOM asks for it."""
    if s.hvictl & HVICTL_IPRIOM:
        return (number << 16) | order
    return (number << 16) | 1


def read_siselect():
    if s.virt:
        return s.vsiselect
    return s.siselect


def write_siselect(value):
    if s.virt:
        s.vsiselect = value & 0x1FF
    else:
        s.siselect = value & 0x1FF
    return CONTINUE


def write_vsiselect(value):
    s.vsiselect = value & 0x1FF
    return CONTINUE


def indirect(select):
    """A register behind siselect: all there is are the priorities of major interrupts, read-only zero."""
    if select >= 0x30 and select <= 0x3F and (select & 1) == 0:
        return 0
    return absent()


def read_sireg():
    """The guest's has nothing that is accessible: its hypervisor may play it (AIA, 2.3)."""
    if s.virt == 0:
        if s.siselect >= 0x30 and s.siselect <= 0x3F and state_denied(STATEEN_AIA):
            return 0
        return indirect(s.siselect)
    select = s.vsiselect
    if (select >= 0x30 and select <= 0x3F) or (select >= 0x70 and select <= 0xFF):
        return forbidden()
    return absent()


def external_interrupts():
    """stopei: there is no IMSIC, and a guest's hypervisor may play one (AIA, 2.3)."""
    if s.virt:
        return forbidden()
    return absent()
