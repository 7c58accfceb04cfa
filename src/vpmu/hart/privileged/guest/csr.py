"""Control and status registers (privileged ISA, 12.1)."""
# ruff: noqa: F821 - written in the semantics language, see __init__.py
# mypy: ignore-errors

from __future__ import annotations


def status():
    if s.sstatus & SSTATUS_FS == SSTATUS_FS:
        return s.sstatus | SSTATUS_UXL | SSTATUS_SD
    return s.sstatus | SSTATUS_UXL


def csr_read(csr):
    """The value of a CSR that needs no help from KVM; `s.fault` is EXIT when it does."""
    s.fault = 0
    if csr == CSR_SSTATUS:
        return status()
    if csr == CSR_SSCRATCH:
        return s.sscratch
    if csr == CSR_SEPC:
        return s.sepc
    if csr == CSR_SCAUSE:
        return s.scause
    if csr == CSR_STVAL:
        return s.stval
    if csr == CSR_SATP:
        return s.satp
    if csr == CSR_SIE:
        return s.sie
    if csr == CSR_SIP:
        return s.sip | s.stip
    if csr == CSR_STVEC:
        return s.stvec
    if csr == CSR_SCOUNTEREN:
        return s.scounteren
    if csr == CSR_SENVCFG:
        return s.senvcfg
    if csr == CSR_STIMECMP and s.isa & ISA_SSTC:
        return s.stimecmp
    if csr == CSR_TIME:
        if s.mode == VU and (s.scounteren & 2) == 0:
            s.fault = leave_virtual()
        return now()
    if csr >= CSR_FFLAGS and csr <= CSR_FCSR and s.fp:
        if (s.sstatus & SSTATUS_FS) == 0:
            s.fault = leave_illegal()
            return 0
        if csr == CSR_FFLAGS:
            return s.fflags
        if csr == CSR_FRM:
            return s.frm
        return s.fflags | (s.frm << 5)
    shown = s.mode != VU or (s.scounteren >> (csr & 31)) & 1
    if csr >> 5 == CSR_CYCLE >> 5 and shown and answered(csr & 31):
        return counter_value_after(csr & 31)
    if csr >> 8 == 12 or csr >> 8 == 13 or csr >> 8 == 2 or csr >> 8 == 6 or csr >> 8 == 10 or csr >> 8 == 14:
        s.fault = leave_virtual()  # counters and hypervisor CSRs: virtual-instruction exception
        return 0
    s.fault = leave_illegal()
    return 0


def csr_write(csr, value):
    """Write a CSR; answers CONTINUE, or RESUME when an interrupt or the translation may have changed."""
    if csr == CSR_SSTATUS:
        changed = s.sstatus ^ value
        s.sstatus = value & SSTATUS_WRITABLE
        if s.fp == 0:
            s.sstatus = s.sstatus & ~SSTATUS_FS
        if changed & SSTATUS_MXR:
            flush_all()
        update_context()
        if (s.sip | s.stip) & s.sie:
            return RESUME
        return CONTINUE
    if csr == CSR_SSCRATCH:
        s.sscratch = value
    elif csr == CSR_SEPC:
        s.sepc = value & ~1
    elif csr == CSR_SCAUSE:
        s.scause = value
    elif csr == CSR_STVAL:
        s.stval = value
    elif csr == CSR_SATP:
        mode = value >> 60
        if mode == 0 or mode == 8 or mode == 9:  # another mode makes the write have no effect
            s.satp = value
            flush_changed()
            return RESUME
    elif csr == CSR_SIE:
        s.sie = value & s.sie_mask
        return RESUME
    elif csr == CSR_SIP:
        s.sip = (s.sip & ~s.sip_mask) | (value & s.sip_mask)
        return RESUME
    elif csr == CSR_STVEC:
        s.stvec = value & ~2
    elif csr == CSR_SCOUNTEREN:
        s.scounteren = value & 0xFFFFFFFF
    elif csr == CSR_SENVCFG:
        s.senvcfg = value & environment(s.isa)
    elif csr == CSR_STIMECMP:
        s.stimecmp = value
        limit_to_timer()
        return RESUME
    elif csr == CSR_FFLAGS:
        s.fflags = value & 31
        s.sstatus = s.sstatus | SSTATUS_FS
    elif csr == CSR_FRM:
        s.frm = value & 7
        s.sstatus = s.sstatus | SSTATUS_FS
    elif csr == CSR_FCSR:
        s.fflags = value & 31
        s.frm = (value >> 5) & 7
        s.sstatus = s.sstatus | SSTATUS_FS
    return CONTINUE


def environment(isa):
    """What senvcfg can hold."""
    mask = ENVCFG_FIOM
    if isa & ISA_ZICBOM:
        mask = mask | ENVCFG_CBIE | ENVCFG_CBCFE
    if isa & ISA_ZICBOZ:
        mask = mask | ENVCFG_CBZE
    return mask


def csr_access(rd, csr, operand, operation, writes):
    """One CSR instruction: operation 0 writes `operand`, 1 sets its bits, 2 clears them."""
    level = (csr >> 8) & 3
    if level == 3:
        return leave_illegal()
    if level == 2 or (level == 1 and s.mode == VU):
        return leave_virtual()
    if writes and csr >> 10 == 3:
        return leave_illegal()
    old = csr_read(csr)
    if s.fault:
        if writes == 0 and csr >> 5 == CSR_CYCLE >> 5 and counter_stands(csr & 31):
            s.x[rd] = standing_counter(csr & 31)
            return answered_exit()
        return s.fault
    action = CONTINUE
    if writes:
        value = operand
        if operation == 1:
            value = old | operand
        elif operation == 2:
            value = old & ~operand
        action = csr_write(csr, value)
    s.x[rd] = old
    if action == CONTINUE:
        return CONTINUE
    s.n -= 1
    s.pc += s.length
    return check_interrupts()
