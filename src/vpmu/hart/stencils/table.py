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

_ROW = struct.Struct("<8Q")
_HOLE = struct.Struct("<HBBi")
_HOW = {"8": holes.AS_8, "32": holes.AS_32, "64": holes.AS_64, "distance": holes.AS_DISTANCE}
_FROM_R12 = 0x24  # the byte of an address that is a distance from r12
_JUMP, _IF = 0xE9, 0x0F  # jmp, a distance of four bytes behind it; the same, behind 80 to 8F
_RAX_NUMBER = b"\x48\xc7\xc0"
_NUMBER_TO_RD, _TEST = b"\x49\xc7\x44\x24", b"\x49\x83\x7c\x24"
_SWAPS = (
    *((bytes((0x49, op, 0x44, 0x24)), b"\x49\x8b\x44\x24", bytes((0x48, op + 2)), "32")
      for op in (0x03, 0x0B, 0x23, 0x33)),  # add, or, and, xor
    (b"\x41\x03\x44\x24", b"\x41\x8b\x44\x24", b"\x05", "32"),  # add of 32 bits
    *((bytes((0xC4, 0xC2, 0xF8 | kind, 0xF7, 0x44, 0x24)), b"\x49\x8b\x44\x24", bytes((0x48, 0xC1, to)), "8")
      for kind, to in ((1, 0xE0), (3, 0xE8), (2, 0xF8))),  # shlx, shrx, sarx
)  # fmt: skip
"""An operation of RAX and a register in memory; the load of that one, and the operation with a number."""
_HEADS = {"rs1": holes.HEAD_RS1, "rs2": holes.HEAD_RS2}
_HALF = (b"\x05", b"\x41\x03\x44", b"\x41\x2b\x44")  # add and sub of EAX
_ADDRESSING = (0x63, 0x88, 0x89, 0x8A, 0x8B, 0x8D, 0xB6, 0xB7, 0xBE, 0xBF)
"""Moves, LEA and MOVZX and MOVSX behind 0F: a register, and an address in the byte that follows."""
_OF_EAX = (0x05, 0x0D, 0x25, 0x2D, 0x35, 0x3D)  # and a number: 83 is the same with a byte and any register
_Hole = tuple[int, str, str, int]
"""Offset, name, form, addend."""


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
    found = [(at, symbol.removeprefix("hole_"), how, addend) for at, symbol, how, addend in piece.holes]
    for _, name, how, _ in found:
        if name not in holes.NUMBER or how not in _HOW or (how == "distance") != (name in holes.CODE):
            return []
    code, found = _straight(piece.code, found)
    goes_on = any(name == "next" for _, name, _, _ in found)
    if found and found[-1][1] == ("next" if goes_on else "stub") and _ends_in_jump(code, found[-1][0]):
        code, found = code[:-5], found[:-1]  # what it jumps to stands there
    ways_out = sum(name == "stub" and code[at - 2] == _IF for at, name, _, _ in found)
    if text.count(" br ") <= ways_out and not piece.constants:  # no jump inside
        code, found = _shortened(code, found, near)
        code, found = _operand_first(code, found)
        forms |= _ends(code, found)
        code, found = _bytes(code, found, holes.OF_LINE)
        if place == holes.TAKEN:
            code, found = _to_what_follows(code, found)
        small = _bytes(code, found, holes.OF_SMALL)
    else:
        small = code, found
    return [
        Row(place + odd, text, _packed(where), stub, not goes_on, forms, size)
        for odd, (text, where) in enumerate(((code, found), small))
    ]


def _packed(found: list[_Hole]) -> bytes:
    return b"".join(_HOLE.pack(at, holes.NUMBER[name], _HOW[how], add) for at, name, how, add in found)


def _shortened(code: bytes, found: list[_Hole], near: Collection[str]) -> tuple[bytes, list[_Hole]]:
    """Numbers of 64 bits made 32 bits, with a sign, and distances to registers that are near made a byte, in
    code that has no jump inside it.
    """
    parts: list[bytes] = []
    kept: list[_Hole] = []
    done = gone = 0  # bytes that have been copied, and left out
    for at, name, how, addend in found:
        first, behind, short, inside = at, at, b"", 0
        if how == "64" and code[at - 2] in (0x48, 0x49) and code[at - 1] & 0xF8 == 0xB8:
            # mov register, number
            first, behind, how = at - 2, at + 8, "32"
            rex, register = code[at - 2], code[at - 1] & 7
            head = (rex & 0x41, 0xB8 | register) if name in holes.OF_RECORD else (rex, 0xC7, 0xC0 | register)
            short, inside = bytes((*head, *bytes(4))), len(head)
        elif name in near and how == "32" and code[at - 1] == _FROM_R12 and code[at - 2] & 0xC7 == 0x84:
            # [r12 + number]
            first, behind, how = at - 2, at + 4, "8"
            short, inside = bytes((code[at - 2] ^ 0xC0, _FROM_R12, 0)), 2
        kept.append((first - gone + inside, name, how, addend))
        parts += [code[done:first], short]
        gone += behind - first - len(short)
        done = behind
    return b"".join((*parts, code[done:])), kept


def _bytes(code: bytes, found: list[_Hole], names: Collection[str]) -> tuple[bytes, list[_Hole]]:
    """These numbers made a byte, in code that has no jump inside it."""
    parts: list[bytes] = []
    kept: list[_Hole] = []
    done = gone = 0  # bytes that have been copied, and left out
    for at, name, how, addend in found:
        short = _as_byte(code, at) if name in names and how == "32" and 0 <= addend < 8 else None
        if short is None:
            kept.append((at - gone, name, how, addend))
            continue
        first, text, behind = short
        parts += [code[done:first], text]
        kept.append((first - gone + len(text) - 1, name, "8", addend))
        gone += behind - first - len(text)
        done = behind
    return b"".join((*parts, code[done:])), kept


