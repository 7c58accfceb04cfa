"""Pages whose lines earlier runs have found (known_pages.py): they are decoded and stitched when they are
entered first, and as a whole. A row says of a page, by a hash of its contents, which of its records were in
lines at the end of the first run that had it, a bit each. It is a hint and no more: what is decoded is what
stands in memory.
"""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def enter_new(decoded):
    """A page has come into the cache of fetches: is it one that nobody has asked for yet, and known?"""
    if load64(decoded + DECODED_KEY) or m.stencils == 0 or decoded < m.code_pool or decoded >= m.code_next:
        return 0
    if recall(decoded) and stitch_page(decoded) == 0:
        unstitch_all()
    return 0


def recall(decoded):
    """Decode what is known of a page; whether there was anything."""
    key = key_of(load64(decoded + DECODED_HOST))
    store64(decoded + DECODED_KEY, key)
    row = known_row(key)
    if row == 0:
        return 0
    i = 0
    while i < 2048:
        done = load64(decoded + DECODED_BITS + (i >> 3))
        bits = load64(row + 8 + (i >> 3)) & ~done
        store64(decoded + DECODED_BITS + (i >> 3), done | bits)
        while bits:
            at = i + ctz64(bits)
            bits = bits & bits - 1
            if m.breakpoint_count == 0 or is_breakpoint(load64(decoded + DECODED_HOST) + 2 * at) == 0:
                store64(decoded + 8 * at, decode_at(load64(decoded + DECODED_HOST), 2 * at))
        i += 64
    return 1


def key_of(host):
    """A hash of a page of memory, never 0."""
    a = 1
    b = 2
    c = 3
    d = 4
    end = host + 4096
    while host < end:
        a = (a ^ load64(host)) * KEY_FACTOR
        b = (b ^ load64(host + 8)) * KEY_FACTOR
        c = (c ^ load64(host + 16)) * KEY_FACTOR
        d = (d ^ load64(host + 24)) * KEY_FACTOR
        a = a ^ a >> 32
        b = b ^ b >> 32
        c = c ^ c >> 32
        d = d ^ d >> 32
        host += 32
    a = (a ^ b) * KEY_FACTOR
    a = ((a ^ a >> 32) + c) * KEY_FACTOR
    a = ((a ^ a >> 32) + d) * KEY_FACTOR
    return a ^ a >> 32 | 1


def known_row(key):
    """The row of a page; 0 where it is not known."""
    if m.known == 0:
        return 0
    slot = key >> 1 & m.known_mask
    number = load32(m.known + 4 * slot)
    while number:
        row = m.known_rows + (number - 1) * KNOWN_ROW
        if load64(row) == key:
            return row
        slot = slot + 1 & m.known_mask
        number = load32(m.known + 4 * slot)
    return 0


def learn(decoded, listed, end):
    """Note which records of a page are in lines now, if nothing is known of it."""
    m.learned_of += 1
    key = load64(decoded + DECODED_KEY)
    if m.learned_count == MAX_LEARNED or known_row(key):
        return 0
    to = m.learned + m.learned_count * KNOWN_ROW
    m.learned_count += 1
    store64(to, key)
    fill(to + 8, 0, KNOWN_ROW - 8)
    while listed < end:
        byte = to + 8 + (load16(listed) >> 3)
        store8(byte, load8(byte) | 1 << (load16(listed) & 7))
        listed += 2
    return 0
