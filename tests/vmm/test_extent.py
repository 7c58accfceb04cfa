"""The extent (hart/privileged/extent.py): a machine whose regions look there against one in handlers, through
all that changes what a load may do.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from vpmu import Machine
from vpmu.hart import state
from vpmu.hart.memory import MAX_REGIONS, PAGE
from vpmu.spec.csr import Csr
from vpmu.vmm.snapshot import Snapshot

from ..hart.assemble import code, csr, encode
from ..hart.scattered import compile_here, map_pages
from .random_code import SFENCE

RAM, CODE, DATA, PAGES = 0x80000000, 0x80010000, 0x80040000, 64
EXTENT = (state.CONTEXTS + state.GUEST_EXTENT) // 8


def _program(rng: random.Random) -> bytes:
    """Loads all over DATA, some of them across pages, and a store now and then."""
    words = []
    for _ in range(24):
        words += [encode("slli", rd=6, rs1=5, imm=13), encode("xor", rd=5, rs1=5, rs2=6)]
        words += [encode("srli", rd=6, rs1=5, imm=7), encode("xor", rd=5, rs1=5, rs2=6)]
        words += [encode("and", rd=6, rs1=5, rs2=9), encode("add", rd=6, rs1=6, rs2=8)]
        kind = rng.choice(("ld", "ld", "lw", "lbu", "sd", "pair"))
        if kind == "sd":
            words.append(encode("sd", rs1=6, rs2=7))
        elif kind == "pair":  # neighbours, up to as wide as they look together
            first = rng.randrange(-120, 0)
            words += [encode("ld", rd=7, rs1=6, imm=first), encode("ld", rd=10, rs1=6, imm=first + 240)]
        else:
            words.append(encode(kind, rd=7, rs1=6, imm=rng.randrange(-16, 16)))
        words.append(encode("xor", rd=5, rs1=5, rs2=7))
    words.append(encode("jal", imm=-4 * len(words)))
    return code(words)


def _machine(seed: int) -> Machine:
    rng = random.Random(seed)
    machine = Machine(memory=2 << 20)
    machine.memory.write(CODE, _program(rng))
    machine.memory.write(DATA, rng.randbytes(PAGES * PAGE // 2))  # the other half is not touched yet
    hart = machine.vcpu(0).hart
    machine.vcpu(0).pc = CODE
    hart.set_x(5, 88172645463325252)
    hart.set_x(8, DATA + 256)
    hart.set_x(9, (PAGES - 1) * PAGE - 8)
    return machine


def _extent(machine: Machine) -> tuple[int, int]:
    """First address and size."""
    base, bound = machine.vcpu(0).hart.words[EXTENT : EXTENT + 2]
    return base, bound + state.WIDEST_ACCESS if bound else 0


def _changes(rng: random.Random) -> Callable[[Machine], object]:
    """Something that may happen to a machine between two runs, the same for each that it is done to."""
    place, data = DATA + rng.randrange(PAGES) * PAGE, rng.randbytes(24)

    def slot(machine: Machine) -> None:
        if len(machine.memory.regions) <= MAX_REGIONS - 2:
            machine.memory.carve(place, PAGE, readonly=True)

    def watch(machine: Machine) -> str:
        with machine.watch(place + 8, 2000, "r"):
            return machine.run(max_instructions=3000).stop

    return rng.choice((
        lambda machine: machine.memory.write_through(place, data), lambda machine: machine.state_hash(),
        lambda machine: machine.snapshot(), watch, slot, lambda machine: machine.vcpu(0).hart.flush(),
    ))  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_regions_with_an_extent_do_what_handlers_do(seed: int) -> None:
    rng = random.Random(seed)
    machines = [_machine(seed), _machine(seed)]
    snapshots = [machine.snapshot() for machine in machines]
    longest = installed = 0
    for turn in range(60):
        budget = rng.choice((7, 400, 5000, 20000))
        ends = [machine.run(max_instructions=budget).stop for machine in machines]
        assert ends[0] == ends[1], f"seed {seed}, turn {turn}"
        if turn % 20 == 5:
            installed = compile_here(machines[0].vcpu(0).hart, flat=True)
        longest = max(longest, _extent(machines[0])[1])
        if ends[0] != "budget" or rng.random() < 0.3:  # or a store into what can only be read
            for machine, snapshot in zip(machines, snapshots, strict=True):
                machine.restore(snapshot)
        elif rng.random() < 0.4:
            change = _changes(rng)
            ends = [change(machine) for machine in machines]
            assert isinstance(ends[0], Snapshot) or ends[0] == ends[1], f"seed {seed}, turn {turn}"
            if rng.random() < 0.3:
                snapshots = [machine.snapshot() for machine in machines]
        one, other = (machine.vcpu(0).hart for machine in machines)
        assert [one.x(i) for i in range(32)] == [other.x(i) for i in range(32)], f"seed {seed}, turn {turn}"
    assert machines[0].memory.read(DATA, PAGES * PAGE) == machines[1].memory.read(DATA, PAGES * PAGE)
    assert machines[0].state_hash() == machines[1].state_hash()
    assert installed
    assert longest > 16 * PAGE


def _touch(machine: Machine, *pages: int) -> None:
    """Have the hart load from pages of DATA, with all that its slow path does."""
    hart = machine.vcpu(0).hart
    machine.memory.write(CODE, code([encode("ld", rd=7, rs1=6)]))
    for page in pages:
        hart.pc = CODE
        hart.set_x(6, DATA + page * PAGE)
        machine.run(max_instructions=1)


def test_an_extent_is_the_longest_run_of_touched_pages_of_one_slot() -> None:
    machine = Machine(memory=2 << 20)
    _touch(machine, *range(8))
    assert _extent(machine) == (DATA, 8 * PAGE)
    _touch(machine, 20, 21)
    assert _extent(machine) == (DATA, 8 * PAGE)
    _touch(machine, *range(9, 20))
    assert _extent(machine) == (DATA + 9 * PAGE, 13 * PAGE)
    _touch(machine, 8)
    assert _extent(machine) == (DATA, 22 * PAGE)
    machine.memory.carve(DATA + 10 * PAGE, PAGE, readonly=True)
    assert _extent(machine) == (0, 0)
    _touch(machine, 12)
    assert _extent(machine) == (DATA + 11 * PAGE, 11 * PAGE)


def test_no_extent_where_somebody_watches() -> None:
    machine = Machine(memory=2 << 20)
    point = machine.watch(DATA + 50 * PAGE, 8, "r")
    _touch(machine, 3)
    assert _extent(machine) == (0, 0)
    point.remove()
    machine.vcpu(0).hart.flush()
    _touch(machine, 3, 4)
    assert _extent(machine) == (DATA + 3 * PAGE, 2 * PAGE)


def test_an_extent_ends_with_its_slot() -> None:
    """Of slots that lie side by side each has a place of its own in the host's memory."""
    machine = Machine(memory=2 << 20)
    end = RAM + (2 << 20)
    for number in range(1, 3):
        machine.memory.set_slot(number, end + (number - 1) * 8 * PAGE, 8 * PAGE)
    last = (end - DATA) // PAGE
    _touch(machine, *range(last, last + 4))
    assert _extent(machine) == (end, 4 * PAGE)
    _touch(machine, *range(last - 5, last), *range(last + 8, last + 16), last + 4, last + 5, last + 7)
    assert _extent(machine) == (end + 8 * PAGE, 8 * PAGE)
    _touch(machine, last + 6)
    assert _extent(machine) == (end + 8 * PAGE, 8 * PAGE)


