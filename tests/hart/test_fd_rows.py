"""The rows of F and D: encodings against an assembler, and `execute` on whole registers."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest

from vpmu.hart import softfloat as sf
from vpmu.hart.isa.fd_rows import FD_ROWS, FORMATS, FdRow, execute, find

BY_NAME = {row.name: row for row in FD_ROWS}
ONE, TWO, THREE, SIX = (sf.box32(word) for word in (0x3F80_0000, 0x4000_0000, 0x4040_0000, 0x40C0_0000))
ALL_ONES = (1 << 64) - 1


def test_no_word_belongs_to_two_rows() -> None:
    for one, other in combinations(FD_ROWS, 2):
        assert (one.match ^ other.match) & one.mask & other.mask, (one.name, other.name)
    assert all(row.match & ~row.mask == 0 for row in FD_ROWS)


def test_all_of_rv64f_and_rv64d_is_there() -> None:
    # The ISA's listings: RV32F 26 + RV64F 4, RV32D 26 + RV64D 6.
    extensions = [row.extension for row in FD_ROWS]
    assert (extensions.count("F"), extensions.count("D")) == (30, 32)
    assert len(BY_NAME) == 62


def operands_text(row: FdRow) -> str:
    if row.format in ("load", "store"):
        return f"{'fa0' if row.dest else 'fa2'}, 16(a1)"
    names = [f"{'f' if kind == 'f' else ''}a{n}" for n, kind in enumerate((row.dest, *row.sources)) if kind]
    return ", ".join(names)


def encode(row: FdRow) -> int:
    """The word with rd, rs1, rs2, rs3 = a0, a1, a2, a3, the dynamic rounding mode, and an offset of 16."""
    if row.format == "load":
        return row.match | 10 << 7 | 11 << 15 | 16 << 20
    if row.format == "store":
        return row.match | 16 << 7 | 11 << 15 | 12 << 20
    fields = 10 << 7 | 11 << 15 | 12 << 20 | 13 << 27 | 7 << 12
    return row.match | fields & ~row.mask


@pytest.mark.skipif(not shutil.which("riscv64-linux-gnu-objdump"), reason="no riscv64-linux-gnu-objdump")
@pytest.mark.skipif(not shutil.which("riscv64-linux-gnu-as"), reason="no riscv64-linux-gnu-as")
def test_encodings_as_the_assembler(tmp_path: Path) -> None:
    source, target = tmp_path / "fd.s", tmp_path / "fd.o"
    widening = {
        "fcvt.d.s",
        "fcvt.d.w",
        "fcvt.d.wu",
    }  # exact: the assembler writes rm = 0 and knows no operand for it
    lines = [f"{row.name} {operands_text(row)}" for row in FD_ROWS]
    source.write_text("\n".join([".option norvc", *lines, ""]))
    subprocess.run(["riscv64-linux-gnu-as", "-march=rv64gc", "-o", target, source], check=True)
    dump = subprocess.run(
        ["riscv64-linux-gnu-objdump", "-d", target], check=True, capture_output=True, text=True
    ).stdout
    words = [int(word, 16) for word in re.findall(r"^\s+[0-9a-f]+:\s+([0-9a-f]{8})\s", dump, re.MULTILINE)]
    assert len(words) == len(FD_ROWS)
    for row, word in zip(FD_ROWS, words, strict=True):
        assert word == encode(row) & (~0x7000 if row.name in widening else -1), row.name
        assert find(word) is row


def test_a_row_is_found_whatever_its_registers_are() -> None:
    rng = random.Random(1)
    for row in FD_ROWS:
        for _ in range(20):
            assert find(row.match | rng.getrandbits(32) & ~row.mask) is row
    assert find(0x0000_0013) is None  # addi x0, x0, 0


def test_formats_say_where_operands_come_from() -> None:
    assert {row.format for row in FD_ROWS} == set(FORMATS)
    for row in FD_ROWS:
        assert row.has_rm == (row.mask & 0x7000 == 0), row.name
        fixed_rs2 = row.mask >> 20 & 0x1F == 0x1F
        if row.format not in ("load", "store"):
            assert fixed_rs2 == (len(row.sources) == 1), row.name


def run(name: str, a: int, b: int = 0, c: int = 0, rm: int = sf.RNE) -> tuple[int, int]:
    return execute(BY_NAME[name], a, b, c, rm)


def test_fused_forms_negate_the_product_and_the_addend() -> None:
    minus = 1 << 31
    assert run("fmadd.s", TWO, TWO, TWO) == (SIX, 0)
    assert run("fmsub.s", TWO, TWO, ONE) == (THREE, 0)
    assert run("fnmsub.s", TWO, TWO, ONE) == (THREE ^ minus, 0)
    assert run("fnmadd.s", TWO, TWO, TWO) == (SIX ^ minus, 0)
    assert run("fnmadd.d", 1 << 62, 1 << 62, 1 << 62) == (0xC018 << 48, 0)


def test_singles_are_unboxed_and_boxed() -> None:
    nan = sf.box32(sf.F32.nan)
    assert run("fadd.s", ONE, TWO) == (THREE, 0)
    assert run("fadd.s", ONE & 0xFFFF_FFFF, TWO) == (nan, 0)
    assert run("fsgnj.s", 0x3F80_0000, ONE) == (nan, 0)
    assert run("fclass.s", 0x3F80_0000) == (1 << 9, 0)
    assert run("fcvt.d.s", ONE) == (0x3FF0 << 48, 0)
    assert run("fcvt.d.s", 0x3F80_0000) == (sf.F64.nan, 0)
    assert run("fcvt.s.d", 0x3FF0 << 48) == (ONE, 0)
    assert run("fcvt.s.l", ALL_ONES) == (ONE ^ 1 << 31, 0)
    assert run("fcvt.s.wu", ALL_ONES, rm=sf.RTZ) == (sf.box32(0x4F7F_FFFF), sf.NX)
    assert run("fcvt.w.s", SIX) == (6, 0)


def test_transfers_carry_bits_unchecked() -> None:
    assert run("fmv.x.w", 0x1234_5678_8000_0001) == (0xFFFF_FFFF_8000_0001, 0)
    assert run("fmv.w.x", 0x1234_5678_7F80_0001) == (0xFFFF_FFFF_7F80_0001, 0)
    assert (
        run("fmv.x.d", 0x7FF0_0000_0000_0001)
        == run("fmv.d.x", 0x7FF0_0000_0000_0001)
        == (0x7FF0_0000_0000_0001, 0)
    )
    assert run("flw", 0x7F80_0001) == (0xFFFF_FFFF_7F80_0001, 0)
    assert run("fld", 0x7F80_0001) == (0x7F80_0001, 0)
    assert run("fsw", 0, 0x1234_5678_9ABC_DEF0) == (0x9ABC_DEF0, 0)
    assert run("fsd", 0, 0x1234_5678_9ABC_DEF0) == (0x1234_5678_9ABC_DEF0, 0)


def test_every_row_executes_to_a_register_and_flags() -> None:
    rng = random.Random(2)
    for row in FD_ROWS:
        for _ in range(50):
            a, b, c = (rng.getrandbits(64) for _ in range(3))
            value, flags = execute(row, a, b, c, rng.randrange(5))
            assert 0 <= value <= ALL_ONES
            assert 0 <= flags < 32
            if row.dest == "f" and row.precision == "s":
                assert value >> 32 == 0xFFFF_FFFF
