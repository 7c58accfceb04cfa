"""Machine code of compiled regions: taken out of its object file, and placed where it can run.

A region's code has no addresses in it (it reaches the engine through the table of handlers), so it needs no
linker: a copy is enough, with its constants behind it. Where that does not hold (another object format, a
call of the C library), LLVM links it.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import threading
from dataclasses import dataclass

_ELF_MAGIC = b"\x7fELF\x02\x01"
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_PROGBITS, _SYMTAB, _RELA = 1, 2, 4
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4
_UNWIND = 0x70000001  # SHT_X86_64_UNWIND: .eh_frame, which nobody needs
_R_X86_64_PC32 = 2
_COHERENT = ("x86_64", "AMD64")  # processors that need no flush of the instruction cache
ARENA = 16 << 20
ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class _Section:
    kind: int
    flags: int
    contents: bytes
    info: int
    alignment: int


def machine_code(image: bytes) -> bytes | None:
    """The code of an object file with one function, and behind it the constants that it names relative to
    itself; None where a linker would have more to do.
    """
    if not image.startswith(_ELF_MAGIC):
        return None
    (at,) = struct.unpack_from("<Q", image, 0x28)
    size, number = struct.unpack_from("<HH", image, 0x3A)
    if size != _SECTION.size or at + size * number > len(image):
        return None
    sections = []
    for header in _SECTION.iter_unpack(image[at : at + size * number]):
        _, kind, flags, _, offset, length, _, info, alignment, _ = header
        sections.append(_Section(kind, flags, image[offset : offset + length], info, alignment))
    blob, places = bytearray(), dict[int, int]()
    loaded = [i for i, s in enumerate(sections) if s.contents and s.flags & _ALLOC and s.kind != _UNWIND]
    for index in sorted(loaded, key=lambda index: not sections[index].flags & _EXECUTE):
        section = sections[index]
        is_code = bool(section.flags & _EXECUTE)
        if section.kind != _PROGBITS or section.flags & _WRITE or is_code != (not places):
            return None
        blob += bytes(-len(blob) % max(section.alignment, 1))
        places[index] = len(blob)
        blob += section.contents
    symbols = b"".join(section.contents for section in sections if section.kind == _SYMTAB)
    for section in sections:
        if section.kind == _RELA and section.info in places:
            for entry in _RELOCATION.iter_unpack(section.contents):
                if not _relocate(blob, places[section.info], places, symbols, *entry):
                    return None
    return bytes(blob) or None


def _relocate(
    blob: bytearray, base: int, places: dict[int, int], symbols: bytes, offset: int, info: int, addend: int
) -> bool:
    """Fill in a distance inside the blob; False for any other relocation."""
    if info & 0xFFFFFFFF != _R_X86_64_PC32 or (info >> 32) * _SYMBOL.size >= len(symbols):
        return False
    _, _, _, section, value, _ = _SYMBOL.unpack_from(symbols, (info >> 32) * _SYMBOL.size)
    if section not in places:
        return False
    distance = places[section] + value + addend - (base + offset)
    struct.pack_into("<i", blob, base + offset, distance)
    return True


class CodeArena:
    """Memory for machine code; what is placed stays, because a hart may be inside it."""

    def __init__(self) -> None:
        self._used = 0
        self._lock = threading.Lock()  # regions are compiled by one thread and installed by another
        self._memory: mmap.mmap | None = None
        if platform.machine() in _COHERENT and hasattr(mmap, "PROT_EXEC"):
            try:
                self._memory = mmap.mmap(-1, ARENA, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            except OSError:  # the system allows no memory that is writable and executable
                self._memory = None
        if self._memory is not None:
            self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def place(self, code: bytes) -> int | None:
        """The address of a copy of `code`; None where there is no such memory, or no more of it."""
        if self._memory is None:
            return None
        with self._lock:
            at = self._used
            if at + len(code) > ARENA:
                return None
            self._used = -(-(at + len(code)) // ALIGNMENT) * ALIGNMENT
        self._memory[at : at + len(code)] = code
        return self._address + at
