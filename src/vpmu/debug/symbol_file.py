"""An ELF file that holds nothing but symbols, at their running addresses: for gdb, addr2line, nm and readelf,
where there is no debug package. Its sections have addresses and no bytes (SHT_NOBITS, as objcopy
--only-keep-debug leaves them); so nm has `b` for data of every kind.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vpmu.vmm.symbols import FARTHEST, Symbol

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_ENTRY = struct.Struct("<IBBHQQ")
_IDENT = b"\x7fELF\x02\x01\x01"
_EXEC, _RISCV, _FLAGS = 2, 243, 1
"""EF_RISCV_RVC, and no float ABI: a debugger must not ask for registers that a kernel does not use."""
_PROGBITS, _SYMTAB, _STRTAB, _NOBITS = 1, 2, 3, 8
_ALLOC, _WRITE, _EXECINSTR = 2, 1, 4
_ABSOLUTE = 0xFFF1
_LOCAL, _GLOBAL, _WEAK = 0, 1, 2
_NOTYPE, _OBJECT, _FUNC = 0, 1, 2
APART = 1 << 24
"""Bytes without a symbol between two sections: a module lies far from its kernel."""
U64 = (1 << 64) - 1


@dataclass(slots=True)
class _Run:
    """Symbols that follow one another in one section: code, or not."""

    code: bool
    symbols: list[Symbol]


def symbol_file(symbols: Iterable[Symbol], slide: int = 0) -> bytes:
    """The file, of symbols in any order; each lies `slide` bytes behind its address."""
    ordered = sorted(symbols, key=lambda symbol: symbol.address)
    absolute = [symbol for symbol in ordered if symbol.kind in ("A", "a")]
    runs = _runs([symbol for symbol in ordered if symbol.kind not in ("A", "a")])
    names, strings = bytearray(b"\0"), bytearray(b"\0")
    sections = [_SECTION.pack(*[0] * 10)]
    local: list[bytes] = []
    others: list[bytes] = []

    def entry(symbol: Symbol, section: int, code: bool) -> None:
        binding = _binding(symbol.kind)
        kind = _type(symbol.kind, code)
        strings_at = len(strings)
        strings.extend(symbol.name.encode("utf-8", "surrogateescape") + b"\0")
        size = symbol.size if symbol.size < FARTHEST else 0
        value = symbol.address + (0 if section == _ABSOLUTE else slide) & U64
        packed = _ENTRY.pack(strings_at, binding << 4 | kind, 0, section, value, size)
        (local if binding == _LOCAL else others).append(packed)

    for number, run in enumerate(runs, 1):
        start, last = run.symbols[0].address, run.symbols[-1]
        end = last.address + (last.size if last.size < APART else FARTHEST)
        if number < len(runs):
            end = min(end, runs[number].symbols[0].address)
        name, flags = (".text", _ALLOC | _EXECINSTR) if run.code else (".data", _ALLOC | _WRITE)
        head = _named(names, name), _NOBITS, flags, start + slide & U64
        sections.append(_SECTION.pack(*head, 0, max(end - start, 1), 0, 0, 1, 0))
        for symbol in run.symbols:
            entry(symbol, number, run.code)
    for symbol in absolute:
        entry(symbol, _ABSOLUTE, False)
    return _file(sections, names, b"".join([bytes(_ENTRY.size), *local, *others]), len(local) + 1, strings)


def _file(sections: list[bytes], names: bytearray, table: bytes, locals_: int, strings: bytearray) -> bytes:
    """Header, symbols, their names, names of sections, sections."""
    at = _HEADER.size
    count = len(sections)
    parts: list[tuple[str, int, bytes | bytearray, int, int, int]] = [
        (".symtab", _SYMTAB, table, count + 1, locals_, _ENTRY.size),
        (".strtab", _STRTAB, strings, 0, 0, 0),
        (".shstrtab", _STRTAB, names, 0, 0, 0),
    ]
    offsets = [_named(names, name) for name, *_ in parts]
    for (_, kind, data, link, info, size), name in zip(parts, offsets, strict=True):
        align = 8 if size else 1
        sections.append(_SECTION.pack(name, kind, 0, 0, at, len(data), link, info, align, size))
        at += len(data)
    at = at + 7 & ~7
    header = _HEADER.pack(
        _IDENT.ljust(16, b"\0"), _EXEC, _RISCV, 1, 0, 0, at, _FLAGS, _HEADER.size, 0, 0, _SECTION.size,
        len(sections), len(sections) - 1,
    )  # fmt: skip
    body = b"".join([header, *(bytes(data) for _, _, data, *_ in parts)])
    return body.ljust(at, b"\0") + b"".join(sections)


def _named(names: bytearray, name: str) -> int:
    at = len(names)
    names.extend(name.encode() + b"\0")
    return at


def _runs(ordered: Sequence[Symbol]) -> list[_Run]:
    """Symbols by whether they are code; what lies at one address stays together."""
    runs: list[_Run] = []
    before = None
    for symbol in ordered:
        code = _is_code(symbol.kind)
        near = before is not None and symbol.address - before < APART
        if near and (runs[-1].code == code or symbol.address == before):
            runs[-1].symbols.append(symbol)
        else:
            runs.append(_Run(code, [symbol]))
        before = symbol.address
    return runs


def _is_code(kind: str) -> bool:
    return kind in ("t", "T", "w", "W", "")


def _type(kind: str, code: bool) -> int:
    if not kind:
        return _FUNC if code else _NOTYPE
    return _FUNC if _is_code(kind) else _OBJECT


def _binding(kind: str) -> int:
    if kind in ("w", "W", "v", "V"):
        return _WEAK
    return _GLOBAL if not kind or kind.isupper() else _LOCAL
