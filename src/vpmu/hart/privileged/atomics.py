"""LR, SC and the operands of AMOs (unprivileged ISA, chapter 13)."""
# ruff: noqa: F821 - written in the semantics language, see __init__.py
# mypy: ignore-errors

from __future__ import annotations


def amo_pointer(address, size):
    """Host address of an atomic's operand, checked for alignment and writing."""
    if address & (size - 1):
        s.fault = raise_exception(CAUSE_STORE_MISALIGNED, address)
        return 0
    host = write_pointer(address, size)
    if s.fault == EXIT and s.exit == STOP_MMIO_STORE:  # there are no atomics on devices
        s.fault = raise_exception(CAUSE_STORE_ACCESS, address)
    return host


def load_reserved(rd, rs1, rs2, imm, size):
    address = s.x[rs1]
    if address & (size - 1):
        return raise_exception(CAUSE_LOAD_MISALIGNED, address)
    entry = cache_entry(s.ctx, TLB_READ, address)
    if load64(entry) == address & ~4095:
        value = load_sized(load64(entry + 8) + address, size)
    else:
        value = slow_load(address, size)
        if s.fault:
            if s.fault == EXIT and s.exit == STOP_MMIO_LOAD:
                return raise_exception(CAUSE_LOAD_ACCESS, address)
            return s.fault
    s.reservation = address
    s.reserved_value = value
    s.x[rd] = value if size == 8 else sext32(value)
    return CONTINUE


def store_conditional(rd, rs1, rs2, imm, size):
    """Succeeds when the reservation stands and the memory still holds what LR read.

    One that fails is a store to memory protection all the same (unprivileged ISA, 13.2, allows it).
    """
    address = s.x[rs1]
    if address & (size - 1):
        return raise_exception(CAUSE_STORE_MISALIGNED, address)
    value = s.x[rs2]
    result = 1
    entry = cache_entry(s.ctx, TLB_WRITE, address)
    if load64(entry) == address & ~4095:
        host = load64(entry + 8) + address
    else:
        host = amo_pointer(address, size)
        if s.fault:
            return s.fault
    if s.reservation == address and load_sized(host, size) == s.reserved_value:
        store_sized(host, size, value)
        result = 0
    s.reservation = NO_RESERVATION
    s.x[rd] = result
    return CONTINUE
