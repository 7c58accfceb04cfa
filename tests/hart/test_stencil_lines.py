"""Lines of stencils: what one hands on to the next, and what is left of a line when its page is written."""

from __future__ import annotations

import random
import struct

import pytest
from tests.hart.scattered import DATA, facts_of
from tests.hart.stencil_programs import CODE, access, arithmetic, chain, hart_of, jal, stitched_records

from vpmu.hart import native, state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.hart import Hart

pytest.importorskip("llvmlite")

if native.stencil_machine() is None:
    pytest.skip("stencils are made for x86-64 hosts", allow_module_level=True)


def compare(harts: list[Hart], budget: int, where: str) -> None:
    """Run both so many instructions; they stand alike then."""
    stops = [hart.run(budget) for hart in harts]
    got, expected = (facts_of(hart, Counting.NOTHING) for hart in harts)
    assert stops[0] == stops[1], where
    assert got == expected, where
    assert harts[0].memory.read(DATA, 0x8000) == harts[1].memory.read(DATA, 0x8000), where


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("seed", range(6))
def test_a_page_that_is_written_anew_forgets_what_stood_there(seed: int) -> None:
    """Loop after loop at the same addresses: nothing of the one before is done, be it in a line, or where an
    access in the midst of its neighbours goes the slow way.
    """
    harts = [hart_of(engine, seed, Counting.NOTHING) for engine in ("native", "reference")]
    harts[0].memory.stitch()
    rnd = random.Random(seed)
    for turn in range(40):
        words = [access(rnd) if rnd.random() < 0.7 else arithmetic(rnd) for _ in range(24)]
        for hart in harts:
            hart.memory.write(CODE, struct.pack("<25I", *words, jal(0, -4 * 24)))
            hart.pc = CODE
        harts[0].memory.shared.words[state.SHARED["stitch_slice"]] = 16  # not grown by the loops before
        for _ in range(6):
            compare(harts, 101, f"turn {turn}")


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("seed", range(12))
def test_values_that_are_handed_on_are_those_that_registers_hold(seed: int) -> None:
    """Wherever a line is left or entered between the one who sets a register and those who read it."""
    rnd = random.Random(seed)
    harts = [hart_of(engine, seed, Counting.NOTHING) for engine in ("native", "reference")]
    harts[0].memory.stitch()
    stitched = 0
    for turn in range(10):
        words = chain(rnd, 36)
        values = [rnd.choice((0, 1, rnd.getrandbits(64))) for _ in range(4)]
        for hart in harts:
            hart.memory.write(CODE, struct.pack(f"<{len(words)}I", *words))
            hart.pc = CODE
            for register, value in enumerate(values, 12):
                hart.set_x(register, value)
        harts[0].memory.shared.words[state.SHARED["stitch_slice"]] = 16  # not grown by the loops before
        for step in range(40):
            budget = rnd.choice((1, 2, 3, 7, 40, 300))
            compare(harts, budget, f"turn {turn}, {step}")
        stitched += bool(stitched_records(harts[0]))
    assert stitched > 6
