"""Accesses that stand side by side in a region: one look into the cache for all, and nothing else changes."""

from __future__ import annotations

import random
import struct

import pytest

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.exits import Stop
from vpmu.hart.hart import Hart
from vpmu.hart.hot_tier import HotTier, compile_job
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.regions.find import Region, find_region
from vpmu.hart.regions.neighbours import Place, places, reach
from vpmu.spec.csr import SSTATUS_FS

from .assemble import encode

pytest.importorskip("llvmlite")

RAM, CODE, DATA = 0x80000000, 0x80010000, 0x80020000
TABLES, FRAMES = RAM + 0x200000, RAM + 0x280000
CACHE = 256 * 4096  # pages so far apart share an entry of the engine's cache
LOADS = {"ld": 8, "lw": 4, "lbu": 1, "lh": 2, "fld": 8, "flw": 4}
STORES = {"sd": 8, "sw": 4, "sb": 1, "fsd": 8}
ALL = Counting.CLASSES | Counting.MISSES


def _code(rnd: random.Random, length: int) -> bytes:
    """A loop of loads and stores near three pointers, which move by a few bytes and by half a page; x8 and x9
    are in pages that share an entry of the cache.
    """
    words = []
    for _ in range(length):
        pointer, near = rnd.choice((8, 8, 9, 18)), rnd.randrange(-24, 40)
        kind = rnd.random()
        if kind < 0.45:
            name = rnd.choice(list(LOADS))
            rd = rnd.choice((0, 5, 6, 7, 28))
            words.append(encode(name, rd=rd + state.F * (name[0] == "f"), rs1=pointer, imm=near))
        elif kind < 0.8:
            name = rnd.choice(list(STORES))
            words.append(
                encode(name, rs1=pointer, rs2=rnd.choice((5, 6, 7)) + state.F * (name[0] == "f"), imm=near)
            )
        elif kind < 0.9:
            words.append(encode("addi", rd=pointer, rs1=pointer, imm=rnd.choice((8, -8, 3, 40, 2047, -2048))))
        elif kind < 0.95:
            words.append(encode("addi", rd=18, rs1=rnd.choice((8, 9)), imm=rnd.randrange(-64, 64)))
        else:
            words.append(encode("add", rd=7, rs1=5, rs2=6))
    # back to where they began: a loop for ever stays in the data
    words += [encode("addi", rd=8, rs1=20, imm=rnd.randrange(-16, 16)), encode("addi", rd=9, rs1=21)]
    words += [encode("addi", rd=18, rs1=22, imm=rnd.randrange(-16, 16))]
    words.append(encode("jal", imm=-4 * len(words)))
    return struct.pack(f"<{len(words)}I", *words)


def _map(rnd: random.Random, memory: PhysicalMemory) -> int:
    """Page tables in which no two pages of data lie beside each other; satp."""
    data = [*range(0x20, 0x28), *range(0x120, 0x128)]
    frames = dict(zip(data, rnd.sample(range(FRAMES >> 12, (FRAMES >> 12) + 64), len(data)), strict=True))
    leaves = [frames.get(page, (RAM >> 12) + page) << 10 | 0xCF for page in range(512)]
    memory.write(TABLES + 16, struct.pack("<Q", TABLES + 0x1000 >> 2 | 1))
    memory.write(TABLES + 0x1000, struct.pack("<Q", TABLES + 0x2000 >> 2 | 1))
    memory.write(TABLES + 0x2000, struct.pack("<512Q", *leaves))
    return 8 << 60 | TABLES >> 12


def _hart(engine: str, seed: int, counting: Counting) -> Hart:
    rnd = random.Random(seed)
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, 4 << 20)
    hart = Hart(0, memory, engine=engine)
    memory.want(0, counting)
    memory.write(CODE, _code(rnd, 90))
    memory.write(FRAMES, rnd.randbytes(0x40000))
    edges = (0x4000, 0x3FF0, 0x4008 - 24, 0x4FFC)  # of pages, and just before
    for register, start in ((8, DATA), (9, DATA + CACHE), (18, DATA)):
        hart.set_x(register, start + rnd.choice(edges))
        hart.set_x({8: 20, 9: 21, 18: 22}[register], hart.x(register))
    hart.set("sstatus", SSTATUS_FS)
    hart.set("satp", _map(rnd, memory))
    hart.pc = CODE
    return hart


