"""Traps: to which mode one goes, and what is written there (privileged ISA, 3.1.6 and 21.6.3)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def trapped_word():
    """The instruction at `s.pc` that is being executed: 16 or 32 bits."""
    if s.dbase and (s.pc & 4095) + s.length <= 4096:
        host = load64(s.dbase + DECODED_HOST) + (s.pc & 4095)
        if s.length == 2:
            return load16(host)
        return load32(host)
    return s.insn


def storms():
    """Count a trap that comes without one retired instruction; answers 1 where the software hangs in them."""
    if s.n == s.trap_n:
        s.trap_fuel -= 1
        if s.trap_fuel == 0:
            s.exit = STOP_TRAP_STORM
            return 1
    else:
        s.trap_n = s.n
        s.trap_fuel = TRAP_FUEL
    return 0


def raise_exception(cause, value):
    """An exception at `s.pc` that is no guest-page fault."""
    s.tval2 = 0
    s.tinst = 0
    s.gva = value_is_address(cause) and (s.virt or (is_of_data(cause) and reaches_guest()))
    return deliver(cause, value)


def value_is_address(cause):
    """Whether stval of an exception holds a virtual address."""
    return (TVAL_IS_ADDRESS >> cause) & 1


def is_of_data(cause):
    """Misaligned data, or none where it should be."""
    return cause >= CAUSE_LOAD_MISALIGNED and cause <= CAUSE_STORE_ACCESS


def reaches_guest():
    """Whether M's own loads and stores are those of V=1 (MPRV and MPV)."""
    guest = MSTATUS_MPRV | MSTATUS_MPV
    return s.mode == MACHINE and (s.mstatus & guest) == guest and (s.mstatus & MSTATUS_MPP) != MSTATUS_MPP


def deliver(cause, value):
    """Take an exception in the mode that medeleg and hedeleg choose; out to Python where that plays M."""
    if s.mode != MACHINE and (s.medeleg >> cause) & 1:
        if s.virt and (s.hedeleg >> cause) & 1:
            return enter_vs(cause, value)
        return enter_hs(cause, value)
    if s.python_m:
        s.exit = STOP_EXCEPTION
        s.exit_a = cause
        s.exit_b = value
        return EXIT
    return enter_m(cause, value)


def interrupt(number, target):
    """Take an interrupt in mode `target`: M, VS for HS, VU for the guest's VS."""
    s.tval2 = 0
    s.tinst = 0
    s.gva = 0
    cause = (1 << 63) | number
    if target == MACHINE:
        if s.python_m:
            s.exit = STOP_EXCEPTION
            s.exit_a = cause
            s.exit_b = 0
            return EXIT
        return enter_m(cause, 0)
    if target == SUPERVISOR:
        return enter_hs(cause, 0)
    return enter_vs(cause, 0)


def vector(base, cause):
    """Where a trap goes: vectored mode applies to interrupts alone."""
    pc = base & ~3
    if base & 1 and cause >> 63:
        pc = pc + ((cause & 0xFFF) << 2)
    s.pc = pc
    return RESUME


def enter_m(cause, value):
    if storms():
        return EXIT
    count_trap()
    own = s.mstatus & ~(MSTATUS_MPV | MSTATUS_GVA | MSTATUS_MPP | MSTATUS_MPIE | MSTATUS_MIE)
    if s.mstatus & MSTATUS_MIE:
        own = own | MSTATUS_MPIE
    if s.virt:
        own = own | MSTATUS_MPV
    if s.gva:
        own = own | MSTATUS_GVA
    s.mstatus = own | (s.mode << 11)
    s.mepc = s.pc
    s.mcause = cause
    s.mtval = value
    s.mtval2 = s.tval2
    s.mtinst = s.tinst
    set_privilege(MACHINE, 0)
    return vector(s.mtvec, cause)


def supervisor_status(mode):
    """sstatus after a trap from `mode`: SPP, SPIE, SIE."""
    status = s.sstatus & ~(SSTATUS_SIE | SSTATUS_SPIE | SSTATUS_SPP)
    if s.sstatus & SSTATUS_SIE:
        status = status | SSTATUS_SPIE
    if mode == SUPERVISOR:
        status = status | SSTATUS_SPP
    s.sstatus = status
    return 0


def enter_hs(cause, value):
    if storms():
        return EXIT
    count_trap()
    mode = s.mode
    status = s.hstatus & ~(HSTATUS_SPV | HSTATUS_GVA)
    if s.virt:
        status = (status & ~HSTATUS_SPVP) | HSTATUS_SPV
        if mode == SUPERVISOR:
            status = status | HSTATUS_SPVP
    if s.gva:
        status = status | HSTATUS_GVA
    set_privilege(SUPERVISOR, 0)
    if s.isa & ISA_H:
        s.hstatus = status
        s.htval = s.tval2
        s.htinst = s.tinst
    supervisor_status(mode)
    s.sepc = s.pc
    s.scause = cause
    s.stval = value
    return vector(s.stvec, cause)


def enter_vs(cause, value):
    if storms():
        return EXIT
    count_trap()
    supervisor_status(s.mode)
    s.sepc = s.pc
    s.scause = cause
    s.stval = value
    set_privilege(SUPERVISOR, 1)
    return vector(s.stvec, cause)


def leave_illegal():
    return raise_exception(CAUSE_ILLEGAL_INSTRUCTION, trapped_word())


def leave_virtual():
    """A virtual-instruction exception: only V=1 gets one."""
    return raise_exception(CAUSE_VIRTUAL_INSTRUCTION, trapped_word())


def illegal_instruction(rd, rs1, rs2, imm, size):
    s.n -= s.traps_retire
    return leave_illegal()


def fetch_hole(physical, address):
    """An instruction fetch where there is no memory."""
    s.gva = s.virt
    s.tval2 = 0
    s.tinst = 0
    s.fault = deliver(CAUSE_FETCH_ACCESS, address)
    return 0
