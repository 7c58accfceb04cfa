"""Modes, runs, traps and interrupts of a hart (privileged ISA, 12.1)."""
# ruff: noqa: F821 - written in the semantics language, see __init__.py
# mypy: ignore-errors

from __future__ import annotations


def update_context():
    """Choose the translation context: VU, VS, or VS with SUM."""
    if s.mode == VU:
        s.ctx = s.contexts
    elif s.sstatus & SSTATUS_SUM:
        s.ctx = s.contexts + 2 * CONTEXT_SIZE
    else:
        s.ctx = s.contexts + CONTEXT_SIZE
    return 0


def fold_counts():
    """Credit the instructions since the last fold to the mode that retired them."""
    if s.mode == VU:
        s.count_vu += s.n_fold - s.n
    else:
        s.count_vs += s.n_fold - s.n
    s.n_fold = s.n
    return 0


def begin_run(budget):
    """Grant `budget` instructions. Answers EXIT where the hart stops before the first of them."""
    s.n = budget
    s.n_fold = budget
    s.n_start = budget
    s.trap_n = NEVER
    s.exit = 0
    s.pc = s.pc & ~1  # whoever set it: bit 0 of a pc is 0 (3.1.14)
    s.host_ieee = host_ieee()
    synchronise()
    update_context()
    limit_to_timer()
    return check_interrupts()


def limit_to_timer():
    """Sstc: say whether the guest's timer has expired. If not, end the run where it does, so that it is taken
    at its instruction.
    """
    s.stip = 0
    if (s.isa & ISA_SSTC) == 0:
        return 0
    current = s.time_ns + s.n_start - s.n
    if udiv(current, TICK_NS) >= s.stimecmp:
        s.stip = 1 << IRQ_TIMER
        return 0
    if s.stimecmp > udiv(NEVER, TICK_NS):
        return 0
    left = s.stimecmp * TICK_NS - current
    if left < s.n:
        cut = s.n - left
        s.n -= cut
        s.n_fold -= cut
        s.n_start -= cut
    return 0


def set_mode(mode):
    fold_counts()
    s.mode = mode
    return update_context()


def enter_trap(cause, value):
    """Take a trap to the guest's own handler; cause has bit 63 set for an interrupt."""
    if s.n == s.trap_n:  # nothing retired since the last trap: a guest whose handler itself faults
        s.trap_fuel -= 1
        if s.trap_fuel == 0:
            s.exit = STOP_TRAP_STORM
            return EXIT
    else:
        s.trap_n = s.n
        s.trap_fuel = TRAP_FUEL
    if s.mode == VU:
        s.traps_vu += 1
    else:
        s.traps_vs += 1
    s.sepc = s.pc
    s.scause = cause
    s.stval = value
    status = s.sstatus & ~(SSTATUS_SIE | SSTATUS_SPIE | SSTATUS_SPP)
    if s.sstatus & SSTATUS_SIE:
        status = status | SSTATUS_SPIE
    if s.mode == VS:
        status = status | SSTATUS_SPP
    s.sstatus = status
    set_mode(VS)
    s.pc = s.stvec & ~3
    if s.stvec & 1 and cause >> 63:
        s.pc = s.pc + ((cause & 63) << 2)
    return RESUME


def raise_exception(cause, value):
    """An exception at `s.pc`: to the guest if KVM delegates it (hedeleg), else out to KVM."""
    if (s.hedeleg >> cause) & 1:
        return enter_trap(cause, value)
    s.exit = STOP_EXCEPTION
    s.exit_a = cause
    s.exit_b = value
    return EXIT


def check_interrupts():
    """Take the pending interrupt of highest priority, if one is enabled."""
    pending = (s.sip | s.stip) & s.sie
    if pending == 0:
        return RESUME
    if s.mode == VS and (s.sstatus & SSTATUS_SIE) == 0:
        return RESUME
    if pending & (1 << IRQ_EXTERNAL):
        return enter_trap((1 << 63) | IRQ_EXTERNAL, 0)
    if pending & (1 << IRQ_SOFTWARE):
        return enter_trap((1 << 63) | IRQ_SOFTWARE, 0)
    if pending & (1 << IRQ_TIMER):
        return enter_trap((1 << 63) | IRQ_TIMER, 0)
    return enter_trap((1 << 63) | IRQ_LCOFI, 0)


def illegal_instruction(rd, rs1, rs2, imm, size):
    """An unknown encoding: out to KVM, which counts it and sends it back."""
    s.n -= s.traps_retire
    s.exit = STOP_ILLEGAL
    return EXIT


def leave_illegal():
    s.exit = STOP_ILLEGAL
    return EXIT


def leave_virtual():
    s.exit = STOP_VIRTUAL
    return EXIT


def fetch_hole(physical, address):
    """An instruction fetch where there is no memory: KVM_RUN's business."""
    s.fault = EXIT
    s.exit = STOP_FETCH_HOLE
    s.exit_a = physical
    return 0
