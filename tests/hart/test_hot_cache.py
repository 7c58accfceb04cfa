"""Compiled regions that are kept between processes."""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from vpmu.hart import hart, hot_tier, machine_code, native
from vpmu.hart.hot_cache import CachedRegion, RegionCache
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.object_file import lay_out, position_independent

ONE = CachedRegion((0, 16), (0, 4, 8, 16, 18), b"\x7fELF one")
TWO = CachedRegion((64,), (64, 66), b"\x7fELF two" * 100)


def test_regions_of_a_page_come_back_in_another_process(tmp_path: Path) -> None:
    cache = RegionCache(tmp_path / "regions")
    assert "page" not in cache
    cache.add("page", ONE)
    cache.add("page", TWO)
    assert cache.load("page") == [ONE, TWO]
    later = RegionCache(tmp_path / "regions")
    assert "page" in later
    assert later.load("page") == [ONE, TWO]


def test_a_damaged_file_is_no_file(tmp_path: Path) -> None:
    RegionCache(tmp_path).add("page", TWO)
    whole = (tmp_path / "page").read_bytes()
    for damaged in (b"", whole[:40], whole[:-1], b"x" + whole):
        (tmp_path / "page").write_bytes(damaged)
        cache = RegionCache(tmp_path)
        assert cache.load("page") == []
        assert "page" not in cache


def test_a_file_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    RegionCache(tmp_path).add("page", ONE)
    (tmp_path / "page").chmod(0o666)
    assert RegionCache(tmp_path).load("page") == []


def test_a_folder_that_cannot_be_written_is_only_slower(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = RegionCache(tmp_path / "file" / "regions")
    cache.add("page", ONE)
    assert cache.load("page") == []


def looping() -> hart.Hart:
    """A hart in a loop of four instructions."""
    pytest.importorskip("llvmlite")
    memory = PhysicalMemory()
    memory.set_slot(0, 0x80000000, 1 << 20)
    memory.write(0x80000000, struct.pack("<4I", 0x00138393, 0x0072C2B3, 0x00538333, 0xFF5FF06F))
    made = hart.Hart(0, memory)
    made.pc = 0x80000000
    return made


def test_an_equal_page_uses_at_once_what_was_compiled_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native.engine(looping().memory.counting)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(hart, "CHUNK", 10_000)
    monkeypatch.setattr(hart, "HOT_AFTER", 0)
    monkeypatch.setattr(hot_tier, "SAMPLES", 1)
    monkeypatch.setattr(hot_tier, "COLD_SAMPLES", 1)
    monkeypatch.setattr(hot_tier, "LOOK_AFTER", 1)
    monkeypatch.setattr(hot_tier, "LOAD_AFTER", 1)
    caches = (native.region_folder, hot_tier.region_cache)
    try:
        for cache in caches:
            cache.cache_clear()
        first = looping()
        deadline = time.monotonic() + 60
        while not (first.memory.hot_tier and first.memory.hot_tier.installed) and time.monotonic() < deadline:
            first.run(50_000)
        for cache in caches:
            cache.cache_clear()  # as in another process
        monkeypatch.setattr(hot_tier, "SAMPLES", 1 << 40)  # nothing is compiled any more
        second = looping()
        second.run(25_000)
        assert second.memory.hot_tier is not None
        assert second.memory.hot_tier.installed == 1
        plain = looping()
        monkeypatch.setattr(hart, "CHUNK", 1 << 40)
        plain.run(25_000 + 1_000)
        second.run(1_000)
        assert [second.x(n) for n in range(32)] == [plain.x(n) for n in range(32)]
        assert (second.pc, second.instructions) == (plain.pc, plain.instructions)
    finally:
        for cache in caches:
            cache.cache_clear()


def object_file(*sections: tuple[int, int, bytes, int], links: Mapping[int, int] | None = None) -> bytes:
    """A bare ELF object of sections (type, flags, contents, info), with their links by number."""
    body, headers = b"", [bytes(64)]
    for kind, flags, contents, info in sections:
        headers.append(
            struct.pack(
                "<IIQQQQIIQQ",
                0,
                kind,
                flags,
                0,
                64 + len(body),
                len(contents),
                (links or {}).get(len(headers), 0),
                info,
                1,
                0,
            )
        )
        body += contents
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        1,
        62,
        1,
        0,
        0,
        64 + len(body),
        0,
        64,
        0,
        0,
        64,
        len(headers),
        0,
    )
    return header + body + b"".join(headers)


