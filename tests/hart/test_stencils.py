"""The quick tier: stencils against the reference engine and the handlers, and what a page becomes.
`pytest --stitched` runs any other test on them too.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from tests.hart.scattered import ALL, DATA
from tests.hart.stencil_programs import (
    CODE,
    RAM,
    branch,
    hart_of,
    immediate,
    jal,
    stitched_records,
    store,
    walk,
    word_at,
)

from vpmu.hart import native, state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.operations import NUMBER, OPERATIONS
from vpmu.hart.hart import Hart
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.stencils import holes, table, tier
from vpmu.hart.stencils.forms import forms_of, has_stencil

pytest.importorskip("llvmlite")

if native.stencil_machine() is None:
    pytest.skip("stencils are made for x86-64 hosts", allow_module_level=True)


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("paged", [False, True], ids=["flat", "scattered"])
@pytest.mark.parametrize(
    "counting", [Counting.NOTHING, Counting.CLASSES, ALL], ids=["plain", "classes", "all"]
)
@pytest.mark.parametrize("seed", range(4))
def test_stencils_do_what_the_reference_does(seed: int, counting: Counting, paged: bool) -> None:
    """Whatever the budget: registers, memory, counts, modelled misses."""
    other = "native" if Counting.MISSES in counting else "reference"  # which models no TLB
    harts = [hart_of(engine, seed, counting, paged=paged) for engine in ("native", other)]
    harts[0].memory.stitch()
    walk(*harts, counting, 80, random.Random(seed))
    assert len(stitched_records(harts[0])) > 60


@pytest.mark.usefixtures("small_slices")
def test_a_full_arena_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier, "ARENA", 1 << 15)
    harts = [hart_of(engine, 5, Counting.NOTHING) for engine in ("native", "reference")]
    harts[0].memory.stitch()
    words, begun_again, most = harts[0].memory.shared.words, 0, 0

    def look(turn: int) -> None:
        nonlocal begun_again, most
        used = words[state.SHARED["stitched_next"]] - words[state.SHARED["stitched_base"]]
        assert 0 <= used <= 1 << 15
        begun_again += used < most
        most = max(most, used) if used >= most else used

    walk(*harts, Counting.NOTHING, 150, random.Random(5), look)
    assert begun_again


@pytest.mark.usefixtures("small_slices")
def test_another_variant_of_the_engine_gets_stencils_of_its_own() -> None:
    """Counts are exact from the first instruction behind the change on; no line of the old one is left."""
    harts = [hart_of("native", 6, Counting.NOTHING) for _ in range(2)]
    harts[1].memory.stitcher = None
    harts[0].memory.stitch()
    counted = [ALL, Counting.CLASSES, Counting.NOTHING]
    seen: list[bool] = []

    def change(turn: int) -> None:
        if turn % 10 == 9:
            seen.append(bool(stitched_records(harts[0])))
            for hart in harts:
                hart.memory.want(0, counted[turn // 10 % 3])
                hart.flush()
            assert not stitched_records(harts[0])

    walk(*harts, ALL, 90, random.Random(6), change)
    assert sum(seen) > 3


@pytest.mark.usefixtures("small_slices")
def test_a_store_into_a_stitched_page_voids_it() -> None:
    """What runs behind the store is what memory holds by then, in the same line as well."""
    add_one, add_two = immediate(0x13, 7, 0, 7, 1), immediate(0x13, 7, 0, 7, 2)
    program = (
        store(2, 8, 5, 0), 0x0000100F, 0x13, add_one,
        5 << 20 | 6 << 15 | 4 << 12 | 5 << 7 | 0x33,  # xor x5, x6, x5
        jal(0, -20),
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
    body = [immediate(3, 12 + k, 3, 8, 8 * k) for k in range(8)]
    words = [*body, immediate(0x13, 9, 0, 9, -1), branch(1, 9, 0, -4 * 5), jal(0, -4 * 10)]
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
    assert word_at(decoded + 8 * 2 * 4) & 1023 == state.RECORD_STITCHED


@pytest.mark.parametrize("counting", [Counting.NOTHING, ALL, Counting.WHOLE], ids=["plain", "all", "whole"])
def test_every_operation_has_its_stencils(counting: Counting) -> None:
    """In all its forms, and every hole of them is one that the stitcher knows."""
    rows = {row.place: row for row in table.compiled(counting)}
    wanted = {
        1024 * form + 2 * NUMBER[operation.name] + small
        for operation in OPERATIONS
        if has_stencil(operation)
        for form in forms_of(operation)
        for small in range(2)
    }
    if "+avx," not in native.host_machine()[1][2]:  # there, what reads constants has none
        floating = {2 * NUMBER[o.name] for o in OPERATIONS if o.row.kind is Kind.FP}
        wanted -= {place for place in wanted - rows.keys() if place % 1024 & ~1 in floating}
    assert wanted | holes.STUBS.keys() | holes.SHARED.keys() == rows.keys()
    assert all(len(row.holes) % 8 == 0 for row in rows.values())


def test_without_stencils_a_guest_runs_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a host that they are not made for."""
    monkeypatch.setattr(native, "stencil_machine", lambda: None)
    monkeypatch.setattr(native, "stencil_path", lambda counting: tmp_path / "engine" / "none.stencils")
    table.table.cache_clear()
    try:
        harts = [hart_of(engine, 7, Counting.NOTHING) for engine in ("native", "reference")]
        harts[0].memory.stitch()
        walk(*harts, Counting.NOTHING, 20, random.Random(7))
        assert not stitched_records(harts[0])
    finally:
        table.table.cache_clear()
