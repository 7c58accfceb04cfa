"""Zfh on the native engine and the reference engine against `fd_rows.execute`, and encodings."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest

from vpmu.hart import softfloat as sf
from vpmu.hart.exits import Stop
from vpmu.hart.hart import Hart
from vpmu.hart.isa.fd_rows import FD_ROWS, FdRow, execute, operand_precision
from vpmu.hart.isa.table import decode
from vpmu.hart.isa.zfh import ZFH_ROWS
from vpmu.spec.csr import SSTATUS_FS

from .assemble import f
from .guest import BASE, DATA, ENGINES, boot
from .softfloat_cases import DOUBLE, HALF, MODES, SINGLE, random_operands
from .test_fd_rows import encode, operands_text
from .test_floating_point import INITIAL, integer, run_one

pytestmark = pytest.mark.usefixtures("built_engine")

BY_NAME = {row.name: row for row in ZFH_ROWS}
COMPUTATIONS = [row for row in ZFH_ROWS if row.format not in ("load", "store")]
SHAPES = {"h": HALF, "s": SINGLE, "d": DOUBLE}
ONE, TWO, THREE = 0x3C00, 0x4000, 0x4200
BOX = (1 << 64) - (1 << 16)
VECTORS = {"native": 400, "reference": 25}


def operands(rng: random.Random, row: FdRow) -> tuple[int, int, int]:
    if row.sources[0] == "x":
        return integer(rng), 0, 0
    shape = SHAPES[operand_precision(row)]
    box = (1 << 64) - (1 << shape.width)
    values = []
    for number in random_operands(rng, shape, 3):
        values.append(number | (box if rng.random() < 0.97 else rng.getrandbits(64) << shape.width & box))
    return values[0], values[1], values[2]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("row", COMPUTATIONS, ids=lambda row: row.name)
def test_a_row_on_an_engine(row: FdRow, engine: str) -> None:
    rng, hart = random.Random(row.name), boot(engine, isa={"zfh"})
    for _ in range(VECTORS[engine]):
        values = operands(rng, row)
        flags, mode, dynamic = rng.choice((0, 1, 31)), rng.choice(MODES), rng.random() < 0.5
        value, raised = execute(row, *values, mode)
        expected = value, flags | raised, SSTATUS_FS if row.dest == "f" or raised else INITIAL
        answer = run_one(hart, row, values, flags | (mode if dynamic else 6) << 5, 7 if dynamic else mode)
        assert answer == expected, (row.name, [hex(v) for v in values], flags, mode, dynamic)


def test_halves_are_unboxed_and_boxed() -> None:
    nan = BOX | sf.F16.nan
    assert execute(BY_NAME["fadd.h"], BOX | ONE, BOX | TWO) == (BOX | THREE, 0)
    assert execute(BY_NAME["fadd.h"], ONE, BOX | TWO) == (nan, 0)
    assert execute(BY_NAME["fadd.h"], 0xFFFF_FFFF_0000_3C00, BOX | TWO) == (nan, 0)
    assert execute(BY_NAME["fmv.x.h"], 0x1234_5678_9ABC_8001) == (0xFFFF_FFFF_FFFF_8001, 0)
    assert execute(BY_NAME["fmv.h.x"], 0x1234_5678_9ABC_8001) == (BOX | 0x8001, 0)
    assert execute(BY_NAME["fcvt.s.h"], BOX | ONE) == (sf.box32(0x3F80_0000), 0)
    assert execute(BY_NAME["fcvt.d.h"], BOX | TWO) == (0x4000 << 48, 0)
    assert execute(BY_NAME["fcvt.h.s"], sf.box32(0x477F_F000)) == (BOX | 0x7C00, sf.OF | sf.NX)
    assert execute(BY_NAME["fcvt.h.d"], 0x3FF0_0000_0000_0001) == (BOX | ONE, sf.NX)
    assert execute(BY_NAME["fcvt.h.w"], 65520) == (BOX | 0x7C00, sf.OF | sf.NX)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("at", [DATA, DATA + 1, DATA + 4095])
def test_loads_and_stores(engine: str, at: int) -> None:
    words = [BY_NAME["flh"].match | 3 << 7 | 10 << 15, BY_NAME["fsh"].match | 10 << 15 | 4 << 20]
    hart = boot(engine, words, isa={"zfh"}, x={10: at}, sstatus=INITIAL)
    hart.words[f(4)] = 0x1122334455667788
    hart.memory.write(at - 1, b"\x11\x01\xfe\x22")
    hart.run(1)
    assert (hart.words[f(3)], hart.get("sstatus")) == (BOX | 0xFE01, SSTATUS_FS)
    hart.run(1)
    assert hart.memory.read(at - 1, 4) == b"\x11\x88\x77\x22"


def illegal(hart: Hart, row: FdRow, rm: int) -> bool:
    hart.memory.write(BASE, (row.match | (10 << 15 | rm << 12) & ~row.mask).to_bytes(4, "little"))
    return hart.run(1) is Stop.ILLEGAL and hart.pc == BASE and hart.instructions == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("row", ZFH_ROWS, ids=lambda row: row.name)
def test_without_it_or_a_rounding_mode_it_is_illegal(row: FdRow, engine: str) -> None:
    assert illegal(boot(engine, sstatus=INITIAL, x={10: DATA}), row, 0)
    assert illegal(boot(engine, isa={"zfh"}, sstatus=0, x={10: DATA}), row, 0)
    if row.has_rm:
        for rm, frm in ((5, 0), (6, 0), (7, 5), (7, 7)):
            assert illegal(boot(engine, isa={"zfh"}, sstatus=INITIAL, frm=frm), row, rm)


def test_no_word_belongs_to_two_rows() -> None:
    for one, other in combinations((*FD_ROWS, *ZFH_ROWS), 2):
        assert (one.match ^ other.match) & one.mask & other.mask, (one.name, other.name)
    assert len(ZFH_ROWS) == 34  # 30 of F as half, four conversions between formats


@pytest.mark.skipif(not shutil.which("riscv64-linux-gnu-objdump"), reason="no riscv64-linux-gnu-objdump")
@pytest.mark.skipif(not shutil.which("riscv64-linux-gnu-as"), reason="no riscv64-linux-gnu-as")
def test_encodings_as_the_assembler(tmp_path: Path) -> None:
    source, target = tmp_path / "zfh.s", tmp_path / "zfh.o"
    widening = ("fcvt.s.h", "fcvt.d.h")  # exact: the assembler writes rm = 0
    source.write_text(
        "\n".join([".option norvc", *(f"{row.name} {operands_text(row)}" for row in ZFH_ROWS), ""])
    )
    subprocess.run(["riscv64-linux-gnu-as", "-march=rv64gc_zfh", "-o", target, source], check=True)
    dump = subprocess.run(
        ["riscv64-linux-gnu-objdump", "-d", target], check=True, capture_output=True, text=True
    ).stdout
    words = [int(word, 16) for word in re.findall(r"^\s+[0-9a-f]+:\s+([0-9a-f]{8})\s", dump, re.MULTILINE)]
    for row, word in zip(ZFH_ROWS, words, strict=True):
        assert word == encode(row) & (~0x7000 if row.name in widening else -1), row.name
        assert decode(word).row.name == row.name