def _to_what_follows(code: bytes, found: list[_Hole]) -> tuple[bytes, list[_Hole]]:
    """The jump of a stub to what stands behind it made one of two bytes."""
    (at,) = (at for at, name, _, _ in found if name == "stub")
    rest = [(place - 4 * (place > at), *other) for place, *other in found if other[0] != "stub"]
    short = bytes((code[at - 1] ^ 0xF0, len(code) - at - 4))
    return code[: at - 2] + short + code[at + 4 :], rest


def _as_byte(code: bytes, at: int) -> tuple[int, bytes, int] | None:
    """For a number of four bytes: where the part of the instruction begins that changes, that part with a
    byte as its last, and what stands behind it. None where it cannot be one.
    """
    behind = at + 4
    place, scale = code[at - 2 : at]
    if code[at - 3] in _ADDRESSING and place & 0xC7 == 0x84:  # [base + index + number]
        return at - 2, bytes((place ^ 0xC0, scale, 0)), behind
    if place in _ADDRESSING and scale & 0xC0 == 0x80 and scale & 7 != 4:  # [base + number]
        return at - 1, bytes((scale ^ 0xC0, 0)), behind
    if scale in _OF_EAX and place & 0xC7 != 0x04:  # which would be an address without a base
        return at - 1, bytes((0x83, 0xC0 | scale & 0x38, 0)), behind
    if place == 0x81 and scale & 0xC0 == 0xC0:
        return at - 2, bytes((0x83, scale, 0)), behind
    # mov register, number; add register, other
    to, other = scale & 7, code[behind + 1] >> 3 & 7 if len(code) > behind + 1 else 4
    is_sum = code[behind : behind + 2] == bytes((0x01, 0xC0 | other << 3 | to))
    if code[at - 3 : at] == bytes((0x48, 0xC7, 0xC0 | to)) and is_sum and other != 4:
        return at - 3, bytes((0x8D, 0x40 | to << 3 | other, 0)), behind + 2  # lea, of 32 bits as the sum
    return None


def _operand_first(code: bytes, found: list[_Hole]) -> tuple[bytes, list[_Hole]]:
    """What loads RAX with a number and then operates on it and a register loads the register first, and
    operates on it and the number.
    """
    if not code.startswith(_RAX_NUMBER) or [hole[2] for hole in found[:2]] != ["32", "8"]:
        return code, found
    (_, name, _, addend), (at, register, byte, distance) = found[:2]
    for pattern, load, operation, how in _SWAPS:
        if at == 7 + len(pattern) and code[7:at] == pattern:
            head = load + b"\0" + operation + bytes(4 if how == "32" else 1)
            number = len(load) + 1 + len(operation), name, how, addend
            first = len(load), register, byte, distance
            more = len(head) - at - 1
            rest = [(place + more, other, form, add) for place, other, form, add in found[2:]]
            return head + code[at + 1 :], [first, number, *rest]
    return code, found


def _ends(code: bytes, found: list[_Hole]) -> int:
    """What is known of the first and the last instruction of a stencil (holes.py)."""
    known = 0
    names = [name for _, name, _, _ in found]
    if not code or (code.startswith(_NUMBER_TO_RD) and len(code) == 9):
        known |= holes.KEEPS
    if found and found[-1][1:3] == ("rd", "8") and len(code) - found[-1][0] == 1:
        host = _register(code[-5:], 0x89)
        known |= 0 if host is None else holes.RESULT | host << holes.RESULT_REGISTER
    if not found or found[0][0] != 4 or found[0][2] != "8" or names.count(names[0]) > 1:
        return known
    if code.startswith(_TEST) and code[5] == 0 and names == ["rs1", "stub"]:
        return known | holes.KEEPS | holes.HEAD_RS1 | holes.HEAD_TEST | 6 << holes.HEAD_SIZE
    host = _register(code, 0x8B)
    if host is None and code[0] == 0x41 and code[5:].startswith(_HALF):
        host = _register(b"\x49" + code[1:], 0x8B)  # of 32 bits, and the next instruction reads no more
    if host is not None and names[0] in _HEADS:
        known |= _HEADS[names[0]] | host << holes.HEAD_REGISTER | 5 << holes.HEAD_SIZE
    return known


def _register(code: bytes, opcode: int) -> int | None:
    """The register of the host that an instruction moves to or from [r12 + a byte]; None for any other."""
    prefix, operation, place, base = code[:4]
    if (prefix & 0xFB, operation, place & 0xC7, base) != (0x49, opcode, 0x44, _FROM_R12):
        return None
    return place >> 3 & 7 | (prefix & 4) << 1


def _ends_in_jump(code: bytes, at: int) -> bool:
    """Whether the last instruction is a jump whose distance is at `at`."""
    return at + 4 == len(code) and code[at - 1] == _JUMP


def _straight(code: bytes, found: list[_Hole]) -> tuple[bytes, list[_Hole]]:
    """Code that ends in "if so, next; jump to the stub" made "if not so, the stub; jump to next"."""
    if len(found) < 2 or [name for _, name, _, _ in found[-2:]] != ["next", "stub"]:
        return code, found
    (first, *_), (last, *_) = found[-2:]
    if not _ends_in_jump(code, last) or first + 5 != last or code[first - 2] != 0x0F:
        return code, found
    flipped = bytearray(code)
    flipped[first - 1] ^= 1  # 0F 80 to 0F 8F: each condition stands beside its contrary
    (_, _, _, one), (_, _, _, other) = found[-2:]
    swapped = [(first, "stub", "distance", other), (last, "next", "distance", one)]
    return bytes(flipped), found[:-2] + swapped


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
