"""The extent: where addresses are physical, the longest run of pages that has been found to lie at one
distance from the host's memory. What the engine's cache of loads answers for each of these pages alone the
extent answers for all of them; whatever empties that cache empties it.
"""
# ruff: noqa: F821 - written in the semantics language, see __init__.py
# mypy: ignore-errors

from __future__ import annotations


def extend(region, address):
    """A page of a region has come into the cache of loads: is it in a run of pages that is longer than the
    extent? To look far for its ends costs as much as many misses do, so one miss in EXTENT_LOOKS does.
    """
    if m.watchpoint_count or are_physical() == 0:
        return 0
    extent = s.contexts + EXTENT
    base = load64(extent)
    size = load64(extent + 8)
    if size:
        size += WIDEST_ACCESS
    first = address & ~4095
    if first - base < size:
        return 0
    misses = load64(extent + 24)
    store64(extent + 24, misses + 1)
    far = EXTENT_NEAR
    if (misses & (EXTENT_LOOKS - 1)) == 0:
        far = EXTENT_FAR
    low = load64(region)
    high = low + load64(region + 8)
    addend = load64(region + 16) - low
    beside = size
    if load64(extent + 16) != addend:
        beside = 0
    end = first + 4096
    last = end + far
    while end < high and end < last and is_plain(region, end):
        end += 4096
        if end == base:
            end += beside
    while first > low and far and is_plain(region, first - 4096):
        first -= 4096
        far -= 4096
        if first == base + beside:
            first = base
    if end - first > size:
        store64(extent, first)
        store64(extent + 8, end - first - WIDEST_ACCESS)
        store64(extent + 16, addend)
    return 0


def is_plain(region, address):
    """Whether a load from a page would change nothing of what is known of it."""
    page = load64(region + 24) + ((address - load64(region)) >> 12)
    return (load8(m.page_flags + page) & (PAGE_TOUCHED | PAGE_STALE)) == PAGE_TOUCHED


def empty_extent():
    """Nothing is known of any address."""
    fill(s.contexts + EXTENT, 0, EXTENT_SIZE)
    return 0
