"""The quick tier: stencils against the reference engine and the handlers, and what a page becomes.
`pytest --stitched` runs any other test on them too.
"""

from __future__ import annotations

import ctypes
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.hart.scattered import ALL, DATA, FRAMES, facts_of, scatter

from vpmu.hart import native, state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.exits import Stop
from vpmu.hart.generator.operations import NUMBER, OPERATIONS
from vpmu.hart.hart import Hart
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.stencils import holes, table, tier
from vpmu.hart.stencils.forms import forms_of, has_stencil

pytest.importorskip("llvmlite")

if native.stencil_machine() is None:
    pytest.skip("stencils are made for x86-64 hosts", allow_module_level=True)

RAM, CODE = 0x80000000, 0x80010000
PAGES = 3


def _i(op: int, rd: int, funct3: int, rs1: int, imm: int) -> int:
    return (imm & 0xFFF) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | op


def _store(funct3: int, rs1: int, rs2: int, imm: int) -> int:
    return (imm >> 5 & 127) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | 0x23


def _branch(funct3: int, rs1: int, rs2: int, distance: int) -> int:
    word = (distance >> 12 & 1) << 31 | (distance >> 5 & 63) << 25 | (distance >> 1 & 15) << 8
    return word | (distance >> 11 & 1) << 7 | rs2 << 20 | rs1 << 15 | funct3 << 12 | 0x63


def _jal(rd: int, distance: int) -> int:
    word = (distance >> 20 & 1) << 31 | (distance >> 1 & 1023) << 21
    return word | (distance >> 11 & 1) << 20 | (distance >> 12 & 255) << 12 | rd << 7 | 0x6F


def _access(rnd: random.Random) -> int:
    """By one of a few base registers (x8 to x11), near others by the same; some loads change their base."""
    rd, base = rnd.randrange(12, 32), rnd.randrange(8, 12)
    near = rnd.choice((0, 16, 1000, -8)) + rnd.randrange(64)
    if rnd.random() < 0.5:
        return _i(3, rd, rnd.randrange(7), base, near)
    return _store(rnd.randrange(4), base, rd, near)


def _arithmetic(rnd: random.Random) -> int:
    """Of any kind, where the operands are often x0 or 0."""
    rd, kind = rnd.randrange(12, 32), rnd.random()
    source, other = (rnd.choice((0, rnd.randrange(12, 32))) for _ in range(2))
    if kind < 0.5:
        return _i(0x13, rd, rnd.choice((0, 2, 3, 4, 6, 7)), source, rnd.choice((0, rnd.getrandbits(12))))
    if kind < 0.8:
        funct = rnd.choice((0, 1 << 25)) | rnd.randrange(8) << 12  # of I and M
        return funct | other << 20 | source << 15 | rd << 7 | 0x33
    return rnd.getrandbits(20) << 12 | rd << 7 | rnd.choice((0x17, 0x37))


def _program(rnd: random.Random) -> bytes:
    """Code over PAGES pages that stays inside: accesses, arithmetic, base registers that move, branches near,
    most of them forward, and calls to anywhere.
    """
    words: list[int] = []
    total = PAGES * 1024
    while len(words) < total - 1:
        kind, at = rnd.random(), len(words)
        if kind < 0.5:
            words.append(_access(rnd))
        elif kind < 0.55:
            base = rnd.randrange(8, 12)
            words.append(_i(0x13, base, 0, base, rnd.choice((8, -8, 512, -512))))
        elif kind < 0.8:
            words.append(_arithmetic(rnd))
        elif kind < 0.95:
            target = min(max(at + rnd.choice((-7, 2, 3, 5, 9, 20)), 0), total - 1)
            one, other = (rnd.choice((0, rnd.randrange(12, 32))) for _ in range(2))
            words.append(_branch(rnd.choice((0, 1, 4, 5, 6, 7)), one, other, 4 * (target - at)))
        else:
            words.append(_jal(rnd.choice((0, 1)), 4 * (rnd.randrange(total) - at)))
    words.append(_jal(0, -4 * len(words)))
    return struct.pack(f"<{len(words)}I", *words)


