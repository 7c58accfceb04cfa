"""Straight lines: where their stencils go, and how their holes are filled in."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def stencil_of(record):
    """The row of a record's stencil in its plain form; 0 where it has none."""
    row = m.stencils + (record & 1023) * STENCIL_ROW
    if load64(row + STENCIL_CODE):
        return row
    return 0


def row_of(record, line):
    """The row of the stencil that stands for a record in a line."""
    return m.stencils + ((record & 1023) + (line & 0xC00)) * STENCIL_ROW


def stub_size(row):
    """Bytes of a stencil's stub; behind one to a line stands one that leaves."""
    stub = load64(row + STENCIL_STUB)
    size = 0
    if stub:
        size = load64(m.stencils + stub * STENCIL_ROW + STENCIL_SIZE)
    if stub == STUB_TAKEN:
        size += load64(m.stencils + STENCIL_LEAVE + STENCIL_SIZE)
    return size


def is_handed_on(record, row, value):
    """Whether a stencil begins with a load of the register whose value is in RAX."""
    forms = load64(row + STENCIL_FORMS)
    if value == 0:
        return 0
    if forms & HEAD_RS1:
        return record >> 24 & 255 == value
    return forms & HEAD_RS2 and record >> 32 & 255 == value


def is_overwritten(record, row, value):
    """Whether a stencil, which has this register's value in RAX, sets it in any case, and reads it nowhere
    else.
    """
    forms = load64(row + STENCIL_FORMS)
    if forms & RESULT == 0 or record >> 16 & 255 != value or load64(row + STENCIL_STUB):
        return 0
    if forms & HEAD_RS1:
        return record >> 32 & 255 != value
    return record >> 24 & 255 != value


def size_of(row, line):
    """Bytes of a stencil's code in a line."""
    size = load64(row + STENCIL_SIZE)
    if line & HANDED_ON:
        size -= HEAD_SIZE
        if load64(row + STENCIL_FORMS) >> MOVE:
            size += 3
    if line & NOT_STORED:
        size -= RESULT_SIZE
    return size


def place_line(decoded, lines, first, to):
    """Give the records of a straight line their code, from address `to` on; the address behind it."""
    count = 0
    i = first
    row = stencil_of(load64(decoded + 8 * i))
    while row:
        count += 1
        i += 1 + (load64(decoded + 8 * i) & 1)
        if load64(row + STENCIL_ENDS) or count == MAX_LINE or i >= 2048:
            row = 0
        else:
            row = 0 if load64(lines + 8 * i) else stencil_of(load64(decoded + 8 * i))
    store64(m.stitch_scratch + NOTES, 0)
    store64(m.stitch_scratch + NOTES + 8, 0)
    before = 0
    last = first
    value = 0  # the register whose value is in RAX
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
        if before and load8(m.stitch_scratch + TARGETS + i) == 0 and is_handed_on(record, row, value):
            line = line & ~RECORD_STITCHED | HANDED_ON
            if is_overwritten(record, row, value):
                store64(lines + 8 * last, load64(lines + 8 * last) | NOT_STORED)
                to -= RESULT_SIZE
        store64(lines + 8 * i, line | (count - before) << 16 | before << 24 | (to - m.stitched_base) << 32)
        last = i
        value = 0
        if load64(row + STENCIL_FORMS) & RESULT:
            value = record >> 16 & 255
        to += size_of(row, line)
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
    before = 0
    i = first
    while before < count:
        record = load64(decoded + 8 * i)
        line = load64(lines + 8 * i)
        row = row_of(record, line)
        end += size_of(row, line)
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
        if line & 0xC00 == FIRST << 10 and load64(row + STENCIL_FORMS) & (LOADS | STORES):
            reach(decoded, i)
        at = stub
        if ends and before == count - 1:
            at = end  # the way on
        set_hole(HOLE_NEXT, to + size_of(row, line))
        set_hole(HOLE_STUB, at)
        to = copy_in_line(row, line, to)
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
    return copy_in_line(row, 0, to)


def copy_in_line(row, line, to):
    """Copy a stencil without what its line does not need, fill its holes in; the address behind it."""
    hole = load64(row + STENCIL_HOLES)
    end = hole + 8 * load64(row + STENCIL_HOLE_COUNT)
    behind = to + size_of(row, line)
    code = load64(row + STENCIL_CODE)
    begin = to
    if line & HANDED_ON:
        hole += 8
        code += HEAD_SIZE
        move = load64(row + STENCIL_FORMS) >> MOVE
        if move:
            store32(to, move)
            begin += 3
    copy(begin, code, behind - begin)
    if line & NOT_STORED:
        end -= 8
    begin += load64(row + STENCIL_CODE) - code  # where the first byte would be
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
