"""Loads and stores that missed the engine's caches."""
# ruff: noqa: F821 - written in the semantics language, see __init__.py
# mypy: ignore-errors

from __future__ import annotations


def load_sized(host, size):
    if size == 8:
        return load64(host)
    if size == 4:
        return load32(host)
    if size == 2:
        return load16(host)
    return load8(host)


def store_sized(host, size, value):
    if size == 8:
        return store64(host, value)
    if size == 4:
        return store32(host, value)
    if size == 2:
        return store16(host, value)
    return store8(host, value)


def slow_load(address, size):
    """A load of `size` bytes, zero-extended; fills the read cache. Faults and MMIO set `s.fault`."""
    if (address & 4095) + size > 4096:
        return load_across(address, size)
    spans(size)
    physical = translate(address, LOAD)
    if s.fault:
        return 0
    region = find_region(physical)
    if region == 0:
        return leave_mmio(STOP_MMIO_LOAD, physical, size, address)
    offset = physical - load64(region)
    host = load64(region + 16) + offset
    flags = m.page_flags + load64(region + 24) + (offset >> 12)
    if load8(flags) == 0:  # the first touch of a page faults once more, in the G-stage
        store8(flags, PAGE_TOUCHED)
        t.dtlb_read_miss += 1
    near = m.watchpoint_count and watched(physical, size, LOAD)
    if s.fault:
        return 0
    if cacheable() and near == 0 and cut_page(physical) == 0:
        remember(TLB_READ, address, host - address)
        extend(region, address)
    return load_sized(host, size)


def load_across(address, size):
    """A load that crosses a page, byte by byte."""
    value = 0
    i = 0
    s.across = address
    while i < size:
        byte = slow_load(address + i, 1)
        if s.fault:
            s.across = 0
            return 0
        value = value | (byte << (8 * i))
        i += 1
    s.across = 0
    return value


def leave_mmio(stop, physical, size, address):
    """A G-stage fault where no memory is: KVM makes it an MMIO exit."""
    if stop == STOP_MMIO_LOAD:
        t.dtlb_read_miss += 1
    else:
        t.dtlb_write_miss += 1
    s.fault = EXIT
    s.exit = stop
    s.exit_a = physical
    s.exit_b = size
    s.exit_c = address
    return 0


def write_pointer(address, size):
    """Host address for a write of `size` bytes inside one page; fills the write cache. 0 when `s.fault` is
    set.
    """
    spans(size)
    physical = translate(address, STORE)
    if s.fault:
        return 0
    region = find_region(physical)
    if region == 0:
        return leave_mmio(STOP_MMIO_STORE, physical, size, address)
    if load64(region + 32) & REGION_READONLY:
        return leave_mmio(STOP_MMIO_STORE, physical, size, address)
    near = m.watchpoint_count and watched(physical, size, STORE)
    if s.fault:
        return 0
    offset = physical - load64(region)
    page = load64(region + 24) + (offset >> 12)
    flags = m.page_flags + page
    if load8(flags) == 0:
        t.dtlb_write_miss += 1
        bring_ahead(region, offset, flags)
    store8(flags, load8(flags) | PAGE_TOUCHED | PAGE_DIRTY)
    host = load64(region + 16) + offset
    decoded = load64(m.code_map + 8 * page)
    if decoded:
        code_written(decoded, page, address & 4095, size)
        return host
    if cacheable() and near == 0 and cut_page(physical) == 0:
        remember(TLB_WRITE, address, host - address)
    return host


def slow_store(address, size, value):
    """A store of the low `size` bytes of `value`. Faults and MMIO set `s.fault`."""
    if (address & 4095) + size > 4096:
        return store_across(address, size, value)
    host = write_pointer(address, size)
    if s.fault:
        return 0
    return store_sized(host, size, value)


def store_across(address, size, value):
    """A store that crosses a page: both pages are checked before a byte is written."""
    s.across = address
    second = (address + size - 1) & ~4095
    spans(second - address)
    physical = translate(address, STORE)
    if s.fault == 0:
        if m.watchpoint_count:
            watched(physical, second - address, STORE)
        if s.fault == 0:
            spans(address + size - second)
            physical = translate(second, STORE)
            if s.fault == 0 and m.watchpoint_count:
                watched(physical, address + size - second, STORE)
    if s.fault:
        s.across = 0
        return 0
    s.watched = ASKED
    i = 0
    while i < size:
        host = write_pointer(address + i, 1)
        if s.fault:
            s.across = 0
            return 0
        store8(host, value >> (8 * i))
        i += 1
    s.across = 0
    s.watched = 0
    return 0


def watched(physical, size, access):
    """Whether a watchpoint (watchpoints.py) lies in the page of an access, which is then not remembered. One
    that is on the bytes ends the run before the instruction, unless it was stopped for that already: then
    `s.fault` is EXIT.
    """
    near = 0
    entry = m.watchpoints
    end = entry + 24 * m.watchpoint_count
    while entry < end:
        first = load64(entry)
        last = load64(entry + 8)
        if (first >> 12) <= (physical >> 12) and (physical >> 12) <= (last >> 12):
            near = 1
            on = first < physical + size and physical <= last and (load64(entry + 16) >> access) & 1
            passing = s.watched == ASKED or (s.watched == s.pc | 1 and s.n == s.n_start)
            if on and s.fault == 0 and passing == 0:
                s.watched = s.pc | 1
                s.fault = EXIT
                s.exit = STOP_WATCHPOINT
                s.exit_a = physical
                s.exit_b = size
                s.exit_c = access
        entry += 24
    return near
