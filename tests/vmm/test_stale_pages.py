"""Stale pages (hart/stale.py): a machine that is restored by marking pages against one that is restored by
copying them, through random runs, writes and reads of every kind, snapshots, restores and forks.

VPMU_FUZZ_MACHINES=N takes N walks instead of a few; VPMU_FUZZ_SEED=N begins there.
"""

from __future__ import annotations

import gc
import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from vpmu import Machine
from vpmu.hart import hart as harts
from vpmu.hart import state
from vpmu.hart.hot_tier import HotTier
from vpmu.hart.memory import PAGE, MemoryFault
from vpmu.travel.ring import Ring
from vpmu.vmm.snapshot import Snapshot
from vpmu.vmm.snapshot_pages import find_backings

from ..hart.assemble import code, encode
from ..hart.test_engines_agree import COMPARED
from . import random_machine
from .random_code import DATA, MEGA, MEMORY, RAM, SMALL, WRITTEN_CODE

WALKS = int(os.environ.get("VPMU_FUZZ_MACHINES", "8"))
FIRST = int(os.environ.get("VPMU_FUZZ_SEED", "0"))
EXTRA = 0xA0000000  # of a slot that comes and goes


def stale(machine: Machine) -> int:
    """How many pages of a machine are stale."""
    memory = machine.memory
    return sum(flags & state.PAGE_STALE != 0 for flags in bytes(memory._flags.view[: memory._next_page]))


def unsaved(machine: Machine) -> int:
    """How many pages of a machine its last snapshot lacks."""
    memory = machine.memory
    return sum(flags & state.PAGE_UNSAVED != 0 for flags in bytes(memory._flags.view[: memory._next_page]))


def copying(machine: Machine) -> Machine:
    """A machine whose restores copy."""
    for region in machine.memory.regions.values():
        region.backing.lendable = False
    return machine


