"""The smallest ELF file that a bare-metal simulator loads: one segment, and symbols."""

from __future__ import annotations

import struct
from collections.abc import Mapping

_HEADER, _PROGRAM, _SECTION, _SYMBOL = 64, 56, 64, 24


def elf(image: bytes, base: int, symbols: Mapping[str, int]) -> bytes:
    """A RISC-V executable with `image` at `base`, entered there."""
    names, entries = b"\0", bytes(_SYMBOL)
    for name, value in symbols.items():
        entries += struct.pack("<IBBHQQ", len(names), 0x10, 0, 1, value, 0)
        names += name.encode() + b"\0"
    section_names = b"\0.text\0.symtab\0.strtab\0.shstrtab\0"
    start = _HEADER + _PROGRAM
    at = [start, start + len(image)]
    for part in (entries, names):
        at.append(at[-1] + len(part))
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH",
        *(2, 243, 1, base, _HEADER, at[-1] + len(section_names), 5, _HEADER, _PROGRAM, 1, _SECTION, 5, 4),
    )
    program = struct.pack("<IIQQQQQQ", 1, 7, start, base, base, len(image), len(image), 16)

    def section(name: str, kind: int, address: int, offset: int, size: int, link: int, entry: int) -> bytes:
        where = section_names.index(name.encode() + b"\0")
        flags = 7 if address else 0
        info = 1 if kind == 2 else 0  # the first symbol that is not local
        return struct.pack("<IIQQQQIIQQ", where, kind, flags, address, offset, size, link, info, 8, entry)

    sections = bytes(_SECTION)
    sections += section(".text", 1, base, at[0], len(image), 0, 0)
    sections += section(".symtab", 2, 0, at[1], len(entries), 3, _SYMBOL)
    sections += section(".strtab", 3, 0, at[2], len(names), 0, 0)
    sections += section(".shstrtab", 3, 0, at[3], len(section_names), 0, 0)
    return header + program + image + entries + names + section_names + sections
