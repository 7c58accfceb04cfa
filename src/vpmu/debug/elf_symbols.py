"""The symbols of an ELF file with their sizes and kinds, vmlinux with its 200,000 in a second: pyelftools
finds the sections, and the table is read at once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

from vpmu.brief import Brief
from vpmu.errors import ImageError
from vpmu.vmm.elf import EM_RISCV, ET_REL, MAGIC, machine_name
from vpmu.vmm.symbols import Symbol

_SYMBOL = struct.Struct("<IBBHQQ")
_SECTION, _FILE = 3, 4
_ABSOLUTE = 0xFFF1
_WRITE, _ALLOC, _CODE = 1, 2, 4
_LOCAL, _WEAK = 0, 2


def elf_symbols(data: bytes, name: str) -> list[Symbol]:
    """All that have a name and an address; of a relocatable file those of .text, from its beginning.
    ImageError for what is no RISC-V ELF file, or is damaged.
    """
    from elftools.elf.elffile import ELFFile

    if not data.startswith(MAGIC):
        raise ImageError(name, "not an ELF file", expected="an ELF file", got=repr(data[:4]))
    machine = int.from_bytes(data[18:20], "little")
    if machine != EM_RISCV:
        raise ImageError(
            name, "symbols of another architecture", expected="RISC-V", got=machine_name(machine)
        )
    try:
        file = ELFFile(BytesIO(data))
        table = file.get_section_by_name(".symtab")
        if table is None:
            return []
        names = file.get_section(table["sh_link"]).data()
        flags = [section["sh_flags"] for section in file.iter_sections()]
        text = file.get_section_index(".text") if file["e_type"] == ET_REL else None
        return _read(table.data(), names, flags, text)
    except Exception as error:  # on a corrupt file pyelftools raises what its parsers happen to raise
        what = f"unreadable symbol table: {type(error).__name__}: {error}"
        raise ImageError(name, what) from None


@dataclass(frozen=True, slots=True, repr=False)
class CodeSection(Brief):
    """A section that is loaded to be executed; its symbols count from its beginning."""

    name: str
    alignment: int
    data: bytes
    symbols: tuple[Symbol, ...]


@lru_cache(maxsize=2)
def code_sections(data: bytes, name: str) -> list[CodeSection]:
    """Those of a relocatable file, in its order. ImageError as `elf_symbols`."""
    from elftools.elf.elffile import ELFFile

    try:
        file = ELFFile(BytesIO(data))
        table = file.get_section_by_name(".symtab")
        names = b"" if table is None else file.get_section(table["sh_link"]).data()
        symbols = b"" if table is None else table.data()
        flags = [section["sh_flags"] for section in file.iter_sections()]
        return [
            CodeSection(
                section.name, max(section["sh_addralign"], 1), section.data(),
                tuple(_read(symbols, names, flags, number)),
            )
            for number, section in enumerate(file.iter_sections())
            if flags[number] & _CODE and flags[number] & _ALLOC and section["sh_size"]
        ]  # fmt: skip
    except Exception as error:  # as above
        what = f"unreadable symbol table: {type(error).__name__}: {error}"
        raise ImageError(name, what) from None


def is_relocatable(data: bytes) -> bool:
    """An object or a kernel module: it has no addresses of its own."""
    return data.startswith(MAGIC) and int.from_bytes(data[16:18], "little") == ET_REL


def _read(table: bytes, names: bytes, flags: list[int], text: int | None) -> list[Symbol]:
    found = []
    for at, info, _other, section, value, size in _SYMBOL.iter_unpack(table):
        if not section or info & 15 in (_SECTION, _FILE) or (text is not None and section != text):
            continue
        word = names[at : names.index(b"\0", at)].decode("utf-8", "surrogateescape")
        if not word or word.startswith(("$", ".L")):  # where code and data begin, and compilers' own labels
            continue
        if section == _ABSOLUTE:
            letter = "a"
        elif section >= len(flags):
            continue
        else:
            letter = "t" if flags[section] & _CODE else "d" if flags[section] & _WRITE else "r"
        found.append(Symbol(word, value, size, _bound(letter, info >> 4)))
    return found


def _bound(letter: str, binding: int) -> str:
    """nm's letter of a kind: small where it is local, W and V where it is weak."""
    if binding == _WEAK:
        return "W" if letter == "t" else "V"
    return letter if binding == _LOCAL else letter.upper()
