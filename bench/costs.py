"""What vpmu itself costs: SBI PMU calls, counting, and its start."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from measure import Runner, best, measure, vpmu_command
from vpmu import Machine
from vpmu.profiles.profiles import DEFAULT_PROFILE
from vpmu.spec.sbi import ConfigFlag, Eid, PmuFid, StartFlag, StopFlag

CALL_ROUNDS = 5_000
CLASS_EVENTS = ("branches", "L1-dcache-loads", "L1-dcache-stores")
"""Events that make the engine count all instruction classes."""
MISS_EVENTS = ("dTLB-load-misses", "dTLB-store-misses", "iTLB-load-misses", "L1-dcache-load-misses")
"""Events that make it model TLB and cache besides."""
DTLB_READ_MISS = 0x10019


def scripted_calls(profile: str) -> float:
    """Microseconds of CPU time of config_matching + start + stop with RESET, by the scripted guest."""
    machine = Machine(profile=profile, memory=1 << 20)
    ecall = machine.vcpu(0).ecall
    times = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(CALL_ROUNDS):
            counter = ecall(
                Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 0, 0x7FFF8, ConfigFlag.CLEAR_VALUE, DTLB_READ_MISS, 0
            ).value  # type: ignore[union-attr]
            ecall(Eid.PMU, PmuFid.COUNTER_START, counter, 1, StartFlag.SET_INIT_VALUE, 0)
            ecall(Eid.PMU, PmuFid.COUNTER_STOP, counter, 1, StopFlag.RESET)
        times.append((time.process_time() - started) / CALL_ROUNDS * 1e6)
    return min(times)


def machine_code_calls(
    image: Path, empty: Path, runners: Sequence[Runner], rounds: int, *, rounds_from: Path | None = None
) -> dict[str, float]:
    """What one of a guest's ROUNDS takes, as the same three calls: microseconds of CPU time by runner, its
    start taken off. `rounds_from`: the guest whose source has them, if it is another.
    """
    calls = rounds_of(image) if rounds_from is None else rounds_of(rounds_from)
    out = {}
    for runner in runners:
        costs = best([measure(runner.command(image), expect=image.stem) for _ in range(rounds)])
        start = best([measure(runner.command(empty), expect=empty.stem) for _ in range(rounds)])
        out[runner.name] = (costs.cpu - start.cpu) / calls * 1e6
    return out


def lone_exits(images: Mapping[str, Path], runners: Sequence[Runner], rounds: int) -> dict[str, float]:
    """Microseconds of CPU time of an exit between other ones, by exit and runner."""
    without = images["lone"]
    return {
        f"{what}, {name}": cost
        for what, guest in (("BASE call", "lonebase"), ("counter CSR", "lonecsr"))
        for name, cost in machine_code_calls(
            images[guest], without, runners, rounds, rounds_from=without
        ).items()
    }


def rounds_of(image: Path) -> int:
    """ROUNDS of a guest's source."""
    found = re.search(r"ROUNDS (\d+)", (Path(__file__).parent / "guests" / f"{image.stem}.c").read_text())
    assert found is not None
    return int(found[1])


def counter_reads(image: Path, empty: Path, others: Sequence[Runner], rounds: int) -> dict[str, float]:
    """Microseconds of CPU time of one read of a counter's CSR: where KVM emulates it, where the hart answers,
    and on other runners.
    """
    out = {}
    for profile in (DEFAULT_PROFILE, "opensbi-1.6"):
        times = []
        for _ in range(rounds + 1):  # the first may have to build the engine
            machine = Machine(profile=profile, memory=128 << 20)
            machine.load(str(image))
            started = time.process_time()
            machine.run()
            times.append(time.process_time() - started)
        out[f"vpmu, {profile}"] = min(times) / rounds_of(image) * 1e6
    return out | machine_code_calls(image, empty, others, rounds)


def counting(image: Path, rounds: int) -> dict[str, float]:
    """Seconds of CPU time of one guest that counts nothing, all classes, and misses as well, taken in
    turns.
    """
    variants: dict[str, tuple[str, ...]] = {
        "nothing": (),
        "classes": CLASS_EVENTS,
        "classes and misses": (*CLASS_EVENTS, *MISS_EVENTS),
    }
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, events in variants.items():
            machine = Machine(memory=128 << 20, host_pmu="full")
            machine.load(str(image))
            for event in events:
                machine.open_counter(event)
            started = time.process_time()
            machine.run()
            if number:  # the first round may have to build the engine
                taken[name].append(time.process_time() - started)
    return {name: min(times) for name, times in taken.items()}


def start_up(rounds: int, say: Callable[[str], None]) -> dict[str, float]:
    """Seconds of CPU time of `vpmu run hello`: with an empty cache, so that the engine is built, and with a
    full one.
    """
    with tempfile.TemporaryDirectory() as cache:
        environment = {"XDG_CACHE_HOME": cache}
        say("start with an empty cache")
        cold = measure(vpmu_command("run", "hello"), expect="hello", environment=environment)
        warm = [
            measure(vpmu_command("run", "hello"), expect="hello", environment=environment)
            for _ in range(2 + rounds)
        ]
    python = [measure(vpmu_command("--version"), expect="vpmu") for _ in range(rounds)]
    return {
        "cold": cold.cpu,
        "cold_wall": cold.wall,
        "warm": median(cost.cpu for cost in warm),
        "warm_wall": median(cost.wall for cost in warm),
        "interpreter": median(cost.cpu for cost in python),
    }
