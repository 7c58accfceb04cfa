"""The IR of a whole engine."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from vpmu.hart import state
from vpmu.hart.codegen_flags import HOT_EXPORTS, Counting
from vpmu.hart.generator.decoder import Decoder, decode_at
from vpmu.hart.generator.emitter import METADATA
from vpmu.hart.generator.entry import Entry, hot_exports, hot_judged, probe, stitched_exports
from vpmu.hart.generator.floating import formats
from vpmu.hart.generator.floating.inexact import inexact_functions
from vpmu.hart.generator.language import Constants, Language
from vpmu.hart.generator.operations import OPERATIONS, has_slow_path
from vpmu.hart.generator.templates import handler_ir
from vpmu.hart.semantics.intrinsics import DECLARATIONS


def module(
    functions: Iterable[ast.FunctionDef], constants: Constants, counting: Counting = Counting.NOTHING
) -> str:
    """The IR of a whole engine: these functions, decoder, handlers and their table, entry points."""
    parts = [DECLARATIONS, formats.DECLARATIONS]
    for node in functions:
        emitter = Language(constants)
        emitter.function(node)
        parts.append("\n".join(emitter.lines))
    parts += [Decoder().generate(), decode_at()]
    names: list[str] = []
    for operation in OPERATIONS:
        for length in (2, 4):
            if length not in operation.lengths:
                names.append("op_illegal_2")
                continue
            parts.append(handler_ir(operation, length, constants, counting))
            names.append(f"op_{operation.name}_{length}")
            if has_slow_path(operation.row):
                parts.append(handler_ir(operation, length, constants, counting, slow_path=True))
    for part in (Entry.budget_spent, Entry.entry_looked_at, Entry.resume, Entry.enter, Entry.run):
        parts.append(part(Entry(constants, counting)))
    parts += [
        probe(),
        hot_judged(),
        hot_exports(),
        stitched_exports(constants, counting),
        *inexact_functions(constants, counting),
    ]
    names += ["op_illegal_4"] * (state.HANDLERS - len(names))
    names += HOT_EXPORTS  # compiled regions find them behind the handlers (hot_export_slot)
    parts.append(f"@handlers = constant [{len(names)} x ptr] [{', '.join(f'ptr @{name}' for name in names)}]")
    parts.append(METADATA)
    return "\n".join(parts)
