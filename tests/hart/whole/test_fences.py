"""Fences of five modes reach every page of the leaf that changed, whatever is cached of it and however
large it is (privileged ISA, 12.2.1 and 21.3.2).
"""

from __future__ import annotations

import random

import pytest

from vpmu.hart import state
from vpmu.hart.exits import Stop
from vpmu.hart.whole import WholeHart

from ..assemble import code, encode
from .amount import seeds
from .bare import ALL, BASE, Image, Tables, U, hart_of
from .probe import ISA, TABLES

pytestmark = pytest.mark.usefixtures("built_engine")

HERE, PAGE = BASE + 0x4000, 0x1000
NAPOT = 1 << 63
SIZES = {"4K": (0, 1 << 12), "64K": (0, 1 << 16), "2M": (1, 1 << 21), "1G": (2, 1 << 30)}
VIRTUAL, GUEST = 5 << 30, 9 << 30
FENCES = {
    "guest": (("VS", "sfence.vma"), ("VS", "sinval.vma"), ("HS", "hfence.vvma"), ("HS", "hinval.vvma")),
    "second": (("HS", "hfence.gvma"), ("HS", "hinval.gvma")),
    "host": (("HS", "sfence.vma"), ("HS", "sinval.vma")),
}


class Stand:
    """A hart, and leaves of both stages at VIRTUAL and GUEST, of which one will go."""

    def __init__(self, engine: str, stage: str, size: str, other: str) -> None:
        self.stage = stage
        image = Image()
        self.first, self.second = Tables(image, TABLES), Tables(image, TABLES + 0x40000, x4=True)
        for page in range(BASE, BASE + 0x10000, PAGE):
            self.first.map(page, page, ALL)
        for start in (BASE, TABLES):  # page by page: no other superpage makes each fence one of everything
            for page in range(start, start + 0x10000, PAGE):
                self.second.map(page, page, ALL | U)
        self.target = GUEST if stage != "host" else BASE
        self.entries = self.leaf(self.first, VIRTUAL, self.target, size if stage != "second" else other, 0)
        if stage != "host":
            entries = self.leaf(self.second, GUEST, BASE, size if stage == "second" else other, U)
            self.entries = entries if stage == "second" else self.entries
        self.hart: WholeHart = hart_of(bytes(image.bytes), engine, ISA | {"svnapot"})
        self.size = SIZES[size][1]

    @staticmethod
    def leaf(tables: Tables, virtual: int, physical: int, size: str, user: int) -> list[int]:
        """Leaves of one size over eight megabytes at most; answers the entries of the first."""
        level, span = SIZES[size]
        entries = []
        for at in range(0, min(8 << 20, max(span, 64 << 10)), 1 << 12 + 9 * level):
            number = physical + (at & -span)
            if size == "64K":
                number += 0x8000
            flags = ALL | user | (NAPOT if size == "64K" else 0)
            entry = tables.map(virtual + at, number, flags, level)
            if at < span:
                entries.append(entry)
        return entries

    def run(self, mode: str, word: int, x: dict[int, int]) -> bool:
        """One instruction in a mode; whether it went on behind itself."""
        hart, virt = self.hart, int(mode == "VS")
        atp = self.first.atp(1)
        own = atp if virt or self.stage == "host" else 0
        for name, value in (
            ("mode", state.SUPERVISOR), ("virt", virt), ("satp", own), ("other_satp", 0 if virt else atp),
            ("hgatp", 0 if self.stage == "host" else self.second.atp(1)),
        ):  # fmt: skip
            hart.set(name, value)
        hart.memory.write(HERE, code([word]))
        for register, value in x.items():
            hart.set_x(register, value)
        hart.pc = HERE
        stop = hart.run(1)
        return stop is Stop.BUDGET and hart.pc == HERE + 4

    def touch(self, address: int) -> bool:
        mode = "HS" if self.stage == "host" else "VS"
        return self.run(mode, encode("ld", rd=6, rs1=5), {5: address})


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stage", FENCES)
@pytest.mark.parametrize("seed", seeds(1))
def test_a_fence_reaches_all_of_a_leaf(seed: int, stage: str, size: str, engine: str) -> None:
    """What was read through a leaf faults when the leaf is gone and any address of it was fenced."""
    rng = random.Random(f"{seed} {stage} {size}")
    for mode, name in FENCES[stage]:
        for everything in (False, True):
            other = rng.choice(list(SIZES))
            stand = Stand(engine, stage, size, other)
            reach = min(stand.size, SIZES[other][1] if stage != "host" else stand.size, 4 << 20)
            if stage == "guest":
                reach = min(stand.size, max(SIZES[other][1], 64 << 10), 4 << 20)
            touched = [VIRTUAL + (rng.randrange(reach) & ~7) for _ in range(5)]
            assert [stand.touch(address) for address in touched] == [True] * 5, (name, other)
            for entry in stand.entries:
                stand.hart.memory.write(entry, bytes(8))
            inside = rng.randrange(stand.size) & ~7
            value = GUEST + inside >> 2 if stage == "second" else VIRTUAL + inside
            fence = encode(name, rs1=0 if everything else 7, rs2=rng.choice((0, 8)))
            assert stand.run(mode, fence, {7: value, 8: 1})
            assert [stand.touch(address) for address in touched] == [False] * 5, (name, other, everything)
