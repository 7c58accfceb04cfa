"""The part of ELF that loading a guest needs: program headers of RV64 executables, and symbols on demand.

Read with `struct`: importing pyelftools takes 70 ms, a quarter of the time that a whole run may take. It is
imported when somebody asks for symbols.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

MAGIC = b"\x7fELF"
ELFCLASS64, ELFDATA2LSB, EM_RISCV = 2, 1, 243
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD = 1

_CLASSES = {0: "no class", 1: "32-bit", 2: "64-bit"}
_DATA = {0: "no byte order", 1: "little-endian", 2: "big-endian"}
_TYPES = {ET_REL: "a relocatable object (not linked)", ET_CORE: "a core dump"}
_MACHINES = {3: "x86", 40: "Arm", 62: "x86-64", 183: "AArch64", 243: "RISC-V", 258: "LoongArch"}

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


class ElfError(Exception):
    """What is wrong with an ELF file: `what`, and what was expected and came where that says more."""

    def __init__(self, what: str, expected: str | None = None, got: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.got = got


class Segment(NamedTuple):
    """A PT_LOAD program header: where it is linked to run, where it is put, its bytes and its zeros."""

    virtual: int
    physical: int
    offset: int
    file_size: int
    memory_size: int


class Elf(NamedTuple):
    """An executable: its loadable segments, and its entry as a physical address."""

    segments: tuple[Segment, ...]
    entry: int


def parse(data: bytes) -> Elf:
    """The loadable segments of an ELF executable for RV64; those of no size are left out.

    :raises ElfError: wrong class, byte order, machine or type; headers or a segment beyond the end.
    """
    if len(data) < _HEADER.size:
        raise ElfError("truncated ELF header", f"{_HEADER.size} bytes", str(len(data)))
    header = _HEADER.unpack_from(data)
    ident, kind, machine, _version, entry, table, _sections, _flags, _size, entry_size, count = header[:11]
    if ident[4] != ELFCLASS64:
        raise ElfError("wrong ELF class", "64-bit", _CLASSES.get(ident[4], str(ident[4])))
    if ident[5] != ELFDATA2LSB:
        raise ElfError("wrong ELF byte order", "little-endian", _DATA.get(ident[5], str(ident[5])))
    if machine != EM_RISCV:
        raise ElfError("wrong ELF machine", "RISC-V", machine_name(machine))
    if kind not in (ET_EXEC, ET_DYN):
        raise ElfError("wrong ELF type", "an executable", _TYPES.get(kind, f"e_type {kind}"))
    if count and entry_size < _PROGRAM_HEADER.size:
        raise ElfError("program headers too small", f"{_PROGRAM_HEADER.size} bytes each", str(entry_size))
    if table + count * entry_size > len(data):
        raise ElfError(
            "truncated ELF file: program headers", f"{table + count * entry_size} bytes", str(len(data))
        )
    segments = []
    for index in range(count):
        fields = _PROGRAM_HEADER.unpack_from(data, table + index * entry_size)
        type_, _flags, offset, virtual, physical, file_size, memory_size, _align = fields
        if type_ != PT_LOAD or memory_size == 0:
            continue
        if offset + file_size > len(data):
            raise ElfError(
                f"truncated ELF file: segment {index}", f"{offset + file_size} bytes", str(len(data))
            )
        if file_size > memory_size:
            raise ElfError(f"segment {index} has more bytes than memory", f"<= {memory_size}", str(file_size))
        segments.append(Segment(virtual, physical, offset, file_size, memory_size))
    if not segments:
        raise ElfError("nothing to load", "at least one PT_LOAD segment", "none")
    for segment in segments:  # the entry is a virtual address; the hart starts without translation
        if segment.virtual <= entry < segment.virtual + segment.memory_size:
            entry += segment.physical - segment.virtual
            break
    if entry % 2:
        raise ElfError("odd entry address", "an even one", f"{entry:#x}")
    return Elf(tuple(segments), entry)


def machine_name(machine: int) -> str:
    """`x86-64`, of an ELF header's e_machine."""
    return _MACHINES.get(machine, f"e_machine {machine}")


def symbols(data: bytes) -> dict[str, int]:
    """Name to value of every defined symbol that has a name; of two with one name, the global one.

    :raises ElfError: pyelftools cannot read the symbol table.
    """
    from io import BytesIO

    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    found: dict[str, int] = {}
    global_names: set[str] = set()
    try:
        tables = [s for s in ELFFile(BytesIO(data)).iter_sections() if isinstance(s, SymbolTableSection)]
        for symbol in (symbol for table in tables for symbol in table.iter_symbols()):
            if not symbol.name or symbol.name.startswith("$"):  # "$x", "$d": here begins code, data
                continue
            if symbol["st_shndx"] == "SHN_UNDEF" or symbol["st_info"]["type"] in ("STT_FILE", "STT_SECTION"):
                continue
            is_global = symbol["st_info"]["bind"] == "STB_GLOBAL"
            if is_global or symbol.name not in global_names:
                found[symbol.name] = symbol["st_value"]
            if is_global:
                global_names.add(symbol.name)
    except Exception as error:  # on a corrupt table pyelftools raises what its parsers happen to raise
        raise ElfError(f"unreadable symbol table: {type(error).__name__}: {error}") from None
    return found
