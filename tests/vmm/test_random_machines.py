"""Whole machines with random programs (random_machine.py): the native engine, with and without compiled
regions, against the reference engine, after every few hundred instructions.

VPMU_FUZZ_MACHINES=N runs N machines instead of a few; VPMU_FUZZ_SEED=N begins there.
"""

from __future__ import annotations

import os
import random

import pytest

from vpmu.hart import hart as harts
from vpmu.hart import state
from vpmu.hart.hot_tier import HotTier
from vpmu.vmm import turns

from . import random_machine

MACHINES = int(os.environ.get("VPMU_FUZZ_MACHINES", "6"))
FIRST = int(os.environ.get("VPMU_FUZZ_SEED", "0"))
PROFILES = ("kvm-7.2", "kvm-6.12", "spec-3.0", "opensbi-1.6")
MOST = 200_000  # instructions of one machine


def _agree(seed: int, *, compiled: bool) -> tuple[int, str]:
    """Run a machine on both engines; instructions, and how it ended."""
    rng = random.Random(seed)
    options = {"profile": PROFILES[seed % len(PROFILES)], "harts": 1 + seed // 4 % 3}
    native, reference = (
        random_machine.machine(seed, **options, engine=engine)  # type: ignore[arg-type]
        for engine in ("native", "reference")
    )
    if compiled:
        native.memory.hot_tier = HotTier(native.memory, eager=True)
    while True:
        budget = rng.choice((rng.randrange(1, 30), rng.randrange(1, 1000), 2000))
        before = native.instructions
        results = [one.run(max_instructions=budget) for one in (native, reference)]
        if compiled:
            assert native.memory.hot_tier is not None
            native.memory.hot_tier.finish()
        where = f"seed {seed}, from instruction {before}, {budget} of them"
        wrong = random_machine.differences(random_machine.picture(native), random_machine.picture(reference))
        assert not wrong, f"{where}: native, reference: {wrong}"
        ended = [
            (r.stop, r.reason, r.exits, r.exit_counts, r.sbi_calls, r.console, r.virtual_ns) for r in results
        ]
        assert ended[0] == ended[1], where
        if results[0].stop != "budget" or native.instructions > MOST:
            return native.instructions, results[0].stop


@pytest.mark.parametrize("compiled", [False, True], ids=("handlers", "regions"))
def test_engines_agree_on_whole_machines(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "QUANTUM_NS", 500)
    if compiled:
        monkeypatch.setattr(harts, "CHUNK", 300)
    total = 0
    ends = []
    for seed in range(FIRST, FIRST + MACHINES):
        instructions, end = _agree(seed, compiled=compiled)
        total += instructions
        ends.append(end)
    print(f"{total} instructions, { ({end: ends.count(end) for end in ends}) }")
    assert total > 2000 * MACHINES
    assert ends.count("shutdown") >= len(ends) // 2, ends


def test_the_random_machines_do_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """They reach fences in every form, both modes, interrupts, devices, and calls of every kind."""
    monkeypatch.setattr(turns, "QUANTUM_NS", 500)
    causes: set[int] = set()
    exits: set[str] = set()
    superpages = user = 0
    for seed in range(6):
        machine = random_machine.machine(seed, 1)
        while machine.run(max_instructions=25).stop == "budget" and machine.instructions < MOST:
            for vcpu in machine.vcpus:
                causes.add(vcpu.hart.get("scause"))
                superpages += any(vcpu.hart.words[state.SUPERPAGES : state.SUPERPAGES + 64])
        exits |= set(machine.run(max_instructions=1).exit_counts)
        user += sum(vcpu.hart.get("count_vu") for vcpu in machine.vcpus)
    assert {2, 8, 12, 13, 15, 1 << 63 | 1, 1 << 63 | 5} <= causes, causes
    assert {"ECALL", "VIRTUAL", "MMIO_LOAD", "MMIO_STORE", "WFI"} <= exits, exits
    assert superpages > 20
    assert user > 50