def _facts(hart: Hart, counting: Counting) -> dict[str, object]:
    facts: dict[str, object] = {f"x{number}": hart.x(number) for number in range(32)}
    facts |= {f"f{number}": hart.words[state.F + number] for number in range(32)}
    facts |= {name: hart.get(name) for name in ("pc", "count_vs", "time_ns", "scause", "exit", "sstatus")}
    facts["data"] = hart.memory.read(FRAMES, 0x40000)
    names = state.CLASS_COUNTERS if Counting.CLASSES in counting else ()
    names += state.MISS_COUNTERS if Counting.MISSES in counting else ()
    for name in names:
        facts[name] = hart.words[state.context_word(state.CONTEXT_VS, name)]
    return facts


def _compile(hart: Hart) -> int:
    tier = hart.memory.hot_tier = hart.memory.hot_tier or HotTier(hart.memory)
    job = tier.job(hart.get("dbase"), hart.pc & 4095)
    if job is not None:
        job.address = compile_job(job)
        tier.install(job)
    return tier.installed


@pytest.mark.parametrize("counting", [Counting.NOTHING, ALL], ids=["plain", "counted"])
@pytest.mark.parametrize("seed", range(10))
def test_neighbours_do_what_each_of_them_does_alone(seed: int, counting: Counting) -> None:
    """At edges of pages, where another page takes the entry of the cache, stopped anywhere."""
    native, handlers = _hart("native", seed, counting), _hart("native", seed, counting)
    reference = _hart("reference", seed, counting)  # which models no misses
    rnd = random.Random(seed)
    installed = 0
    for turn in range(80):
        budget = rnd.choice((1, 2, 5, 40, 94, 300))
        assert {hart.run(budget) for hart in (native, handlers, reference)} == {Stop.BUDGET}
        got, expected = _facts(native, counting), _facts(reference, counting & Counting.CLASSES)
        assert got == _facts(handlers, counting), f"seed {seed}, turn {turn}"
        assert {name: got[name] for name in expected} == expected, f"seed {seed}, turn {turn}"
        if turn in (6, 7, 30):
            installed = _compile(native)
    assert installed


def _region(*words: int) -> Region:
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, 1 << 20)
    hart = Hart(0, memory)
    memory.write(CODE, struct.pack(f"<{len(words)}I", *words))
    hart.set_x(2, DATA)
    hart.set_x(8, DATA)
    hart.pc = CODE
    hart.run(len(words))
    tier, decoded = HotTier(memory), hart.get("dbase")
    return find_region(lambda at: tier._record(decoded + 4 * at), 0)


def test_a_prologue_is_one_reach_whatever_moves_its_pointer() -> None:
    region = _region(
        encode("addi", rd=2, rs1=2, imm=-32),
        encode("sd", rs1=2, rs2=1, imm=24),
        encode("ld", rd=5, rs1=2, imm=0),
        encode("addi", rd=6, rs1=2, imm=8),
        encode("sd", rs1=6, rs2=8, imm=8),
        encode("sd", rs1=2, rs2=8, imm=1024),
        encode("ld", rd=2, rs1=2, imm=8),
        encode("sd", rs1=2, rs2=8, imm=0),
    )
    found = places(region.steps)
    stores = [place for place in found if place is not None and place.is_store]
    root = stores[0].root
    assert stores[:3] == [Place(root, True, -8, 8), Place(root, True, -16, 8), Place(root, True, 992, 8)]
    assert stores[3].root != root  # the pointer has been loaded
    assert reach(found, 1) == (-16, 0)  # the third one is too far
    assert reach(found, 2) == (-32, -16)  # of loads: this one and that of the pointer
    assert reach(found, 5) is None
