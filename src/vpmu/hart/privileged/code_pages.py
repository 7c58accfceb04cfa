"""Pages of decoded instructions: fetch, and stores that hit code (docs/engine.md)."""
# ruff: noqa: F821 - written in the semantics language, see __init__.py
# mypy: ignore-errors

from __future__ import annotations


def code_written(decoded, page, offset, size):
    """A store hits a page with decoded code: forget the records that cover it. Pages that are mostly data
    are given up.
    """
    first = offset & ~1
    if first >= 2:
        first -= 2
    last = offset + size
    table_written(decoded)  # before: a page that is nothing but a table has no code to void
    if load64(decoded + DECODED_COMPILED):  # a region may hold any instruction of the page
        void_code(decoded)
    while first < last:
        store64(decoded + first * 4, 0)
        first += 2
    stores = load64(decoded + DECODED_STORES) + 1
    store64(decoded + DECODED_STORES, stores)
    if stores == DECODED_STORES_MAX and decoded != s.dbase:
        store64(m.code_map + 8 * page, 0)
        flush_cache(TLB_FETCH)
        m.epoch += 1
        s.epoch = m.epoch
    return 0


def new_decoded_page(page, host):
    """An empty decoded page for a page of memory; stores to it leave the write caches from now on."""
    decoded = m.code_next
    if decoded + DECODED_SIZE > m.code_end:  # the pool is full: start again
        fill(m.code_map, 0, 8 * m.page_count)
        m.tables += 1
        flush_cache(TLB_FETCH)
        decoded = m.code_pool
    m.code_next = decoded + DECODED_STRIDE
    if decoded < m.code_new:
        fill(decoded, 0, DECODED_SIZE)
    else:  # nobody has used it yet: it is zero, and parts that nobody needs are never touched
        m.code_new = m.code_next
    store64(decoded + 8 * 2048, RECORD_PAGE_END)
    store64(decoded + 8 * 2049, RECORD_PAGE_END)
    store64(decoded + DECODED_HOST, host)
    store64(m.code_map + 8 * page, decoded)
    forget_stores(host)
    m.epoch += 1
    s.epoch = m.epoch
    return decoded


def note_decoded(decoded, i):
    """Record i of a page has been decoded."""
    bits = decoded + DECODED_BITS + (i >> 6 << 3)
    store64(bits, load64(bits) | 1 << (i & 63))
    return 0


def next_decoded(decoded, i):
    """The next record from i on that has been decoded once; 2048 if there is none. Most of a page never is,
    and is not even looked at: that would be a fault.
    """
    while i < 2048:
        bits = load64(decoded + DECODED_BITS + (i >> 6 << 3)) >> (i & 63)
        if bits:
            return i + ctz64(bits)
        i = (i | 63) + 1
    return i


def fetch_page(address):
    """The decoded page for an instruction address; fills the fetch cache. 0 when `s.fault` is set."""
    physical = translate(address, FETCH)
    if s.fault:
        return 0
    region = find_region(physical)
    if region == 0:
        return fetch_hole(physical, address)
    offset = physical - load64(region)
    page = load64(region + 24) + (offset >> 12)
    flags = m.page_flags + page
    if load8(flags) == 0:
        store8(flags, PAGE_TOUCHED)
        t.itlb_miss += 1
    if cut_page(physical):
        return fetch_alone(address, physical, load64(region + 16) + (offset & ~4095))
    decoded = load64(m.code_map + 8 * page)
    if decoded == 0:
        decoded = new_decoded_page(page, load64(region + 16) + (offset & ~4095))
    store64(decoded + DECODED_STORES, 0)
    remember(TLB_FETCH, address, decoded)
    return decoded


def is_breakpoint(host):
    """Whether a breakpoint is on the instruction at a host address: those of all are in order
    (breakpoints.py).
    """
    first = 0
    end = m.breakpoint_count
    while first < end:
        middle = (first + end) >> 1
        there = load64(m.breakpoints + 8 * middle)
        if there == host:
            return 1
        if there < host:
            first = middle + 1
        else:
            end = middle
    return 0


def stop_at(host):
    """Whether the run ends before the instruction at `s.pc`, which a breakpoint is on. One that begins where
    the last run was stopped, and has done nothing since, goes on.
    """
    if s.n == s.n_start and s.passing == s.pc | 1:
        return 0
    s.passing = s.pc | 1
    s.exit = STOP_BREAKPOINT
    s.exit_a = host
    return 1


def code_pointer(address):
    """Host address of the instruction memory at an address; `s.fault` on failure."""
    physical = translate(address, FETCH)
    if s.fault:
        return 0
    region = find_region(physical)
    if region == 0:
        return fetch_hole(physical, address)
    return load64(region + 16) + physical - load64(region)


def fetch_half(address):
    """The 16 bits of instruction memory at an address; `s.fault` on failure."""
    entry = cache_entry(s.ctx, TLB_FETCH, address)
    if load64(entry) == (address & ~4095):
        s.fault = 0
        return load16(load64(load64(entry + 8) + DECODED_HOST) + (address & 4095))
    host = code_pointer(address)
    if s.fault:
        return 0
    return load16(host)


def synchronise():
    """Before a run: another hart may have decoded or given up pages since this one ran."""
    if s.epoch != m.epoch:
        flush_cache(TLB_WRITE)
        flush_cache(TLB_FETCH)
        s.epoch = m.epoch
    return 0
