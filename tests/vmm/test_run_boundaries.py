"""Where runs end is nothing that a guest can see: many short runs give the state of a long one.

VPMU_FUZZ_MACHINES=N runs N machines instead of a few; VPMU_FUZZ_SEED=N begins there.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable

import pytest

from vpmu import Machine
from vpmu.vmm import turns
from vpmu.vmm.run_result import RunResult

from ..hart.assemble import NOP, WFI, csr, encode
from . import random_machine
from .test_bare import A0, Image, end
from .test_bare import machine_of as machine_of_image
from .test_machine import ENTRY, FOR_EVER, machine_with

MACHINES = int(os.environ.get("VPMU_FUZZ_MACHINES", "12"))
FIRST = int(os.environ.get("VPMU_FUZZ_SEED", "0"))
PROFILES = ("kvm-7.2", "opensbi-1.6", "kvm-6.12", "spec-3.0")
MOST = 30_000  # instructions of one machine
Step = Callable[[Machine, random.Random, int], tuple[Machine, RunResult]]


def in_instructions(machine: Machine, rng: random.Random, left: int) -> tuple[Machine, RunResult]:
    budget = rng.choice((1, 2, rng.randrange(1, 30), rng.randrange(1, 1000)))
    return machine, machine.run(max_instructions=min(left, budget))


def in_time(machine: Machine, rng: random.Random, left: int) -> tuple[Machine, RunResult]:
    timeout = rng.choice((1, rng.randrange(1, 300), rng.randrange(1, 5000)))
    return machine, machine.run(max_instructions=left, timeout_ns=timeout)


def in_forks(machine: Machine, rng: random.Random, left: int) -> tuple[Machine, RunResult]:
    machine = machine.fork()
    return machine, machine.run(max_instructions=min(left, rng.randrange(1, 3000)))


def in_halts(machine: Machine, rng: random.Random, left: int) -> tuple[Machine, RunResult]:
    hurry = ("budget", "somebody was in a hurry")
    watch = threading.Timer(rng.random() / 3000, machine.halt, hurry)
    if rng.randrange(4) == 0:  # the others may come too late on a quick host: some come before the run
        machine.halt(*hurry)
    watch.start()
    result = machine.run(max_instructions=left)
    watch.join()
    machine.turns.unhalt()
    return machine, result


def machine_of(seed: int, harts: int, isa: tuple[str, ...] | None) -> Machine:
    profile = PROFILES[seed % len(PROFILES)]
    return random_machine.machine(seed, harts, profile=profile, **({} if isa is None else {"isa": isa}))


@pytest.mark.parametrize("step", [in_instructions, in_time, in_forks, in_halts])
@pytest.mark.parametrize("isa", [None, ()], ids=("sstc", "no-sstc"))
def test_short_runs_give_what_a_long_one_gives(
    step: Step, isa: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "QUANTUM_NS", 700)
    boundaries = 0
    for seed in range(FIRST, FIRST + MACHINES):
        harts = 1 + seed % 4
        whole, rng = machine_of(seed, harts, isa), random.Random(seed)
        expected = whole.run(max_instructions=MOST)
        machine = machine_of(seed, harts, isa)
        while True:
            left = MOST - machine.instructions
            machine, result = step(machine, rng, left)
            boundaries += 1
            if result.stop != "budget" or machine.instructions >= MOST:
                break
        wrong = random_machine.differences(random_machine.picture(machine), random_machine.picture(whole))
        assert not wrong, f"seed {seed}: short runs, one run: {wrong}"
        told, wanted = (
            (one.stop, one.instructions, one.exit_counts, one.sbi_calls, one.console, one.virtual_ns)
            for one in (result, expected)
        )
        assert told == wanted, seed
    assert boundaries > MACHINES


@pytest.mark.parametrize("at", range(5_000, 5_110, 9))
def test_the_end_of_a_run_does_not_bring_a_timer_forward(at: int) -> None:
    """A timer of KVM comes a tick after its time, whoever ends a run in that tick."""
    machine = machine_with(*[NOP] * 3000, isa=())
    vcpu = machine.vcpu(0)
    vcpu.hart.set("stvec", vcpu.pc + 4 * 2000)
    vcpu.hart.set("sstatus", 2)
    vcpu.hart.set("sie", 1 << 5)
    vcpu.hart.time_ns = 4_000
    vcpu.set_timer(50)
    machine.run(max_instructions=at - 4_000)
    assert not vcpu.hart.get("scause") or at > 5_100
    machine.run(max_instructions=200)
    assert vcpu.hart.get("sepc") == ENTRY + 4 * 1_100


def test_harts_share_the_time_however_short_the_runs_are() -> None:
    machine = machine_with(FOR_EVER, harts=3)
    for vcpu in machine.vcpus[1:]:
        vcpu.start(ENTRY, 0)
    for _ in range(1_500):
        machine.run(max_instructions=100)
    done = [vcpu.hart.instructions for vcpu in machine.vcpus]
    assert sum(done) == 150_000
    assert max(done) - min(done) <= turns.QUANTUM_NS


def test_a_guest_that_sleeps_sleeps_on_through_short_runs() -> None:
    machine = machine_with(WFI, FOR_EVER)
    vcpu = machine.vcpu(0)
    vcpu.hart.set("sie", 1 << 5)
    vcpu.set_timer(1_000)  # 100 us
    ends = [machine.run(timeout_ns=30_000).virtual_ns for _ in range(4)]
    assert ends == [30_000, 60_000, 90_000, 120_000]
    assert vcpu.hart.instructions == 20_000


def bare_timers() -> Image:
    """Two harts in M mode: hart 0 sets the timers of both again and again, hart 1 sleeps between its own."""
    image = Image()
    image.csrw(0x304, 1 << 7)
    image.emit(csr("csrrs", A0, 0xF14))
    image.emit(encode("bne", rs1=A0, imm=8))
    image.emit(encode("jal", imm=12))
    image.emit(WFI, encode("jal", imm=-4))  # hart 1: as mie enables it and mstatus does not, it goes on
    for round_ in range(1, 12):
        image.store(0x02004000, 40 * round_ + 3)
        image.store(0x02004008, 40 * round_ - 9)
        image.emit(*[encode("addi", rd=9, rs1=9, imm=1)] * (37 * round_ % 100), WFI)
    end(image, 9)
    return image


@pytest.mark.parametrize("step", [in_instructions, in_time])
def test_the_timers_of_m_mode_come_at_the_same_instruction(step: Step) -> None:
    whole, machine = machine_of_image(bare_timers(), harts=2), machine_of_image(bare_timers(), harts=2)
    expected = whole.run(max_instructions=MOST)
    assert expected.stop == "shutdown"
    assert whole.vcpu(1).hart.instructions > 15
    rng = random.Random(1)
    result = expected
    for _ in range(100_000):
        machine, result = step(machine, rng, MOST)
        if result.stop != "budget":
            break
    assert (result.stop, result.reset_reason, result.virtual_ns) == (
        expected.stop, expected.reset_reason, expected.virtual_ns,
    )  # fmt: skip
    for one, other in zip(machine.vcpus, whole.vcpus, strict=True):
        assert (one.hart.instructions, one.hart.pc, one.hart.time_ns) == (
            other.hart.instructions, other.hart.pc, other.hart.time_ns,
        )  # fmt: skip
