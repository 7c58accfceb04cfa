"""Fences, and what of the caches they make the hart forget (privileged ISA, 12.2.1 and 21.3.2)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def protect(physical, access, address, mode):
    """Physical memory protection of an access in `mode`; the physical address, or a fault. HLVX needs R and X
    of it (21.3.1).
    """
    if s.pmp_count == 0:
        return physical
    more = 0
    if access != FETCH:
        more = s.more
        s.more = 0
    if pmp_denies(physical, more, access, mode):
        return access_fault(address, access)
    if s.as_guest == 2 and pmp_denies(physical, more, FETCH, mode):
        return access_fault(address, access)
    return physical


def protect_table(physical, access, original, address):
    """An access to a page table: it must be memory, and PMP must allow it as one of S mode."""
    s.fault = 0
    if find_region(physical) == 0:
        return access_fault(address, original)
    if s.pmp_count and pmp_denies(physical, 7, access, SUPERVISOR):
        return access_fault(address, original)
    return 0


def leaves(kind, address):
    """Two tables of bytes, of each half of V=1 (0) and of V=0 (1): which 2 MiB, and which 1 GiB, hold a part
    of a larger leaf that is cached (in entries of one page each). Hashed, so that a mark may stand for
    another address, too.
    """
    return s.contexts + LEAVES + LEAVES_SIZE * (2 * kind + (address >> 63))


def note_leaf(address, level, entry):
    """Mark a leaf that is larger than a page, so that a fence at any of its addresses finds it."""
    marks = leaves((s.virt | s.as_guest) == 0, address)
    if level == 1 or entry & PTE_N:
        store8(marks + ((address >> 21) & 4095), 1)
    elif level:
        store8(marks + 4096 + ((address >> 30) & 4095), 1)
    return 0


def note_guest_page(address, level, entry):
    """Mark a guest physical page that may be in the caches (see hfence_gvma)."""
    if level or entry & PTE_N:
        s.guest_superpages = 1
    store8(s.contexts + GUEST_PAGES + ((address >> 12) & 0xFFFF), 1)
    return 0


def filled_list(address):
    """Which list of filled entries names one of the current context: of V=1, V=0, M, then of the upper halves
    of the first two.
    """
    if s.ctx >= s.contexts + 6 * CONTEXT_SIZE:
        return 2
    upper = 3 * (address >> 63)
    if s.ctx >= s.contexts + 3 * CONTEXT_SIZE:
        return 1 + upper
    return upper


def flush_contexts(kind):
    """Forget the cached and modelled translations of the contexts of V=1 (0) or of V=0 (1)."""
    forget_upper_half(upper_half(kind))
    if empty_list(3 + kind) == 0:
        store64(s.contexts + FILLED + kind * FILLED_SIZE, MAX_FILLED + 1)
    fill(s.contexts + LEAVES + 2 * kind * LEAVES_SIZE, 0, 2 * LEAVES_SIZE)
    return empty_caches(kind, s.contexts + 3 * (kind + 1) * CONTEXT_SIZE)


def flush_changed(kind):
    """A fence of all addresses, and another satp, of V=1 (0) or V=0 (1): forget what may have changed, and
    what is counted.
    """
    if stands(kind) == 0 or load64(s.contexts + FILLED + kind * FILLED_SIZE) > MAX_FILLED:
        return flush_contexts(kind)
    fill(s.contexts + LEAVES + 2 * kind * LEAVES_SIZE, 0, LEAVES_SIZE)
    return empty_caches(kind, s.contexts + 3 * (kind + 1) * CONTEXT_SIZE)


def flush_virtual():
    """Forget every translation of V=1."""
    fill(s.contexts + GUEST_PAGES, 0, 0x10000)
    s.guest_superpages = 0
    return flush_contexts(0)


def flush_all():
    """Forget every translation, of M too."""
    flush_virtual()
    flush_contexts(1)
    return empty_caches(2, s.contexts + 7 * CONTEXT_SIZE)


def flush_page(kind, address):
    """Forget one page in the contexts of V=1 (0) or V=0 (1); or all of them, where it may be part of a larger
    leaf.
    """
    marks = leaves(kind, address)
    if load8(marks + ((address >> 21) & 4095)) or load8(marks + 4096 + ((address >> 30) & 4095)):
        return flush_contexts(kind)
    context = s.contexts + 3 * kind * CONTEXT_SIZE
    return forget_page(context, context + 3 * CONTEXT_SIZE, address)


def after_fence():
    s.n -= 1
    s.pc += s.length
    return RESUME


def sfence_vma(rd, rs1, rs2, imm, size):
    if s.virt:
        if s.mode == USER or s.hstatus & HSTATUS_VTVM:
            return leave_virtual()
    elif s.mode == USER or (s.mode == SUPERVISOR and s.mstatus & MSTATUS_TVM):
        return leave_illegal()
    kind = s.virt == 0
    if rs1 == 0:
        flush_changed(kind)
    else:
        flush_page(kind, s.x[rs1])
    return after_fence()


def sfence_w_inval(rd, rs1, rs2, imm, size):
    """SFENCE.W.INVAL and SFENCE.INVAL.IR: each SINVAL is done at once, so nothing is left to order."""
    if s.mode == USER:
        if s.virt:
            return leave_virtual()
        return leave_illegal()
    return CONTINUE


def sinval_vma(rd, rs1, rs2, imm, size):
    return sfence_vma(rd, rs1, rs2, imm, size)


def hypervisor_denies():
    """0 where an HFENCE is legal, else the answer of its handler."""
    if (s.isa & ISA_H) == 0:
        return leave_illegal()
    if s.virt:
        return leave_virtual()
    if s.mode == USER:
        return leave_illegal()
    return 0


def hfence_vvma(rd, rs1, rs2, imm, size):
    denied = hypervisor_denies()
    if denied:
        return denied
    if rs1 == 0:
        flush_changed(0)
    else:
        flush_page(0, s.x[rs1])
    return after_fence()


def hfence_gvma(rd, rs1, rs2, imm, size):
    """The caches are by virtual address: a page that was never cached needs nothing, any other all."""
    denied = hypervisor_denies()
    if denied:
        return denied
    if s.mode == SUPERVISOR and s.mstatus & MSTATUS_TVM:
        return leave_illegal()
    page = s.contexts + GUEST_PAGES + ((s.x[rs1] >> 10) & 0xFFFF)
    if rs1 == 0 or s.guest_superpages or load8(page):
        flush_virtual()
    return after_fence()


def hinval_vvma(rd, rs1, rs2, imm, size):
    if (s.isa & ISA_SVINVAL) == 0:
        return leave_illegal()
    return hfence_vvma(rd, rs1, rs2, imm, size)


def hinval_gvma(rd, rs1, rs2, imm, size):
    if (s.isa & ISA_SVINVAL) == 0:
        return leave_illegal()
    return hfence_gvma(rd, rs1, rs2, imm, size)
