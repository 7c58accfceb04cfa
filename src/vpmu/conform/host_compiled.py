"""Compile what a KVM host's kernel runs for its guests, once: what comes after begins with it (engine.md).

A guest's call runs some ten thousand instructions of the host, each of them once, in runs too short to be
sampled. So the calls are made here in steps of a few instructions, and all that a step ends in is compiled:
half a minute of processor time, kept by the contents of the kernel's pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..spec.sbi import SHMEM_DISABLE, ConfigFlag, PmuFid, StartFlag, StopFlag
from .agent import packed_batch
from .calls import Call, Ref, pmu

if TYPE_CHECKING:
    from ..vmm.linux.progress import Progress
    from .host_link import HostLink

STEP = 37
"""Instructions: prime to what loops and calls take, so that each round ends elsewhere."""
ROUNDS, REPEATS = 3, 8
ALL = 0xFFFF_FFFD
_CYCLES, _INSTRUCTIONS, _ABSENT, _SET_TIMER = 1, 2, 0x10030, 0xF0005
_OVERFLOW = (1 << 64) - 500


def training(scratch: int) -> list[Call]:
    """What guests ask for: events of each kind, refusals, counts by CSR and by shared memory, an overflow."""
    calls = [pmu(PmuFid.NUM_COUNTERS), pmu(PmuFid.SNAPSHOT_SET_SHMEM, scratch, 0, 0)]
    for event in (_CYCLES, _INSTRUCTIONS, _SET_TIMER):
        config = Ref(len(calls))
        calls += [
            pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, ALL, int(ConfigFlag.CLEAR_VALUE), event, 0),
            pmu(PmuFid.COUNTER_START, config, 1, int(StartFlag.SET_INIT_VALUE), 0),
            Call("w", (50,)),
            Call("c", (config,)),
            pmu(PmuFid.COUNTER_STOP, config, 1, int(StopFlag.TAKE_SNAPSHOT)),
            pmu(PmuFid.COUNTER_START, config, 1, int(StartFlag.SET_INIT_VALUE), _OVERFLOW),
            Call("w", (600,)),
            pmu(PmuFid.COUNTER_STOP, config, 1, int(StopFlag.RESET)),
        ]
    calls.append(pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, ALL, 0, _ABSENT, 0))
    return [*calls, pmu(PmuFid.SNAPSHOT_SET_SHMEM, SHMEM_DISABLE, SHMEM_DISABLE, 0)]


def compile_host(link: HostLink, scratch: int, progress: Progress) -> int:
    """Have a host's hot paths compiled and kept; how many regions are new. 0 where there is no compiler."""
    from importlib.util import find_spec

    if find_spec("llvmlite") is None:
        return 0
    from ..hart.hot_tier import HotTier

    memory, hart = link.host.machine.memory, link.host.machine.vcpu(0).hart
    tier = memory.hot_tier = HotTier(memory, eager=True)
    progress.step("compiling what the host's kernel runs for a guest")
    request = packed_batch(b"R", training(scratch))
    for number in range(ROUNDS):
        link.rewind()
        for _ in range(REPEATS):
            link.host.ask(request)
            while link.host.run(STEP + 2 * number).stop == "budget":
                tier.sample(hart.get("dbase"), hart.pc)
        tier.finish(progress.update)
    progress.finish()
    link.rewind()
    return tier.compiled
