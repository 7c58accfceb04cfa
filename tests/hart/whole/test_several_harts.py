"""Random programs over five modes on several harts of one memory: native against reference, turn by turn.

The harts share code, data, page tables and atomics; interrupts of the CLINT come between turns, as does
code that another hart writes. A hart that goes on first does what firmware does for a remote fence: it
forgets what it has translated. VPMU_ORACLE=N runs N times as many.
"""

from __future__ import annotations

import random

import pytest

from vpmu.hart import state
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.whole import WholeHart

from .amount import seeds
from .bare import BASE, SIZE, answer
from .five_modes import CODE, CODE_BYTES, Program
from .random_code import Generator
from .test_five_modes import HART, PMP, picture

pytestmark = pytest.mark.usefixtures("built_engine")

HARTS, TURNS = 3, 240
MSIP, SEIP = 1 << 3, 1 << 9


def harts_of(images: list[bytes], engine: str) -> list[WholeHart]:
    memory = PhysicalMemory()
    memory.set_slot(0, BASE, SIZE)
    memory.write(BASE, images[0])
    harts = [
        WholeHart(i, memory, engine=engine, isa=HART, firmware=True, pmp=PMP) for i in range(len(images))
    ]
    for hart in harts:
        hart.pc = BASE
    return harts


@pytest.mark.parametrize("seed", seeds(2))
def test_engines_agree(seed: int) -> None:
    rng = random.Random(f"several {seed}")
    image = bytes(Program(f"several {seed}", 10**6, reserving=True).image.bytes)
    machines = [harts_of([image] * HARTS, engine) for engine in ("native", "reference")]
    generator = Generator(rng, reserving=True)
    modes = set()
    for turn in range(TURNS):
        which = rng.randrange(HARTS)
        budget = rng.choice((1, rng.randrange(1, 20), rng.randrange(1, 200)))
        lines = rng.choice((None, None, 0, MSIP, SEIP))
        enable = rng.random() < 0.2
        written = None
        if rng.random() < 0.3:  # another hart writes code, decoded or not, and says FENCE.I
            at = CODE + 2 + 4 * rng.randrange(CODE_BYTES // 4 - 1)
            written = at, b"".join(word.to_bytes(4, "little") for word in generator.words())[:4]
        stops = []
        for harts in machines:
            hart = harts[which]
            hart.flush()
            if lines is not None:
                hart.set("lines", lines)
            if enable:
                hart.set("mie", hart.get("mie") | MSIP)
            if written is not None:
                hart.memory.write(*written)
            stops.append(hart.run(budget))
            modes.add(hart.mode)
        for i in range(HARTS):
            one, other = (picture(harts[i]) for harts in machines)
            wrong = {key: (one[key], other[key]) for key in one if one[key] != other[key]}
            assert not wrong, f"turn {turn} of hart {which}, hart {i}, budget {budget}"
        assert stops[0] is stops[1], turn
        for harts in machines:
            answer(harts[which], stops[0])
    assert machines[0][0].memory.read(BASE, SIZE) == machines[1][0].memory.read(BASE, SIZE)
    assert len(modes) >= 2, modes  # a program may stay in two for that long
    assert all(hart.words[state.STATE["count_m"]] for hart in machines[0])
