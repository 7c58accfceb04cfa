"""HLV, HLVX and HSV: a guest's memory, as the guest sees it (privileged ISA, 21.3.1)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def guest_access_denied():
    """0 where HLV and HSV are legal, else the answer of their handler."""
    if (s.isa & ISA_H) == 0:
        return leave_illegal()
    if s.virt:
        return leave_virtual()
    if s.mode == USER and (s.hstatus & HSTATUS_HU) == 0:
        return leave_illegal()
    return 0


def guest_read(address, size):
    """A load as the guest's, byte by byte; nothing is remembered, and no device is reached."""
    if (address & 4095) + size > 4096:
        s.across = address
    else:
        spans(size)
    value = 0
    i = 0
    while i < size:
        physical = translate(address + i, LOAD)
        if s.fault:
            s.across = 0
            return 0
        region = find_region(physical)
        if region == 0:
            s.across = 0
            return access_fault(address + i, LOAD)
        value = value | (load8(load64(region + 16) + physical - load64(region)) << (8 * i))
        i += 1
    s.across = 0
    return value


def hypervisor_load(rd, address, size, kind):
    denied = guest_access_denied()
    if denied:
        return denied
    s.as_guest = kind
    value = guest_read(address, size)
    s.as_guest = 0
    if s.fault:
        return s.fault
    s.x[rd] = value
    return CONTINUE


def hlv_b(rd, rs1, rs2, imm, size):
    action = hypervisor_load(rd, s.x[rs1], 1, 1)
    if action == CONTINUE:
        s.x[rd] = sext8(s.x[rd])
    return action


def hlv_bu(rd, rs1, rs2, imm, size):
    return hypervisor_load(rd, s.x[rs1], 1, 1)


def hlv_h(rd, rs1, rs2, imm, size):
    action = hypervisor_load(rd, s.x[rs1], 2, 1)
    if action == CONTINUE:
        s.x[rd] = sext16(s.x[rd])
    return action


def hlv_hu(rd, rs1, rs2, imm, size):
    return hypervisor_load(rd, s.x[rs1], 2, 1)


def hlv_w(rd, rs1, rs2, imm, size):
    action = hypervisor_load(rd, s.x[rs1], 4, 1)
    if action == CONTINUE:
        s.x[rd] = sext32(s.x[rd])
    return action


def hlv_wu(rd, rs1, rs2, imm, size):
    return hypervisor_load(rd, s.x[rs1], 4, 1)


def hlv_d(rd, rs1, rs2, imm, size):
    return hypervisor_load(rd, s.x[rs1], 8, 1)


def hlvx_hu(rd, rs1, rs2, imm, size):
    return hypervisor_load(rd, s.x[rs1], 2, 2)


def hlvx_wu(rd, rs1, rs2, imm, size):
    return hypervisor_load(rd, s.x[rs1], 4, 2)


def hsv(rd, rs1, rs2, imm, size):
    """HSV.B, .H, .W and .D: all bytes are checked before one is written."""
    denied = guest_access_denied()
    if denied:
        return denied
    address = s.x[rs1]
    s.as_guest = 1
    if (address & 4095) + size > 4096:
        s.across = address
        translate(address, STORE)
        if s.fault == 0:
            translate((address + size - 1) & ~4095, STORE)
    else:
        spans(size)
        translate(address, STORE)
    i = 0
    while i < size and s.fault == 0:
        host = uncached_write_pointer(address + i)
        if s.fault == 0:
            store8(host, s.x[rs2] >> (8 * i))
        i += 1
    s.as_guest = 0
    s.across = 0
    if s.fault:
        return s.fault
    return CONTINUE


def uncached_write_pointer(address):
    """As write_pointer, for one byte, and nothing is remembered."""
    physical = translate(address, STORE)
    if s.fault:
        return 0
    region = find_region(physical)
    if region == 0 or load64(region + 32) & REGION_READONLY:
        return access_fault(address, STORE)
    offset = physical - load64(region)
    page = load64(region + 24) + (offset >> 12)
    store8(m.page_flags + page, load8(m.page_flags + page) | PAGE_TOUCHED | PAGE_DIRTY)
    decoded = load64(m.code_map + 8 * page)
    if decoded:
        code_written(decoded, page, address & 4095, 1)
    return load64(region + 16) + offset
