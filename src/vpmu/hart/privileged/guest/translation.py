"""Address translation of a guest's own stage (privileged ISA, 12.3 to 12.5)."""
# ruff: noqa: F821 - written in the semantics language, see __init__.py
# mypy: ignore-errors

from __future__ import annotations


def page_fault(address, access):
    """Page fault of an access (0 load, 1 store, 2 fetch) at a virtual address."""
    access = fault_kind(access)
    if access == LOAD:
        s.fault = raise_exception(CAUSE_LOAD_PAGE_FAULT, address)
        t.dtlb_read_miss += 1
    elif access == STORE:
        s.fault = raise_exception(CAUSE_STORE_PAGE_FAULT, address)
        t.dtlb_write_miss += 1
    else:
        s.fault = raise_exception(CAUSE_FETCH_PAGE_FAULT, address)
        t.itlb_miss += 1
    return 0


def translate(address, access):
    """Guest physical address of a virtual one; on a fault `s.fault` is set. An entry whose accessed or dirty
    bit is missing faults, or gets it where `s.adue` is not 0 (Svade and Svadu, 12.3.1).
    """
    s.fault = 0
    if s.satp >> 60 == 0:
        return address
    level = (s.satp >> 60) - 5  # 8 is Sv39: three levels; 9 is Sv48: four
    top = sar(address, 9 * level + 11)
    if top != 0 and ~top != 0:
        return page_fault(address, access)
    table = (s.satp & SATP_PPN) << 12
    is_root = 1
    while level != 0:
        level -= 1
        pointer = table + (((address >> (12 + 9 * level)) & 511) << 3)
        region = find_region(pointer)
        if region == 0:
            return page_fault(address, access)
        entry = load64(load64(region + 16) + pointer - load64(region))
        if (entry & PTE_V) == 0 or (entry & (PTE_R | PTE_W)) == PTE_W or reserved_bits(entry):
            return page_fault(address, access)
        if top:
            if is_root:
                note_root(s.contexts + ROOTS, s.satp, pointer, entry)
            else:
                note_table(s.contexts + ROOTS, region, pointer)
        is_root = 0
        if entry & (PTE_R | PTE_X):
            return translate_leaf(address, access, entry, level, pointer)
        if entry & (PTE_U | PTE_A | PTE_D) or entry >> 54:
            return page_fault(address, access)
        table = (entry >> 10) << 12
    return page_fault(address, access)


def reserved_bits(entry):
    """Bits 63 to 54 of an entry that the hart has no use for (Svpbmt, Svnapot)."""
    reserved = entry >> 54
    if reserved:
        if s.isa & ISA_SVPBMT and (entry & PTE_PBMT) != PTE_PBMT:
            reserved = reserved & ~(PTE_PBMT >> 54)
        if s.isa & ISA_SVNAPOT:
            reserved = reserved & ~(PTE_N >> 54)
    return reserved


def translate_leaf(address, access, entry, level, pointer):
    """Permission checks of the leaf entry at guest physical `pointer`, and the physical address."""
    readable = entry & PTE_R
    if s.sstatus & SSTATUS_MXR:
        readable = entry & (PTE_R | PTE_X)
    if access == LOAD and readable == 0:
        return page_fault(address, access)
    if access == STORE and (entry & PTE_W) == 0:
        return page_fault(address, access)
    if access == FETCH and (entry & PTE_X) == 0:
        return page_fault(address, access)
    if entry & PTE_U:
        if s.mode == VS and (access == FETCH or (s.sstatus & SSTATUS_SUM) == 0):
            return page_fault(address, access)
    elif s.mode == VU:
        return page_fault(address, access)
    span = (1 << (12 + 9 * level)) - 1
    base = ((entry >> 10) & SATP_PPN) << 12
    if entry & PTE_N:  # 64 KiB, and nothing else yet
        if level != 0 or ((entry >> 10) & 15) != 8:
            return page_fault(address, access)
        span = 0xFFFF
        base = base & ~span
        level = 1  # a fence at any address of its 2 MiB finds it
    if base & span:
        return page_fault(address, access)
    if level:
        word = superpage_word(address, level)
        store64(word, load64(word) | (1 << (superpage_number(address, level) & 63)))
    missing = PTE_A
    if access == STORE:
        missing = PTE_A | PTE_D
    missing = missing & ~entry
    if missing:
        if s.adue == 0:
            return page_fault(address, access)
        if update_entry(pointer, entry | missing) == 0:
            return page_fault(address, access)
    return base | (address & span)


def superpage_word(address, level):
    """Address of the word of the superpage map that tells whether translations of this leaf are cached."""
    return s.contexts - SUPERPAGES_BELOW + (superpage_number(address, level) >> 6 << 3)


def superpage_number(address, level):
    """Bit of a leaf above level 0 in the superpage map; the halves of the address space have a half each."""
    return ((address >> 63) << 11) | (((address >> (12 + 9 * level)) + (level << 9)) & 2047)


def filled_list(address):
    """Which list of filled entries names one for an address."""
    return address >> 63


def flush_all():
    """Forget every cached and modelled translation of this hart."""
    forget_upper_half(s.contexts + ROOTS)
    fill(s.contexts - SUPERPAGES_BELOW, 0, SUPERPAGES_SIZE)
    if empty_list(1) == 0:
        store64(s.contexts + FILLED, MAX_FILLED + 1)
    return empty_caches(0, s.contexts + CONTEXTS_SIZE)


def flush_changed():
    """SFENCE.VMA of everything, and another satp: forget what may have changed, and what the guest counts."""
    stands = upper_half_stands(s.contexts + ROOTS, s.satp, (s.satp & SATP_PPN) << 12)
    if stands == 0 or load64(s.contexts + FILLED) > MAX_FILLED:
        return flush_all()
    fill(s.contexts - SUPERPAGES_BELOW, 0, SUPERPAGES_SIZE >> 1)
    return empty_caches(0, s.contexts + CONTEXTS_SIZE)


def flush_superpages(address):
    """SFENCE.VMA of one address covers all that its leaf covers, and of a leaf above level 0 the engine's
    caches hold any number of pages: where such a leaf may be cached, forget all of them.
    """
    level = 1
    while level < 4:
        if (load64(superpage_word(address, level)) >> (superpage_number(address, level) & 63)) & 1:
            fill(s.contexts - SUPERPAGES_BELOW, 0, SUPERPAGES_SIZE)
            flush_cache(TLB_READ)
            flush_cache(TLB_WRITE)
            flush_cache(TLB_FETCH)
            return 0
        level += 1
    return 0


def flush_page(address):
    """Forget one page in every context, and all that a superpage there covers. The modelled TLBs hold single
    pages, and forget this one.
    """
    flush_superpages(address)
    return forget_page(s.contexts, s.contexts + CONTEXTS_SIZE, address)


def are_physical():
    """Whether the addresses of accesses are guest physical ones."""
    return s.satp >> 60 == 0


def cacheable():
    """A translation of the current mode can always be remembered."""
    return 1


def spans(size):
    """There is no memory protection that looks at the bytes of an access."""
    return 0


def cut_page(physical):
    """Nothing is smaller than a page."""
    return 0


def fetch_alone(address, physical, host):
    """No page is cut."""
    return 0
