"""Accesses side by side, which a region looks up together, from pointers that walk: on one page and on two,
in code, at the end of memory, behind a slow path. The hot tier against the reference engine.
"""

from __future__ import annotations

import random

import pytest

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.exits import Stop
from vpmu.hart.hart import Hart
from vpmu.hart.memory import PhysicalMemory
from vpmu.spec.csr import SSTATUS_FS

from .assemble import BY_NAME, code, encode
from .test_hot import _compile_everything

pytest.importorskip("llvmlite")

RAM, SIZE = 0x80000000, 0x8000
CODE = RAM + 0x3000  # between pages of data
BASES = (8, 9)
LOADS = ("lb", "lbu", "lh", "lw", "lwu", "ld", "fld", "flw")
STORES = ("sb", "sh", "sw", "sd", "fsd", "fsw")
LENGTH = 60


def program(rnd: random.Random) -> list[int]:
    """A loop of accesses near two pointers, which it moves on; a pointer may also be loaded over."""
    words = []
    for _ in range(LENGTH):
        near = rnd.choice((0, 0, 0, -96, 480, 1024))
        base, imm = rnd.choice(BASES), near + rnd.randrange(64)
        name = rnd.choice(LOADS if rnd.random() < 0.6 else STORES)
        shift = state.F if BY_NAME[name].kind.name.startswith("FP") else 0
        if name in LOADS:
            words.append(encode(name, rd=shift + rnd.randrange(10, 30), rs1=base, imm=imm))
        else:
            words.append(encode(name, rs2=shift + rnd.randrange(10, 30), rs1=base, imm=imm))
        if rnd.random() < 0.04:
            words.append(encode("addi", rd=base, rs1=base, imm=rnd.choice((8, -8, 40))))
    for base in BASES:  # 5 and 6: where they begin, 7: how far they go
        words.append(encode("add", rd=base, rs1=base, rs2=31))
        words.append(encode("and", rd=base, rs1=base, rs2=7))
        words.append(encode("or", rd=base, rs1=base, rs2=5))
    return [*words, encode("jal", imm=-4 * len(words))]


def hart_with(engine: str, seed: int, counting: Counting) -> Hart:
    rnd = random.Random(seed)
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, SIZE)
    hart = Hart(0, memory, engine=engine)
    memory.want(0, counting)
    memory.write(RAM, rnd.randbytes(SIZE))
    memory.write(CODE, code(program(rnd)))
    hart.set("sstatus", SSTATUS_FS)
    for register in range(10, 30):
        hart.set_x(register, rnd.getrandbits(64))
        hart.words[state.F + register] = rnd.getrandbits(64)
    hart.set_x(5, RAM)
    hart.set_x(7, 0x2FFF if seed % 3 else 0x7FFF)  # with the code and the end of memory, or without
    hart.set_x(31, rnd.choice((3, 56, 2040, 4088)))
    for base in BASES:
        hart.set_x(base, RAM + rnd.randrange(0x3000))
    hart.pc = CODE
    return hart


def facts(hart: Hart) -> dict[str, object]:
    told: dict[str, object] = {f"x{number}": hart.x(number) for number in range(32)}
    told |= {f"f{number}": hart.words[state.F + number] for number in range(32)}
    told |= {name: hart.get(name) for name in ("pc", "count_vs", "exit", "exit_a", "exit_b", "exit_c")}
    told["memory"] = hart.memory.read(RAM, SIZE)
    if hart.memory.counting:
        told |= {
            name: hart.words[state.context_word(state.CONTEXT_VS, name)] for name in state.CLASS_COUNTERS
        }
    return told


@pytest.mark.parametrize("counting", [Counting.NOTHING, Counting.CLASSES], ids=["plain", "classes"])
@pytest.mark.parametrize("seed", range(24))
def test_neighbours_do_what_the_reference_does(seed: int, counting: Counting) -> None:
    """After every budget; an access that leaves memory is left out, as by user space that answers it."""
    native, reference = (hart_with(engine, seed, counting) for engine in ("native", "reference"))
    rnd, regions = random.Random(seed), 0
    own = native.memory.read(CODE, 4 * LENGTH + 64)
    for turn in range(160):
        budget = rnd.choice((1, 5, 40, 400))
        stops = native.run(budget), reference.run(budget)
        if own != native.memory.read(CODE, len(own)):
            break  # without FENCE.I, what it wrote over itself may run or not
        assert stops[0] == stops[1], f"seed {seed}, turn {turn}"
        assert facts(native) == facts(reference), f"seed {seed}, turn {turn}"
        if stops[0] in (Stop.MMIO_LOAD, Stop.MMIO_STORE):
            for hart in (native, reference):
                hart.pc += 4
        elif turn in (12, 70):
            regions = _compile_everything(native)
    assert regions or turn <= 12
