"""The system instructions: ECALL, EBREAK, SRET, WFI, SFENCE.VMA."""
# ruff: noqa: F821 - written in the semantics language, see __init__.py
# mypy: ignore-errors

from __future__ import annotations


def ecall(rd, rs1, rs2, imm, size):
    s.n -= s.traps_retire
    if s.mode == VU:
        return raise_exception(CAUSE_USER_ECALL, 0)
    if s.n and call_stands():
        return answered_exit()
    s.exit = STOP_ECALL
    return EXIT


def ebreak(rd, rs1, rs2, imm, size):
    s.n -= s.traps_retire
    return raise_exception(CAUSE_BREAKPOINT, s.pc)


def sret(rd, rs1, rs2, imm, size):
    if s.mode == VU:
        return leave_virtual()
    status = s.sstatus
    mode = VU
    if status & SSTATUS_SPP:
        mode = VS
    s.sstatus = status & ~(SSTATUS_SPP | SSTATUS_SIE)
    if status & SSTATUS_SPIE:
        s.sstatus = s.sstatus | SSTATUS_SIE
    s.sstatus = s.sstatus | SSTATUS_SPIE
    s.n -= 1
    s.pc = s.sepc & ~1
    set_mode(mode)
    return check_interrupts()


def wfi(rd, rs1, rs2, imm, size):
    """KVM sets hstatus.VTW: WFI never waits on the hart, KVM blocks the vCPU and steps over it."""
    if s.mode == VU:
        return leave_virtual()
    s.exit = STOP_WFI
    return EXIT


def sfence_vma(rd, rs1, rs2, imm, size):
    if s.mode == VU:
        return leave_virtual()
    if rs1 == 0:
        flush_changed()
    else:
        flush_page(s.x[rs1])
    s.n -= 1
    s.pc += s.length
    return RESUME


def sinval_vma(rd, rs1, rs2, imm, size):
    return sfence_vma(rd, rs1, rs2, imm, size)


def sfence_w_inval(rd, rs1, rs2, imm, size):
    """SFENCE.W.INVAL and SFENCE.INVAL.IR: each SINVAL is done at once, so nothing is left to order."""
    if s.mode == VU:
        return leave_virtual()
    return CONTINUE


def cbo_denied(field):
    """0 where a cache-block instruction is allowed: KVM allows the guest's supervisor those that it has, and
    senvcfg its programs.
    """
    if s.mode == VU and (s.senvcfg & field) == 0:
        return leave_virtual()
    return 0


def no_hypervisor(rd, rs1, rs2, imm, size):
    """Instructions of M mode and of the hypervisor extension: none of a guest's."""
    return illegal_instruction(rd, rs1, rs2, imm, size)