def _hart(engine: str, seed: int, counting: Counting, *, paged: bool = False) -> Hart:
    rnd = random.Random(seed)
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, 4 << 20)
    hart = Hart(0, memory, engine=engine)
    memory.want(0, counting)
    memory.write(CODE, _program(rnd))
    memory.write(FRAMES, rnd.randbytes(0x40000))
    memory.write(DATA, rnd.randbytes(0x8000))
    for register in range(12, 32):
        hart.set_x(register, rnd.getrandbits(rnd.choice((3, 32, 64))))
    for register in range(8, 12):
        hart.set_x(register, DATA + rnd.choice((0x100, 0xFE0, 0x1FF8, 0x3000)))
    if paged:
        hart.set("satp", scatter(rnd, memory))
    hart.pc = CODE
    return hart


def _stitched(hart: Hart) -> list[int]:
    """Records that lead into lines, of all pages."""
    shared = hart.memory.shared.words
    pages = range(shared[state.SHARED["code_pool"]], shared[state.SHARED["code_next"]], state.DECODED_STRIDE)
    records = [_word(page + 8 * i) for page in pages for i in range(2048)]
    return [record for record in records if record & 1023 == state.RECORD_STITCHED]


def _word(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier, "SLICE", 16)


def _walk(native_hart: Hart, reference: Hart, counting: Counting, turns: int, rnd: random.Random,
          between: Callable[[int], None] = lambda turn: None) -> None:  # fmt: skip
    for turn in range(turns):
        budget = rnd.choice((1, 2, 3, 7, 40, 300))
        stops = native_hart.run(budget), reference.run(budget)
        assert stops[0] == stops[1], turn
        got, expected = facts_of(native_hart, counting), facts_of(reference, counting)
        assert got == expected, f"turn {turn}"
        assert native_hart.memory.read(DATA, 0x8000) == reference.memory.read(DATA, 0x8000), f"turn {turn}"
        if stops[0] is not Stop.BUDGET:
            return
        between(turn)
        if turn % 2:  # out of whatever it goes round in
            pc, values = CODE + 4 * rnd.randrange(1000 * PAGES), [rnd.getrandbits(64) for _ in range(20)]
            for hart in (native_hart, reference):
                hart.pc = pc
                for register, value in enumerate(values, 12):
                    hart.set_x(register, value)


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("paged", [False, True], ids=["flat", "scattered"])
@pytest.mark.parametrize(
    "counting", [Counting.NOTHING, Counting.CLASSES, ALL], ids=["plain", "classes", "all"]
)
@pytest.mark.parametrize("seed", range(4))
def test_stencils_do_what_the_reference_does(seed: int, counting: Counting, paged: bool) -> None:
    """Whatever the budget: registers, memory, counts, modelled misses."""
    other = "native" if Counting.MISSES in counting else "reference"  # which models no TLB
    harts = [_hart(engine, seed, counting, paged=paged) for engine in ("native", other)]
    harts[0].memory.stitch()
    _walk(*harts, counting, 80, random.Random(seed))
    assert len(_stitched(harts[0])) > 60


@pytest.mark.usefixtures("small_slices")
def test_a_full_arena_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier, "ARENA", 1 << 15)
    harts = [_hart(engine, 5, Counting.NOTHING) for engine in ("native", "reference")]
    harts[0].memory.stitch()
    words, begun_again, most = harts[0].memory.shared.words, 0, 0

    def look(turn: int) -> None:
        nonlocal begun_again, most
        used = words[state.SHARED["stitched_next"]] - words[state.SHARED["stitched_base"]]
        assert 0 <= used <= 1 << 15
        begun_again += used < most
        most = max(most, used) if used >= most else used

    _walk(*harts, Counting.NOTHING, 150, random.Random(5), look)
    assert begun_again


