"""Compiled stencils as a table that the stitcher reads: their code, and their holes."""

from __future__ import annotations

import struct
from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from vpmu.hart import code_cache, native
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.memory import HostMemory
from vpmu.hart.stencils import holes

if TYPE_CHECKING:
    from vpmu.hart.object_file import Piece
    from vpmu.hart.stencils.shorter import Hole

_ROW = struct.Struct("<8Q")
_HOLE = struct.Struct("<HBBi")
_HOW = {"8": holes.AS_8, "32": holes.AS_32, "64": holes.AS_64, "distance": holes.AS_DISTANCE}


class Row(NamedTuple):
    """A stencil: its place in the table, code, holes (packed), stub, whether it ends a line, forms, bytes. At
    an odd place it stands for a small immediate.
    """

    place: int
    code: bytes
    holes: bytes
    stub: int
    ends: bool
    forms: int = 0
    bytes: int = 0


def _row(
    place: int, piece: Piece, stub: int, text: str, forms: int = 0, size: int = 0, near: Collection[str] = ()
) -> list[Row]:
    """A stencil out of what LLVM has made of its text, and the same for small immediates; none where it has a
    hole that nobody can fill in. `near`: operands that may be reached by a byte.
    """
    from vpmu.hart.stencils import shorter

    found = [(at, symbol.removeprefix("hole_"), how, addend) for at, symbol, how, addend in piece.holes]
    for _, name, how, _ in found:
        if name not in holes.NUMBER or how not in _HOW or (how == "distance") != (name in holes.CODE):
            return []
    code, found = shorter.straight(piece.code, found)
    goes_on = any(name == "next" for _, name, _, _ in found)
    if found and found[-1][1] == ("next" if goes_on else "stub") and shorter.ends_in_jump(code, found[-1][0]):
        code, found = code[:-5], found[:-1]  # what it jumps to stands there
    if text.count(" br ") <= shorter.ways_out(code, found) and not piece.constants:  # no jump inside
        code, found = shorter.operand_first(*shorter.shortened(code, found, near))
        forms |= shorter.ends(code, found)
        code, found = shorter.as_bytes(code, found, holes.OF_LINE)
        if place == holes.TAKEN:
            code, found = shorter.to_what_follows(code, found)
        small = shorter.as_bytes(code, found, holes.OF_SMALL)
    else:
        small = code, found
    if goes_on and all(name != "stub" for _, name, _, _ in found):
        stub = 0  # one of neighbours behind the first never needs it
    return [
        Row(place + odd, text, _packed(where), stub, not goes_on, forms, size)
        for odd, (text, where) in enumerate(((code, found), small))
    ]


def _packed(found: list[Hole]) -> bytes:
    return b"".join(_HOLE.pack(at, holes.NUMBER[name], _HOW[how], add) for at, name, how, add in found)


def compiled(counting: Counting) -> list[Row]:
    """The stencils of an engine variant, compiled now."""
    from vpmu.hart import program
    from vpmu.hart.generator.operations import NUMBER, OPERATIONS
    from vpmu.hart.object_file import pieces
    from vpmu.hart.stencils.forms import NEAR_REGISTERS, form_bits, forms_of, has_stencil, stub_of
    from vpmu.hart.stencils.module import stencils, stencils_ir

    texts = stencils(program.constants(Counting.WHOLE in counting), counting)
    made = pieces(native.compile_ir(stencils_ir(texts), native.stencil_machine()))
    if "+avx," not in native.host_machine()[1][2]:  # it reads no constants that are not aligned
        made = {name: piece for name, piece in made.items() if not piece.constants}
    rows = []
    for operation in filter(has_stencil, OPERATIONS):
        number, stub, bits = NUMBER[operation.name], stub_of(operation), form_bits(operation)
        for form in forms_of(operation):
            name = f"stencil_{operation.name}_{form}"
            place = 1024 * form + 2 * number
            if name in made:
                row = operation.row
                near = NEAR_REGISTERS.get(row.kind, ())
                rows += _row(place, made[name], stub, texts[name], bits, row.size, near)
    for place, name in (holes.STUBS | holes.SHARED).items():
        rows += _row(place, made[name], 0, texts[name])[:1]
    return rows


def shared_code(table: HostMemory) -> dict[str, bytes]:
    """The stencils of a table that stand in the arena once, by name."""
    found = {}
    for place, name in holes.SHARED.items():
        at, size, *_ = _ROW.unpack_from(table.view, place * holes.ROW_SIZE)
        found[name] = bytes(table.view[at : at + size])
    return found


@cache
def table(counting: Counting) -> HostMemory | None:
    """The table of an engine variant, compiled now or taken from the cache; None where the host is none that
    stencils are made for.
    """
    path = native.stencil_path(counting)
    kept = code_cache.load(path)
    if kept is None:
        kept = laid_out(compiled(counting)) if native.stencil_machine() else b""
        code_cache.store(path, kept)
    if not kept:
        return None
    memory = HostMemory(len(kept))
    memory.view[: len(kept)] = kept
    return memory


def laid_out(rows: list[Row]) -> bytes:
    """Rows by their place, then code and holes, which rows name by their distance from the beginning. An
    operation has two places: one for a small immediate. Nothing where a stencil is missing that all need.
    """
    if not {row.place for row in rows} >= holes.STUBS.keys() | holes.SHARED.keys():
        return b""
    table = bytearray(holes.TABLE * holes.ROW_SIZE)
    parts, at = [], len(table)
    for row in rows:
        fields = (
            *(at, len(row.code), at + len(row.code), len(row.holes) // _HOLE.size),
            *(row.stub, row.ends, row.forms, row.bytes),
        )
        parts += [row.code, row.holes]
        at += len(row.code) + len(row.holes)
        _ROW.pack_into(table, row.place * holes.ROW_SIZE, *fields)
    return b"".join((table, *parts))
