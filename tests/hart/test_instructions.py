"""Instructions one by one: results that the manual singles out, encodings that are reserved, hints, and
what self-modifying code sees.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest

from vpmu.hart.exits import Stop
from vpmu.hart.isa.instruction import Instruction, Kind
from vpmu.hart.isa.table import COMPRESSED, INSTRUCTIONS, decode

from .assemble import C_BY_NAME, NOP, encode, place
from .guest import BASE, DATA, ENGINES, boot

pytestmark = pytest.mark.usefixtures("built_engine")

ONES = (1 << 64) - 1
LEAST, LEAST_WORD = 1 << 63, ONES ^ (1 << 31) - 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "a", "b", "result"),
    [
        # M, table of the semantics of division by zero and of overflow
        ("div", 7, 0, ONES),
        ("divu", 7, 0, ONES),
        ("rem", 7, 0, 7),
        ("remu", 7, 0, 7),
        ("div", LEAST, ONES, LEAST),
        ("rem", LEAST, ONES, 0),
        ("divw", 7, 0, ONES),
        ("divuw", 7, 0, ONES),
        ("remw", LEAST_WORD, 0, LEAST_WORD),
        ("remuw", 1 << 31, 0, LEAST_WORD),
        ("divw", LEAST_WORD, ONES, LEAST_WORD),
        ("remw", LEAST_WORD, ONES, 0),
        ("divw", 5 << 32, 1 << 32, ONES),
        ("rem", ONES - 6, 2, ONES),
        ("mulh", LEAST, LEAST, 1 << 62),
        ("mulhu", ONES, ONES, ONES - 1),
        ("mulhsu", ONES, ONES, ONES),
        ("mulw", 1 << 30, 2, LEAST_WORD),
        # shifts use the low six, or five, bits
        ("sll", 1, 64, 1),
        ("sra", LEAST, 127, ONES),
        ("srl", LEAST, 63, 1),
        ("sllw", 1, 31, LEAST_WORD),
        ("srlw", ONES, 32, ONES),
        ("sraw", LEAST_WORD, 31, ONES),
        ("slt", ONES, 0, 1),
        ("sltu", ONES, 0, 0),
        ("addw", (1 << 31) - 1, 1, LEAST_WORD),
        ("subw", LEAST_WORD, 1, (1 << 31) - 1),
        # Zba, Zbb
        ("add.uw", ONES, 1, 1 << 32),
        ("sh3add.uw", ONES, 0, (1 << 35) - 8),
        ("sh2add", 3, 1, 13),
        ("clz", 0, 0, 64),
        ("ctz", 0, 0, 64),
        ("clzw", 1 << 40, 0, 32),
        ("ctzw", 1 << 40, 0, 32),
        ("cpopw", ONES, 0, 32),
        ("cpop", ONES, 0, 64),
        ("orc.b", 0x0100000000800010, 0, 0xFF00000000FF00FF),
        ("rev8", 0x0102030405060708, 0, 0x0807060504030201),
        ("rol", 1, 63, LEAST),
        ("ror", 1, 1, LEAST),
        ("rolw", 1, 31, LEAST_WORD),
        ("rorw", 3, 1, LEAST_WORD | 1),
        ("rol", 5, 0, 5),
        ("rorw", 5, 32, 5),
        ("max", LEAST, 1, 1),
        ("maxu", LEAST, 1, LEAST),
        ("min", LEAST, 1, LEAST),
        ("minu", LEAST, 1, 1),
        ("sext.b", 0x80, 0, ONES ^ 0x7F),
        ("sext.h", 0x8000, 0, ONES ^ 0x7FFF),
        ("zext.h", ONES, 0, 0xFFFF),
        ("andn", 15, 5, 10),
        ("orn", 0, 1, ONES - 1),
        ("xnor", 3, 5, ONES ^ 6),
        # Zbs: the low six bits of rs2 name the bit
        ("bclr", ONES, 127, ONES ^ LEAST),
        ("bext", LEAST, 63, 1),
        ("bext", 2, 64, 0),
        ("binv", 0, 65, 2),
        ("bset", 1, 63, LEAST | 1),
        # Zbc: x^63 * x^63 = x^126
        ("clmul", 3, 3, 5),
        ("clmul", ONES, ONES, 0x5555555555555555),
        ("clmulh", LEAST, LEAST, 1 << 62),
        ("clmulh", ONES, 1, 0),
        ("clmulr", LEAST, LEAST, LEAST),
        ("clmulr", 1, LEAST, 1),
        # Zicond
        ("czero.eqz", 7, 0, 0),
        ("czero.eqz", 7, LEAST, 7),
        ("czero.nez", 7, 0, 7),
        ("czero.nez", 7, LEAST, 0),
    ],
)
def test_results(engine: str, name: str, a: int, b: int, result: int) -> None:
    hart = boot(engine, [encode(name, rd=5, rs1=10, rs2=11)], x={10: a, 11: b})
    assert (hart.run(1), hart.x(5)) == (Stop.BUDGET, result)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "expected"),
    [("amomin.w", LEAST_WORD | 5), ("amomax.w", 7), ("amominu.w", 7), ("amomaxu.w", LEAST_WORD | 5)],
)
def test_atomic_minimum_and_maximum_compare_words(engine: str, name: str, expected: int) -> None:
    """Memory holds a negative word, the register 7 below rubbish in its upper half."""
    hart = boot(engine, [encode(name, rd=5, rs1=10, rs2=11)], x={10: DATA, 11: 0xDEAD << 32 | 7})
    hart.memory.write(DATA, (0x80000005).to_bytes(4, "little") + b"\x55" * 4)
    hart.run(1)
    assert hart.x(5) == LEAST_WORD | 5
    assert hart.memory.read(DATA, 8) == (expected & 0xFFFFFFFF).to_bytes(4, "little") + b"\x55" * 4


# Encodings as clang's assembler has them: (word, name, rd, rs1, rs2, imm), rd 32 for a store.
ENCODINGS = [
    (0x81E8, "lbu", 10, 11, 0, 3),
    (0x86B0, "lhu", 12, 13, 0, 2),
    (0x84E0, "lh", 8, 9, 0, 2),
    (0x8BD8, "sb", 32, 15, 14, 1),
    (0x8FB8, "sh", 32, 15, 14, 2),
    (0x9C61, "andi", 8, 8, 0, 255),
    (0x9CE5, "sext.b", 9, 9, 0, 0),
    (0x9D69, "zext.h", 10, 10, 0, 0),
    (0x9DED, "sext.h", 11, 11, 0, 0),
    (0x9E71, "add.uw", 12, 12, 0, 0),
    (0x9EF5, "xori", 13, 13, 0, -1),
    (0x9F5D, "mul", 14, 14, 15, 0),
    (0x0EC5D533, "czero.eqz", 10, 11, 12, 0),
    (0x0E7372B3, "czero.nez", 5, 6, 7, 0),
    (0x4BF59513, "bclri", 10, 11, 0, 63),
    (0x4A15D513, "bexti", 10, 11, 0, 33),
    (0x68559513, "binvi", 10, 11, 0, 5),
    (0x2AC59513, "bseti", 10, 11, 0, 44),
    (0x48C59533, "bclr", 10, 11, 12, 0),
    (0x48C5D533, "bext", 10, 11, 12, 0),
    (0x68C59533, "binv", 10, 11, 12, 0),
    (0x28C59533, "bset", 10, 11, 12, 0),
    (0x0AC59533, "clmul", 10, 11, 12, 0),
    (0x0AC5B533, "clmulh", 10, 11, 12, 0),
    (0x0AC5A533, "clmulr", 10, 11, 12, 0),
]


@pytest.mark.parametrize(("word", "name", "rd", "rs1", "rs2", "imm"), ENCODINGS)
def test_an_encoding_means_what_an_assembler_meant(
    word: int, name: str, rd: int, rs1: int, rs2: int, imm: int
) -> None:
    found = decode(word)
    assert (found.row.name, found.rd, found.rs1, found.rs2, found.imm) == (name, rd, rs1, rs2, imm)
    assert found.length == (4 if word & 3 == 3 else 2)


RESERVED = {
    "defined illegal": 0x0000,
    "c.addi4spn with 0": 0x0008,
    "quadrant 0, funct3 4": 0x9000,
    "c.addiw x0": 0x2005,
    "c.lwsp x0": 0x4002,
    "c.ldsp x0": 0x6002,
    "c.jr x0": 0x8002,
    "c.lui with 0": 0x6081,
    "c.addi16sp with 0": 0x6101,
    "c.not + 1": 0x9C79,
    "c.not + 2": 0x9C7D,
    "all ones": 0xFFFFFFFF,
    "custom-0": 0x0000000B,
    "jalr, funct3 1": 0x00001067,
    "branch, funct3 2": 0x00002063,
    "load, funct3 7": 0x00007003,
    "store, funct3 4": 0x00004023,
    "slli with bit 26": 0x04001013,
    "slliw with bit 25": 0x0200101B,
    "op, funct7 2": 0x04000033,
    "amo, funct3 1": 0x0000102F,
    "lr.w with rs2": 0x1010202F,
    "mret": 0x30200073,
    "ecall with rd": 0x000000F3,
    "csr, funct3 4": 0x00004073,
    "fsqrt.s with rs2": 0x58100053,
    "fmadd.h": 0x04000043,
    "fadd.q": 0x06000053,
    "fcvt.s.s": 0x40000053,
    "fsgnj, funct3 3": 0x20003053,
    "flq": 0x00004007,
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", RESERVED)
def test_reserved_encodings_are_illegal(engine: str, name: str) -> None:
    hart = boot(engine, [NOP, RESERVED[name]], sstatus=3 << 13)
    assert (hart.run(10), hart.pc, hart.instructions) == (Stop.ILLEGAL, BASE + 4, 1)


HINTS = {
    "c.nop with 5": 0x0015,
    "c.addi x5 with 0": 0x0281,
    "c.li x0": 0x4005,
    "c.lui x0": 0x6005,
    "c.mv x0": 0x8016,
    "c.add x0": 0x9016,
    "c.slli x0": 0x0006,
    "c.slli with 0": 0x0282,
    "c.srli with 0": 0x8001,
    "lui x0": 0x00001037,
    "pause": 0x0100000F,
    "fence.tso": 0x8330000F,
    "prefetch": 0x0000E013,
    "fence with everything": 0x0FF0000F,
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", HINTS)
def test_hints_do_nothing(engine: str, name: str) -> None:
    hart = boot(engine, [HINTS[name]], x={i: i * 1111 for i in range(1, 32)})
    assert (hart.run(1), hart.pc - BASE) == (Stop.BUDGET, 4 if HINTS[name] & 3 == 3 else 2)
    assert [hart.x(i) for i in range(32)] == [i * 1111 for i in range(32)]


# ---------------------------------------------------------------- the table


def test_no_word_belongs_to_two_rows() -> None:
    """But where one encoding is a special case of another, which the decoder tries first."""
    for one, other in combinations(INSTRUCTIONS, 2):
        narrow, wide = sorted((one, other), key=lambda row: -row.mask.bit_count())
        if narrow.mask & wide.mask == wide.mask != narrow.mask and narrow.match & wide.mask == wide.match:
            assert (narrow.name, wide.name) == ("zext.h", "packw")
            continue
        assert (one.match ^ other.match) & one.mask & other.mask, (one.name, other.name)
    for row in (*INSTRUCTIONS, *COMPRESSED):
        assert row.match & ~row.mask == 0, row.name


@pytest.mark.parametrize(
    "row", [row for row in INSTRUCTIONS if row.kind is not Kind.NOP], ids=lambda row: row.name
)
def test_operands_come_back(row: Instruction) -> None:
    rng = random.Random(row.name)
    for _ in range(20):
        word = row.match | rng.getrandbits(32) & ~row.mask
        decoded = decode(word)
        assert decoded.row is row
        form = row.format
        again = place(form.rd, decoded.rd & ~32 if decoded.rd == 32 else decoded.rd)
        for field, value in ((form.rs1, decoded.rs1), (form.rs2, decoded.rs2), (form.imm, decoded.imm)):
            again |= place(field, value)
        operands = place(form.rd, -1) | place(form.rs1, -1) | place(form.rs2, -1) | place(form.imm, -1)
        assert (again ^ word) & operands & ~row.mask == 0


@pytest.mark.skipif(not shutil.which("riscv64-linux-gnu-objdump"), reason="no riscv64-linux-gnu-objdump")
def test_names_as_the_disassembler(tmp_path: Path) -> None:
    """Random words of every row, compressed ones among them, carry the name that binutils gives them."""
    rng, words = random.Random(1), []
    for row in (*INSTRUCTIONS, *C_BY_NAME.values()):
        for _ in range(8):
            width = 32 if isinstance(row, Instruction) else 16
            word = row.match | rng.getrandbits(width) & ~row.mask
            if (
                row.name.startswith("f")
                and isinstance(row, Instruction)
                and row.kind is Kind.FP
                and not row.mask & 0x7000
            ):
                word |= 0x7000
            words.append(word)
    image = tmp_path / "words.bin"
    image.write_bytes(b"".join(word.to_bytes(4 if word & 3 == 3 else 2, "little") for word in words))
    command = [
        "riscv64-linux-gnu-objdump",
        "-D",
        "-b",
        "binary",
        "-m",
        "riscv:rv64",
        "-M",
        "no-aliases",
        image,
    ]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    theirs = re.findall(r"^\s+[0-9a-f]+:\s+([0-9a-f]{4,8})\s+(\S+)", text, re.MULTILINE)
    assert [int(word, 16) for word, _ in theirs] == words
    for word, name in theirs:
        if name.startswith((".", "0x")) or word in ("0000100f", "00000000"):
            continue  # an extension that this binutils lacks
        ours = decode(int(word, 16))
        plain = re.sub(r"\.(aq|rl|aqrl)$", "", name)
        if ours.length == 2:
            known = {short.name: short.expands_to for short in COMPRESSED} | {
                "c.nop": "addi",
                "c.unimp": "illegal",
            }
            assert known[plain] == ours.row.name, (word, name)
        else:
            assert plain == ours.row.name or plain in ("pause", "fence.tso"), (word, name)


# ---------------------------------------------------------------- code that changes


@pytest.mark.parametrize("engine", ENGINES)
def test_a_store_to_code_is_seen_by_the_next_instruction(engine: str) -> None:
    """Even without FENCE.I; the stores hit an instruction that was executed before, and half of one."""
    new = encode("addi", rd=5, rs1=5, imm=100)
    words = [
        encode("addi", rd=5, rs1=5, imm=1),
        encode("sw", rs1=10, rs2=11),
        encode("sh", rs1=10, rs2=12, imm=2),
        encode("jal", imm=-12),
    ]
    hart = boot(engine, words, x={10: BASE, 11: new, 12: new >> 16})
    hart.run(4)
    assert (hart.pc, hart.x(5)) == (BASE, 1)
    hart.run(1)
    assert hart.x(5) == 101
    hart.memory.write(BASE, encode("addi", rd=5, imm=7).to_bytes(4, "little"))  # and one by the host
    hart.pc = BASE
    hart.run(1)
    assert hart.x(5) == 7


@pytest.mark.parametrize("engine", ENGINES)
def test_a_page_of_code_that_is_mostly_data(engine: str) -> None:
    """A loop that stores beside itself a thousand times."""
    words = [
        encode("sd", rs1=10, rs2=5),
        encode("addi", rd=5, rs1=5, imm=1),
        encode("bne", rs1=5, rs2=11, imm=-8),
        NOP,
    ]
    hart = boot(engine, words, x={10: BASE + 0x800, 11: 1000})
    assert hart.run(3001) is Stop.BUDGET
    assert (hart.pc, hart.x(5)) == (BASE + 16, 1000)
    assert hart.memory.read(BASE + 0x800, 8) == (999).to_bytes(8, "little")
