"""Straight lines: where their stencils go, and how their holes are filled in."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def stencil_of(record):
    """The row of a record's stencil in its plain form; 0 where it has none."""
    row = m.stencils + (record & 1022) * STENCIL_ROW
    if load64(row + STENCIL_CODE):
        return row
    return 0


def row_of(record, line):
    """The row of the stencil that stands for a record in a line."""
    return m.stencils + ((record & 1022) + (line & 0xC00) + is_small(record)) * STENCIL_ROW


def is_small(record):
    """Whether all numbers that follow from a record's immediate are a byte with a sign."""
    return sar(record, 40) + SMALL <= 2 * SMALL - 8


def stub_size(row):
    """Bytes of a stencil's stub; behind one to a line stands one that leaves."""
    stub = load64(row + STENCIL_STUB)
    size = 0
    if stub:
        size = load64(m.stencils + stub * STENCIL_ROW + STENCIL_SIZE)
    if stub == STUB_TAKEN:
        size += load64(m.stencils + STENCIL_LEAVE + STENCIL_SIZE)
    return size


def is_behind(decoded, i, other):
    """Whether a record of a page is the next behind record i."""
    return i + 1 + (load64(decoded + 8 * i) & 1) == other


def length_of(decoded, lines, first):
    """How many records make the straight line that begins with this one."""
    count = 0
    i = first
    row = stencil_of(load64(decoded + 8 * i))
    while row:
        count += 1
        i += 1 + (load64(decoded + 8 * i) & 1)
        if load64(row + STENCIL_ENDS) or count == MAX_LINE or i >= 2048:
            return count
        row = 0 if load64(lines + 8 * i) else stencil_of(load64(decoded + 8 * i))
    return count


def place_line(decoded, lines, first, to):
    """Give the records of a straight line their code, from address `to` on; the address behind it."""
    count = length_of(decoded, lines, first)
    store64(m.stitch_scratch + NOTES, 0)
    store64(m.stitch_scratch + NOTES + 8, 0)
    before = 0
    maker = first
    value = 0  # the register whose value is in one of the host, since record `maker`
    host = 0
    stubs = 0
    i = first
    while before < count:
        record = load64(decoded + 8 * i)
        row = stencil_of(record)
        line = record & IN_REGION
        if is_between(i) == 0:
            line = line | RECORD_STITCHED
        line = line | form_of(decoded, i, record, row) << 10
        row = row_of(record, line)
        if load8(m.stitch_scratch + TARGETS + i):
            value = 0
        handed = handed_on(record, row, value)
        if handed:
            line = line & ~RECORD_STITCHED | handed
            if is_overwritten(record, row, value) and is_behind(decoded, maker, i):
                store64(lines + 8 * maker, load64(lines + 8 * maker) | NOT_STORED)
                to -= RESULT_SIZE
            while is_behind(decoded, maker, i) == 0:  # nobody enters in between
                maker += 1 + (load64(decoded + 8 * maker) & 1)
                store64(lines + 8 * maker, load64(lines + 8 * maker) & ~RECORD_STITCHED)
        store64(lines + 8 * i, line | (count - before) << 16 | before << 24 | (to - m.stitched_base) << 32)
        to += size_of(row, line, host)
        host = host_of(row, host)
        forms = load64(row + STENCIL_FORMS)
        if forms & RESULT:
            value = record >> 16 & 255
            maker = i
        elif forms & KEEPS == 0 or record >> 16 & 255 == value:
            value = 0
        stubs += stub_size(row)
        i += 1 + (record & 1)
        before += 1
    return to + stubs + load64(m.stencils + STENCIL_LEAVE + STENCIL_SIZE)


