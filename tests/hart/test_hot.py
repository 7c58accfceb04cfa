"""The hot tier against the reference engine: the same registers, memory, counts and stops, whatever the
budget.
"""

from __future__ import annotations

import ast
import ctypes
import math
import random
import struct
import sys
import threading
from typing import Any

import pytest

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.exits import Stop
from vpmu.hart.hart import Hart
from vpmu.hart.hot_tier import HotTier
from vpmu.hart.isa.instruction import B, I, J, Kind, R, S
from vpmu.hart.isa.table import INSTRUCTIONS
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.region_compiler import compile_job, start_compiler
from vpmu.hart.regions.find import find_beginning
from vpmu.spec.csr import SSTATUS_FS

pytest.importorskip("llvmlite")

RAM, CODE, DATA = 0x80000000, 0x80010000, 0x80020000
POINTERS = (8, 9)  # registers that always point into the data
FLOATING = (Kind.FP, Kind.FP_LOAD, Kind.FP_STORE)
NOTHING, CLASSES = Counting.NOTHING, Counting.CLASSES


def _loop_code(rnd: random.Random, length: int, *, floating: bool) -> bytes:
    """Random instructions that stay inside `length` of them: short branches and calls both ways, loads
    and stores near POINTERS; with `floating` mostly F, D and A.
    """
    rows = [row for row in INSTRUCTIONS if row.format in (R, I) and row.kind in (Kind.VALUE, Kind.LOAD)]
    if floating:
        rows = [row for row in INSTRUCTIONS if row.kind in (*FLOATING, Kind.AMO)] * 2 + rows[::4]
    rows += [
        row
        for row in INSTRUCTIONS
        if row.format in (S, B, J) or row.name in ("lui", "slli", "srai", "amoadd.d", "jalr")
    ]
    code = b""
    for index in range(length):
        row = rnd.choice(rows)
        word = rnd.getrandbits(32) & ~row.mask | row.match
        destination = rnd.choice([register for register in range(32) if register not in (*POINTERS, 1)])
        if row.format is not S and row.format is not B and row.kind is not Kind.FP_STORE:
            word = word & ~(31 << 7) | destination << 7
        distance = (rnd.randrange(max(0, index - 12), min(length, index + 12)) - index) * 4
        if row.kind in (Kind.LOAD, Kind.STORE, Kind.FP_LOAD, Kind.FP_STORE):
            word = word & ~(31 << 15) | rnd.choice(POINTERS) << 15
        elif row.kind is Kind.FP and not row.mask >> 12 & 7 and rnd.random() < 0.9:
            word = word & ~(7 << 12) | rnd.choice((0, 7, 7)) << 12  # to nearest, or as frm says
        elif row.kind is Kind.AMO:
            word = word & ~(31 << 15) | 9 << 15
        elif row.kind is Kind.BRANCH:
            word = (
                word & 0x01FFF07F
                | (distance >> 12 & 1) << 31
                | (distance >> 5 & 63) << 25
                | (distance >> 1 & 15) << 8
                | (distance >> 11 & 1) << 7
            )
        elif row.kind is Kind.JAL:
            link = rnd.choice((0, 1))
            word = (
                0x6F
                | link << 7
                | (distance >> 20 & 1) << 31
                | (distance >> 1 & 1023) << 21
                | (distance >> 11 & 1) << 20
                | (distance >> 12 & 255) << 12
            )
        elif row.kind is Kind.JALR:
            word = 0x67 | 1 << 15  # ret
        code += struct.pack("<I", word)
    back = -4 * length
    jump = (
        0x6F
        | (back >> 20 & 1) << 31
        | (back >> 1 & 1023) << 21
        | (back >> 11 & 1) << 20
        | (back >> 12 & 255) << 12
    )
    return code + struct.pack("<I", jump)


