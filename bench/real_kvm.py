"""What a guest's calls cost on real KVM on our own hart: instructions of the host, time of this machine.

    python bench/real_kvm.py [SUITE]

Instructions are exact: HS mode, between two batches that differ in REPEATS calls. Times are of the process.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from vpmu.conform.calls import Call, ecall, pmu
from vpmu.conform.kvm import HostOptions, HostTarget, host_target
from vpmu.hart.events import HartEvent, Mode
from vpmu.spec.sbi import Eid, PmuFid

REPEATS = 40
REFUSED = 0x10000
"""An event that this host's perf refuses: L1D read accesses."""
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


def main() -> int:
    """Print the table."""
    suite = sys.argv[1] if len(sys.argv) > 1 else "trixie"
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
