"""Loops that step through pages, chase pointers and index tables: what a region keeps and guesses is asked
for again where it no longer holds.
"""

from __future__ import annotations

import random
import struct

import pytest

from vpmu.hart.codegen_flags import Counting
from vpmu.hart.exits import Stop
from vpmu.hart.hart import Hart
from vpmu.hart.memory import PhysicalMemory

from .assemble import encode
from .scattered import ALL, CODE, FRAMES, RAM, TABLES, compile_here, facts_of, scatter

pytest.importorskip("llvmlite")

PAGES = (*range(0x20, 0x30), *range(0x120, 0x130))  # one behind the other for the guest only
CACHE = 256 << 12  # pages so far apart share an entry of the engine's cache
TABLE = 0x2F  # the page at which a guest finds its page table, where it does
BASES = {8: 20, 9: 21, 18: 22}  # the register that a loop moves: where it began
LOADS = {"ld": 8, "lw": 4, "lhu": 2, "lbu": 1}
STORES = ("sd", "sw", "sh", "sb")


def _body(rnd: random.Random, *, tables_written: bool) -> list[int]:
    """One round of a loop: accesses at bases that step on, through a pointer just loaded, and in a table."""
    words = []
    if tables_written:  # two pages that push each other out of the cache, and the leaf of one of them
        words = [encode("ld", rd=5, rs1=8), encode("ld", rd=6, rs1=9), encode("sd", rs1=18, rs2=25)]
        words += [encode("xor", rd=25, rs1=25, rs2=26), encode("xor", rd=7, rs1=7, rs2=5)]
        rnd.shuffle(words)
    for _ in range(rnd.randrange(1, 6)):
        base, imm = rnd.choice(tuple(BASES)), rnd.choice((0, 0, 8, -8, 3))
        kind = rnd.random()
        if kind < 0.4:
            words.append(encode(rnd.choice(tuple(LOADS)), rd=rnd.choice((5, 6, 7)), rs1=base, imm=imm))
        elif kind < 0.7:
            words.append(encode(rnd.choice(STORES), rs1=base, rs2=25 if base == 18 else 5, imm=imm))
        elif kind < 0.85:  # x19 goes round in a ring of pointers
            words.append(encode("ld", rd=19, rs1=19))
            words.append(encode("ld", rd=5, rs1=19, imm=8))
        else:  # a table of 16 KiB, indexed by what was loaded
            words.append(encode("and", rd=6, rs1=5, rs2=24))
            words.append(encode("add", rd=6, rs1=6, rs2=23))
            words.append(encode("ld", rd=7, rs1=6))
    for base in BASES:
        words.append(encode("addi", rd=base, rs1=base, imm=rnd.choice((0, 1, 8, 8, 64, 520, -8))))
    words.append(encode("addi", rd=28, rs1=28, imm=-1))
    return words


def _code(rnd: random.Random, *, tables_written: bool) -> bytes:
    """Loops one after the other, in a loop; each begins where the registers of BASES say."""
    words: list[int] = []
    for _ in range(5):
        for base, start in BASES.items():
            words.append(encode("addi", rd=base, rs1=start, imm=rnd.randrange(-32, 32)))
        words.append(encode("addi", rd=28, rs1=0, imm=rnd.choice((1, 2, 30, 100))))
        body = _body(rnd, tables_written=tables_written)
        words += [*body, encode("bne", rs1=28, rs2=0, imm=-4 * len(body))]
    words.append(encode("jal", imm=-4 * len(words)))
    return struct.pack(f"<{len(words)}I", *words)


def _hart(engine: str, seed: int, counting: Counting, *, tables_written: bool = False) -> Hart:
    rnd = random.Random(seed)
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, 4 << 20)
    hart = Hart(0, memory, engine=engine)
    memory.want(0, counting)
    memory.write(CODE, _code(rnd, tables_written=tables_written))
    memory.write(FRAMES, rnd.randbytes(0x40000))
    satp = scatter(rnd, memory, PAGES)
    leaves = list(struct.unpack("<512Q", memory.read(TABLES + 0x2000, 4096)))
    ring = [page << 12 | 0x100 * rnd.randrange(16) for page in PAGES]
    for here, there in zip(ring, rnd.sample(ring[1:], len(ring) - 1) + ring[:1], strict=True):
        frame = leaves[here >> 12] >> 10 << 12
        memory.write(frame + (here & 4095), struct.pack("<Q", RAM + there))
    page, within = rnd.randrange(0x20, 0x2C), rnd.choice((0xE00, 0xFF0, 0x800, 4))
    starts = {20: RAM + (page << 12) + within, 21: RAM + (page << 12) + within + CACHE}
    if tables_written:  # x18 goes over the leaves of the pages of the other two, and writes another one there
        leaves[TABLE] = TABLES + 0x2000 >> 2 | 0xCF
        starts[22] = RAM + (TABLE << 12) + 8 * (page - rnd.randrange(2))
    else:
        leaves[rnd.choice(PAGES)] = 0
        starts[22] = RAM + (rnd.choice(PAGES) << 12) + rnd.choice((0xE00, 0xFF0, 0x800, 4))
    hart.set_x(25, leaves[page ^ 1])
    hart.set_x(26, leaves[page ^ 1] ^ leaves[page])
    memory.write(TABLES + 0x2000, struct.pack("<512Q", *leaves))
    for base, start in BASES.items():
        hart.set_x(start, starts[start])
        hart.set_x(base, starts[start])
    hart.set_x(19, RAM + ring[0])
    hart.set_x(23, RAM + 0x24000)
    hart.set_x(24, 0x3FF8)
    hart.set("satp", satp)
    hart.set("stvec", CODE)
    hart.pc = CODE
    return hart


def _agree(seed: int, counting: Counting, others: list[Hart], *, tables_written: bool = False) -> None:
    native = _hart("native", seed, counting, tables_written=tables_written)
    rnd, installed = random.Random(seed), 0
    for turn in range(60):
        budget = rnd.choice((1, 3, 40, 300, 2000, 5000))
        stops = {hart.run(budget) for hart in (native, *others)}
        assert len(stops) == 1, f"seed {seed}, turn {turn}"
        for other in others:
            compared = counting if other._engine_name == "native" else counting & Counting.CLASSES
            expected, got = facts_of(other, compared), facts_of(native, counting)
            assert {name: got[name] for name in expected} == expected, f"seed {seed}, turn {turn}"
        if stops != {Stop.BUDGET}:  # a leaf that leads out of memory
            return
        if turn < 20:
            installed = compile_here(native, flat=turn % 2 == 0)
    assert installed


@pytest.mark.parametrize("counting", [Counting.NOTHING, ALL], ids=["plain", "counted"])
@pytest.mark.parametrize("seed", range(6))
def test_loops_over_pages_do_what_handlers_and_the_reference_do(seed: int, counting: Counting) -> None:
    """Over scattered pages, one of them not mapped, stopped anywhere."""
    _agree(seed, counting, [_hart("native", seed, counting), _hart("reference", seed, counting)])


@pytest.mark.parametrize("seed", range(20))
def test_a_page_table_that_a_loop_writes_is_seen_when_handlers_see_it(seed: int) -> None:
    """Without a fence, what the caches hold decides; a region must hold no page longer than they do."""
    plain = Counting.NOTHING
    _agree(seed, plain, [_hart("native", seed, plain, tables_written=True)], tables_written=True)
