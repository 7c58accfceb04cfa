"""What a region takes in: functions that are called as a whole or not at all, and ways into a part of one."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import pytest

from vpmu.hart import hot_tier, native
from vpmu.hart.hart import Hart
from vpmu.hart.hot_tier import HotTier
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.regions.find import LONGEST, STRETCH, Region, find_region

from .assemble import encode

RAM, CODE = 0x80000000, 0x80010000
NEXT = encode("addi", rd=5, rs1=5, imm=1)
RETURN = encode("jalr", rs1=1)


def _call(words: list[int], to: int) -> int:
    """A call at the end of `words`, of the instruction number `to`."""
    return encode("jal", rd=1, imm=4 * (to - len(words)))


def _regions(words: list[int], *starts: int) -> list[Region]:
    """The regions around instructions of a program that has run from its first."""
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, 1 << 20)
    memory.write(CODE, struct.pack(f"<{len(words)}I", *words))
    hart = Hart(0, memory)
    hart.pc = CODE
    hart.run(5_000)
    tier, decoded = HotTier(memory), hart.get("dbase")
    return [find_region(lambda at: tier._record(decoded + 4 * at), 4 * start) for start in starts]


def _program(long: int) -> tuple[list[int], int, int]:
    """A loop that calls a function of `long` instructions, with branches, and a short one; where they are."""
    short, far = 3, 5
    words: list[int] = []
    words.append(_call(words, far))
    words.append(_call(words, short))
    words.append(encode("jal", imm=-8))
    words += [NEXT, RETURN]
    for number in range(long):
        words.append(encode("beq", rs1=5, rs2=0, imm=12) if number % 8 == 7 else NEXT)
    words += [NEXT, NEXT, NEXT, RETURN]
    return words, short, far


def test_a_function_that_does_not_fit_is_left_out_as_a_whole() -> None:
    """Half of one would leave the other half to the handlers at every call."""
    words, short, far = _program(400)
    (caller,) = _regions(words, 0)
    assert {step.offset for step in caller.steps} == {0, 4, 8, 4 * short, 4 * short + 4}
    assert 4 * far not in caller.blocks
    words, short, far = _program(60)
    (caller,) = _regions(words, 0)
    assert {step.offset for step in caller.steps} == set(range(0, 4 * len(words), 4))


def test_regions_of_a_long_function_lead_into_each_other() -> None:
    """Where one of them ends, another can be entered: no piece in between is left to the handlers."""
    words, _, far = _program(700)
    regions = _regions(words, *range(far, len(words), 40))
    entries = {entry for region in regions for entry in region.entries}
    held = {step.offset for region in regions for step in region.steps}
    assert len(regions) > 3
    for region in regions:
        assert len(region.steps) <= LONGEST
        own = {step.offset for step in region.steps}
        for step in region.steps:
            branches = step.operation.name == "beq.in" or step.operation.row.name == "beq"
            for on in (step.behind, *([step.target] if branches else [])):
                if on in held - own and step.offset < 4 * (len(words) - 1):
                    assert on in entries, f"{step.offset:#x} leads to {on:#x}"


def test_long_straight_lines_are_cut_where_the_next_region_begins() -> None:
    words = [NEXT] * 900 + [encode("jal", imm=-4 * 900)]
    regions = _regions(words, 0, 150, 300, 450, 600)
    entries = {entry for region in regions for entry in region.entries}
    for region in regions[:-1]:
        end = max(step.behind for step in region.steps)
        assert end % STRETCH == 0
        assert end in entries


def test_a_loop_takes_in_a_function_that_was_compiled_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a payload calls through a register: which of the two is sampled first is chance."""
    pytest.importorskip("llvmlite")
    monkeypatch.setattr(native, "region_folder", lambda counting: tmp_path / "regions")
    hot_tier.region_cache.cache_clear()
    words = [encode("jalr", rd=1, rs1=6), NEXT, encode("jal", imm=-8), NEXT, NEXT, RETURN]
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, 1 << 20)
    memory.write(CODE, struct.pack(f"<{len(words)}I", *words))
    hart = Hart(0, memory)
    hart.set_x(6, CODE + 12)
    hart.pc = CODE
    hart.run(100)
    tier, decoded = HotTier(memory, eager=True), hart.get("dbase")
    for sampled in (CODE + 12, CODE):
        assert not tier.sample(decoded, sampled)
        tier.finish()
    assert tier.compiled == 2
    loop, function = (ctypes.c_uint64.from_address(decoded + 4 * at).value for at in (0, 12))
    assert loop == function  # the same region
    hot_tier.region_cache.cache_clear()
