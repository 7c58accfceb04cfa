"""The IR of all stencils of an engine."""

from __future__ import annotations

from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import ARGUMENTS, CC
from vpmu.hart.generator.emitter import METADATA
from vpmu.hart.generator.floating import formats
from vpmu.hart.generator.language import Constants
from vpmu.hart.generator.operations import OPERATIONS
from vpmu.hart.generator.templates import ONE_PATH, TWO_PATHS
from vpmu.hart.semantics.intrinsics import DECLARATIONS
from vpmu.hart.stencils.forms import forms_of, has_stencil
from vpmu.hart.stencils.holes import CODE, HOLES, SHARED, STUBS
from vpmu.hart.stencils.stencil import Stencil


def stencils(constants: Constants, counting: Counting) -> dict[str, str]:
    """The text of each stencil by its name: `stencil_<operation>_<form>`, or that of the stub."""
    texts = {}
    for operation in filter(has_stencil, OPERATIONS):
        for form in forms_of(operation):
            name = f"stencil_{operation.name}_{form}"
            texts[name] = _function(name, Stencil(operation, constants, counting, form))
    for name in (*STUBS.values(), *SHARED.values()):
        texts[name] = _function(name, Stencil(OPERATIONS[-1], constants, counting), name)
    return texts


def stencils_ir(texts: dict[str, str]) -> str:
    """The module that these functions make."""
    parts = [DECLARATIONS, formats.DECLARATIONS]
    for name in HOLES:
        if name in CODE:
            parts.append(f"declare {CC} i64 @hole_{name}({ARGUMENTS})")
        else:
            parts.append(f"@hole_{name} = external global i8, !absolute_symbol !2")
    # a hole is no address of the program, and has a sign
    return "\n".join((*parts, *texts.values(), METADATA, f"!2 = !{{i64 {-(1 << 31)}, i64 {1 << 31}}}"))


def _function(name: str, stencil: Stencil, stub: str = "") -> str:
    # optsize: a conditional jump may leave the stencil, so that its straight line has no jump in it
    stencil.lines.append(f'define {CC} i64 @"{name}"({ARGUMENTS}) optsize "no-jump-tables"="true" {{')
    stencil.label("entry")
    kind = stencil.row.kind
    if stub:
        getattr(stencil, stub)()
    elif kind in ONE_PATH:
        ONE_PATH[kind](stencil)
    else:
        TWO_PATHS[kind](stencil, False)
    stencil.lines.append("}")
    return "\n".join(stencil.lines)
