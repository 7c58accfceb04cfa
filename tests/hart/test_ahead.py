"""The host's memory is brought many pages at a time where a guest fills page after page, and nowhere else."""

from __future__ import annotations

import mmap

import pytest

from vpmu.hart import state
from vpmu.hart.hart import Hart
from vpmu.hart.memory import PAGE, HostMemory, PhysicalMemory

from .assemble import code, encode
from .residency import at_hand, can_bring

BASE, DATA = 0x8000_0000, 0x9000_0000
RUN = state.AHEAD // PAGE
"""Pages that are brought together."""


pytestmark = pytest.mark.skipif(not can_bring(), reason="the host brings no pages before they are used")


def _small_pages(pages: int) -> HostMemory:
    memory = HostMemory(pages * PAGE)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.mapping.madvise(mmap.MADV_NOHUGEPAGE)
    return memory


def _hart(data: HostMemory, pages: int, *, access: str = "sd", step: int = 1) -> Hart:
    """A hart that comes to each `step`th page at DATA, where `data` is a slot of so many, every three
    instructions.
    """
    memory = PhysicalMemory()
    memory.set_slot(0, BASE, PAGE)
    memory.set_slot(1, DATA, pages * PAGE, backing=data)
    hart = Hart(0, memory)
    hart.pc = BASE
    operands = {"rs2": 5} if access == "sd" else {"rd": 6}
    loop = (
        encode(access, rs1=5, imm=8, **operands),
        encode("add", rd=5, rs1=5, rs2=7),
        encode("jal", imm=-8),
    )
    memory.write(BASE, code(loop))
    hart.set_x(5, DATA)
    hart.set_x(7, step * PAGE)
    return hart


def test_the_first_page_of_a_run_brings_it() -> None:
    data = _small_pages(3 * RUN)
    hart = _hart(data, 3 * RUN)
    hart.run(3 * RUN)
    assert at_hand(data, 0, 3 * RUN) == list(range(RUN))
    hart.run(1)
    assert at_hand(data, 0, 3 * RUN) == list(range(2 * RUN))
    assert hart.memory.read(DATA + RUN * PAGE, 16) == bytes(8) + (DATA + RUN * PAGE).to_bytes(8, "little")
    assert hart.memory.read(DATA + (RUN + 1) * PAGE, PAGE) == bytes(PAGE)
    hart.run(3 * RUN)  # the last run of the slot
    assert at_hand(data, 0, 3 * RUN) == list(range(3 * RUN))


def test_what_is_behind_a_slot_is_not_brought() -> None:
    data = _small_pages(3 * RUN)
    hart = _hart(data, 2 * RUN - 1)
    hart.run(3 * RUN + 3)
    assert at_hand(data, 0, 3 * RUN) == list(range(RUN + 1))


@pytest.mark.parametrize(("access", "step"), [("sd", 2), ("sd", RUN), ("ld", 1)])
def test_no_other_page_is_brought(access: str, step: int) -> None:
    data = _small_pages(4 * RUN)
    hart = _hart(data, 4 * RUN, access=access, step=step)
    hart.run(3 * 4 * RUN // step)
    assert at_hand(data, 0, 4 * RUN) == list(range(0, 4 * RUN, step))


def test_memory_of_somebody_else_is_left_alone() -> None:
    mapping = mmap.mmap(-1, 4 * RUN * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        mapping.madvise(mmap.MADV_NOHUGEPAGE)
    data = HostMemory.over(memoryview(mapping))
    _hart(data, 4 * RUN).run(3 * RUN + 3)
    assert at_hand(data, 0, 4 * RUN) == list(range(RUN + 1))
