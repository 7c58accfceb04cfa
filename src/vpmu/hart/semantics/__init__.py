"""The semantics language: a small subset of Python with two readings, LLVM IR and plain Python.

Everything that an instruction, a trap or a page-table walk does is written once, as Python source over
unsigned 64-bit scalars, and read twice: `generator/language.py` turns it into LLVM IR for the native engine,
`to_python.py` into ordinary Python (every result masked to 64 bits) for the reference engine.

The subset: integer constants, local names, `+ - * & | ^ ~ << >>` (logical shift), unsigned comparisons,
`and or not`, `a if c else b`, `if/elif/else`, `while`, `return`, assignment, calls of the primitives of
`intrinsics.py` and of other functions of the same program. `s.name`, `t.name` and `m.name` are words of the
hart's state, its current translation context and the block shared by all harts (see `state.py`); `s.x[i]` is
an element of the array that starts at word `X`.
"""

from __future__ import annotations

from vpmu.hart import state

MASK = (1 << 64) - 1
BLOCKS = {"s": state.STATE, "t": state.CONTEXT, "m": state.SHARED}
ARRAYS = {"x": state.X, "f": state.F}
"""Where the elements of an array of block `s` begin."""


def signed(value: int, bits: int = 64) -> int:
    """Two's complement reading of the low `bits` of `value`."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class SemanticsError(Exception):
    """A piece of semantics uses something outside the language (an error of ours, found when the engine is
    built).
    """