def _number(rnd: random.Random) -> int:
    """A register of F or D: mostly plain numbers, many of them boxed singles, some of any kind."""
    kind = rnd.random()
    if kind < 0.1:
        return rnd.getrandbits(64)
    wide = rnd.uniform(-1, 1) * 2.0 ** rnd.randrange(60)
    plain = (0.0, 1.0, -2.5, rnd.uniform(-1e3, 1e3), wide)
    value = rnd.choice(plain if kind < 0.9 else (math.inf, math.nan, 5e-324, 1e-40, -1e308))
    if kind < 0.45 or 0.9 <= kind < 0.94:
        return 0xFFFFFFFF << 32 | int.from_bytes(bytes(ctypes.c_float(value)), "little")
    return int.from_bytes(struct.pack("<d", value), "little")


def _hart(engine: str, seed: int, counting: Counting, *, floating: bool = False) -> Hart:
    rnd = random.Random(seed)
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, 1 << 20)
    hart = Hart(0, memory, engine=engine)
    memory.want(0, counting)
    memory.write(CODE, _loop_code(rnd, 180, floating=floating))
    memory.write(DATA, rnd.randbytes(0x4000))
    if floating:
        memory.write(DATA + 0x800, b"".join(_number(rnd).to_bytes(8, "little") for _ in range(0x400)))
        for register in range(32):
            hart.words[state.F + register] = _number(rnd)
        hart.set("sstatus", SSTATUS_FS)
        hart.set("fflags", rnd.choice((0, 1, 31)))
        hart.set("frm", (0, 1, 2, 3, 4, 0, 0, 0)[seed % 8])
    for register in range(1, 32):
        hart.set_x(register, rnd.getrandbits(rnd.choice((6, 32, 64))))
    hart.set_x(1, CODE + 40)
    hart.set_x(8, DATA + 0x1003)  # loads and stores that cross pages, too
    hart.set_x(9, DATA + 0x2000)
    hart.pc = CODE
    return hart


def _facts(hart: Hart) -> dict[str, object]:
    facts: dict[str, object] = {f"x{number}": hart.x(number) for number in range(32)}
    words = ("pc", "count_vs", "time_ns", "scause", "sepc", "stval", "exit", "fflags", "sstatus")
    facts |= {name: hart.get(name) for name in words}
    facts |= {f"f{number}": hart.words[state.F + number] for number in range(32)}
    facts["memory"] = hart.memory.read(DATA, 0x4000)
    for name in state.CLASS_COUNTERS if hart.memory.counting or hart._engine_name == "reference" else ():
        facts[name] = sum(hart.words[state.context_word(context, name)] for context in range(3))
    return facts


def _compile_everything(hart: Hart) -> int:
    """Regions around every decoded instruction that none of them holds yet; how many."""
    tier = hart.memory.hot_tier = hart.memory.hot_tier or HotTier(hart.memory)
    decoded, covered = hart.get("dbase"), set()
    for offset in range(0, 760, 4):
        job = tier.job(decoded, offset) if offset not in covered else None
        if job is not None:
            covered |= {step.offset for step in job.region.steps}
            job.address = compile_job(job)
            tier.install(job)
    return tier.installed


@pytest.mark.parametrize("floating", [False, True], ids=["integer", "floating"])
@pytest.mark.parametrize("counting", [NOTHING, CLASSES], ids=["plain", "classes"])
@pytest.mark.parametrize("seed", range(12))
def test_regions_do_what_the_reference_does(seed: int, counting: Counting, floating: bool) -> None:
    """After every budget, down to one instruction, both engines are in the same state."""
    native = _hart("native", seed, counting, floating=floating)
    reference = _hart("reference", seed, counting, floating=floating)
    rnd = random.Random(seed)
    regions = 0
    for turn in range(120):
        budget = rnd.choice((1, 2, 3, 7, 40, 400))
        stops = native.run(budget), reference.run(budget)
        assert stops[0] == stops[1], f"seed {seed}, turn {turn}"
        got, expected = _facts(native), _facts(reference)
        assert got == {name: expected[name] for name in got}, f"seed {seed}, turn {turn}"
        if stops[0] is not Stop.BUDGET:
            break
        if turn in (10, 60):
            regions = _compile_everything(native)
    assert regions or stops[0] is not Stop.BUDGET


