"""Object files laid out without a linker: what a compiled engine or region is, apart from where it is placed.

What the generators emit needs little of a linker: sections one after the other, distances between them, the
addresses in the table of handlers, two functions of the C library. Where more is needed (another object
format, another relocation), LLVM links.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vpmu.hart.machine_code import Code

ELF_MAGIC = b"\x7fELF\x02\x01"
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_WORD = struct.Struct("<Q")
_PROGBITS, _SYMTAB, _STRTAB, _RELA = 1, 2, 3, 4
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4
_UNWIND = 0x70000001  # SHT_X86_64_UNWIND: .eh_frame, which nobody needs
_R_X86_64_64, _R_X86_64_PC32, _R_X86_64_PC64 = 1, 2, 24
_R_X86_64_PLT32, _R_X86_64_32, _R_X86_64_32S = 4, 10, 11
_FORMS = {
    _R_X86_64_64: "64", _R_X86_64_32: "32", _R_X86_64_32S: "32",
    _R_X86_64_PC32: "distance", _R_X86_64_PLT32: "distance",
}  # fmt: skip
_DISTANCES = {_R_X86_64_PC32: struct.Struct("<i"), _R_X86_64_PC64: struct.Struct("<q")}


@dataclass(frozen=True, slots=True)
class _Section:
    kind: int
    flags: int
    contents: bytes
    link: int
    info: int
    alignment: int


def lay_out(image: bytes) -> Code | None:
    """The code of an x86-64 ELF object; None where a linker would have more to do."""
    sections = _sections(image)
    code, places = Code(bytearray()), dict[int, int]()
    loaded = [i for i, s in enumerate(sections) if s.contents and s.flags & _ALLOC and s.kind != _UNWIND]
    for index in sorted(loaded, key=lambda index: not sections[index].flags & _EXECUTE):
        section = sections[index]
        is_code = bool(section.flags & _EXECUTE)
        if section.kind != _PROGBITS or section.flags & _WRITE or is_code != (not places):
            return None
        code.blob += bytes(-len(code.blob) % max(section.alignment, 1))
        places[index] = len(code.blob)
        code.blob += section.contents
    symbols = _symbols(sections)
    for name, section_number, value, _ in symbols:
        if name and section_number in places:
            code.symbols[name] = places[section_number] + value
    for section in sections:
        if section.kind == _RELA and section.info in places:
            for entry in _RELOCATION.iter_unpack(section.contents):
                if not _relocate(code, places[section.info], places, symbols, *entry):
                    return None
    return code if code.blob else None


def position_independent(image: bytes) -> bytes | None:
    """The code of an object file that runs wherever it is copied; None where it does not."""
    code = lay_out(image)
    return None if code is None or code.absolute or code.outside else bytes(code.blob)


@dataclass(frozen=True, slots=True)
class Piece:
    """A function by itself: its code, and what is left to fill in: offset, name, form and addend of each.
    Constants that it reads stand behind the code; they are not aligned.
    """

    code: bytes
    holes: tuple[tuple[int, str, str, int], ...]
    constants: int = 0  # bytes of them


def pieces(image: bytes) -> dict[str, Piece]:
    """The functions of an object file that all lie in one section. Those that are no ELF are none."""
    sections = _sections(image)
    symbols = _symbols(sections)
    code = next((i for i, s in enumerate(sections) if s.flags & _EXECUTE and s.contents), -1)
    relocations = [
        (offset, symbols[info >> 32], _FORMS.get(info & 0xFFFFFFFF, ""), addend)
        for section in sections
        if section.kind == _RELA and section.info == code
        for offset, info, addend in _RELOCATION.iter_unpack(section.contents)
    ]
    found = {}
    for name, section_number, value, size in symbols:
        if size and section_number == code:
            text, holes = bytearray(sections[code].contents[value : value + size]), []
            for offset, (symbol, where, inside, _), form, addend in relocations:
                if not value <= offset < value + size:
                    continue
                at = offset - value
                if form == "distance" and where and where < len(sections) and where != code:
                    first = inside + addend + 4  # of the constant in its section
                    _DISTANCES[_R_X86_64_PC32].pack_into(text, at, len(text) - at - 4)
                    text += sections[where].contents[first : first + 16]
                else:
                    holes.append((at, symbol, form, addend))
            found[name] = Piece(bytes(text), tuple(holes), len(text) - size)
    return found


def _sections(image: bytes) -> list[_Section]:
    if not image.startswith(ELF_MAGIC):
        return []
    (at,) = struct.unpack_from("<Q", image, 0x28)
    size, number = struct.unpack_from("<HH", image, 0x3A)
    if size != _SECTION.size or at + size * number > len(image):
        return []
    sections = []
    for header in _SECTION.iter_unpack(image[at : at + size * number]):
        _, kind, flags, _, offset, length, link, info, alignment, _ = header
        sections.append(_Section(kind, flags, image[offset : offset + length], link, info, alignment))
    return sections


def _symbols(sections: list[_Section]) -> list[tuple[str, int, int, int]]:
    """Name, section, value and size of each symbol."""
    symbols = []
    for table in sections:
        if table.kind == _SYMTAB:
            has_names = table.link < len(sections) and sections[table.link].kind == _STRTAB
            names = sections[table.link].contents if has_names else b"\0"
            for name, _, _, section, value, size in _SYMBOL.iter_unpack(table.contents):
                symbols.append((names[name : names.find(b"\0", name)].decode(), section, value, size))
    return symbols


def _relocate(
    code: Code,
    base: int,
    places: dict[int, int],
    symbols: list[tuple[str, int, int, int]],
    offset: int,
    info: int,
    addend: int,
) -> bool:
    """Fill in a distance inside the code, or note an address; False for any other relocation."""
    kind, number = info & 0xFFFFFFFF, info >> 32
    if number >= len(symbols):
        return False
    name, section, value, _ = symbols[number]
    place = base + offset
    if section not in places:
        if kind != _R_X86_64_64 or section != 0 or addend:
            return False
        code.outside.append((place, name))
    elif kind == _R_X86_64_64:
        _WORD.pack_into(code.blob, place, places[section] + value + addend)
        code.absolute.append(place)
    elif kind in _DISTANCES:
        _DISTANCES[kind].pack_into(code.blob, place, places[section] + value + addend - place)
    else:
        return False
    return True
