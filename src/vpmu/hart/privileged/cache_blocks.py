"""Cache blocks (unprivileged ISA, chapter "CMO"). There are no caches, so of the management of blocks
only what can go wrong is left.
"""
# ruff: noqa: F821 - written in the semantics language, see __init__.py
# mypy: ignore-errors

from __future__ import annotations


def cbo_inval(rd, rs1, rs2, imm, size):
    denied = cbo_denied(ENVCFG_CBIE)
    if denied:
        return denied
    return check_block(s.x[rs1], size)


def cbo_clean(rd, rs1, rs2, imm, size):
    denied = cbo_denied(ENVCFG_CBCFE)
    if denied:
        return denied
    return check_block(s.x[rs1], size)


def check_block(address, size):
    """A block may be managed where it may be loaded from or stored to; the fault is that of a store, at the
    address of the instruction.
    """
    s.as_store = 1
    physical = translate(address, LOAD)
    s.as_store = 0
    if s.fault:
        return s.fault
    if find_region(physical) == 0:
        leave_mmio(STOP_MMIO_STORE, physical, size, address)
        return s.fault
    return CONTINUE


def cbo_zero(rd, rs1, rs2, imm, size):
    denied = cbo_denied(ENVCFG_CBZE)
    if denied:
        return denied
    address = s.x[rs1]
    block = address & ~(size - 1)
    entry = cache_entry(s.ctx, TLB_WRITE, address)
    if load64(entry) == address & ~4095:
        host = load64(entry + 8) + block
    else:
        write_pointer(address, 1)
        if s.fault:
            return s.fault
        host = write_pointer(block, size)
        if s.fault:
            return s.fault
    fill(host, 0, size)
    return CONTINUE


def fault_kind(access):
    """The access whose fault is raised: cache-block management is checked as a load."""
    if s.as_store and access == LOAD:
        return STORE
    return access
