"""The stitcher: machine code of a decoded page out of stencils. It runs in the engine, between two slices
of a run.

A page is a number of straight lines: records that follow each other until one jumps, has no stencil, is not
decoded, or is in another line already (lines.py). Behind a line stand its end, a jump to the record that
follows, and its stubs. Every record of a line becomes one that leads into the line (`stitched` in
templates/special.py); what it was is kept behind the page, at DECODED_ORIGINALS. Records between neighbours
keep what they are, with a mark (neighbours.py).
"""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def next_slice(budget):
    """Instructions until the next sample: fewer where the samples before have found something to stitch, and
    not always the same number.
    """
    if m.stencils == 0:
        return budget
    s.stitched = m.stitched_base
    m.stitch_turn += 1
    slice = m.stitch_slice + (m.stitch_turn * 2741 & m.stitch_shortest - 1)
    if slice < budget:
        return slice
    return budget


def sample():
    """The guest is at `s.pc`: stitch the page if a stencil could be there, and none is."""
    decoded = s.dbase
    if decoded < m.code_pool or decoded >= m.code_next:
        return 0  # a page that is decoded one instruction at a time
    record = load64(decoded + (s.pc & 4095) * 4)
    if record & IN_REGION and m.hot_row:
        store64(m.hot_row + HOT_SAMPLES, load64(m.hot_row + HOT_SAMPLES) + 1)
    # seldom a branch leads to a record in a line that no line is entered at
    if look_at(decoded, record, m.stitch_turn & 15 == 0):
        m.stitch_slice = m.stitch_shortest
    elif m.stitch_slice < m.stitch_shortest * 32:
        m.stitch_slice += m.stitch_slice >> 2
    return 0


def look_at_entry(rp):
    """So many times handlers have come to a page or out of a line, and now to this record."""
    m.stitch_entries = STITCH_ENTRIES
    decoded = s.dbase
    if m.stencils and decoded >= m.code_pool and decoded < m.code_next:
        look_at(decoded, load64(rp), 0)
    return 0


def look_at(decoded, record, closely):
    """Stitch a page if a handler ran this record of it for want of a stencil, not because it could do what a
    stencil could not; whether it did. `closely`: if it is in a line, ask whether a branch leads there.
    """
    fresh = record & IN_LINE == 0 or (closely and is_branched_to(decoded))
    if stencil_of(record) == 0 or fresh == 0:
        return 0
    if stitch_page(decoded) == 0:
        unstitch_all()
    return 1


def judge_region(row):
    """A region has been visited often: give it up where a visit is too short to pay for what it loads and
    stores. Where nobody samples, nobody knows.
    """
    inside = load64(row + HOT_SAMPLES) * (m.stitch_slice + (m.stitch_shortest >> 1))
    if m.stencils and load64(row + HOT_KEPT) == 0 and inside < HOT_JUDGED * HOT_STAY:
        store64(row, 0)
    store64(row + HOT_VISITS, 0)
    store64(row + HOT_SAMPLES, 0)
    return 0


def stitch_page(decoded):
    """Stitch what is decoded of a page; 0 where there is no room for it."""
    unstitch_page(decoded)
    if m.stitched_count == MAX_STITCHED:
        return 0
    lines = m.stitch_scratch + LINES
    fill(lines, 0, 8 * 2048)
    if load64(decoded + DECODED_KEY) == 0:
        recall(decoded)
    listed = m.stitch_scratch + LISTED
    end = listed + 2 * find_targets(decoded)
    to = m.stitched_next
    at = listed
    while at < end:
        if load64(lines + 8 * load16(at)) == 0:
            to = place_line(decoded, lines, load16(at), to)
        at += 2
    if to > m.stitched_end:
        return 0
    m.stitched_next = to
    at = listed
    while at < end:
        if load64(lines + 8 * load16(at)) & 255 << 24 == 0:
            fill_line(decoded, lines, load16(at))
        at += 2
    at = listed
    while at < end:
        record = decoded + 8 * load16(at)
        line = load64(lines + 8 * load16(at))
        store64(record + DECODED_ORIGINALS, load64(record))
        if line & 1023 == RECORD_STITCHED:
            store64(record, line)
        else:
            store64(record, load64(record) | IN_LINE)
        at += 2
    store64(decoded + DECODED_COMPILED, load64(decoded + DECODED_COMPILED) | COMPILED_STITCHED)
    store64(m.stitch_scratch + STITCHED_PAGES + 8 * m.stitched_count, decoded)
    m.stitched_count += 1
    learn(decoded, listed, end)
    return 1


def unstitch_page(decoded):
    """Make the records of a page what they were; its code is not entered again."""
    compiled = load64(decoded + DECODED_COMPILED)
    if compiled & COMPILED_STITCHED:
        store64(decoded + DECODED_COMPILED, compiled & ~COMPILED_STITCHED)
        i = next_decoded(decoded, 0)
        while i < 2048:
            record = load64(decoded + 8 * i)
            if record & 1023 == RECORD_STITCHED:
                store64(decoded + 8 * i, load64(decoded + DECODED_ORIGINALS + 8 * i))
            elif record & IN_LINE:
                store64(decoded + 8 * i, record & ~IN_LINE)
            i = next_decoded(decoded, i + 1)
    return 0


def unstitch_all():
    """The same for all pages; the arena is empty then."""
    page = m.stitch_scratch + STITCHED_PAGES
    end = page + 8 * m.stitched_count
    while page < end:
        unstitch_page(load64(page))
        page += 8
    m.stitched_count = 0
    m.stitched_next = m.stitched_base
    return 0
