"""F, D and Zfh as rows of the instruction table (unprivileged ISA, chapters 20 and 21), made from `fd_rows`.

A row's `semantics` is the operation's name: the reference engine computes it by `fd_rows.execute`, the
native engine by `generator/floating/`. Registers f0..f31 are the numbers F..F+31 of one file with x0..x31
(see state.py). The immediate of a computation holds the number of rs3 and, above it, the rounding mode.
"""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.isa.fd_rows import FD_ROWS, FdRow
from vpmu.hart.isa.instruction import RD, RS1, RS2, ZERO, Format, I, Instruction, Kind, S, bits
from vpmu.hart.isa.zfh import ZFH_ROWS

FRD, FRS1, FRS2 = (bits(spec, offset=state.F) for spec in ("11:7", "19:15", "24:20"))
RS3_AND_RM = bits("31:27=4:0 14:12=10:8", offset=state.F)
RM_SHIFT = 8  # the rounding mode in that immediate

FD_BY_NAME = {row.name: row for row in (*FD_ROWS, *ZFH_ROWS)}
_BYTES = {"h": 2, "s": 4, "d": 8}


def _row(row: FdRow, needs: str = "") -> Instruction:
    size = _BYTES[row.precision]
    if row.operation == "load":
        form = Format("FI", FRD, RS1, ZERO, I.imm)
        return Instruction(
            row.name, form, row.mask, row.match, Kind.FP_LOAD, "load", size, event="load", needs=needs
        )
    if row.operation == "store":
        form = Format("FS", ZERO, RS1, FRS2, S.imm)
        return Instruction(
            row.name, form, row.mask, row.match, Kind.FP_STORE, "store", size, event="store", needs=needs
        )
    rd = FRD if row.dest == "f" else RD
    rs1 = FRS1 if row.sources[0] == "f" else RS1
    rs2 = (FRS2 if row.sources[1] == "f" else RS2) if len(row.sources) > 1 else ZERO
    form = Format("FR", rd, rs1, rs2, RS3_AND_RM)
    return Instruction(
        row.name, form, row.mask, row.match, Kind.FP, row.operation, size, event="fp", needs=needs
    )


INSTRUCTIONS = tuple(_row(row) for row in FD_ROWS)
ZFH = tuple(_row(row, "ISA_ZFH") for row in ZFH_ROWS)
