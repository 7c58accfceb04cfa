"""Memory of the host that will be written soon and never was: brought many pages at once. One by one each is
a fault, and a third of what the host's kernel does for it is to get there and back. Nothing here changes what
memory holds; a host that cannot do it answers no, and brings each page when it is written.
"""
# ruff: noqa: F821 - written in the semantics language, see __init__.py
# mypy: ignore-errors

from __future__ import annotations


def bring_ahead(region, offset, flags):
    """The first access to a page of a region is a store. Linux fills memory page after page: where the pages
    below are written and this one is the first of AHEAD bytes, all of these are about to be.
    """
    first = offset & ~4095
    if first & (AHEAD - 1) or first == 0 or first + AHEAD > load64(region + 8) or m.given:
        return 0
    if (load64(flags - 8) & DIRTY_8) == DIRTY_8:
        bring(load64(region + 16) + first, AHEAD)
    return 0