def test_an_extent_is_gone_where_addresses_become_virtual() -> None:
    """The same region, before and after its guest has written satp."""
    machine = Machine(memory=4 << 20)
    hart = machine.vcpu(0).hart
    loads = [
        encode("ld", rd=7, rs1=6),
        encode("add", rd=10, rs1=10, rs2=7),
        encode("addi", rd=6, rs1=6, imm=8),
    ]
    loads.append(encode("bne", rs1=6, rs2=11, imm=-12))
    machine.memory.write(CODE, code([csr("csrrw", 0, Csr.SATP, 5), SFENCE, *loads]))
    for page in range(16):
        machine.memory.write(DATA + page * PAGE, page.to_bytes(8, "little") * (PAGE // 8))
    leaves = [(RAM >> 12) + page << 10 | 0xCF for page in range(512)]
    first = DATA - RAM >> 12
    leaves[first : first + 16] = leaves[first : first + 16][::-1]
    mapped = map_pages(machine.memory, leaves)
    for satp, pages in ((0, (0, 16)), (0, (4, 9)), (mapped, (4, 9)), (0, (1, 3))):
        hart.pc = CODE
        for register, value in (
            (5, satp),
            (6, DATA + pages[0] * PAGE),
            (10, 0),
            (11, DATA + pages[1] * PAGE),
        ):
            hart.set_x(register, value)
        machine.run(max_instructions=2 + 4 * 512 * (pages[1] - pages[0]))
        assert hart.x(6) == hart.x(11)
        at = [15 - page if satp else page for page in range(*pages)]
        assert hart.x(10) == 512 * sum(at)
        assert (_extent(machine)[1] == 0) == bool(satp)
        hart.pc = CODE + 8
        compile_here(hart, flat=True)
