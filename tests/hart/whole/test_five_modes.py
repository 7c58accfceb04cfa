"""Random programs over five modes: the native engine against the reference engine, and against Spike's log of
what each instruction wrote. VPMU_ORACLE=N runs N times as many.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpmu.hart import state
from vpmu.hart.hot_tier import HotTier
from vpmu.hart.region_compiler import compile_job
from vpmu.hart.whole import WholeHart

from . import spike
from .amount import FACTOR, LONG, seeds
from .bare import BASE, SIZE, TOHOST, answer, hart_of
from .five_modes import DATA, Program
from .probe import ISA

pytestmark = pytest.mark.usefixtures("built_engine")

HART = ISA - {"sv57", "smstateen"}
NAMED = (*sorted(HART - {"h"}), "zba", "zbb", "zbc", "zbs", "zicond", "zcb")
PMP = 16
PRIVATE = {
    "ctx", "contexts", "shared", "dbase", "epoch", "insn", "length", "n", "n_fold", "n_start", "fault",
    "trap_n", "trap_fuel", "exit_a", "exit_b", "exit_c", "tval2", "tinst", "gva", "across", "stitched",
}  # fmt: skip
COMPARED = tuple(name for name in state.STATE if name not in PRIVATE)


def picture(hart: WholeHart) -> dict[str, int | bytes]:
    """All that an engine may change and both must change alike."""
    shown: dict[str, int | bytes] = {name: hart.get(name) for name in COMPARED}
    shown["fp_on"] = bool(hart.get("fp_on"))  # the rest of it is as old as the last look at sstatus
    shown |= {f"x{i}": hart.x(i) for i in range(32)}
    shown |= {f"f{i}": hart.words[state.F + i] for i in range(32)}
    shown["ctx"] = hart.get("ctx") - hart.get("contexts")
    return shown


@pytest.mark.parametrize("seed", seeds(4))
def test_engines_agree(seed: int) -> None:
    """With budgets that stop the engines anywhere, and interrupts of devices now and then."""
    rng = random.Random(f"turns {seed}")
    image = bytes(Program(f"engines {seed}", 10**6, reserving=True).image.bytes)
    harts = [hart_of(image, engine, HART, PMP) for engine in ("native", "reference")]
    previous = picture(harts[1])
    for turn in range(400):
        budget = rng.choice((1, 2, rng.randrange(1, 20), rng.randrange(1, LONG)))
        lines = rng.choice((None, None, None, 0, 1 << 9, 1 << 11))
        delay = rng.randrange(1, 4) if rng.random() < 0.1 else 0
        for hart in harts:
            if lines is not None:
                hart.set("lines", lines)
            if delay:
                hart.set("stimecmp", hart.time_ns // state.TICK_NS + delay)
                hart.set("vstimecmp", hart.time_ns // state.TICK_NS + 2 * delay + hart.get("htimedelta"))
        stops = [hart.run(budget) for hart in harts]
        one, other = (picture(hart) for hart in harts)
        wrong = {key: (one[key], other[key], previous[key]) for key in one if one[key] != other[key]}
        assert not wrong, f"turn {turn}, budget {budget}, from pc {previous['pc']:#x}"
        assert stops[0] is stops[1], turn
        for hart in harts:
            answer(hart, stops[0])
        previous = other
    assert harts[0].memory.read(BASE, SIZE) == harts[1].memory.read(BASE, SIZE)


def compile_regions(hart: WholeHart, rng: random.Random, number: int) -> int:
    """Regions around some instructions of the pages that are decoded; how many."""
    tier = hart.memory.hot_tier = hart.memory.hot_tier or HotTier(hart.memory)
    shared = hart.memory.shared.words
    first, end = shared[state.SHARED["code_pool"]], shared[state.SHARED["code_next"]]
    pages = range(first, end, state.DECODED_STRIDE)
    done, covered = 0, set()
    for _ in range(40 * number):
        decoded, offset = rng.choice(pages), 2 * rng.randrange(2048)
        job = tier.job(decoded, offset) if (decoded, offset) not in covered else None
        if job is not None:
            covered |= {(decoded, step.offset) for step in job.region.steps}
            job.address = compile_job(job)
            tier.install(job)
            done += 1
            if done == number:
                break
    return done


@pytest.mark.parametrize("seed", seeds(2))
def test_regions_of_the_hot_tier_agree(seed: int) -> None:
    """The same program where some of it runs in compiled regions, among changes of mode and of mappings."""
    pytest.importorskip("llvmlite")
    rng = random.Random(f"hot {seed}")
    image = bytes(Program(f"hot {seed}", 10**6, reserving=True).image.bytes)
    native, reference = (hart_of(image, engine, HART, PMP) for engine in ("native", "reference"))
    compiled = 0
    for turn in range(150):
        budget = rng.choice((1, 3, rng.randrange(1, 30), rng.randrange(1, 400)))
        stops = native.run(budget), reference.run(budget)
        one, other = picture(native), picture(reference)
        wrong = {key: (one[key], other[key]) for key in one if one[key] != other[key]}
        assert not wrong, f"turn {turn}, budget {budget}"
        assert stops[0] is stops[1], turn
        for hart in (native, reference):
            answer(hart, stops[0])
        if turn in (30, 90):
            compiled += compile_regions(native, rng, 20)
    assert compiled > 20
    assert native.memory.read(BASE, SIZE) == reference.memory.read(BASE, SIZE)


LINE = re.compile(rb"core +0: (\d) 0x([0-9a-f]{16}) \(0x[0-9a-f]+\)(.*)")
WRITTEN = re.compile(rb" ([xf])(\d+) +0x([0-9a-f]{16})")


def retired(log: Path) -> Iterator[tuple[int, bytes, list[tuple[bytes, bytes, bytes]]]]:
    """Address, privilege and written registers of each instruction that Spike retired from BASE on."""
    started = False
    with log.open("rb") as lines:
        for line in lines:
            match = LINE.match(line)
            if match:
                address = int(match[2], 16)
                started = started or address == BASE
                if started:
                    yield address, match[1], WRITTEN.findall(match[3])


def step(hart: WholeHart) -> bool:
    """One retired instruction; False at the end of the program."""
    before = hart.instructions
    while hart.instructions == before:
        if not answer(hart, hart.run(1)):
            return False
    return True


@spike.needed
@pytest.mark.parametrize("seed", seeds(2))
def test_as_on_spike(seed: int, tmp_path: Path) -> None:
    """Every register that an instruction writes, by instruction.

    Known: where a store reaches into a page that faults, Spike has written what lies before it (seeds 112,
    386), and this hart nothing; where its first bytes are in no memory and the next page faults, Spike tells
    the one and this hart the other (401, 415). The ISA allows both (unprivileged ISA, 2.6).
    """
    traps = 400 if FACTOR == 1 else 4000
    image, log = bytes(Program(f"spike {seed}", traps).image.bytes), tmp_path / "log"
    spike.run(
        image, isa=NAMED, signature=(DATA, DATA + 64), tohost=TOHOST, megabytes=SIZE >> 20, log=log,
        options=[f"--pmpregions={PMP}", "--pmpgranularity=4"],
    )  # fmt: skip
    hart = hart_of(image, "native", HART, PMP)
    modes: Counter[str] = Counter()
    for address, privilege, written in retired(log):
        if not step(hart):
            break
        modes[hart.mode.name or ""] += 1
        for kind, register, value in written:
            index = int(register) + (state.F if kind == b"f" else 0)
            assert hart.words[index] == int(value, 16), (
                f"{kind.decode()}{int(register)} at {address:#x}, privilege {privilege!r}, instruction "
                f"{modes.total()}: {hart.words[index]:#x}, Spike {int(value, 16):#x}"
            )
    print(f"{modes.total()} instructions", dict(modes))
    assert hart.memory.read(TOHOST, 1) == b"\1"
    log.unlink()


def test_the_programs_are_in_all_modes() -> None:
    modes: Counter[str] = Counter()
    causes = set()
    for seed in range(6):
        hart = hart_of(bytes(Program(f"modes {seed}", 1500).image.bytes), "native", HART, PMP)
        while answer(hart, hart.run(7)):
            modes[hart.mode.name or ""] += 1
            causes |= {hart.get("scause"), hart.get("mcause")}
    assert min(modes[name] for name in ("M", "S", "U", "VS", "VU")) > 20, modes
    assert {1, 2, 3, 5, 7, 8, 9, 10, 12, 13, 15, 20, 21, 22, 23} <= causes
