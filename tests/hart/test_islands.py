"""What a region loads and stores: on any path the registers hold what they must, with garbage in all that is
not loaded.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from vpmu.hart.codegen_flags import Counting
from vpmu.hart.hart import Hart
from vpmu.hart.hot_tier import HotTier
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.region_compiler import compile_job
from vpmu.hart.regions import islands
from vpmu.hart.regions.find import Region
from vpmu.hart.regions.function import RegionEmitter
from vpmu.hart.regions.islands import Island, reads, ways_on, writes

from .assemble import encode
from .scattered import CODE, DATA, RAM

pytest.importorskip("llvmlite")

GARBAGE = 0x0BAD0BAD0BAD0BAD
REGISTERS = (5, 6, 7, *range(10, 22))  # what programs compute with
COUNTERS, POINTER, MISALIGNED = (28, 29), 8, 9
BRANCHES = ("beq", "bne", "blt", "bgeu")


def _straight(rnd: random.Random, most: int) -> list[int]:
    words = []
    for _ in range(rnd.randrange(1, most)):
        rd, rs1, rs2 = (rnd.choice(REGISTERS) for _ in range(3))
        pointer, imm = rnd.choice((POINTER, MISALIGNED)), 8 * rnd.randrange(64)
        kind = rnd.random()
        if kind < 0.2:
            words.append(encode("ld", rd=rd, rs1=pointer, imm=imm))
        elif kind < 0.4:
            words.append(encode("sd", rs1=pointer, rs2=rs2, imm=imm))
        else:
            words.append(encode(rnd.choice(("add", "xor", "sub", "sltu", "mul")), rd=rd, rs1=rs1, rs2=rs2))
    return words


def _perhaps(rnd: random.Random, words: list[int]) -> list[int]:
    """Words that a branch may skip."""
    rs1, rs2 = rnd.choice(REGISTERS), rnd.choice((0, *REGISTERS))
    return [encode(rnd.choice(BRANCHES), rs1=rs1, rs2=rs2, imm=4 * len(words) + 4), *words]


def _piece(rnd: random.Random, depth: int) -> list[int]:
    kind = rnd.random()
    if kind < 0.3 or depth == len(COUNTERS):
        return _straight(rnd, 6)
    if kind < 0.6:
        return _perhaps(rnd, _piece(rnd, depth))
    body = [word for _ in range(rnd.randrange(1, 4)) for word in _piece(rnd, depth + 1)]
    counter = COUNTERS[depth]
    body.append(encode("addi", rd=counter, rs1=counter, imm=-1))
    body.append(encode("bne", rs1=counter, rs2=0, imm=-4 * len(body)))
    return [encode("addi", rd=counter, imm=rnd.randrange(1, 5)), *body]


def _program(rnd: random.Random) -> list[int]:
    """Two functions, then loops, branches and calls of them, for ever."""
    words, functions = [], []
    for _ in range(2):
        functions.append(4 * len(words) + 4)
        body = [*_straight(rnd, 6), *_perhaps(rnd, _straight(rnd, 5)), encode("jalr", rs1=1)]
        words += [encode("jal", imm=4 * len(body) + 4), *body]
    first = len(words)
    for _ in range(7):
        words += _piece(rnd, 0)
        if rnd.random() < 0.4:
            words.append(encode("jal", rd=1, imm=rnd.choice(functions) - 4 * len(words)))
    return [*words, encode("jal", imm=4 * (first - len(words)))]


def _hart(engine: str, seed: int) -> Hart:
    rnd = random.Random(seed)
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, 1 << 20)
    hart = Hart(0, memory, engine=engine)
    memory.want(0, Counting.NOTHING)
    words = _program(rnd)
    memory.write(CODE, struct.pack(f"<{len(words)}I", *words))
    memory.write(DATA, rnd.randbytes(0x1000))
    for register in REGISTERS:
        hart.set_x(register, rnd.getrandbits(rnd.choice((2, 64))))
    hart.set_x(POINTER, DATA + 0x100)
    hart.set_x(MISALIGNED, DATA + 0xE04)
    hart.pc = CODE
    return hart


def _facts(hart: Hart) -> dict[str, object]:
    facts: dict[str, object] = {f"x{number}": hart.x(number) for number in range(32)}
    return facts | {"pc": hart.pc, "count": hart.instructions, "data": hart.memory.read(DATA, 0x2000)}


def _regions(seed: int, *, flat: bool) -> list[Region]:
    hart = _hart("native", seed)
    hart.run(5_000)
    tier = HotTier(hart.memory)
    jobs = [tier.job(hart.get("dbase"), offset, flat=flat) for offset in range(0, 760, 44)]
    return [job.region for job in jobs if job is not None]


def _agree(seed: int, *, flat: bool) -> bool:
    """Whether regions everywhere do what the reference engine does, stopped after few instructions."""
    native, reference = _hart("native", seed), _hart("reference", seed)
    rnd = random.Random(seed)
    for turn in range(100):
        budget = rnd.choice((1, 2, 3, 7, 20, 60))
        native.run(budget)
        reference.run(budget)
        if _facts(native) != _facts(reference):
            return False
        if turn in (5, 50):
            _compile_here_and_there(native, rnd, flat=flat)
    assert native.memory.hot_tier is not None
    assert native.memory.hot_tier.installed
    return True


def _compile_here_and_there(hart: Hart, rnd: random.Random, *, flat: bool) -> None:
    tier = hart.memory.hot_tier = hart.memory.hot_tier or HotTier(hart.memory)
    covered: set[int] = set()
    offsets = list(range(0, 760, 4))
    rnd.shuffle(offsets)
    for offset in offsets:
        job = tier.job(hart.get("dbase"), offset, flat=flat) if offset not in covered else None
        if job is not None:
            covered |= {step.offset for step in job.region.steps}
            job.address = compile_job(job)
            tier.install(job)


@pytest.mark.parametrize("flat", [False, True], ids=["scattered", "flat"])
@pytest.mark.parametrize("seed", range(12))
def test_what_is_not_loaded_may_hold_anything(seed: int, flat: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RegionEmitter, "NOT_LOADED", GARBAGE)
    assert _agree(seed, flat=flat)


def _break_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    first = islands._read_first
    monkeypatch.setattr(islands, "_read_first", lambda block: first(block[:1]))


def _break_dirty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Island, "_forward", lambda island: None)


def _break_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Island, "_backward", lambda island: None)


@pytest.mark.parametrize("harm", [_break_reads, _break_dirty, _break_behind])
def test_an_analysis_that_misses_something_is_noticed(
    harm: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail."""
    monkeypatch.setattr(RegionEmitter, "NOT_LOADED", GARBAGE)
    harm(monkeypatch)
    assert not all(_agree(seed, flat=False) for seed in range(12))


@pytest.mark.parametrize("flat", [False, True], ids=["scattered", "flat"])
@pytest.mark.parametrize("seed", range(6))
def test_walks_over_an_island_find_what_it_says(seed: int, flat: bool) -> None:
    """From each of its blocks, along any way, until it is left."""
    rnd = random.Random(seed)
    walked = 0
    for region in _regions(seed, flat=flat):
        ways, on = ways_on(region), islands.islands(region)
        for first, island in on.items():
            for _ in range(10):
                block, done = first, 0
                for _ in range(40):
                    assert not done & ~island.dirty[block]
                    assert not (island.dirty[block] & ~done) & ~island.wanted[first]
                    for step in region.blocks[block]:
                        assert not (reads(step) & ~done) & ~island.wanted[first]
                        done |= writes(step)
                    block = rnd.choice(ways[block] or [-1])
                    if on.get(block) is not island:
                        break
                    walked += 1
    assert walked > 50
