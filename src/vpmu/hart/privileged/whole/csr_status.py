"""Status, translation and floating-point CSRs (privileged ISA, 3.1.6, 12.1 and 21.2)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def shown_status(word):
    """sstatus as it reads: UXL, and SD where FS is Dirty."""
    if word & SSTATUS_FS == SSTATUS_FS:
        return word | SSTATUS_UXL | SSTATUS_SD
    return word | SSTATUS_UXL


def status():
    return shown_status(s.sstatus)


def guest_status():
    return shown_status(s.other_sstatus)


def machine_status():
    return status() | s.mstatus | MSTATUS_SXL


def writable_status(value):
    if s.fp == 0:
        return value & SSTATUS_WRITABLE & ~SSTATUS_FS
    return value & SSTATUS_WRITABLE


def write_sstatus(value):
    changed = s.sstatus ^ value
    s.sstatus = writable_status(value)
    if changed & SSTATUS_MXR:  # the host's counts in the guest's second stage, too
        flush_contexts(0)
        flush_contexts(1)
    if changed & SSTATUS_FS:
        update_fp()
    update_context()
    if value & SSTATUS_SIE and changed & SSTATUS_SIE:
        return RESUME
    return CONTINUE


def write_vsstatus(value):
    if (s.other_sstatus ^ value) & SSTATUS_MXR:
        flush_contexts(0)
    s.other_sstatus = writable_status(value)
    return CONTINUE


def write_mstatus(value):
    write_sstatus(value)
    mask = MSTATUS_OWN
    if s.isa & ISA_H:
        mask = MSTATUS_OWN | MSTATUS_OWN_H
    if (value & MSTATUS_MPP) == 0x1000:  # there is no mode 2
        mask = mask & ~MSTATUS_MPP
    s.mstatus = (s.mstatus & ~mask) | (value & mask)
    update_context()
    return RESUME


def write_hstatus(value):
    s.hstatus = value & HSTATUS_WRITABLE
    return CONTINUE


def read_fp(value):
    if s.fp == 0 or s.fp_on == 0:
        return absent()
    return value


def dirty_fp():
    s.sstatus = s.sstatus | SSTATUS_FS
    s.other_sstatus = s.other_sstatus | s.fp_other
    return CONTINUE


def accrue(flags):
    """Set bits of fflags, for arithmetic that `soft.py` did."""
    s.fflags = s.fflags | flags
    return dirty_fp()


def write_fflags(value):
    s.fflags = value & 31
    return dirty_fp()


def write_frm(value):
    s.frm = value & 7
    return dirty_fp()


def write_fcsr(value):
    s.fflags = value & 31
    s.frm = (value >> 5) & 7
    return dirty_fp()


def read_satp():
    if s.virt:
        if s.hstatus & HSTATUS_VTVM:
            return forbidden()
    elif s.mode == SUPERVISOR and s.mstatus & MSTATUS_TVM:
        return absent()
    return s.satp


def is_paging_mode(value):
    """Bare, Sv39 and Sv48, and Sv57 by choice (and their x4 forms) are what a hart has."""
    mode = value >> 60
    if mode == 10:
        return s.isa & ISA_SV57
    return mode == 0 or mode == 8 or mode == 9


def write_satp(value):
    if is_paging_mode(value) == 0 or s.satp == value:
        return CONTINUE
    s.satp = value
    flush_changed(s.virt == 0)
    return RESUME


def write_vsatp(value):
    if is_paging_mode(value) and s.other_satp != value:
        s.other_satp = value
        flush_changed(0)
    return CONTINUE


def read_hgatp():
    if s.mode == SUPERVISOR and s.mstatus & MSTATUS_TVM:
        return absent()
    return s.hgatp


def write_hgatp(value):
    """An unsupported MODE leaves the one that was; the root is 16 KiB aligned."""
    new = value & HGATP_WRITABLE
    if is_paging_mode(value) == 0:
        new = (new & ~(15 << 60)) | (s.hgatp & (15 << 60))
    if new != s.hgatp:
        s.hgatp = new
        flush_virtual()
    return CONTINUE


def write_senvcfg(value):
    s.senvcfg = value & (ENVCFG_FIOM | (s.menvcfg_mask & ENVCFG_CB))
    return CONTINUE


def write_menvcfg(value):
    changed = s.menvcfg ^ value
    s.menvcfg = value & s.menvcfg_mask
    if changed & (ENVCFG_ADUE | ENVCFG_PBMTE):
        flush_all()
    limit_to_timers()
    return RESUME


def read_henvcfg():
    """henvcfg as it acts: the bits that menvcfg has too are zero while menvcfg's are (21.2.5)."""
    return s.henvcfg & (s.menvcfg | ENVCFG_FIOM | ENVCFG_CB)


def write_henvcfg(value):
    changed = s.henvcfg ^ value
    shown = s.menvcfg | ENVCFG_FIOM | ENVCFG_CB
    s.henvcfg = (s.henvcfg & ~shown) | (value & s.menvcfg_mask & shown)
    if changed & (ENVCFG_ADUE | ENVCFG_PBMTE):
        flush_contexts(0)
    limit_to_timers()
    return RESUME


def write_medeleg(value):
    s.medeleg = value & s.medeleg_mask
    return CONTINUE


def write_mstateen0(value):
    s.mstateen0 = value & s.stateen_mask
    return CONTINUE


def write_hstateen0(value):
    """What mstateen0 hides keeps its value."""
    s.hstateen0 = (s.hstateen0 & ~s.mstateen0) | (value & s.mstateen0)
    return CONTINUE