class Walk:
    """Two machines that do the same, and their snapshots in pairs."""

    def __init__(self, seed: int, tmp_path: Path, engine: str) -> None:
        self.rng, self.file = random.Random(seed), tmp_path / "snapshot"
        options = {"profile": "kvm-7.2", "harts": 1 + seed % 2, "engine": engine}
        self.marked = random_machine.machine(seed, **options)  # type: ignore[arg-type]
        self.copied = copying(random_machine.machine(seed, **options))  # type: ignore[arg-type]
        self.snapshots = [(self.marked.snapshot(), self.copied.snapshot())]
        self.most_stale, self.most_unsaved = 0, unsaved(self.marked)

    @property
    def both(self) -> tuple[Machine, Machine]:
        return self.marked, self.copied

    def run(self) -> None:
        budget = self.rng.choice((self.rng.randrange(1, 60), self.rng.randrange(1, 3000)))
        one, other = (machine.run(max_instructions=budget) for machine in self.both)
        assert (one.stop, one.reason, one.exits, one.sbi_calls, one.virtual_ns, one.console) == (
            other.stop, other.reason, other.exits, other.sbi_calls, other.virtual_ns, other.console
        )  # fmt: skip

    def place(self) -> int:
        return self.rng.choice((
            RAM + self.rng.randrange(MEMORY - 2 * PAGE), DATA + self.rng.randrange(4 * PAGE),
            WRITTEN_CODE + self.rng.randrange(4 * PAGE), DATA + MEGA + self.rng.randrange(4 * PAGE),
        ))  # fmt: skip

    def write(self) -> None:
        data, place = (
            self.rng.randbytes(self.rng.choice((1, 8, 100, PAGE + 9))),
            DATA + self.rng.randrange(MEGA),
        )
        for machine in self.both:
            with suppress(MemoryFault):
                machine.memory.write(place, data)

    def read(self) -> None:
        place, size = self.place(), self.rng.choice((1, 8, PAGE))
        assert self.bytes_at(self.marked, place, size) == self.bytes_at(self.copied, place, size)

    @staticmethod
    def bytes_at(machine: Machine, place: int, size: int) -> bytes | str:
        try:
            return machine.memory.read(place, size)
        except MemoryFault as fault:
            return str(fault)

    def as_the_hart_sees_it(self) -> None:
        address = SMALL + self.rng.randrange(16 * PAGE)
        answers = []
        for machine in self.both:
            try:
                answers.append(machine.vcpus[0].hart.translate(address, 0))
            except Exception as fault:
                answers.append(repr(fault))
        assert answers[0] == answers[1]

    def take(self) -> None:
        self.snapshots.append((self.marked.snapshot(), self.copied.snapshot()))
        self.most_unsaved = max(self.most_unsaved, unsaved(self.marked))
        assert not stale(self.marked)
        assert not unsaved(self.copied)
        if len(self.snapshots) > 1 and self.rng.random() < 0.3:  # somebody lets go of one
            del self.snapshots[self.rng.randrange(len(self.snapshots) - 1)]

    def restore(self) -> None:
        one, other = self.rng.choice(self.snapshots)
        self.marked.restore(one)
        self.copied.restore(other)
        self.most_stale = max(self.most_stale, stale(self.marked))
        assert not stale(self.copied)

    def restore_from_file(self) -> None:
        one, other = self.rng.choice(self.snapshots)
        one.save(self.file)
        self.marked.restore(Snapshot.load(self.file))
        gc.collect()  # nobody else holds what the pages are still to get
        self.copied.restore(other)

    def fork(self) -> None:
        one, other = self.rng.choice(self.snapshots)
        self.marked, self.copied = one.machine(), copying(other.machine())
        self.copied.memory.stale.settle()
        self.most_stale = max(self.most_stale, stale(self.marked))

    def use_up(self) -> None:
        """The contents that stale pages are still to get become another machine's memory, and it runs."""
        one, other = self.snapshots.pop(self.rng.randrange(len(self.snapshots)))
        self.marked.restore(one)
        self.copied.restore(other)
        one.become().run(max_instructions=500)
        self.take()

    def cut(self) -> None:
        """A page of memory is gone, or can only be read."""
        place, readonly = RAM + 3 * MEGA // 2 + self.rng.randrange(64) * PAGE, self.rng.random() < 0.5
        for machine in self.both:
            with suppress(MemoryFault, ValueError):
                machine.memory.carve(place, PAGE, readonly=readonly)

    def hash(self) -> None:
        one, other = (machine.state_hash() for machine in self.both)
        assert one == other

    def compare(self) -> None:
        self.compare_harts()
        for backing, other in zip(*(find_backings(machine.memory) for machine in self.both), strict=True):
            assert backing.view == other.view
        assert not stale(self.marked)
        assert not unsaved(self.marked)

    def compare_snapshots(self) -> None:
        """The oldest first or last: what one lacks it may get from the next one."""
        pairs = self.snapshots if self.rng.random() < 0.5 else self.snapshots[::-1]
        for one, other in pairs:
            for image, copied in zip(one.images, other.images, strict=True):
                assert image.view == copied.view

    def compare_harts(self) -> None:
        for vcpu, other in zip(self.marked.vcpus, self.copied.vcpus, strict=True):
            for name in COMPARED:
                assert vcpu.hart.get(name) == other.hart.get(name), name
            assert [vcpu.hart.x(i) for i in range(32)] == [other.hart.x(i) for i in range(32)]

    def step(self) -> None:
        kinds = {self.run: 40, self.restore: 20, self.read: 12, self.write: 8, self.as_the_hart_sees_it: 4,
                 self.take: 3, self.fork: 2, self.restore_from_file: 2, self.use_up: 1, self.cut: 1,
                 self.hash: 1, self.compare: 1, self.compare_snapshots: 1}  # fmt: skip
        self.rng.choices(list(kinds), list(kinds.values()))[0]()


