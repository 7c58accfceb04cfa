"""What all handlers agree on: their arguments, and the layout of a record.

The arguments of a handler stay in host registers for the whole run:

    %S     the hart's state block
    %T     the translation context (state.CONTEXT) of the current mode
    %rp    the record being executed
    %bias  pc = (rp >> 2) + bias: records keep no pc, so that pages decode once
    %n     instructions left, this one included
    %r     the record: op | rd | rs1 | rs2 | imm
    %tab   addresses of the handlers

A *record* is 64 bits: op 15:0, rd 23:16, rs1 31:24, rs2 39:32, imm 63:40. A decoded page holds one record
per halfword of a page of guest memory; an all-zero record is op 0, DECODE, which fills itself in and runs
again. No value of a record, of a pc or of a register leads outside: the operation is cut to the table of
handlers, a register number to the words before the CSRs, an offset in a page to that of a record.
"""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.codegen_flags import HOT_EXPORTS

CC = "preserve_nonecc"
ARGUMENTS = "ptr %S, ptr %T, ptr %rp, i64 %bias, i64 %n, i64 %r, ptr %tab"

RD, RS1, RS2, IMM = 16, 24, 32, 40
"""The lowest bit of each operand in a record."""
RS3 = 40  # of a fused multiply-add: its number, and
ROUNDING = 48  # the rounding mode, both in what is the immediate of others
DISTANCE = 52  # of an in-page branch: the distance to its target, in records
PAGE = -4096
RECORD_OFFSET = 4094  # of an instruction in its page: its records are one for two bytes


def hot_export_slot(name: str) -> int:
    """Where the address of a function of HOT_EXPORTS stands in the table of handlers, in bytes."""
    return 8 * (state.HANDLERS + HOT_EXPORTS.index(name))
