"""Every row of F and D against QEMU: results and flags of random operands, in all rounding modes.

A bare-metal program runs each instruction of a table on the operands that stand beside it, compares what it
got with what `execute` said, and prints the differences. The instruction words are made from the rows, so
that these are tested too.
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from itertools import cycle, product
from pathlib import Path

import pytest

from vpmu.hart.isa.fd_rows import FD_ROWS, FdRow, execute, operand_precision
from vpmu.hart.isa.zfh import ZFH_ROWS

from .softfloat_cases import DOUBLE, HALF, MODES, SINGLE, Shape, random_register

VECTORS_PER_ROW = 1000
A0, A1, A2, S5 = 10, 11, 12, 21
RET, FMV_A0_FA0, LD_A0_S5, SD_ZERO_S5, NOP = 0x0000_8067, 0xE205_0553, 0x000A_B503, 0x000A_B023, 0x0000_0013
RECORD = struct.Struct("<QQQIIQQ")  # a, b, c, row, rm, expected value, expected flags

GUEST = """
    .option norvc
    .globl _start
_start:
    li      t0, 0x6000              # mstatus.FS: dirty
    csrs    mstatus, t0
    la      s0, table
    la      s1, table_end
    la      s2, stubs
    la      s5, scratch
    li      s6, 0                   # vectors done
    li      s7, 0                   # differences
    li      s8, 0x10000000          # UART
next:
    bgeu    s0, s1, finish
    ld      a0, 0(s0)
    ld      a1, 8(s0)
    ld      a2, 16(s0)
    fmv.d.x fa0, a0
    fmv.d.x fa1, a1
    fmv.d.x fa2, a2
    sd      a0, 0(s5)               # what a load reads
    lwu     t0, 24(s0)
    lwu     t1, 28(s0)
    slli    t1, t1, 5
    csrw    fcsr, t1                # the rounding mode; no flags
    slli    t0, t0, 4
    add     t0, t0, s2
    jalr    t0
    csrr    s3, fflags
    mv      s4, a0
    ld      t0, 32(s0)
    ld      t1, 40(s0)
    bne     t0, s4, differs
    beq     t1, s3, same
differs:
    addi    s7, s7, 1
    li      t0, 40                  # enough to see the pattern
    bgtu    s7, t0, same
    mv      a0, s6
    call    hex
    mv      a0, s4
    call    hex
    mv      a0, s3
    call    hex
    li      a0, '\\n'
    call    put
same:
    addi    s6, s6, 1
    addi    s0, s0, 48
    j       next
finish:
    li      a0, '='
    call    put
    mv      a0, s6
    call    hex
    mv      a0, s7
    call    hex
    li      a0, '\\n'
    call    put
    li      t0, 0x100000            # sifive_test: power off
    li      t1, 0x5555
    sw      t1, 0(t0)
1:  j       1b

put:                                # a0: one character
    lbu     t0, 5(s8)
    andi    t0, t0, 0x20
    beqz    t0, put
    sb      a0, 0(s8)
    ret

hex:                                # a0: printed in 16 digits and a space
    mv      t4, ra
    mv      t5, a0
    li      t6, 60
2:  srl     a0, t5, t6
    andi    a0, a0, 15
    li      t1, 10
    bltu    a0, t1, 3f
    addi    a0, a0, 'a' - '0' - 10
3:  addi    a0, a0, '0'
    call    put
    addi    t6, t6, -4
    bgez    t6, 2b
    li      a0, ' '
    call    put
    mv      ra, t4
    ret

    .balign 16
stubs:                              # 16 bytes for each row
%(stubs)s
    .balign 16
scratch:
    .dword  0
table:
    .incbin "%(table)s"
