"""os.fork of a process that runs guests: parent and child compile and run on, each on its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

SCRIPT = """
import os, struct, sys, warnings
warnings.simplefilter("ignore")  # of a fork with threads: that is what is tested
from vpmu.hart import hart as harts, hot_tier
from vpmu.hart.hot_tier import HotTier
from vpmu.hart.memory import PhysicalMemory

harts.CHUNK = 2_000
BASE = 0x80000000

def loops(seed):
    '''Pages of loops, each counted in x1, that jump to the next; the last to the first.'''
    memory = PhysicalMemory()
    memory.set_slot(0, BASE, 1 << 20)
    for page in range(8):
        body = [0x00108093 + (seed + page << 20)] * (3 + seed)       # addi x1, x1, 1 + seed + page
        body += [0x0072C2B3, 0x00730313]                              # xor, addi
        words = [0x01400393, *body, 0xFFF38393]                       # li x7, 20; body; addi x7, x7, -1
        back = -4 * (len(body) + 1)
        far = (back >> 12 & 1) << 31 | (back >> 5 & 63) << 25
        near = (back >> 1 & 15) << 8 | (back >> 11 & 1) << 7
        words += [0x00039063 | far | near]                            # bnez x7, body
        words += [0x00001117 if page < 7 else 0xFFFF9117, 0]          # auipc x2, one page on
        at = 4 * (len(words) - 2)
        words[-1] = 0x00010067 | ((-at) & 0xFFF) << 20                # jalr x0, -at(x2)
        memory.write(BASE + 4096 * page, struct.pack(f"<{len(words)}I", *words))
    hart = harts.Hart(0, memory)
    hart.pc = BASE
    return hart

def run(hart, tiered, times):
    if tiered and hart.memory.hot_tier is None:
        hart.memory.hot_tier = HotTier(hart.memory, eager=True)
    for _ in range(times):
        hart.run(40_000)
    return [hart.x(n) for n in range(32)], hart.pc, hart.instructions

def plain(seed, times):
    chunk, harts.CHUNK = harts.CHUNK, 1 << 40
    hart = loops(seed)
    try:
        return run(hart, False, times)
    finally:
        harts.CHUNK = chunk

def installed(seed):
    '''A machine whose loops are all compiled and installed.'''
    own = loops(seed)
    run(own, True, 10)
    own.memory.hot_tier.finish()
    run(own, True, 10)
    assert own.memory.hot_tier.installed
    return own

first = loops(0)
run(first, True, 4)
(ready, is_ready), (go, may_go) = os.pipe(), os.pipe()
for child in (1, 2, 3):
    if os.fork() == 0:
        own = installed(child)
        os.write(is_ready, b".")
        os.read(go, 1)  # the others have placed their code as well
        same, different = run(first, True, 40) == plain(0, 44), run(own, True, 40) == plain(child, 60)
        os.write(1, f"child {child} {same} {different}\\n".encode())
        os._exit(0)
own = installed(4)
for _ in range(3):
    os.read(ready, 1)
os.write(may_go, b"...")
same, different = run(first, True, 40) == plain(0, 44), run(own, True, 40) == plain(4, 60)
for _ in range(3):
    assert os.wait()[1] == 0
os.write(1, f"parent {same} {different}\\n".encode())
"""


def test_parent_and_children_count_exactly(built_engine: None) -> None:
    pytest.importorskip("llvmlite")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "parent True True"
    assert sorted(done.stdout.splitlines()[:-1]) == [f"child {n} True True" for n in (1, 2, 3)]
