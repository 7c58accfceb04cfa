"""Which instructions of a hart each generic perf event counts.

Only what a hart of ours can know exactly is here. Stalls, branch prediction, prefetches and caches behind
the first level are not modelled: no description can offer them.
"""

from __future__ import annotations

from collections.abc import Mapping

from vpmu.hart.events import HartEvent
from vpmu.hart.pmu import Selector

COUNTABLE: Mapping[str, Selector] = {
    "cycles": (HartEvent.CYCLES,),
    "instructions": (HartEvent.INSTRUCTIONS,),
    "branches": (HartEvent.BRANCHES,),
    # One clock: it has a fixed frequency, and stops when the hart does.
    "bus-cycles": (HartEvent.CYCLES,),
    "ref-cycles": (HartEvent.CYCLES,),
    # The first level of the data cache is the only one.
    "cache-references": (HartEvent.LOADS, HartEvent.STORES),
    "cache-misses": (HartEvent.L1D_READ_MISS, HartEvent.L1D_WRITE_MISS),
    "L1-dcache-loads": (HartEvent.LOADS,),
    "L1-dcache-load-misses": (HartEvent.L1D_READ_MISS,),
    "L1-dcache-stores": (HartEvent.STORES,),
    "L1-dcache-store-misses": (HartEvent.L1D_WRITE_MISS,),
    "dTLB-loads": (HartEvent.LOADS,),
    "dTLB-load-misses": (HartEvent.DTLB_READ_MISS,),
    "dTLB-stores": (HartEvent.STORES,),
    "dTLB-store-misses": (HartEvent.DTLB_WRITE_MISS,),
    # One fetch per retired instruction.
    "iTLB-loads": (HartEvent.INSTRUCTIONS,),
    "iTLB-load-misses": (HartEvent.ITLB_MISS,),
}
"""The perf tool's name of an event -> what a counter counts for it."""
