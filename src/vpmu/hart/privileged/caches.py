"""Physical memory as the engine finds it, and its caches of translations (docs/engine.md)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def find_region(address):
    """Address of the region entry that holds a guest physical address, or 0."""
    region = s.shared + REGIONS
    end = region + m.region_count * REGION_BYTES
    while region < end:
        if address - load64(region) < load64(region + 8):
            if m.stale:
                freshen(region, address)
            return region
        region += REGION_BYTES
    return 0


def freshen(region, address):
    """A page that a restore has left as it was (stale.py) gets its contents now, before anybody sees it, and
    one that the last snapshot lacks is saved, before anybody writes to it: no access of the engine goes past
    `find_region`, or what it has cached since.
    """
    offset = (address - load64(region)) & ~4095
    page = load64(region + 24) + (offset >> 12)
    flags = load8(m.page_flags + page)
    if flags & PAGE_UNSAVED:
        store8(m.page_flags + page, flags & ~PAGE_UNSAVED)
        host = load64(region + 16) + offset
        copy(host + m.stale, host, 4096)
    elif flags & PAGE_STALE:
        store8(m.page_flags + page, flags & ~PAGE_STALE)
        host = load64(region + 16) + offset
        copy(host, host + m.stale, 4096)
        decoded = load64(m.code_map + 8 * page)
        if decoded:
            void_code(decoded)
    return 0


def void_code(decoded):
    """A page of code is another one now: nothing is decoded of it, nor compiled, nor known."""
    table_written(decoded)
    fill(decoded, 0, 8 * 2048)
    fill(decoded + DECODED_BITS, 0, 2048 >> 3)
    store64(decoded + DECODED_COMPILED, 0)
    store64(decoded + DECODED_KEY, 0)
    return 0


def table_written(decoded):
    """A page is written to: if translations stand on it (kernel_half.py), they have to know."""
    compiled = load64(decoded + DECODED_COMPILED)
    if compiled & COMPILED_TABLE:
        store64(decoded + DECODED_COMPILED, compiled & ~COMPILED_TABLE)
        m.tables += 1
    return 0


def update_entry(pointer, entry):
    """Write a page-table entry back with its accessed and dirty bits; 0 where the memory is read-only."""
    region = find_region(pointer)
    if load64(region + 32) & REGION_READONLY:
        return 0
    offset = pointer - load64(region)
    page = load64(region + 24) + (offset >> 12)
    store8(m.page_flags + page, load8(m.page_flags + page) | PAGE_TOUCHED | PAGE_DIRTY)
    store64(load64(region + 16) + offset, entry)
    decoded = load64(m.code_map + 8 * page)
    if decoded:
        code_written(decoded, page, pointer & 4095, 8)
    return 1


def cache_entry(context, cache, address):
    """Where a cache (TLB_READ, TLB_WRITE, TLB_FETCH) of a context may have the page of an address."""
    return context + cache + ((address >> 8) & (cache_size(cache) - 16))


def cache_size(cache):
    if cache == TLB_READ:
        return READ_SIZE
    if cache == TLB_WRITE:
        return WRITE_SIZE
    return FETCH_SIZE


def remember(cache, address, addend):
    """Fill an entry of a cache of the current context, and note it for who empties them."""
    entry = cache_entry(s.ctx, cache, address)
    old = load64(entry)
    store64(entry, address & ~4095)
    store64(entry + 8, addend)
    if (old & 4095) == 0 and (old ^ address) >> 63 == 0:
        return 0
    filled = s.contexts + FILLED + filled_list(address) * FILLED_SIZE
    count = load64(filled)
    if count <= MAX_FILLED:
        count += 1
        store64(filled, count)
    if count <= MAX_FILLED:
        store64(filled + 8 * count, entry)
    return 0


def empty_list(kind):
    """Empty the entries that a list names; 0 where there were too many for it."""
    filled = s.contexts + FILLED + kind * FILLED_SIZE
    count = load64(filled)
    store64(filled, 0)
    if count > MAX_FILLED:
        return 0
    while count:
        store64(load64(filled + 8 * count), INVALID)
        count -= 1
    return 1


def empty_caches(kind, end):
    """Empty what the list of V=1 (0), V=0 (1) or M (2) names of the caches of these contexts, of which the
    last ends at `end`, or all of them; and their modelled TLBs.
    """
    context = s.contexts + 3 * kind * CONTEXT_SIZE
    empty_extent()
    model = context + MODEL_DTLB_READ
    while model < end:
        fill(model, 255, MODEL_SIZE)
        model += CONTEXT_SIZE
    if empty_list(kind):
        return 0
    while context < end:
        fill(context, 255, CACHES_SIZE)
        context += CONTEXT_SIZE
    return 0


def flush_cache(offset):
    """Forget one kind of cached translation (TLB_READ, TLB_WRITE, TLB_FETCH) in every context."""
    if offset == TLB_READ:
        empty_extent()
    context = s.contexts + offset
    end = context + CONTEXTS_SIZE
    while context < end:
        fill(context, 255, cache_size(offset))
        context += CONTEXT_SIZE
    return 0


def forget_stores(host):
    """No store reaches a page of the host's memory any more without a look at what the page holds."""
    filled = s.contexts + FILLED
    end = filled + FILLED_LISTS * FILLED_SIZE
    while filled < end:
        count = load64(filled)
        if count > MAX_FILLED:
            return flush_cache(TLB_WRITE)
        while count:
            entry = load64(filled + 8 * count)
            if load64(entry) + load64(entry + 8) == host:
                store64(entry, INVALID)
            count -= 1
        filled += FILLED_SIZE
    return 0


def forget_page(context, end, address):
    """Forget one page in the contexts from one address to another, and in their modelled TLBs."""
    empty_extent()
    while context < end:
        store64(cache_entry(context, TLB_READ, address), INVALID)
        store64(cache_entry(context, TLB_WRITE, address), INVALID)
        store64(cache_entry(context, TLB_FETCH, address), INVALID)
        entry = context + ((address >> 9) & 2040)
        store64(entry + MODEL_DTLB_READ, INVALID)
        store64(entry + MODEL_DTLB_WRITE, INVALID)
        store64(entry + MODEL_ITLB, INVALID)
        context += CONTEXT_SIZE
    return 0
