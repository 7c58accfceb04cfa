"""The templates of the handlers: one for each kind of instruction, and for what is not an instruction."""

from __future__ import annotations

from collections.abc import Callable

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import ARGUMENTS, CC
from vpmu.hart.generator.handler import Handler
from vpmu.hart.generator.language import Constants
from vpmu.hart.generator.operations import Operation
from vpmu.hart.generator.templates import floating, flow, memory, special, system, value
from vpmu.hart.isa.instruction import Kind

ONE_PATH: dict[Kind, Callable[[Handler], None]] = {
    Kind.VALUE: value.value_instruction,
    Kind.NOP: value.nothing,
    Kind.BRANCH: flow.branch,
    Kind.JAL: flow.jal,
    Kind.JALR: flow.jalr,
    Kind.SYSTEM: system.system,
}
TWO_PATHS: dict[Kind, Callable[[Handler, bool], None]] = {
    Kind.LOAD: memory.load,
    Kind.STORE: memory.store,
    Kind.AMO: memory.amo,
    Kind.FP_LOAD: floating.fp_load,
    Kind.FP_STORE: floating.fp_store,
    Kind.FP: floating.fp,
}
"""These may have a slow path (`operations.has_slow_path`)."""
SPECIAL: dict[str, Callable[[Handler], None]] = {
    "decode": special.decode,
    "page_end": special.page_end,
    "straddle": special.straddle,
    "hot": special.hot,
    "breakpoint": special.breakpoint,
    "stitched": special.stitched,
}
assert SPECIAL.keys() == set(state.SPECIAL_OPERATIONS)
assert ONE_PATH.keys() | TWO_PATHS.keys() == set(Kind)


def handler_ir(
    operation: Operation, length: int, constants: Constants, counting: Counting, slow_path: bool = False
) -> str:
    """The text of a handler, or of its slow path."""
    h = Handler(operation, length, constants, counting)
    name = ("slow_" if slow_path else "op_") + h.symbol()
    linkage = "internal " if slow_path else ""
    h.lines.append(f"define {linkage}{CC} i64 @{name}({ARGUMENTS}) {{")
    h.label("entry")
    if operation.name in SPECIAL:
        SPECIAL[operation.name](h)
    elif operation.row.kind in ONE_PATH:
        ONE_PATH[operation.row.kind](h)
    else:
        TWO_PATHS[operation.row.kind](h, slow_path)
    h.lines.append("}")
    return "\n".join(h.lines)
