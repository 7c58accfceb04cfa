"""Translations of the upper half of the address space, where a kernel is, that stay over fences of everything
and over changes of satp: these ask for what has changed, and of the kernel's tables nothing has. A hart with
all its modes has two such halves, of V=1 and of V=0. `half` is the address of what one stands on.

A fence may keep what a walk would find again. So the pages of the tables that a walk of the upper half goes
through are watched: they are pages of the engine that hold no code, and a store to such a page goes the slow
way. `m.tables` counts the writes to them. Of a root, which both halves share, the entries that were used are
compared.
"""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def note_table(half, region, pointer):
    """A walk of the upper half has read an entry of a table below the root, at a physical address."""
    if load64(half + ROOTS_TABLES) != m.tables:
        return 0  # the next fence forgets all
    offset = pointer - load64(region)
    page = load64(region + 24) + (offset >> 12)
    decoded = load64(m.code_map + 8 * page)
    if decoded == 0:
        decoded = new_decoded_page(page, load64(region + 16) + (offset & ~4095))
    store64(decoded + DECODED_COMPILED, load64(decoded + DECODED_COMPILED) | COMPILED_TABLE)
    return 0


def note_root(half, atp, pointer, entry):
    """A walk of the upper half has read an entry of the root that satp or vsatp names."""
    offset = pointer & 4095
    count = load64(half + ROOTS_COUNT)
    if count == 0:
        store64(half + ROOTS_MODE, atp >> 60)
    row = half + ROOTS_FIRST
    end = row + 16 * count
    while row < end:
        if load64(row) == offset and load64(row + 8) == entry:
            return 0
        row += 16
    if count < MAX_ROOTS:
        store64(row, offset)
        store64(row + 8, entry)
    store64(half + ROOTS_COUNT, count + 1)
    return 0


def upper_half_stands(half, atp, table):
    """Whether walks of the upper half find what they found when its translations were remembered, from the
    root that satp or vsatp names now, at physical address `table`.
    """
    count = load64(half + ROOTS_COUNT)
    if load64(half + ROOTS_TABLES) != m.tables or count > MAX_ROOTS or m.given:
        return 0
    if count == 0:
        return 1
    region = find_region(table)
    if region == 0 or load64(half + ROOTS_MODE) != atp >> 60:
        return 0
    root = load64(region + 16) + table - load64(region)
    row = half + ROOTS_FIRST
    end = row + 16 * count
    while row < end:
        if load64(root + load64(row)) != load64(row + 8):
            return 0
        row += 16
    return 1


def forget_upper_half(half):
    """Nothing of it is remembered any more: it stands on nothing."""
    store64(half + ROOTS_TABLES, m.tables)
    store64(half + ROOTS_COUNT, 0)
    return 0