@pytest.mark.parametrize("tier", ["handlers", "regions", "reference"])
def test_marking_does_what_copying_does(tier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if tier == "regions":
        monkeypatch.setattr(harts, "CHUNK", 300)
    most_stale = most_unsaved = 0
    for seed in range(FIRST, FIRST + (WALKS if tier != "reference" else max(WALKS // 4, 1))):
        walk = Walk(seed, tmp_path, "reference" if tier == "reference" else "native")
        try:
            for _ in range(100 if tier != "reference" else 30):
                if tier == "regions" and walk.marked.memory.hot_tier is None:
                    walk.marked.memory.hot_tier = HotTier(walk.marked.memory, eager=True)
                walk.step()
                walk.compare_harts()
                if walk.marked.memory.hot_tier is not None:
                    walk.marked.memory.hot_tier.finish()
            if seed % 2:  # else the machine is looked at first, which saves all that is unsaved
                walk.compare_snapshots()
            walk.compare()
            walk.compare_snapshots()
            assert walk.marked.state_hash() == walk.copied.state_hash()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        most_stale = max(most_stale, walk.most_stale)
        most_unsaved = max(most_unsaved, walk.most_unsaved)
    assert most_stale > 20
    assert most_unsaved > 20


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_snapshot_copies_no_page_and_each_is_saved_before_it_changes(engine: str) -> None:
    machine = Machine(memory=4 << 20, engine=engine)
    for page in range(300):
        machine.memory.write(RAM + page * PAGE, b"before")
    snapshot = machine.snapshot()
    assert unsaved(machine) == 300
    machine.memory.write(RAM + 7 * PAGE + PAGE - 4, b"in Python")  # of two pages
    machine.vcpu(0).write(RAM + 100 * PAGE + 8, b"the hart")
    assert unsaved(machine) == 297
    machine.restore(snapshot)
    assert (stale(machine), unsaved(machine)) == (3, 297)
    for page in (7, 8, 100, 101):
        assert machine.memory.read(RAM + page * PAGE, 16) == b"before".ljust(16, b"\0")
    assert snapshot.images[0].view[: 300 * PAGE] == b"before".ljust(PAGE, b"\0") * 300
    assert not unsaved(machine)


def test_what_a_snapshot_lacks_it_gets_from_the_next_one() -> None:
    machine = Machine(memory=1 << 20)
    first = machine.snapshot()
    kept = [first]
    for number in range(1, 6):
        machine.memory.write(RAM, bytes([number]))
        machine.memory.write(RAM + number * PAGE, bytes([number]))
        kept.append(machine.snapshot())
    del kept[3], machine  # neither the one between nor the machine has to be there
    gc.collect()
    for snapshot, number in zip(kept, (0, 1, 2, 4, 5), strict=True):
        image = snapshot.images[0].view
        assert image[0] == number
        assert [image[page * PAGE] for page in range(1, 6)] == [
            page if page <= number else 0 for page in range(1, 6)
        ]


def test_a_restore_writes_no_page_and_a_run_writes_those_it_looks_at() -> None:
    machine = Machine(memory=4 << 20)
    snapshot = machine.snapshot()
    for page in range(300):
        machine.memory.write(RAM + page * PAGE, b"written")
    machine.restore(snapshot)
    assert stale(machine) == 300
    assert machine.memory.read(RAM + 7 * PAGE, 2 * PAGE) == bytes(2 * PAGE)
    assert stale(machine) == 298
    assert machine.vcpu(0).read(RAM + 100 * PAGE, 8) == bytes(8)
    machine.vcpu(0).write(RAM + 101 * PAGE + 8, b"new")
    assert machine.memory.read(RAM + 101 * PAGE, 16) == bytes(8) + b"new" + bytes(5)
    assert stale(machine) == 296
    machine.restore(snapshot)
    assert stale(machine) == 297
    assert machine.memory.regions[0].backing.view == bytes(4 << 20)
    assert not stale(machine)


@pytest.mark.parametrize("before", [False, True], ids=["", "after another snapshot"])
def test_memory_that_somebody_else_sees_is_copied(before: bool) -> None:
    machine = Machine(memory=1 << 20)
    machine.memory.write(RAM + 7 * PAGE, b"ours")
    if before:
        machine.snapshot()
    theirs = bytearray(b"theirs".ljust(2 * PAGE, b"."))
    assert machine.set_memory_region(1, EXTRA, 2 * PAGE, 0, memoryview(theirs)) == 0
    snapshot, was = machine.snapshot(), bytes(theirs)
    machine.memory.write(EXTRA, b"written")
    machine.memory.write(RAM + PAGE, b"written")
    theirs[PAGE] = 0  # which no engine sees
    machine.restore(snapshot)
    assert theirs == was
    assert stale(machine) >= 1
    assert machine.memory.read(RAM, 8 * PAGE) == bytes(7 * PAGE) + b"ours".ljust(PAGE, b"\0")


def test_a_machine_goes_back_behind_a_snapshot_with_other_slots() -> None:
    machine = Machine(memory=1 << 20)
    theirs = bytearray(2 * PAGE)
    machine.set_memory_region(1, EXTRA, 2 * PAGE, 0, memoryview(theirs))
    machine.memory.write(RAM + PAGE, b"with")
    snapshot = machine.snapshot()
    machine.set_memory_region(1, EXTRA, 0, 0, None)
    machine.memory.write(RAM + PAGE, b"without")
    machine.snapshot()
    machine.set_memory_region(1, EXTRA, 2 * PAGE, 0, memoryview(theirs))
    theirs[0] = 1
    machine.restore(snapshot)
    assert machine.memory.read(RAM + PAGE, 8) == b"with".ljust(8, b"\0")
    assert theirs == bytes(2 * PAGE)


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("looked_at", ["by the hart", "by Python", "all of it"])
def test_code_is_what_it_was(looked_at: str, engine: str) -> None:
    machine = Machine(memory=1 << 20, engine=engine)
    vcpu = machine.vcpu(0)
    jump = encode("jal", rd=0, imm=-4)
    machine.memory.write(RAM, code([encode("addi", rd=10, rs1=10, imm=1), jump]))
    vcpu.pc = RAM
    machine.run(max_instructions=100)
    snapshot = machine.snapshot()
    for _ in range(3):
        before = vcpu.regs[10]
        machine.memory.write(RAM, code([encode("addi", rd=10, rs1=10, imm=2), jump]))
        machine.run(max_instructions=100)
        assert vcpu.regs[10] - before == 100
        machine.restore(snapshot)
        assert stale(machine) == 1
        if looked_at == "by Python":
            machine.memory.read(RAM, 4)
        elif looked_at == "all of it":
            machine.state_hash()
        machine.run(max_instructions=100)
        assert vcpu.regs[10] - before == 50
        machine.restore(snapshot)


def test_another_snapshot_and_other_slots_find_every_page_as_it_was() -> None:
    machine = Machine(memory=1 << 20)
    empty = machine.snapshot()
    machine.memory.write(RAM + 5 * PAGE, b"written")
    machine.restore(empty)
    assert stale(machine) == 1
    machine.snapshot()  # which has no page at all
    assert machine.memory.read(RAM + 5 * PAGE, 8) == bytes(8)
    machine.memory.write(RAM + 5 * PAGE, b"written")
    machine.restore(empty)
    backing = machine.memory.regions[0].backing
    machine.memory.set_slot(0, RAM, 0)
    machine.memory.set_slot(0, RAM, backing.size, backing=backing)  # whose pages have new numbers
    assert machine.vcpu(0).read(RAM + 5 * PAGE, 8) == bytes(8)


def test_what_walks_through_time_finds_every_page_as_it_was() -> None:
    machine = Machine(memory=1 << 20)
    empty = machine.snapshot()
    machine.memory.write(RAM + 5 * PAGE, b"written")
    machine.restore(empty)
    ring = Ring(machine, 1 << 30, lambda: 0)
    machine.vcpu(0).work(10)
    ring.restore(0)
    assert machine.memory.read(RAM + 5 * PAGE, 8) == bytes(8)
