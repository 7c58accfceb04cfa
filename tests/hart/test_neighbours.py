"""Accesses that stand side by side in a region: one look into the cache for all, and nothing else changes."""

from __future__ import annotations

import random
import struct

import pytest

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.exits import Stop
from vpmu.hart.hart import Hart
from vpmu.hart.hot_tier import HotTier
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.regions.find import Region, find_region
from vpmu.hart.regions.neighbours import Place, places, reach
from vpmu.spec.csr import SSTATUS_FS

from .assemble import encode
from .scattered import ALL, CODE, DATA, FRAMES, RAM, compile_here, facts_of, scatter

pytest.importorskip("llvmlite")

CACHE = 256 * 4096  # pages so far apart share an entry of the engine's cache
LOADS = {"ld": 8, "lw": 4, "lbu": 1, "lh": 2, "fld": 8, "flw": 4}
STORES = {"sd": 8, "sw": 4, "sb": 1, "fsd": 8}


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
    hart.set("satp", scatter(rnd, memory))
    hart.pc = CODE
    return hart


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
        got, expected = facts_of(native, counting), facts_of(reference, counting & Counting.CLASSES)
        assert got == facts_of(handlers, counting), f"seed {seed}, turn {turn}"
        assert {name: got[name] for name in expected} == expected, f"seed {seed}, turn {turn}"
        if turn in (6, 7, 30):
            installed = compile_here(native)
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
