"""Exits that the engine answers in KVM's stead: nothing else about a machine is different.

Of machines with one random program some answer so, and one does not: it and the others have the same
registers, counts, statistics and state wherever they are looked at.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from vpmu import Machine
from vpmu.faults import FaultPlan, parse_rule
from vpmu.hart import state
from vpmu.see import standing
from vpmu.see.standing import Standing
from vpmu.spec.sbi import ConfigFlag, PmuFid
from vpmu.trace.recorder import Recorder
from vpmu.vmm.snapshot_state import vcpu_state
from vpmu.vmm.state_hash import ENGINE_WORDS

from ..hart.assemble import code, csr, encode
from ..hart.whole.amount import seeds
from .random_exits import ExitProgram

PROFILES = ("kvm-7.2", "kvm-7.3", "kvm-6.12", "kvm-6.9", "spec-3.0", "opensbi-1.6")
HOSTS = ("qemu-virt", "full")


def machine_of(
    seed: int, engine: str = "native", recorder: Recorder | None = None, *, misses: bool = True
) -> Machine:
    machine = Machine(
        PROFILES[seed % len(PROFILES)], engine=engine, memory=4 << 20, harts=1 + (seed % 5 == 4),
        host_pmu=HOSTS[seed % 2 * (engine == "native")], recorder=recorder,
        isa=(("sstc",), ())[seed // 2 % 2],
    )  # fmt: skip
    machine.load(bytes(ExitProgram(seed, misses=misses).image.bytes))
    for vcpu in machine.vcpus[1:]:
        vcpu.start(machine.vcpu(0).pc, 0)
    return machine


def asking(machine: Machine) -> Machine:
    """Every exit of it is Python's."""
    for vcpu in machine.vcpus:
        assert vcpu.standing is not None
        vcpu.standing._may_stand = lambda: False  # type: ignore[method-assign]
    return machine


def picture(machine: Machine) -> list[tuple[object, ...]]:
    """All of the state of its harts, of PMU and perf too, but an engine's own words."""
    found: list[tuple[object, ...]] = []
    for vcpu, perf in zip(machine.vcpus, machine.providers, strict=True):
        whole, _ = vcpu_state(vcpu, perf)  # type: ignore[arg-type]
        hart = whole.pop("hart")
        words = memoryview(hart["words"]).cast("Q")  # type: ignore[index]
        named = {name: words[at] for name, at in state.STATE.items() if name not in ENGINE_WORDS}
        models = hart["models"]
        counts = [model[state.COUNTERS - state.MODEL_DTLB_READ :] for model in models]  # type: ignore[index]
        found.append((list(words[:32]), named, whole, list(vcpu.exits), list(vcpu.sbi_calls), counts))
    return found


def taken(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many exits engines have answered."""
    credit, total = Standing.credit, [0]

    def counting(self: Standing) -> None:
        total[0] += self._table._words[self._table._taken]
        credit(self)

    monkeypatch.setattr(Standing, "credit", counting)
    return lambda: total[0]


@pytest.mark.parametrize("seed", seeds(24))
def test_answers_of_the_engine_change_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = taken(monkeypatch)
    monkeypatch.setattr(standing, "_IDLE", 0)  # try again at once, however little it was worth
    machines = [asking(machine_of(seed)), machine_of(seed)]
    if seed % 4 == 0:
        machines = [asking(machine_of(seed, "reference")), machine_of(seed, "reference")]
    rng = random.Random(seed)
    for turn in range(40):
        budget = rng.choice((1, 5, rng.randrange(1, 60), rng.randrange(1, 3000)))
        results = [machine.run(max_instructions=budget) for machine in machines]
        pictures = [*map(picture, machines)]
        assert pictures[0] == pictures[1], turn
        told = [(one.stop, one.exit_counts, one.sbi_calls, one.console, one.virtual_ns) for one in results]
        assert told[0] == told[1], turn
        assert machines[0].state_hash() == machines[1].state_hash()
    monkeypatch.undo()
    if PROFILES[seed % len(PROFILES)].startswith("kvm") and seed < 24 and results[1].stop == "budget":
        assert answered() > 5


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_both_engines_answer_alike(seed: int) -> None:
    native, reference = (machine_of(2 * seed, engine, misses=False) for engine in ("native", "reference"))
    for budget in (3000, 17, 2000):
        native.run(max_instructions=budget)
        reference.run(max_instructions=budget)
        for (*one, _), (*other, _) in zip(picture(native), picture(reference), strict=True):
            assert one == other  # the reference engine counts every class, whoever wants it


@pytest.mark.parametrize("who", ["trace", "faults", "watch", "answers"])
def test_nothing_stands_where_somebody_looks(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = machine_of(0)
    plain.run(max_instructions=20_000)
    answered = taken(monkeypatch)
    machine = machine_of(0, recorder=Recorder() if who == "trace" else None)
    vcpu = machine.vcpu(0)
    seen: list[tuple[int, int]] = []
    if who == "faults":
        machine.inject(FaultPlan((parse_rule("sbi.call:call=100000,error=-1"),)))
    elif who == "watch":
        vcpu.watch = lambda vcpu, counter, value: None
    elif who == "answers":
        before = vcpu.answers

        def answers(vcpu, eid, fid, args):  # type: ignore[no-untyped-def]
            answer = before(vcpu, eid, fid, args)  # or a trap, which is no call that is counted
            seen.append((eid, fid))
            return answer

        vcpu.answers = answers
    machine.run(max_instructions=20_000)
    assert [vcpu.exits, vcpu.sbi_calls] == [plain.vcpu(0).exits, plain.vcpu(0).sbi_calls]
    assert vcpu.hart.x(9) == plain.vcpu(0).hart.x(9)
    if who == "answers":
        assert len(seen) == sum(vcpu.sbi_calls.values())
    else:
        assert answered() == 0


def test_who_wants_to_stop_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a guest that does nothing but such exits, now and then one is Python's, and none is lost."""
    answered = taken(monkeypatch)
    credits: list[int] = []
    credit = Standing.credit

    def noting(self: Standing) -> None:
        before = answered()
        credit(self)
        credits.append(answered() - before)

    monkeypatch.setattr(Standing, "credit", noting)
    reads = 500
    machine = Machine(memory=4 << 20)
    machine.load(code([csr("csrrs", 5, 0xC00)] * reads + [encode("jal", rd=0, imm=-4 * reads)]))
    machine.vcpu(0).pmu_call(PmuFid.COUNTER_CONFIG_MATCHING, 0, 1, ConfigFlag.CLEAR_VALUE, 1, 0)
    loops = 3 * state.STANDING_TAKEN_MAX // reads
    result = machine.run(max_instructions=loops)
    assert result.exit_counts["VIRTUAL"] == reads * loops
    assert max(credits) == state.STANDING_TAKEN_MAX
    assert reads * loops - sum(credits) < 100