def _patching(engine: str) -> Hart:
    """A loop that rewrites one of its own instructions in each round: x7 grows by 1 and by 2, in turn."""
    add_one, add_two = 0x00138393, 0x00238393  # addi x7, x7, 1 and 2
    program = (
        0x00542023,  # sw   x5, 0(x8)
        0x0000100F,  # fence.i
        0x00000013,  # nop, rewritten
        0x0062C2B3,  # xor  x5, x5, x6: the other one
        0xFF1FF06F,  # j    -16
    )
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, 1 << 20)
    hart = Hart(0, memory, engine=engine)
    memory.write(CODE, struct.pack("<5I", *program))
    hart.set_x(5, add_one)
    hart.set_x(6, add_one ^ add_two)
    hart.set_x(8, CODE + 8)
    hart.pc = CODE
    return hart


def test_a_region_begins_where_the_function_does_and_holds_the_sample() -> None:
    """A sample in the middle of a function: the instructions before it are entered at their first."""
    hart = _hart("native", 2, NOTHING)
    hart.run(2_000)
    tier = HotTier(hart.memory)
    decoded = hart.get("dbase")
    held = 0
    for sampled in range(0, 760, 4):
        first = find_beginning(lambda at: tier._record(decoded + 4 * at), sampled)
        assert first <= sampled
        job = tier.job(decoded, sampled)
        if job is not None and any(step.offset == sampled for step in job.region.steps):
            held += 1
            assert first in job.region.entries
        if job is not None:
            assert sampled in job.offsets
    assert held > 10


def test_a_region_sees_the_code_that_its_page_becomes() -> None:
    """FENCE.I after a store to the page's code: neither the old region nor the old records run on."""
    native, reference = _patching("native"), _patching("reference")
    for turn, budget in enumerate((7, 200, 1, 3, 1000, 2, 500)):
        assert native.run(budget) == reference.run(budget)
        assert (native.x(7), native.pc) == (reference.x(7), reference.pc), f"turn {turn}"
        compiled = _compile_everything(native)
    assert compiled


def test_modelled_misses_are_the_same_with_and_without_regions() -> None:
    """The modelled TLB and cache see every access of a region."""
    counted = CLASSES | Counting.MISSES
    plain, hot = _hart("native", 3, counted), _hart("native", 3, counted)
    for _ in range(20):
        for hart in (plain, hot):
            assert hart.run(500) is Stop.BUDGET
        _compile_everything(hot)
    for name in (*state.CLASS_COUNTERS, *state.MISS_COUNTERS):
        word = state.context_word(state.CONTEXT_VS, name)
        assert plain.words[word] == hot.words[word], name
    assert hot.memory.hot_tier is not None
    assert hot.memory.hot_tier.installed


def test_the_compiling_thread_neither_parses_nor_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython cannot parse on two threads at once (python/cpython#106905); importing may parse."""
    hart = _hart("native", 3, NOTHING)
    hart.run(400)
    tier = HotTier(hart.memory)
    jobs = [job for offset in range(0, 700, 20) if (job := tier.job(hart.get("dbase"), offset)) is not None]
    assert jobs
    compiler = start_compiler()
    elsewhere: list[str] = []
    parse = ast.parse

    def watched(source: str, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is compiler:
            elsewhere.append(source)
        return parse(source, *args, **kwargs)

    monkeypatch.setattr(ast, "parse", watched)
    modules = set(sys.modules)
    for job in jobs:
        compiler.jobs.put((job, tier))
    finished = [tier.done.get(timeout=60) for _ in jobs]
    assert all(job.address for job in finished)
    assert not elsewhere
    assert not [name for name in set(sys.modules) - modules if name.startswith("vpmu")]