def fill_line(decoded, lines, first):
    """Copy the stencils of a straight line, its end and its stubs, and fill their holes in."""
    line = load64(lines + 8 * first)
    count = line >> 16 & 255
    to = m.stitched_base + (line >> 32)
    end = to
    host = 0
    before = 0
    i = first
    while before < count:
        record = load64(decoded + 8 * i)
        line = load64(lines + 8 * i)
        row = row_of(record, line)
        end += size_of(row, line, host)
        host = host_of(row, host)
        i += 1 + (record & 1)
        before += 1
    ends = load64(row + STENCIL_ENDS)
    if ends:
        stub = end + stub_size(row)
    else:
        set_hole(HOLE_TARGET_WHERE, i << 11 | count)
        stub = copy_stencil(m.stencils + STENCIL_LEAVE, end)
    before = 0
    i = first
    while before < count:
        record = load64(decoded + 8 * i)
        line = load64(lines + 8 * i)
        row = row_of(record, line)
        set_holes(record, i, before)
        if line & (HANDED_ON | SWAPPED) == HANDED_ON | SWAPPED:
            set_hole(HOLE_RS1, (record >> 32 & 255) * 8 - MIDST)
            set_hole(HOLE_RS2, (record >> 24 & 255) * 8 - MIDST)
        if line & 0xC00 == FIRST << 10 and load64(row + STENCIL_FORMS) & (LOADS | STORES):
            reach(decoded, i)
        at = stub
        if ends and before == count - 1:
            at = end  # the way on
        set_hole(HOLE_NEXT, to + size_of(row, line, host))
        set_hole(HOLE_STUB, at)
        to = copy_in_line(row, line, host, to)
        host = host_of(row, host)
        kind = load64(row + STENCIL_STUB)
        if kind:
            behind = at
            if kind != STUB_TAKEN or set_target(lines, i + sar(record, 52), before):
                set_hole(HOLE_STUB, at + load64(m.stencils + kind * STENCIL_ROW + STENCIL_SIZE))
                behind = copy_stencil(m.stencils + kind * STENCIL_ROW, at)
            if kind == STUB_TAKEN:
                copy_stencil(m.stencils + STENCIL_LEAVE, behind)
            if at == stub:
                stub += stub_size(row)
        i += 1 + (record & 1)
        before += 1
    return 0


def set_hole(number, value):
    """What the next stencils get for a hole."""
    store64(m.stitch_scratch + 8 * number, value)
    return 0


def set_holes(record, i, before):
    """Holes that follow from a record: number i of its page, so many before it in its line."""
    immediate = sar(record, 40)
    set_hole(HOLE_RD, (record >> 16 & 255) * 8 - MIDST)
    set_hole(HOLE_RS1, (record >> 24 & 255) * 8 - MIDST)
    set_hole(HOLE_RS2, (record >> 32 & 255) * 8 - MIDST)
    set_hole(HOLE_RS3, (record >> 40 & 255) * 8 - MIDST)
    set_hole(HOLE_ROUNDING, record >> 48 & 7)
    set_hole(HOLE_IMM, immediate)
    set_hole(HOLE_UPPER, sext32(immediate << 12))
    set_hole(HOLE_UPPER_PC, sext32(immediate << 12) + 2 * i)
    set_hole(HOLE_HERE, 2 * i)
    set_hole(HOLE_BEHIND, 2 * i + 2 + 2 * (record & 1))
    set_hole(HOLE_BEHIND_RECORD, 8 * (i + 1 + (record & 1)))
    set_hole(HOLE_WHERE, i << 11 | before)
    set_hole(HOLE_LESS_AFTER, -before - 1)
    set_hole(HOLE_FAR, 2 * i + immediate)
    return 0


def set_target(lines, target, before):
    """Holes of a branch to record `target` of the page; 0 where that one is in no line."""
    line = load64(lines + 8 * target)
    set_hole(HOLE_TARGET_WHERE, target << 11 | before + 1)
    set_hole(HOLE_TARGET, m.stitched_base + (line >> 32))
    set_hole(HOLE_ENOUGH, before + 1 + (line >> 16 & 255))
    set_hole(HOLE_REPAID, (line >> 24 & 255) - before - 1)
    return line & 1023 == RECORD_STITCHED


def copy_stencil(row, to):
    """Copy a stencil, fill its holes in; the address behind it."""
    return copy_in_line(row, 0, 0, to)


def copy_in_line(row, line, host, to):
    """Copy a stencil without what its line does not need, fill its holes in; the address behind it."""
    hole = m.stencils + load64(row + STENCIL_HOLES)
    end = hole + 8 * load64(row + STENCIL_HOLE_COUNT)
    behind = to + size_of(row, line, host)
    first = m.stencils + load64(row + STENCIL_CODE)
    code = first
    begin = to
    if line & HANDED_ON:
        forms = load64(row + STENCIL_FORMS)
        hole += 8
        code += forms >> HEAD_SIZE & 15
        begin += move_size(row, host)
        if begin != to:
            store32(to, move_of(forms, host))
    copy(begin, code, behind - begin)
    if line & NOT_STORED:
        end -= 8
    begin += first - code  # where the first byte would be
    while hole < end:
        what = load64(hole)
        place = begin + (what & 0xFFFF)
        value = load64(m.stitch_scratch + 8 * (what >> 16 & 255)) + sar(what, 32)
        how = what >> 24 & 255
        if how == AS_8:
            store8(place, value)
        elif how == AS_64:
            store64(place, value)
        elif how == AS_DISTANCE:
            store32(place, value - place)
        else:
            store32(place, value)
        hole += 8
    return behind
