"""Address translation in one stage and in two (privileged ISA, 12.3 to 12.6 and 21.5)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def translate(address, access):
    """Physical address of a virtual one in the mode of the access; on a fault `s.fault` is set."""
    s.fault = 0
    mode = s.mode
    virt = s.virt
    if access != FETCH:
        if s.as_guest:  # HLV, HLVX, HSV
            virt = 1
            mode = (s.hstatus & HSTATUS_SPVP) >> 8
        elif mode == MACHINE and s.mstatus & MSTATUS_MPRV:
            mode = (s.mstatus & MSTATUS_MPP) >> 11
            if mode != MACHINE and s.mstatus & MSTATUS_MPV:
                virt = 1
    s.gva = virt
    if mode == MACHINE:
        return protect(address, access, address, MACHINE)
    if virt == 0:
        physical = walk(address, access, s.satp, mode, s.sstatus, s.menvcfg & ENVCFG_ADUE, 0)
        if s.fault:
            return 0
        return protect(physical, access, address, mode)
    status = s.other_sstatus
    atp = s.other_satp
    host = s.sstatus
    if s.virt:
        status = s.sstatus
        atp = s.satp
        host = s.other_sstatus
    physical = walk(
        address, access, atp, mode, status | (host & SSTATUS_MXR), read_henvcfg() & ENVCFG_ADUE, 1
    )
    if s.fault:
        return 0
    physical = guest_physical(physical, access, access, 0, address)
    if s.fault:
        return 0
    return protect(physical, access, address, mode)


def page_fault(address, access):
    """A page fault of an access (0 load, 1 store, 2 fetch) at a virtual address."""
    s.tval2 = 0
    s.tinst = 0
    s.more = 0
    access = fault_kind(access)
    if access == LOAD:
        t.dtlb_read_miss += 1
        s.fault = deliver(CAUSE_LOAD_PAGE_FAULT, address)
    elif access == STORE:
        t.dtlb_write_miss += 1
        s.fault = deliver(CAUSE_STORE_PAGE_FAULT, address)
    else:
        t.itlb_miss += 1
        s.fault = deliver(CAUSE_FETCH_PAGE_FAULT, address)
    return 0


def access_fault(address, access):
    """An access fault: of the access itself, or of a page-table entry on its way."""
    s.tval2 = 0
    s.tinst = 0
    s.more = 0
    access = fault_kind(access)
    if access == LOAD:
        s.fault = deliver(CAUSE_LOAD_ACCESS, address)
    elif access == STORE:
        s.fault = deliver(CAUSE_STORE_ACCESS, address)
    else:
        s.fault = deliver(CAUSE_FETCH_ACCESS, address)
    return 0


def entry_is_bad(entry, pbmte):
    """An entry that no level may have: not valid, writable but not readable, or with reserved bits."""
    if (entry & PTE_V) == 0 or (entry & (PTE_R | PTE_W)) == PTE_W:
        return 1
    reserved = entry >> 54
    if reserved:
        if pbmte and (entry & PTE_PBMT) != PTE_PBMT:
            reserved = reserved & ~(PTE_PBMT >> 54)
        if s.isa & ISA_SVNAPOT:
            reserved = reserved & ~(PTE_N >> 54)
    return reserved != 0


def leaf_base(entry, level):
    """Physical address of the first byte that a leaf maps; 1 where it is misaligned or a wrong NAPOT."""
    base = ((entry >> 10) & SATP_PPN) << 12
    if entry & PTE_N:
        if level != 0 or ((entry >> 10) & 15) != 8:
            return 1
        return base & ~0xFFFF
    if base & ((1 << (12 + 9 * level)) - 1):
        return 1
    return base


def leaf_span(entry, level):
    """Bytes that a leaf maps, less one."""
    if entry & PTE_N:
        return 0xFFFF
    return (1 << (12 + 9 * level)) - 1


def allows(entry, access, mxr):
    """Whether R, W and X of a leaf allow an access. HLVX reads what can be executed."""
    if access == STORE:
        return entry & PTE_W
    if access == FETCH or s.as_guest == 2:
        return entry & PTE_X
    if mxr:
        return entry & (PTE_R | PTE_X)
    return entry & PTE_R


def walk(address, access, atp, mode, status, adue, virt):
    """The first stage: the (guest) physical address of a virtual one. `virt`: its tables are the guest's."""
    if atp >> 60 == 0:
        return address
    level = (atp >> 60) - 5  # 8 is Sv39: three levels
    top = sar(address, 9 * level + 11)
    if top != 0 and ~top != 0:
        return page_fault(address, access)
    pbmte = s.menvcfg & ENVCFG_PBMTE
    if virt:
        pbmte = read_henvcfg() & ENVCFG_PBMTE
    table = (atp & SATP_PPN) << 12
    is_root = 1
    while level != 0:
        level -= 1
        pointer = table + (((address >> (12 + 9 * level)) & 511) << 3)
        place = pointer
        if virt:
            place = guest_physical(pointer, LOAD, access, 0x3000, address)
            if s.fault:
                return 0
        protect_table(place, LOAD, access, address)
        if s.fault:
            return 0
        region = find_region(place)
        entry = load64(load64(region + 16) + place - load64(region))
        if top:
            if is_root:
                note_root(upper_half(virt == 0), atp, pointer, entry)
            else:
                note_table(upper_half(virt == 0), region, place)
        is_root = 0
        if entry_is_bad(entry, pbmte):
            return page_fault(address, access)
        if entry & (PTE_R | PTE_X):
            return leaf(address, access, mode, status, adue, virt, entry, level, pointer)
        if entry & (PTE_U | PTE_A | PTE_D) or entry >> 54:
            return page_fault(address, access)
        table = (entry >> 10) << 12
    return page_fault(address, access)


