"""Privilege modes: the change of mode and V, counts, a run begun and ended (privileged ISA, 1.2 and 21.1)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def update_context():
    """Choose the translation context: three of V=1, three of V=0, M, and the one that is never filled."""
    if s.mode == MACHINE:
        if s.mstatus & MSTATUS_MPRV and (s.mstatus & MSTATUS_MPP) != MSTATUS_MPP:
            s.ctx = s.contexts + 7 * CONTEXT_SIZE
        else:
            s.ctx = s.contexts + 6 * CONTEXT_SIZE
        return 0
    context = s.contexts
    if s.virt == 0:
        context += 3 * CONTEXT_SIZE
    if s.mode == SUPERVISOR:
        context += CONTEXT_SIZE
        if s.sstatus & SSTATUS_SUM:
            context += CONTEXT_SIZE
    s.ctx = context
    return 0


def are_physical():
    """Nothing is known of more than a page: physical memory protection may differ."""
    return 0


def cacheable():
    """Whether a translation of the current mode may be remembered (M with MPRV has another one's)."""
    return s.ctx != s.contexts + 7 * CONTEXT_SIZE


def update_fp():
    """F and D are on where FS is not Off: in V=1 in both sstatus, which then become dirty together."""
    s.fp_on = s.sstatus & SSTATUS_FS
    s.fp_other = 0
    if s.virt:
        s.fp_other = SSTATUS_FS
        if (s.other_sstatus & SSTATUS_FS) == 0:
            s.fp_on = 0
    return 0


def fold_counts():
    """Credit the instructions since the last fold to the mode that retired them."""
    retired = s.n_fold - s.n
    s.n_fold = s.n
    if s.virt:
        if s.mode == USER:
            s.count_vu += retired
        else:
            s.count_vs += retired
    elif s.mode == USER:
        s.count_u += retired
    elif s.mode == SUPERVISOR:
        s.count_s += retired
    else:
        s.count_m += retired
    return 0


def count_trap():
    """Credit a trap to the mode in which it was taken."""
    if s.virt:
        if s.mode == USER:
            s.traps_vu += 1
        else:
            s.traps_vs += 1
    elif s.mode == USER:
        s.traps_u += 1
    elif s.mode == SUPERVISOR:
        s.traps_s += 1
    else:
        s.traps_m += 1
    return 0


def set_privilege(mode, virt):
    """Go to a mode and V; the supervisor's words are exchanged where V changes."""
    fold_counts()
    s.mode = mode
    if s.virt != virt:
        s.virt = virt
        exchange_supervisor()
    s.reservation = NO_RESERVATION
    update_fp()
    return update_context()


def exchange_supervisor():
    word = s.sstatus
    s.sstatus = s.other_sstatus
    s.other_sstatus = word
    word = s.stvec
    s.stvec = s.other_stvec
    s.other_stvec = word
    word = s.sscratch
    s.sscratch = s.other_sscratch
    s.other_sscratch = word
    word = s.sepc
    s.sepc = s.other_sepc
    s.other_sepc = word
    word = s.scause
    s.scause = s.other_scause
    s.other_scause = word
    word = s.stval
    s.stval = s.other_stval
    s.other_stval = word
    word = s.satp
    s.satp = s.other_satp
    s.other_satp = word
    return 0


def begin_run(budget):
    """Grant `budget` instructions. Answers EXIT where the hart stops before the first of them."""
    s.n = budget
    s.n_fold = budget
    s.n_start = budget
    s.trap_n = NEVER
    s.exit = 0
    s.pc = s.pc & ~1  # whoever set it
    s.host_ieee = host_ieee()
    synchronise()
    update_fp()
    update_context()
    limit_to_timers()
    return check_interrupts()


def limit_to(cycle, offset):
    """Cut the run so that it ends where `time` + offset reaches `cycle`; nothing where that is past."""
    left = cycle - offset
    if cycle < offset:
        return 0
    current = s.time_ns + s.n_start - s.n
    if left > udiv(NEVER, TICK_NS) or left * TICK_NS <= current:
        return 0
    left = left * TICK_NS - current
    if left < s.n:
        cut = s.n - left
        s.n -= cut
        s.n_fold -= cut
        s.n_start -= cut
    return 0


def limit_to_timers():
    """End the run where the next timer of the hart expires, so that it is taken at its instruction."""
    limit_to(s.mtimecmp, 0)
    if s.menvcfg & ENVCFG_STCE:
        limit_to(s.stimecmp, 0)
        if s.henvcfg & ENVCFG_STCE:
            if s.vstimecmp >= s.htimedelta:
                limit_to(s.vstimecmp, s.htimedelta)
            else:
                limit_to(s.vstimecmp - s.htimedelta, 0)
    return 0