table_end:
"""


def stub(row: FdRow) -> list[int]:
    """Four words: run the instruction on (f)a0, fa1, fa2, leave its result in a0, return."""
    if row.format == "load":
        return [row.match | A0 << 7 | S5 << 15, FMV_A0_FA0, RET, NOP]
    if row.format == "store":
        return [SD_ZERO_S5, row.match | S5 << 15 | A1 << 20, LD_A0_S5, RET]
    word = row.match | (A0 << 7 | A0 << 15 | A1 << 20 | A2 << 27 | 7 << 12) & ~row.mask
    return [word, FMV_A0_FA0 if row.dest == "f" else NOP, RET, NOP]


def kinds(shape: Shape) -> list[int]:
    """One number of each kind, in registers: random ones hardly ever pair +0 with -0 or infinity with 0."""
    one = shape.bias << shape.fraction_bits
    positive = [0, 1, one, shape.infinity - 1, shape.infinity, shape.infinity | 1, shape.nan]
    box = (1 << 64) - (1 << shape.width)
    return [box | sign | number for sign in (0, shape.sign) for number in positive]


def operands(rng: random.Random, row: FdRow, count: int) -> Iterator[tuple[int, int, int]]:
    """Registers for a row: every pair of kinds, then `count` random triples."""
    shape = {"h": HALF, "s": SINGLE, "d": DOUBLE}[operand_precision(row)]
    zoo = kinds(shape)
    for a, b in product(zoo, zoo):
        yield a, b, rng.choice(zoo)
    for _ in range(count):
        a, b, c = (random_register(rng) for _ in range(3))
        if rng.random() < 0.1:
            b = a ^ rng.getrandbits(2) ^ rng.choice((0, 1 << 31, 1 << 63))
        if row.sources[0] == "f" and shape is not DOUBLE:
            # Mostly properly boxed, or nothing but NaNs would be seen.
            box = (1 << 64) - (1 << shape.width)
            a, b, c = (v | box if rng.random() < 0.97 else v for v in (a, b, c))
        yield a, b, c


def vectors(rows: Sequence[FdRow], seed: int, per_row: int) -> list[tuple[int, ...]]:
    """The table's records for all rows."""
    rng = random.Random(seed)
    answer: list[tuple[int, ...]] = []
    for index, row in enumerate(rows):
        for (a, b, c), rm in zip(operands(rng, row, per_row), cycle(MODES), strict=False):
            loaded = a & {"flh": 0xFFFF, "flw": 0xFFFF_FFFF}.get(row.name, -1)
            answer.append((a, b, c, index, rm, *execute(row, loaded, b, c, rm)))
    return answer


@pytest.mark.qemu
@pytest.mark.skipif(not shutil.which("qemu-system-riscv64"), reason="no qemu-system-riscv64")
@pytest.mark.skipif(not shutil.which("riscv64-linux-gnu-gcc"), reason="no riscv64-linux-gnu-gcc")
@pytest.mark.parametrize(("rows", "cpu"), [(FD_ROWS, "rv64"), (ZFH_ROWS, "rv64,Zfh=true")], ids=["fd", "zfh"])
def test_every_row_as_qemu(rows: Sequence[FdRow], cpu: str, tmp_path: Path) -> None:
    cases = vectors(rows, 1, VECTORS_PER_ROW)
    table, source, image = tmp_path / "table.bin", tmp_path / "guest.S", tmp_path / "guest.elf"
    table.write_bytes(b"".join(RECORD.pack(*case) for case in cases))
    stubs = "\n".join("    .word " + ", ".join(f"{word:#x}" for word in stub(row)) for row in rows)
    source.write_text(GUEST % {"stubs": stubs, "table": table})
    flags = [
        "-march=rv64gc",
        "-mabi=lp64d",
        "-nostdlib",
        "-static",
        "-Wl,-Ttext=0x80000000",
        "-Wl,--build-id=none",
    ]
    subprocess.run(["riscv64-linux-gnu-gcc", *flags, "-o", image, source], check=True)
    qemu = [
        "qemu-system-riscv64",
        "-M",
        "virt",
        "-cpu",
        cpu,
        "-m",
        "256",
        "-display",
        "none",
        "-monitor",
        "none",
    ]
    output = subprocess.run(
        [*qemu, "-serial", "stdio", "-bios", image],
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    ).stdout
    *lines, summary = output.split("\n")[:-1]
    differences = []
    for line in lines:
        number, value, flags_seen = (int(word, 16) for word in line.split())
        a, b, c, index, rm, expected, expected_flags = cases[number]
        differences.append(
            f"{rows[index].name} rm={rm} a={a:#x} b={b:#x} c={c:#x}: "
            f"ours {expected:#x} flags {expected_flags:#x}, QEMU {value:#x} flags {flags_seen:#x}"
        )
    assert not differences, "\n".join(differences)
    assert [int(word, 16) for word in summary.removeprefix("=").split()] == [len(cases), 0]
