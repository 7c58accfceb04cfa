"""What stencils, their table and the stitcher agree on: holes, forms, the layout of a row."""

from __future__ import annotations

HOLES = {
    "rd": "byte offset of the register, from the midst of the registers x0 to x31 on (state.MIDST)",
    "rs1": "the same",
    "rs2": "the same",
    "rs3": "the same",
    "rounding": "the rounding mode",
    "imm": "the immediate",
    "upper": "the immediate of lui",
    "upper_pc": "that of auipc, from the beginning of the page",
    "here": "offset of the instruction in its page",
    "behind": "offset of what follows it",
    "behind_record": "offset of the record of what follows it in the decoded page",
    "where": "offset of its record in the decoded page 31:8, instructions of its straight line before it 7:0",
    "less_after": "these and itself, negative: what the budget has still to lose",
    "far": "here + imm",
    "low": "the first byte that it and its neighbours access, from rs1 on",
    "last": "the last byte",
    "next": "code of what follows",
    "stub": "code of what it seldom needs",
    "target": "code that a branch in its page leads to",
    "target_where": "offset of the target's record 31:8, instructions before it and the branch 7:0",
    "enough": "instructions that there must be for the branch and all of the target's straight line",
    "repaid": "what the branch adds to the budget: what is before the target in its line, and less_after",
    "shared_slow": "code that all stencils share: to the handler of a record",
    "shared_leave": "the same: to a record",
    "shared_jump": "the same: to an address",
}
"""A hole's number is its place here."""

NUMBER = {name: number for number, name in enumerate(HOLES)}
CODE = ("next", "stub", "target", "shared_slow", "shared_leave", "shared_jump")
"""Holes that are code, which a stencil jumps to; the others are numbers of 32 bits with a sign."""

OF_RECORD = ("where", "target_where")
"""Holes that have no sign."""
OF_LINE = ("less_after", "enough", "repaid")
"""Holes that are a byte, since lines are short."""
OF_SMALL = ("imm", "low", "last")
"""Holes that are a byte in a second stencil, for immediates from -SMALL to SMALL - 8 (and the last byte of an
access lies seven behind it at most).
"""
SMALL = 128

# An operation has a stencil for each of these forms that helps it.
PLAIN, FIRST, NEAR = range(3)  # of an access: with neighbours behind it in its page; behind such a one
NO_RS1, NO_RS2, NO_IMM = 1, 1, 2  # of others: where that operand is x0, or 0
NO_RD = 3  # of those who reach their registers by a byte: the sink, where x0 is written, is too far
FORMS = 4
OF_RS1, OF_RS2, OF_IMM, OF_RD = 1, 2, 4, 32  # which of these there are
LOADS, STORES = 8, 16  # or that it is an access
# What is known of a stencil's code, beside these. It begins with a load of rs1 or rs2 into a register of the
# host (19:16), or asks whether it is 0 (HEAD_TEST), in so many bytes (27:24); its operands commute; it ends
# with a store of a register of the host (23:20) to rd; it changes no register of the host.
HEAD_RS1, HEAD_RS2, HEAD_TEST, COMMUTES, RESULT, KEEPS = 64, 128, 256, 512, 1024, 2048
HEAD_REGISTER, RESULT_REGISTER, HEAD_SIZE = 16, 20, 24
RESULT_SIZE, MOVE_SIZE = 5, 3
# Of a record in a line: an operand is in a register of the host already, so its head becomes a move or is
# left out; its operands have changed places for that; the next overwrites its rd, and needs no store of it.
HANDED_ON, SWAPPED, NOT_STORED = 1 << 12, 1 << 9, 1 << 13

SLOW, TAKEN, LEAVE, FAR = range(1024 * FORMS, 1024 * FORMS + 4)
STUBS = {SLOW: "stub_slow", TAKEN: "stub_taken", LEAVE: "stub_leave", FAR: "stub_far"}
"""Stencils that belong to no operation, by their place in the table behind the operations in all forms."""
SHARED = dict(enumerate(CODE[3:], FAR + 1))
"""Behind these: stencils without holes that stand in the arena once, in front of all others."""
TABLE = FAR + 1 + len(SHARED)

# A row of the table: a stencil.
ROW = ("CODE", "SIZE", "HOLES", "HOLE_COUNT", "STUB", "ENDS", "FORMS", "BYTES")
ROW_WORDS = {f"STENCIL_{name}": 8 * place for place, name in enumerate(ROW)}
ROW_SIZE = 8 * len(ROW)
"""SIZE of the code, ENDS: what follows in memory is not what follows in the program, FORMS as above, BYTES
that are accessed. CODE and HOLES are distances from the beginning of the table; a row without code is none.
"""
# A hole to fill: its place in the stencil 15:0, number 23:16, how 31:24, an addend 63:32.
AS_32, AS_64, AS_DISTANCE, AS_8 = 0, 1, 2, 3
MAX_LINE = 63  # instructions in a straight line: what a branch from one to another has to know is a byte
assert 2 * MAX_LINE < SMALL
MAX_REACH, MAX_STEPS = 256, 32  # bytes that neighbours lie in; instructions
IN_LINE = 1 << 15  # of a record that no line is entered at: it is not what it would be alone
MAX_STITCHED = 1 << 14  # times that pages are stitched until all is begun again
KEY_FACTOR = 0x9E3779B97F4A7C15  # odd, its bits as any: of the hash that names a known page
KNOWN_ROW, MAX_LEARNED = 8 + 2048 // 8, 1 << 12  # bytes of a row of known pages, rows (known.py)
STITCH_ENTRIES = 256  # times that a handler comes to a page or out of a line, from one look at it to the next
NAMED = (
    *("FIRST", "NEAR", "NO_RS1", "NO_RS2", "NO_IMM", "NO_RD", "LOADS", "STORES"),
    *("HEAD_RS1", "HEAD_RS2", "HEAD_TEST", "COMMUTES", "RESULT", "KEEPS", "HEAD_REGISTER", "RESULT_REGISTER"),
    *("HEAD_SIZE", "RESULT_SIZE", "MOVE_SIZE", "HANDED_ON", "SWAPPED", "NOT_STORED"),
    *("OF_RS1", "OF_RS2", "OF_IMM", "OF_RD", "AS_8", "AS_64", "AS_DISTANCE"),
    *("MAX_LINE", "SMALL", "MAX_REACH", "MAX_STEPS", "IN_LINE", "MAX_STITCHED"),
    *("STITCH_ENTRIES", "KNOWN_ROW", "MAX_LEARNED", "KEY_FACTOR"),
)
"""Of these names, what the stitcher uses."""

# The stitcher's own memory, by byte offset: holes, what it notes of neighbours (two words), what the records
# of a page become, which of them are branched to (a byte each), which have a stencil, the stitched pages.
LINES = 8 * (len(HOLES) + 2)
TARGETS = LINES + 8 * 2048
LISTED = TARGETS + 2048
PAGES = LISTED + 2 * 2048
SCRATCH = PAGES + 8 * MAX_STITCHED
