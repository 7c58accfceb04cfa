"""The kept halves of V=1 and V=0 (kernel_half.py), and where their roots lie: that of V=1 is behind the
second stage. To look there takes no fault and changes nothing.
"""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def upper_half(kind):
    """What the translations of the upper half of V=1 (0) or V=0 (1) stand on."""
    return s.contexts + ROOTS + kind * ROOTS_SIZE


def stands(kind):
    """Whether the upper half of V=1 (0) or V=0 (1) is translated as it was."""
    atp = s.satp
    if kind == s.virt:
        atp = s.other_satp
    table = (atp & SATP_PPN) << 12
    if kind == 0:
        table = behind_second_stage(table)
    if s.pmp_count and pmp_denies(table, 4095, LOAD, SUPERVISOR):
        return 0
    return upper_half_stands(upper_half(kind), atp, table)


def behind_second_stage(address):
    """The physical address of a guest's page table; NEVER where it takes a fault, or a bit A, to know."""
    if s.hgatp >> 60 == 0:
        return address
    level = (s.hgatp >> 60) - 5
    if address >> (9 * level + 14):
        return NEVER
    table = (s.hgatp & HGATP_PPN) << 12
    index_mask = 2047  # the root has four times the entries
    while level != 0:
        level -= 1
        entry = table_entry(table + (((address >> (12 + 9 * level)) & index_mask) << 3))
        index_mask = 511
        if entry_is_bad(entry, s.menvcfg & ENVCFG_PBMTE):
            return NEVER
        if entry & (PTE_R | PTE_X):
            base = leaf_base(entry, level)
            if base & 1 or (entry & (PTE_R | PTE_U | PTE_A)) != PTE_R | PTE_U | PTE_A:
                return NEVER
            return base | (address & leaf_span(entry, level))
        if entry & (PTE_U | PTE_A | PTE_D) or entry >> 54:
            return NEVER
        table = (entry >> 10) << 12
    return NEVER


def table_entry(pointer):
    """An entry of a page table of the second stage; 0, which is not valid, where a walk may not read it."""
    region = find_region(pointer)
    if region == 0 or (s.pmp_count and pmp_denies(pointer, 7, LOAD, SUPERVISOR)):
        return 0
    return load64(load64(region + 16) + pointer - load64(region))
