"""The system instructions: ECALL, EBREAK, SRET, MRET, WFI (privileged ISA, 3.3, 12.2 and 21.6)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def ecall(rd, rs1, rs2, imm, size):
    s.n -= s.traps_retire
    if s.mode == USER:
        return raise_exception(CAUSE_USER_ECALL, 0)
    if s.mode == MACHINE:
        return raise_exception(CAUSE_MACHINE_ECALL, 0)
    if s.virt:
        return raise_exception(CAUSE_VIRTUAL_SUPERVISOR_ECALL, 0)
    if s.python_m and (s.medeleg >> CAUSE_SUPERVISOR_ECALL) & 1 == 0:
        s.exit = STOP_ECALL
        return EXIT
    return raise_exception(CAUSE_SUPERVISOR_ECALL, 0)


def ebreak(rd, rs1, rs2, imm, size):
    s.n -= s.traps_retire
    return raise_exception(CAUSE_BREAKPOINT, s.pc)


def sret(rd, rs1, rs2, imm, size):
    if s.virt:
        if s.mode == USER or s.hstatus & HSTATUS_VTSR:
            return leave_virtual()
    elif s.mode == USER or (s.mode == SUPERVISOR and s.mstatus & MSTATUS_TSR):
        return leave_illegal()
    status = s.sstatus
    mode = USER
    if status & SSTATUS_SPP:
        mode = SUPERVISOR
    s.sstatus = status & ~(SSTATUS_SPP | SSTATUS_SIE)
    if status & SSTATUS_SPIE:
        s.sstatus = s.sstatus | SSTATUS_SIE
    s.sstatus = s.sstatus | SSTATUS_SPIE
    virt = s.virt
    if virt == 0:
        s.mstatus = s.mstatus & ~MSTATUS_MPRV
        if s.hstatus & HSTATUS_SPV:
            virt = 1
        s.hstatus = s.hstatus & ~HSTATUS_SPV
    s.n -= 1
    s.pc = s.sepc & ~1
    set_privilege(mode, virt)
    return check_interrupts()


def mret(rd, rs1, rs2, imm, size):
    if s.mode != MACHINE:
        return leave_illegal()
    own = s.mstatus
    mode = (own & MSTATUS_MPP) >> 11
    virt = 0
    if own & MSTATUS_MPV and mode != MACHINE:
        virt = 1
    s.mstatus = own & ~(MSTATUS_MPV | MSTATUS_MPP | MSTATUS_MIE)
    if own & MSTATUS_MPIE:
        s.mstatus = s.mstatus | MSTATUS_MIE
    s.mstatus = s.mstatus | MSTATUS_MPIE
    if mode != MACHINE:
        s.mstatus = s.mstatus & ~MSTATUS_MPRV
    s.n -= 1
    s.pc = s.mepc & ~1
    set_privilege(mode, virt)
    return check_interrupts()


def cbo_denied(field):
    """0 where menvcfg, henvcfg and senvcfg allow the mode a cache-block instruction (CMO, "Environment")."""
    if s.mode == MACHINE:
        return 0
    if (s.menvcfg & field) == 0:
        return leave_illegal()
    if s.virt:
        if (s.henvcfg & field) == 0 or (s.mode == USER and (s.senvcfg & field) == 0):
            return leave_virtual()
    elif s.mode == USER and (s.senvcfg & field) == 0:
        return leave_illegal()
    return 0


def wfi(rd, rs1, rs2, imm, size):
    """Waits in Python until an interrupt is pending that is enabled by itself."""
    if s.mode != MACHINE and s.mstatus & MSTATUS_TW:
        return leave_illegal()
    if s.virt:
        if s.mode == USER or s.hstatus & HSTATUS_VTW:
            return leave_virtual()
    elif s.mode == USER:
        return leave_illegal()
    if can_wake():
        return CONTINUE
    s.exit = STOP_WFI
    return EXIT
