"""The form of a stencil; accesses that share one look at their page."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def find_targets(decoded):
    """Mark the records that branches in the page lead to; list those that have a stencil, and say how many
    they are.
    """
    targets = m.stitch_scratch + TARGETS
    listed = m.stitch_scratch + LISTED
    fill(targets, 0, 2048)
    i = next_decoded(decoded, 0)
    while i < 2048:
        record = load64(decoded + 8 * i)
        if record & 1023 == RECORD_STITCHED:
            record = load64(decoded + DECODED_ORIGINALS + 8 * i)
        row = stencil_of(record)
        if row:
            store16(listed, i)
            listed += 2
            if load64(row + STENCIL_STUB) == STUB_TAKEN:
                store8(targets + i + sar(record, 52), 1)
        i = next_decoded(decoded, i + 1)
    return (listed - m.stitch_scratch - LISTED) >> 1


def is_branched_to(decoded):
    """Whether a branch, decoded since the page was stitched, leads to where no line is entered."""
    find_targets(decoded)
    i = 0
    while i < 2048:
        if load8(m.stitch_scratch + TARGETS + i) and load64(decoded + 8 * i) & IN_LINE:
            return 1
        i += 1
    return 0


def form_of(decoded, i, record, row):
    """The form of the stencil for record i."""
    forms = load64(row + STENCIL_FORMS)
    if forms & OF_RD and record >> 16 & 255 == SINK:
        return NO_RD
    if forms & (LOADS | STORES):
        return form_of_access(decoded, i, record, forms)
    if forms & OF_RS1 and record >> 24 & 255 == 0:
        return NO_RS1
    if forms & OF_RS2 and record >> 32 & 255 == 0:
        return NO_RS2
    if forms & OF_IMM and sar(record, 40) == 0:
        return NO_IMM
    return 0


def form_of_access(decoded, i, record, forms):
    """Accesses of one kind from one base register on look for their page together, where none is branched to;
    of each kind, one group at a time.
    """
    note = m.stitch_scratch + NOTES
    if forms & STORES:
        note += 8
    known = load64(note)
    if i < known & 0xFFFF:
        if known >> 16 == record >> 24 & 255:
            return NEAR
        return 0
    last = reach(decoded, i)
    if last == i:
        return 0
    store64(note, last + 1 | (record >> 24 & 255) << 16)
    return FIRST


def is_between(i):
    """Whether what neighbours have found is needed behind record i, and was found before it: nobody enters
    there.
    """
    note = m.stitch_scratch + NOTES
    return i < load64(note) & 0xFFFF or i < load64(note + 8) & 0xFFFF


def reach(decoded, i):
    """Of an access, the last that shares its look at the page; the holes for the bytes that they access."""
    record = load64(decoded + 8 * i)
    row = stencil_of(record)
    base = record >> 24 & 255
    kind = load64(row + STENCIL_FORMS) & (LOADS | STORES)
    small = is_small(record)
    low = sar(record, 40)
    high = low + load64(row + STENCIL_BYTES)
    last = i
    steps = 0
    while steps < MAX_STEPS:
        steps += 1
        if load64(row + STENCIL_ENDS) or record >> 16 & 255 == base:
            return reached(low, high, last)
        i += 1 + (record & 1)
        record = load64(decoded + 8 * i)
        row = stencil_of(record)
        if i >= 2048 or row == 0 or load8(m.stitch_scratch + TARGETS + i):
            return reached(low, high, last)
        if load64(row + STENCIL_FORMS) & kind and record >> 24 & 255 == base:
            first = sar(record, 40)
            behind = first + load64(row + STENCIL_BYTES)
            if slt(low, first):
                first = low
            if slt(behind, high):
                behind = high
            if behind - first > MAX_REACH or (small and (slt(first, 0 - SMALL) or slt(SMALL, behind))):
                return reached(low, high, last)
            low = first
            high = behind
            last = i
    return reached(low, high, last)


def reached(low, high, last):
    """`last`, the bytes in their holes."""
    set_hole(HOLE_LOW, low)
    set_hole(HOLE_LAST, high - 1)
    return last
