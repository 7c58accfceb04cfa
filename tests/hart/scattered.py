"""Memory in pages that lie scattered, and what tests of regions compare."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.hart import Hart
from vpmu.hart.hot_tier import HotTier
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.region_compiler import compile_job

RAM, CODE, DATA = 0x80000000, 0x80010000, 0x80020000
TABLES, FRAMES = RAM + 0x200000, RAM + 0x280000
ALL = Counting.CLASSES | Counting.MISSES


def scatter(
    rnd: random.Random,
    memory: PhysicalMemory,
    data: Sequence[int] = (*range(0x20, 0x28), *range(0x120, 0x128)),
) -> int:
    """Page tables in which no two pages of `data` (numbers from RAM on) lie beside each other; satp."""
    frames = dict(zip(data, rnd.sample(range(FRAMES >> 12, (FRAMES >> 12) + 64), len(data)), strict=True))
    leaves = [frames.get(page, (RAM >> 12) + page) << 10 | 0xCF for page in range(512)]
    return map_pages(memory, leaves)


def map_pages(memory: PhysicalMemory, leaves: Sequence[int]) -> int:
    """Page tables of the 512 pages from RAM on, with these leaves; satp."""
    memory.write(TABLES + 16, struct.pack("<Q", TABLES + 0x1000 >> 2 | 1))
    memory.write(TABLES + 0x1000, struct.pack("<Q", TABLES + 0x2000 >> 2 | 1))
    memory.write(TABLES + 0x2000, struct.pack("<512Q", *leaves))
    return 8 << 60 | TABLES >> 12


def facts_of(hart: Hart, counting: Counting) -> dict[str, object]:
    """All that two engines may differ in."""
    facts: dict[str, object] = {f"x{number}": hart.x(number) for number in range(32)}
    facts |= {f"f{number}": hart.words[state.F + number] for number in range(32)}
    facts |= {name: hart.get(name) for name in ("pc", "count_vs", "time_ns", "scause", "exit", "sstatus")}
    facts["data"] = hart.memory.read(FRAMES, 0x40000)
    names = state.CLASS_COUNTERS if Counting.CLASSES in counting else ()
    names += state.MISS_COUNTERS if Counting.MISSES in counting else ()
    for name in names:
        facts[name] = hart.words[state.context_word(state.CONTEXT_VS, name)]
    return facts


def compile_here(hart: Hart, *, flat: bool = False) -> int:
    """Compile the region around the pc and install it; how many are installed."""
    tier = hart.memory.hot_tier = hart.memory.hot_tier or HotTier(hart.memory)
    job = tier.job(hart.get("dbase"), hart.pc & 4095, flat=flat)
    if job is not None:
        job.address = compile_job(job)
        tier.install(job)
    return tier.installed
