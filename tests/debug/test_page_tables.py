"""Page tables read for a debugger: all pages at once as one by one."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from vpmu.debug.page_tables import physical, physical_pages
from vpmu.hart.memory import MemoryFault, PhysicalMemory

BASE, SIZE, PAGE = 0x80000000, 1 << 20, 4096
V, R, W, X, U, A = 1, 2, 4, 8, 16, 64
START = 0xFFFFFFC0_00000000


def tables(rng: random.Random, memory: PhysicalMemory, levels: int) -> int:
    """Random tables of three to five levels, with holes and leaves at every level; their root."""
    free = [BASE + number * PAGE for number in range(SIZE // PAGE)]

    def table(level: int) -> int:
        here = free.pop()
        for index in (
            *range(3),
            *range(508, 512),
            *rng.sample(range(512), 4),
            *(range(512) if not level else ()),
        ):
            draw, place = rng.random(), rng.randrange(1 << 44)
            if draw < 0.02:
                entry = place << 10  # not valid
            elif level and draw < 0.85 and len(free) > 4:
                entry = table(level - 1) >> 12 << 10 | V
            elif draw < 0.98 or not level:
                entry = place << 10 | V | rng.choice((R, X, R | W, R | X | U | A))
            else:
                entry = place << 10 | V  # a table that is no memory
            memory.write(here + 8 * index, entry.to_bytes(8, "little"))
        return here

    return table(levels - 1)


def one_by_one(hart: Any, memory: PhysicalMemory, start: int, size: int) -> list[int]:
    return [physical(hart, memory, address) for address in range(start, start + size, PAGE)]


def told(ask: Callable[..., list[int]], *what: Any) -> list[int] | None:
    try:
        return ask(*what)
    except MemoryFault:
        return None


@pytest.mark.parametrize("mode", [8, 9, 10])
def test_all_at_once(mode: int) -> None:
    answers = set()
    for seed in range(6):
        rng, memory = random.Random(f"{mode} {seed}"), PhysicalMemory()
        memory.set_slot(0, BASE, SIZE)
        satp = mode << 60 | tables(rng, memory, mode - 5) >> 12
        hart = SimpleNamespace(get={"virt": 0, "satp": satp, "other_satp": 0}.__getitem__)
        for _ in range(30):
            start = rng.choice((0, START)) + (rng.randrange(3 << 9) << 12)
            what = hart, memory, start, rng.choice((1, 2, 7, 60, 1200)) * PAGE
            expected = told(one_by_one, *what)
            assert told(physical_pages, *what) == expected
            answers.add(expected and len(expected) > 512)
    assert answers == {None, False, True}


def test_without_translation() -> None:
    hart: Any = SimpleNamespace(get={"virt": 1, "satp": 8 << 60, "other_satp": 0}.__getitem__)
    memory = PhysicalMemory()
    assert physical(hart, memory, 0x1234) == 0x1234
    assert physical_pages(hart, memory, 0x3000, 2 * PAGE) == [0x3000, 0x4000]
