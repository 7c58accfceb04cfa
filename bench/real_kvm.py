"""What a guest's calls cost on real KVM on our own hart: instructions of the host, time of this machine.

    python bench/real_kvm.py [SUITE] [--qemu]

Instructions are exact: HS mode, between two batches that differ in REPEATS calls. Times are of the process.
--qemu: the triple on the same host in QEMU, too: processor time of both, so that other load does not enter.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vpmu.conform.calls import Call, ecall, pmu
from vpmu.conform.kvm import QEMU, HostOptions, HostTarget, KvmTarget, host_target, kvm_target
from vpmu.hart.events import HartEvent, Mode
from vpmu.spec.sbi import Eid, PmuFid

REPEATS, ROUNDS, MANY = 40, 30, 90
REFUSED = 0x10030
"""An event that this host's perf refuses: reads of NUMA nodes."""
ALL = 0x1FF_FFFF_FFFD


def cost(target: HostTarget, before: Sequence[Call], calls: Sequence[Call]) -> tuple[float, float]:
    """(HS instructions, microseconds) of `calls`, done REPEATS times more in a batch behind `before`."""
    hart = target.link.host.machine.vcpu(0).hart
    spent: list[tuple[int, float]] = []
    for repeats in (1, 1 + REPEATS, 1, 1 + REPEATS):
        target.reset()
        began, start = hart.count(HartEvent.INSTRUCTIONS, Mode.S), time.process_time()
        target.run([*before, *calls * repeats])
        spent.append((hart.count(HartEvent.INSTRUCTIONS, Mode.S) - began, time.process_time() - start))
    (few, _), (many, _), (_, short), (_, long) = spent
    return (many - few) / REPEATS, (long - short) / REPEATS * 1e6


def processor(target: KvmTarget, calls: Sequence[Call], spent: Callable[[], float]) -> float:
    """Microseconds of processor time that `calls` take, over ROUNDS batches of MANY; `spent` says
    how many seconds a process has used.
    """
    many = MANY
    total = 0.0
    for _ in range(ROUNDS):
        target.reset()
        target.run(calls)
        start = spent()
        target.run([*calls * many])
        total += spent() - start
    return total / (ROUNDS * many) * 1e6


def of_process(pid: int) -> float:
    """Seconds of processor time that a process has used, in steps of a clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Print the table."""
    words = [word for word in sys.argv[1:] if word != "--qemu"]
    suite = words[0] if words else "trixie"
    target = host_target(None, HostOptions(suite))
    cfg = pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, ALL, 0, 1, 0)
    start, stop = pmu(PmuFid.COUNTER_START, 0, 1, 0, 0), pmu(PmuFid.COUNTER_STOP, 0, 1, 0)
    free = pmu(PmuFid.COUNTER_STOP, 0, 1, 1)
    rows = (
        ("BASE get_spec_version", [], [ecall(Eid.BASE, 0)]),
        ("PMU num_counters", [], [pmu(PmuFid.NUM_COUNTERS)]),
        ("config, refused by perf", [], [pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, ALL, 0, REFUSED, 0)]),
        ("config cycles + stop with RESET", [], [cfg, free]),
        ("start + stop", [cfg], [start, stop]),
        ("config + start + stop with RESET", [], [cfg, start, free]),
    )
    print(target.description)
    for name, before, calls in rows:
        instructions, microseconds = cost(target, before, calls)
        print(f"{name:34} {instructions:8.0f} HS instructions {microseconds:8.1f} us")
    if "--qemu" in sys.argv:
        triple = rows[-1][2]
        ours = processor(target, triple, time.process_time)
        other = kvm_target(None, HostOptions(suite, on=QEMU))
        pid = other.pid
        theirs = processor(other, triple, lambda: of_process(pid))
        other.close()
        print(other.description)
        print(f"the triple, processor time: {ours:.1f} us here, {theirs:.1f} us there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