@pytest.mark.usefixtures("small_slices")
def test_another_variant_of_the_engine_gets_stencils_of_its_own() -> None:
    """Counts are exact from the first instruction behind the change on; no line of the old one is left."""
    harts = [_hart("native", 6, Counting.NOTHING) for _ in range(2)]
    harts[1].memory.stitcher = None
    harts[0].memory.stitch()
    counted = [ALL, Counting.CLASSES, Counting.NOTHING]
    seen: list[bool] = []

    def change(turn: int) -> None:
        if turn % 10 == 9:
            seen.append(bool(_stitched(harts[0])))
            for hart in harts:
                hart.memory.want(0, counted[turn // 10 % 3])
                hart.flush()
            assert not _stitched(harts[0])

    _walk(*harts, ALL, 90, random.Random(6), change)
    assert sum(seen) > 3


@pytest.mark.usefixtures("small_slices")
def test_a_store_into_a_stitched_page_voids_it() -> None:
    """What runs behind the store is what memory holds by then, in the same line as well."""
    add_one, add_two = _i(0x13, 7, 0, 7, 1), _i(0x13, 7, 0, 7, 2)
    program = (
        _store(2, 8, 5, 0), 0x0000100F, 0x13, add_one,
        5 << 20 | 6 << 15 | 4 << 12 | 5 << 7 | 0x33,  # xor x5, x6, x5
        _jal(0, -20),
    )  # fmt: skip
    harts = []
    for engine in ("native", "reference"):
        memory = PhysicalMemory()
        memory.set_slot(0, RAM, 1 << 20)
        hart = Hart(0, memory, engine=engine)
        memory.write(CODE, struct.pack("<6I", *program))
        for register, value in ((5, add_two), (6, add_one ^ add_two), (8, CODE + 12)):
            hart.set_x(register, value)
        hart.pc = CODE
        harts.append(hart)
    harts[0].memory.stitch()
    for budget in (5, 60, 1, 600, 3, 1000):
        assert harts[0].run(budget) == harts[1].run(budget)
        assert (harts[0].x(7), harts[0].pc) == (harts[1].x(7), harts[1].pc)


@pytest.mark.usefixtures("small_slices")
def test_no_line_is_entered_between_neighbours() -> None:
    """A page is stitched before a branch that leads between two accesses is decoded: it is stitched again."""
    body = [_i(3, 12 + k, 3, 8, 8 * k) for k in range(8)]
    words = [*body, _i(0x13, 9, 0, 9, -1), _branch(1, 9, 0, -4 * 5), _jal(0, -4 * 10)]
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, 1 << 20)
    hart = Hart(0, memory)
    memory.write(CODE, struct.pack(f"<{len(words)}I", *words))
    hart.set_x(8, DATA)
    hart.set_x(9, 1)
    hart.pc = CODE
    memory.stitch()
    hart.run(400)
    hart.set_x(9, 1 << 20)  # from now on the branch is taken
    hart.run(4000)
    decoded = hart.get("dbase")
    assert _word(decoded + 8 * 2 * 4) & 1023 == state.RECORD_STITCHED


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("seed", range(6))
def test_a_page_that_is_written_anew_forgets_what_stood_there(seed: int) -> None:
    """Loop after loop at the same addresses: nothing of the one before is done, be it in a line, or where an
    access in the midst of its neighbours goes the slow way.
    """
    harts = [_hart(engine, seed, Counting.NOTHING) for engine in ("native", "reference")]
    harts[0].memory.stitch()
    rnd = random.Random(seed)
    for turn in range(40):
        words = [_access(rnd) if rnd.random() < 0.7 else _arithmetic(rnd) for _ in range(24)]
        for hart in harts:
            hart.memory.write(CODE, struct.pack("<25I", *words, _jal(0, -4 * 24)))
            hart.pc = CODE
        harts[0].memory.shared.words[state.SHARED["stitch_slice"]] = 16  # not grown by the loops before
        for _ in range(6):
            stops = [hart.run(101) for hart in harts]
            got, expected = (facts_of(hart, Counting.NOTHING) for hart in harts)
            assert stops[0] == stops[1] and got == expected, f"turn {turn}"
            assert harts[0].memory.read(DATA, 0x8000) == harts[1].memory.read(DATA, 0x8000), f"turn {turn}"


def _chain(rnd: random.Random, length: int) -> list[int]:
    """A loop in which nearly every instruction reads what one or two before it have set."""
    words: list[int] = []
    while len(words) < length:
        rd, one, other = (rnd.randrange(12, 15) for _ in range(3))
        kind, funct, base = rnd.random(), rnd.randrange(8) << 12, rnd.randrange(8, 12)
        near = rnd.choice((0, 16, 1000, -8)) + rnd.randrange(64)
        if kind < 0.15:
            words.append(_i(0x13, rd, rnd.choice((0, 2, 3, 4, 6, 7)), one, rnd.getrandbits(12)))
        elif kind < 0.22:  # shifts
            right = rnd.choice((1 << 12, 5 << 12, 5 << 12 | 1 << 30))
            words.append(right | rnd.randrange(64) << 20 | one << 15 | rd << 7 | 0x13)
        elif kind < 0.4:  # sub among them, and comparisons, whose result is in another register of the host
            funct = rnd.choice((funct, funct | 1 << 25, 1 << 30, 3 << 12))
            words.append(funct | other << 20 | one << 15 | rd << 7 | 0x33)
        elif kind < 0.45:  # of 32 bits
            words.append(rnd.choice((0, 1 << 30)) | other << 20 | one << 15 | rd << 7 | 0x3B)
            words.append(_i(0x1B, rd, 0, rd, rnd.choice((0, 1, -1))))
        elif kind < 0.6:  # constants
            words.append(rnd.choice((_i(0x13, rd, 0, 0, near), rnd.getrandbits(20) << 12 | rd << 7 | 0x37)))
        elif kind < 0.75:
            load = rnd.random() < 0.6
            words.append(_i(3, rd, rnd.randrange(7), base, near) if load else _store(rnd.randrange(4), base, one, near))
        elif kind < 0.8:  # a load that replaces its base
            words += [_i(0x13, rd, 0, base, near), _i(3, rd, rnd.randrange(7), rd, rnd.randrange(64))]
        else:
            ahead = 4 * rnd.randrange(2, 6)
            words.append(_branch(rnd.choice((0, 1, 4, 5, 6, 7)), one, rnd.choice((0, 0, other)), ahead))
    return [*words, *[0x13] * 6, _jal(0, -4 * (len(words) + 6))]


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("seed", range(12))
def test_values_that_are_handed_on_are_those_that_registers_hold(seed: int) -> None:
    """Wherever a line is left or entered between the one who sets a register and those who read it."""
    rnd = random.Random(seed)
    harts = [_hart(engine, seed, Counting.NOTHING) for engine in ("native", "reference")]
    harts[0].memory.stitch()
    stitched = 0
    for turn in range(10):
        words = _chain(rnd, 36)
        values = [rnd.choice((0, 1, rnd.getrandbits(64))) for _ in range(4)]
        for hart in harts:
            hart.memory.write(CODE, struct.pack(f"<{len(words)}I", *words))
            hart.pc = CODE
            for register, value in enumerate(values, 12):
                hart.set_x(register, value)
        harts[0].memory.shared.words[state.SHARED["stitch_slice"]] = 16  # not grown by the loops before
        for step in range(40):
            budget = rnd.choice((1, 2, 3, 7, 40, 300))
            stops = [hart.run(budget) for hart in harts]
            got, expected = (facts_of(hart, Counting.NOTHING) for hart in harts)
            assert stops[0] == stops[1] and got == expected, f"turn {turn}, {step}"
            assert harts[0].memory.read(DATA, 0x8000) == harts[1].memory.read(DATA, 0x8000), f"turn {turn}, {step}"
        stitched += bool(_stitched(harts[0]))
    assert stitched > 6


@pytest.mark.parametrize("counting", [Counting.NOTHING, ALL, Counting.WHOLE], ids=["plain", "all", "whole"])
def test_every_operation_has_its_stencils(counting: Counting) -> None:
    """In all its forms, and every hole of them is one that the stitcher knows."""
    rows = {row.place: row for row in table.compiled(counting)}
    wanted = {
        1024 * form + 2 * NUMBER[operation.name]
        for operation in OPERATIONS
        if has_stencil(operation)
        for form in forms_of(operation)
    }
    assert wanted | holes.STUBS.keys() | holes.SHARED.keys() == rows.keys()
    assert all(len(row.holes) % 8 == 0 for row in rows.values())


def test_without_stencils_a_guest_runs_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a host that they are not made for."""
    monkeypatch.setattr(native, "stencil_machine", lambda: None)
    monkeypatch.setattr(native, "stencil_path", lambda counting: tmp_path / "engine" / "none.stencils")
    table.table.cache_clear()
    try:
        harts = [_hart(engine, 7, Counting.NOTHING) for engine in ("native", "reference")]
        harts[0].memory.stitch()
        _walk(*harts, Counting.NOTHING, 20, random.Random(7))
        assert not _stitched(harts[0])
    finally:
        table.table.cache_clear()