def relocation(offset: int, kind: int, symbol: int, addend: int) -> bytes:
    return struct.pack("<QQq", offset, symbol << 32 | kind, addend)


def test_only_code_that_needs_no_linker_is_taken_out() -> None:
    text, unwind = (1, 6, b"\xc3" * 5, 0), (0x70000001, 2, b"eh", 0)
    assert position_independent(object_file(text, unwind)) == b"\xc3" * 5
    assert position_independent(object_file(text, (4, 0, bytes(24), 2))) == b"\xc3" * 5  # of something else
    assert position_independent(object_file(text, (4, 0, bytes(24), 1))) is None
    assert position_independent(object_file(text, (1, 3, b"data", 0))) is None  # which may be written
    assert position_independent(object_file(text, text)) is None
    assert position_independent(b"\xcf\xfa\xed\xfe" + bytes(100)) is None
    assert position_independent(object_file(text)[:-10]) is None


def test_constants_stand_behind_the_code_that_names_them() -> None:
    text, constants = (1, 6, b"\x90" * 12, 0), (1, 2, b"constant", 0)
    symbols = (2, 0, struct.pack("<IBBHQQ", 0, 0, 0, 2, 3, 0) + struct.pack("<IBBHQQ", 0, 0, 0, 9, 0, 0), 0)
    code = position_independent(object_file(text, constants, symbols, (4, 0, relocation(4, 2, 0, -4), 1)))
    assert code is not None
    assert code[12:] == b"constant"
    assert struct.unpack_from("<i", code, 4)[0] == 12 + 3 - 4 - 4  # from the end of the field to the symbol
    for kind, symbol in ((4, 0), (1, 0), (2, 1), (2, 7)):
        other = relocation(4, kind, symbol, 0)
        assert position_independent(object_file(text, constants, symbols, (4, 0, other, 1))) is None


def test_an_object_with_addresses_is_placed_without_a_linker() -> None:
    """A function that calls the C library through a word of its own, and a table with its address."""
    text, table = (1, 6, b"\xc3" * 16, 0), (1, 2, bytes(8), 0)
    names = b"\0run\0memset\0"
    symbols = struct.pack("<IBBHQQ", 1, 0, 0, 1, 2, 0) + struct.pack("<IBBHQQ", 5, 0, 0, 0, 0, 0)
    image = object_file(
        text, table, (3, 0, names, 0), (2, 0, symbols, 0),
        (4, 0, relocation(8, 1, 1, 0), 1), (4, 0, relocation(0, 1, 0, 3), 2),
        links={4: 3},
    )  # fmt: skip
    code = lay_out(image)
    assert code is not None
    assert position_independent(image) is None
    assert code.symbols == {"run": 2}
    kept = machine_code.unpack(code.packed())
    assert kept is not None
    assert machine_code.unpack(image) is None
    placed = kept.at(0x10000)
    assert placed is not None
    assert placed == code.at(0x10000)
    memset = ctypes.cast(ctypes.CDLL(None).memset, ctypes.c_void_p).value
    assert struct.unpack_from("<Q", placed, 8)[0] == memset
    assert struct.unpack_from("<Q", placed, 16)[0] == 0x10000 + 2 + 3
    code.outside.append((0, "no_such_function_of_the_c_library"))
    assert code.at(0x10000) is None


def test_a_kept_engine_needs_no_llvm(built_engine: None) -> None:
    script = (
        "import sys\nfrom vpmu.hart import codegen_flags, native\n"
        "native.engine(codegen_flags.Counting.NOTHING)\nprint('llvmlite.binding' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    if machine_code.CodeArena().place(b"\xc3") is None:
        pytest.skip("no memory for code on this machine")
    assert (run.stdout, run.stderr) == ("False\n", "")


def test_code_is_placed_apart_and_never_moves() -> None:
    arena = machine_code.CodeArena()
    first, second = arena.place(b"\xc3"), arena.place(b"\xc3" * 100)
    if first is None or second is None:
        pytest.skip("no memory for code on this machine")
    assert second == first + machine_code.ALIGNMENT
    assert ctypes.string_at(second, 100) == b"\xc3" * 100
    assert arena.place(bytes(machine_code.ARENA)) is None
