"""Counters that the engine answers itself: what it says is what the PMU says, whatever counts where.

Three machines run one random program: the native engine and the reference engine answer reads from what the
PMU has published; in the third every read leaves the engine and Python asks the PMU.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from vpmu import Machine
from vpmu.faults import FaultPlan, parse_rule
from vpmu.hart import state
from vpmu.hart.events import HartEvent
from vpmu.hart.hart import CLASS_EVENTS, MISS_EVENTS
from vpmu.hart.pmu import CounterLayout, PhysicalPmu, Selector
from vpmu.hart.published import MAX_TERMS, PublishedCounters
from vpmu.perf.description import HostPmuDescription, load_host_pmu
from vpmu.spec.sbi_events import standard_events
from vpmu.trace.recorder import Recorder
from vpmu.vmm.isa import FIRMWARE_ISA
from vpmu.vmm.pmu_node import selectors

from ..hart.guest import boot
from ..hart.whole.amount import seeds
from ..hart.whole.elf import elf
from .random_counters import BASE, HASH, CounterProgram

KINDS = ("bare", "whole", "two modes")
MANY = (*CLASS_EVENTS, *MISS_EVENTS)
assert 3 * len(MANY) > MAX_TERMS
COSTS = {HartEvent.LOADS: 2, HartEvent.CSR: 7}
LAYOUTS = (
    {"smcntrpmf": True},
    {"width": 48, "smcntrpmf": True},
    {"overflow_interrupts": False, "one_counter_per_event": True},
    {"sscofpmf": False},
    {"cycle_costs": {**COSTS, HartEvent.DTLB_READ_MISS: 20}},
    {"smcntrpmf": True, "cycle_costs": COSTS},
)


def host_of(seed: int) -> HostPmuDescription:
    """A host whose counters have something special."""
    full = load_host_pmu("full")
    return replace(full, counters=replace(full.counters, **LAYOUTS[seed % len(LAYOUTS)]))  # type: ignore[arg-type]


def counted(seed: int, selector: Selector) -> bool:
    """Whether the program of a seed has an event. The reference engine models no TLB and no cache."""
    return seed % 2 == 0 or not set(selector) & MISS_EVENTS.keys()


def machine_of(kind: str, seed: int, engine: str, recorder: Recorder | None = None) -> Machine:
    """A machine with the program of a seed: "bare" in M mode, "whole" and "two modes" above firmware."""
    host = host_of(seed)
    if kind == "bare":
        events = [value for value, selector in selectors(host).items() if counted(seed, selector)]
        events += [0, 0x12345]
        program = CounterProgram(f"bare {seed}", machine=True, guests=True, events=events)
        machine = Machine(
            firmware=elf(bytes(program.image.bytes), BASE, {}), isa=FIRMWARE_ISA, host_pmu=host,
            engine=engine, memory=2 << 20, recorder=recorder,
        )  # fmt: skip
        machine.load(None)
        return machine
    numbers = standard_events()
    events = [numbers[name].event_idx for name, _, selector in host.countable() if counted(seed, selector)]
    whole = kind == "whole"
    program = CounterProgram(f"{kind} {seed}", machine=False, guests=whole, events=events)
    machine = Machine(
        "opensbi-1.6", isa=("h", "sscofpmf") if whole else None, host_pmu=host, engine=engine,
        memory=4 << 20, recorder=recorder,
    )  # fmt: skip
    machine.load(bytes(program.image.bytes))
    return machine


def picture(machine: Machine) -> dict[str, object]:
    """What the guest has read, and what the hart has counted."""
    vcpu = machine.vcpu(0)
    hart = vcpu.hart
    counts = {name: hart.get(name) for name in state.STATE if name.startswith(("count_", "traps_"))}
    return {
        **counts, "hash": hart.x(HASH), "pc": hart.pc, "mode": hart.mode, "time": hart.time_ns,
        "overflows": vcpu.overflows, "next result": hart.x(8),
    }  # fmt: skip


def reads(machine: Machine) -> int:
    """Exits of reads that Python answered."""
    exits = machine.vcpu(0).exits
    return exits["CSR"] + exits["VIRTUAL"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", seeds(6))
def test_engines_and_pmu_agree(kind: str, seed: int) -> None:
    engines = ("native", "native", "reference", "reference")[: 2 + 2 * (seed % 2)]
    machines = [machine_of(kind, seed, engine) for engine in engines]
    for machine in machines[1::2]:
        machine.vcpu(0).published = None
    rng = random.Random(seed)
    for turn in range(60):
        budget = rng.choice((1, 7, rng.randrange(1, 400), rng.randrange(1, 400)))
        ends = {machine.run(max_instructions=budget).stop for machine in machines}
        pictures = [*map(picture, machines)]
        for other in pictures[1:]:
            assert pictures[0] == other, turn
        assert ends == {"budget"}
    answering, asking = (reads(machine) for machine in machines[:2])
    assert asking > answering + 40  # what is left are writes, and scountovf above firmware


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_goes_on_with_what_the_pmu_says(kind: str) -> None:
    """On another machine, and on the one that went on meanwhile."""
    machine = machine_of(kind, 7, "native")
    machine.run(max_instructions=2500)
    snapshot = machine.snapshot()
    ends = []
    for again in (machine, machine, snapshot.machine()):
        if ends:
            again.restore(snapshot)
        before = reads(again)
        again.run(max_instructions=2500)
        ends.append((picture(again), reads(again) - before))
    assert ends[0] == ends[1] == ends[2]
    asking = machine_of(kind, 7, "native")
    asking.vcpu(0).published = None
    asking.run(max_instructions=5000)
    assert picture(asking) == ends[0][0]


@pytest.mark.parametrize("kind", ["whole", "two modes"])
def test_a_trace_has_every_read(kind: str) -> None:
    """Who records, injects or watches sees what was read; the guest sees the same as without."""
    machine, traced = (machine_of(kind, 7, "native", recorder) for recorder in (None, Recorder()))
    watched = machine_of(kind, 7, "native")
    seen: list[int] = []
    watched.vcpu(0).watch = lambda vcpu, counter, value: seen.append(value)
    for one in (machine, traced, watched):
        one.run(max_instructions=5000)
    assert picture(machine) == picture(traced) == picture(watched)
    recorded = [record for record in traced.recorder.records if record.action == "read"]
    assert [record.result for record in recorded] == seen
    assert len(seen) > 60
    assert reads(machine) < reads(traced) == reads(watched)
    wrong = machine_of(kind, 7, "native")
    wrong.inject(FaultPlan((parse_rule("kvm.csr:call=50,xor=0x100"),)))
    wrong.run(max_instructions=5000)
    assert reads(wrong) == reads(traced)
    assert picture(wrong)["hash"] != picture(traced)["hash"]


def test_a_counter_of_too_many_words_is_left_to_the_pmu() -> None:
    hart = boot("native")
    pmu = PhysicalPmu(hart, CounterLayout(selectors={MANY: frozenset({3})}))
    pmu.publish(PublishedCounters(hart, {}, overflow=False))
    assert pmu.published is not None
    pmu.published.answer(True)
    answered = hart.counters_at // 8
    all_of_them = hart.words[answered]
    assert all_of_them == sum(1 << index for index in pmu.layout.indices)
    pmu.configure(3, MANY)
    assert hart.words[answered] == all_of_them  # stopped, it is a number
    pmu.start(3)
    assert hart.words[answered] == all_of_them & ~(1 << 3)
    pmu.stop(3)
    assert hart.words[answered] == all_of_them
    pmu.published.answer(False)
    assert hart.words[answered] == 0
