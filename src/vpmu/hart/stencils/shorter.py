"""Stencils made shorter, as machine code of x86-64: a byte for a hole where LLVM has left room for four or
eight; and what is known of a stencil's first and last instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from vpmu.hart.stencils import holes

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
Hole = tuple[int, str, str, int]
"""Offset, name, form, addend."""
Change = tuple[int, bytes, int, str]
"""From where on, what stands there instead (the hole is its end), what follows, the hole's form."""
_SIZE = {"8": 1, "32": 4}


def straight(code: bytes, found: list[Hole]) -> tuple[bytes, list[Hole]]:
    """Code that ends in "if so, next; jump to the stub" made "if not so, the stub; jump to next"."""
    if len(found) < 2 or [name for _, name, _, _ in found[-2:]] != ["next", "stub"]:
        return code, found
    (first, *_), (last, *_) = found[-2:]
    if not ends_in_jump(code, last) or first + 5 != last or code[first - 2] != _IF:
        return code, found
    flipped = bytearray(code)
    flipped[first - 1] ^= 1  # 0F 80 to 0F 8F: each condition stands beside its contrary
    (_, _, _, one), (_, _, _, other) = found[-2:]
    swapped = [(first, "stub", "distance", other), (last, "next", "distance", one)]
    return bytes(flipped), found[:-2] + swapped


def ends_in_jump(code: bytes, at: int) -> bool:
    """Whether the last instruction is a jump whose distance is at `at`."""
    return at + 4 == len(code) and code[at - 1] == _JUMP


def ways_out(code: bytes, found: list[Hole]) -> int:
    """How many conditional jumps leave a stencil for its stub."""
    return sum(name == "stub" and code[at - 2] == _IF for at, name, _, _ in found)


def shortened(code: bytes, found: list[Hole], near: Collection[str]) -> tuple[bytes, list[Hole]]:
    """Numbers of 64 bits made 32 bits, with a sign, and distances to registers that are near made a byte, in
    code that has no jump inside it.
    """

    def change(at: int, name: str, how: str) -> Change | None:
        if how == "64" and code[at - 2] in (0x48, 0x49) and code[at - 1] & 0xF8 == 0xB8:
            # mov register, number
            rex, register = code[at - 2], code[at - 1] & 7
            head = (rex & 0x41, 0xB8 | register) if name in holes.OF_RECORD else (rex, 0xC7, 0xC0 | register)
            return at - 2, bytes((*head, *bytes(4))), at + 8, "32"
        if name in near and how == "32" and code[at - 1] == _FROM_R12 and code[at - 2] & 0xC7 == 0x84:
            # [r12 + number]
            return at - 2, bytes((code[at - 2] ^ 0xC0, _FROM_R12, 0)), at + 4, "8"
        return None

    return _changed(code, found, change)


def as_bytes(code: bytes, found: list[Hole], names: Collection[str]) -> tuple[bytes, list[Hole]]:
    """These numbers made a byte, in code that has no jump inside it."""

    def change(at: int, name: str, how: str) -> Change | None:
        return _as_byte(code, at) if name in names and how == "32" and at > 2 else None

    return _changed(code, found, change)


def _changed(
    code: bytes, found: list[Hole], change: Callable[[int, str, str], Change | None]
) -> tuple[bytes, list[Hole]]:
    """Code in which parts that end in a hole have become others."""
    parts: list[bytes] = []
    kept: list[Hole] = []
    done = gone = 0  # bytes that have been copied, and left out
    for at, name, how, addend in found:
        first, text, behind, form = change(at, name, how) or (at, b"", at, how)
        parts += [code[done:first], text]
        done = behind
        gone += behind - first - len(text)
        kept.append((at - gone if not text else behind - gone - _SIZE[form], name, form, addend))
    return b"".join((*parts, code[done:])), kept


def _as_byte(code: bytes, at: int) -> Change | None:
    """An instruction whose number of four bytes is a byte instead; None where it cannot be one."""
    behind = at + 4
    place, scale = code[at - 2 : at]
    if code[at - 3] in _ADDRESSING and place & 0xC7 == 0x84:  # [base + index + number]
        return at - 2, bytes((place ^ 0xC0, scale, 0)), behind, "8"
    if place in _ADDRESSING and scale & 0xC0 == 0x80 and scale & 7 != 4:  # [base + number]
        return at - 1, bytes((scale ^ 0xC0, 0)), behind, "8"
    if scale in _OF_EAX and place & 0xC7 != 0x04:  # which would be an address without a base
        return at - 1, bytes((0x83, 0xC0 | scale & 0x38, 0)), behind, "8"
    if place == 0x81 and scale & 0xC0 == 0xC0:
        return at - 2, bytes((0x83, scale, 0)), behind, "8"
    # mov register, number; add register, other
    to, other = scale & 7, code[behind + 1] >> 3 & 7 if len(code) > behind + 1 else 4
    is_sum = code[behind : behind + 2] == bytes((0x01, 0xC0 | other << 3 | to))
    if code[at - 3 : at] == bytes((0x48, 0xC7, 0xC0 | to)) and is_sum and other != 4:
        return at - 3, bytes((0x8D, 0x40 | to << 3 | other, 0)), behind + 2, "8"  # lea, of 32 bits as the sum
    return None


def to_what_follows(code: bytes, found: list[Hole]) -> tuple[bytes, list[Hole]]:
    """The jump of a stub to what stands behind it made one of two bytes."""
    (at,) = (at for at, name, _, _ in found if name == "stub")
    rest = [(place - 4 * (place > at), name, how, more) for place, name, how, more in found if name != "stub"]
    short = bytes((code[at - 1] ^ 0xF0, len(code) - at - 4))
    return code[: at - 2] + short + code[at + 4 :], rest


def operand_first(code: bytes, found: list[Hole]) -> tuple[bytes, list[Hole]]:
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


def ends(code: bytes, found: list[Hole]) -> int:
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
