"""Machine code out of object files: laid out, relocated, and placed where it can run.

What the generators emit needs little of a linker: sections one after the other, distances between them, the
addresses in the table of handlers, two functions of the C library. Doing that here means that a warm start
loads no LLVM. Where more is needed (another object format, another relocation), LLVM links.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import threading
from dataclasses import dataclass, field

_ELF_MAGIC = b"\x7fELF\x02\x01"
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_WORD = struct.Struct("<Q")
_PROGBITS, _SYMTAB, _STRTAB, _RELA = 1, 2, 3, 4
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4
_UNWIND = 0x70000001  # SHT_X86_64_UNWIND: .eh_frame, which nobody needs
_R_X86_64_64, _R_X86_64_PC32, _R_X86_64_PC64 = 1, 2, 24
_DISTANCES = {_R_X86_64_PC32: struct.Struct("<i"), _R_X86_64_PC64: struct.Struct("<q")}
_COHERENT = ("x86_64", "AMD64")  # processors that need no flush of the instruction cache
ARENA = 16 << 20
ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class _Section:
    kind: int
    flags: int
    contents: bytes
    link: int
    info: int
    alignment: int


@dataclass(slots=True)
class Code:
    """An object file laid out: code, behind it its constants, and what is left to fill in where it is placed.

    `absolute`: offsets of words to which the address of the whole is added; `outside`: offsets of words that
    hold the address of a function of the C library, by name; `symbols`: offsets of functions and tables.
    """

    blob: bytearray = field(default_factory=bytearray)
    absolute: list[int] = field(default_factory=list)
    outside: list[tuple[int, str]] = field(default_factory=list)
    symbols: dict[str, int] = field(default_factory=dict)

    def at(self, address: int) -> bytes | None:
        """The code for a place; None where the C library lacks what it calls."""
        placed = bytearray(self.blob)
        for offset in self.absolute:
            _WORD.pack_into(placed, offset, _WORD.unpack_from(placed, offset)[0] + address)
        library = ctypes.CDLL(None) if self.outside else None
        for offset, name in self.outside:
            try:
                function = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
            except AttributeError:
                return None
            _WORD.pack_into(placed, offset, function)
        return bytes(placed)


def lay_out(image: bytes) -> Code | None:
    """The code of an x86-64 ELF object; None where a linker would have more to do."""
    sections = _sections(image)
    code, places = Code(), dict[int, int]()
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
    for name, section_number, value in symbols:
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


def _sections(image: bytes) -> list[_Section]:
    if not image.startswith(_ELF_MAGIC):
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


def _symbols(sections: list[_Section]) -> list[tuple[str, int, int]]:
    """Name, section and value of each symbol."""
    symbols = []
    for table in sections:
        if table.kind == _SYMTAB:
            has_names = table.link < len(sections) and sections[table.link].kind == _STRTAB
            names = sections[table.link].contents if has_names else b"\0"
            for name, _, _, section, value, _ in _SYMBOL.iter_unpack(table.contents):
                symbols.append((names[name : names.find(b"\0", name)].decode(), section, value))
    return symbols


def _relocate(
    code: Code,
    base: int,
    places: dict[int, int],
    symbols: list[tuple[str, int, int]],
    offset: int,
    info: int,
    addend: int,
) -> bool:
    """Fill in a distance inside the code, or note an address; False for any other relocation."""
    kind, number = info & 0xFFFFFFFF, info >> 32
    if number >= len(symbols):
        return False
    name, section, value = symbols[number]
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


class CodeArena:
    """Memory for machine code; what is placed stays, because a hart may be inside it."""

    def __init__(self, size: int = ARENA) -> None:
        self._used = 0
        self._size = size
        self._lock = threading.Lock()  # regions are compiled by one thread and installed by another
        self._memory: mmap.mmap | None = None
        if os.uname().machine in _COHERENT and hasattr(mmap, "PROT_EXEC"):
            try:
                protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
                # private: after a fork, parent and child place different code at the same address
                flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
                self._memory = mmap.mmap(-1, size, flags=flags, prot=protection)
            except OSError:  # the system allows no memory that is writable and executable
                self._memory = None
        if self._memory is not None:
            self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def place(self, code: bytes) -> int | None:
        """The address of a copy of `code`; None where there is no such memory, or no more of it."""
        at = self._take(len(code))
        if at is None or self._memory is None:
            return None
        self._memory[at : at + len(code)] = code
        return self._address + at

    def place_object(self, code: Code) -> dict[str, int] | None:
        """Addresses of the symbols of an object file that has been placed; None as for `place`."""
        at = self._take(len(code.blob))
        if at is None or self._memory is None:
            return None
        placed = code.at(self._address + at)
        if placed is None:
            return None
        self._memory[at : at + len(placed)] = placed
        return {name: self._address + at + offset for name, offset in code.symbols.items()}

    def _take(self, size: int) -> int | None:
        with self._lock:
            at = self._used
            if self._memory is None or at + size > self._size:
                return None
            self._used = -(-(at + size) // ALIGNMENT) * ALIGNMENT
        return at