def leaf(address, access, mode, status, adue, virt, entry, level, pointer):
    """Checks of a first-stage leaf entry at (guest) physical `pointer`, and the address behind it."""
    if allows(entry, access, status & SSTATUS_MXR) == 0:
        return page_fault(address, access)
    if entry & PTE_U:
        if mode == SUPERVISOR and (access == FETCH or (status & SSTATUS_SUM) == 0):
            return page_fault(address, access)
    elif mode == USER:
        return page_fault(address, access)
    base = leaf_base(entry, level)
    if base & 1:
        return page_fault(address, access)
    missing = PTE_A
    if access == STORE:
        missing = PTE_A | PTE_D
    missing = missing & ~entry
    if missing:
        if adue == 0:
            return page_fault(address, access)
        place = pointer
        if virt:
            place = guest_physical(pointer, STORE, access, 0x3020, address)
            if s.fault:
                return 0
        protect_table(place, STORE, access, address)
        if s.fault:
            return 0
        if update_entry(place, entry | missing) == 0:
            return access_fault(address, access)
    note_leaf(address, level, entry)
    return base | (address & leaf_span(entry, level))


def guest_physical(address, access, original, implicit, virtual):
    """The second stage: the physical address of a guest physical one, for `access`; a fault is one of the
    `original` access to `virtual`. `implicit` is 0, or htinst of an access to a page table of the guest.
    """
    if s.hgatp >> 60 == 0:
        return address
    level = (s.hgatp >> 60) - 5
    if address >> (9 * level + 14):
        return guest_page_fault(address, original, implicit, virtual)
    table = (s.hgatp & HGATP_PPN) << 12
    index_mask = 2047  # the root has four times the entries
    while level != 0:
        level -= 1
        pointer = table + (((address >> (12 + 9 * level)) & index_mask) << 3)
        index_mask = 511
        protect_table(pointer, LOAD, original, virtual)
        if s.fault:
            return 0
        region = find_region(pointer)
        entry = load64(load64(region + 16) + pointer - load64(region))
        if entry_is_bad(entry, s.menvcfg & ENVCFG_PBMTE):
            return guest_page_fault(address, original, implicit, virtual)
        if entry & (PTE_R | PTE_X):
            return guest_leaf(address, access, original, implicit, virtual, entry, level, pointer)
        if entry & (PTE_U | PTE_A | PTE_D) or entry >> 54:
            return guest_page_fault(address, original, implicit, virtual)
        table = (entry >> 10) << 12
    return guest_page_fault(address, original, implicit, virtual)


def guest_leaf(address, access, original, implicit, virtual, entry, level, pointer):
    """Checks of a second-stage leaf, which are those of U mode. MXR, and X for HLVX, are for what software
    accesses itself, not for page tables.
    """
    host = s.sstatus
    if s.virt:
        host = s.other_sstatus
    allowed = entry & PTE_R
    if implicit == 0:
        allowed = allows(entry, access, host & SSTATUS_MXR)
    elif access == STORE:
        allowed = entry & PTE_W
    base = leaf_base(entry, level)
    if allowed == 0 or (entry & PTE_U) == 0 or base & 1:
        return guest_page_fault(address, original, implicit, virtual)
    missing = PTE_A
    if access == STORE:
        missing = PTE_A | PTE_D
    missing = missing & ~entry
    if missing:
        if (s.menvcfg & ENVCFG_ADUE) == 0:
            return guest_page_fault(address, original, implicit, virtual)
        protect_table(pointer, STORE, original, virtual)
        if s.fault:
            return 0
        if update_entry(pointer, entry | missing) == 0:
            return access_fault(virtual, original)
    note_guest_page(address, level, entry)
    return base | (address & leaf_span(entry, level))


def guest_page_fault(address, original, implicit, virtual):
    """A guest-page fault at guest physical `address`, seen by an access to `virtual`."""
    s.tval2 = address >> 2
    s.tinst = implicit
    s.gva = 1
    s.more = 0
    original = fault_kind(original)
    if original == LOAD:
        if implicit == 0:
            s.tinst = transformed(virtual)
        t.dtlb_read_miss += 1
        s.fault = deliver(CAUSE_LOAD_GUEST_PAGE_FAULT, virtual)
    elif original == STORE:
        if implicit == 0:
            s.tinst = transformed(virtual)
        t.dtlb_write_miss += 1
        s.fault = deliver(CAUSE_STORE_GUEST_PAGE_FAULT, virtual)
    else:
        t.itlb_miss += 1
        s.fault = deliver(CAUSE_FETCH_GUEST_PAGE_FAULT, virtual)
    return 0
