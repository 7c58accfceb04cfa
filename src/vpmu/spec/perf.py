"""Linux's perf ABI, as far as a virtual PMU needs it: event types, configs, `perf_event_attr`, the names
that `perf list` prints.

Source: include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

U64: Final = (1 << 64) - 1
ALL_ONES = U64
"""The config that KVM passes for an event it cannot translate."""


class PerfType(IntEnum):
    """`perf_event_attr.type`. Numbers from MAX on belong to PMUs that register at run time."""

    HARDWARE = 0
    SOFTWARE = 1
    TRACEPOINT = 2
    HW_CACHE = 3
    RAW = 4
    BREAKPOINT = 5
    MAX = 6


class PerfHw(IntEnum):
    """`config` of PerfType.HARDWARE."""

    CPU_CYCLES = 0
    INSTRUCTIONS = 1
    CACHE_REFERENCES = 2
    CACHE_MISSES = 3
    BRANCH_INSTRUCTIONS = 4
    BRANCH_MISSES = 5
    BUS_CYCLES = 6
    STALLED_CYCLES_FRONTEND = 7
    STALLED_CYCLES_BACKEND = 8
    REF_CPU_CYCLES = 9
    MAX = 10


class CacheId(IntEnum):
    """Bits 7:0 of `config` of PerfType.HW_CACHE."""

    L1D = 0
    L1I = 1
    LL = 2
    DTLB = 3
    ITLB = 4
    BPU = 5
    NODE = 6
    MAX = 7


class CacheOp(IntEnum):
    """Bits 15:8 of `config` of PerfType.HW_CACHE."""

    READ = 0
    WRITE = 1
    PREFETCH = 2
    MAX = 3


class CacheResult(IntEnum):
    """Bits 23:16 of `config` of PerfType.HW_CACHE."""

    ACCESS = 0
    MISS = 1
    MAX = 2


def cache_config(cache: int, op: int, result: int) -> int:
    """Config of PerfType.HW_CACHE."""
    return cache | op << 8 | result << 16


def cache_fields(config: int) -> tuple[int, int, int]:
    """(cache, op, result) of a config of PerfType.HW_CACHE, each 8 bits wide and not checked."""
    return config & 0xFF, config >> 8 & 0xFF, config >> 16 & 0xFF


PMU_TYPE_SHIFT = 32
"""HARDWARE and HW_CACHE name a PMU in the upper half of `config` (0: the CPU's)."""
CONFIG_MASK = (1 << PMU_TYPE_SHIFT) - 1

RISCV_CONFIG1_GUEST_EVENTS = 1
"""Bit of `config1` by which KVM asks the RISC-V host driver to count the guest
(RISCV_PMU_CONFIG1_GUEST_EVENTS).
"""
CONFIG1_NOT_VU, CONFIG1_NOT_VS = 1 << 62, 1 << 63
"""Bits of no kernel: the specification's PMU below a hart with all its modes has the filters VUINH and VSINH,
which perf's exclude bits cannot say.
"""


class PerfEventAttr(NamedTuple):
    """The fields of `struct perf_event_attr` that decide what a hardware event counts; the others are 0.

    `sample_period` is an unsigned 64-bit count of events, 0 for an event that does not sample.
    """

    type: int
    config: int
    config1: int = 0
    sample_period: int = 0
    disabled: bool = False
    pinned: bool = False
    exclude_user: bool = False
    exclude_kernel: bool = False
    exclude_hv: bool = False
    exclude_host: bool = False
    exclude_guest: bool = False

    @property
    def sampling(self) -> bool:
        """True where an overflow is asked for (is_sampling_event)."""
        return self.sample_period != 0

    @property
    def excludes(self) -> bool:
        """True where any mode is excluded (event_has_any_exclude_flag)."""
        return (
            self.exclude_user
            or self.exclude_kernel
            or self.exclude_hv
            or self.exclude_host
            or self.exclude_guest
        )


_HARDWARE_NAMES = {
    PerfHw.CPU_CYCLES: "cycles",
    PerfHw.INSTRUCTIONS: "instructions",
    PerfHw.CACHE_REFERENCES: "cache-references",
    PerfHw.CACHE_MISSES: "cache-misses",
    PerfHw.BRANCH_INSTRUCTIONS: "branches",
    PerfHw.BRANCH_MISSES: "branch-misses",
    PerfHw.BUS_CYCLES: "bus-cycles",
    PerfHw.STALLED_CYCLES_FRONTEND: "stalled-cycles-frontend",
    PerfHw.STALLED_CYCLES_BACKEND: "stalled-cycles-backend",
    PerfHw.REF_CPU_CYCLES: "ref-cycles",
}
_CACHE_NAMES = {
    CacheId.L1D: "L1-dcache",
    CacheId.L1I: "L1-icache",
    CacheId.LL: "LLC",
    CacheId.DTLB: "dTLB",
    CacheId.ITLB: "iTLB",
    CacheId.BPU: "branch",
    CacheId.NODE: "node",
}
_OP_NAMES = {
    (CacheOp.READ, CacheResult.ACCESS): "loads",
    (CacheOp.READ, CacheResult.MISS): "load-misses",
    (CacheOp.WRITE, CacheResult.ACCESS): "stores",
    (CacheOp.WRITE, CacheResult.MISS): "store-misses",
    (CacheOp.PREFETCH, CacheResult.ACCESS): "prefetches",
    (CacheOp.PREFETCH, CacheResult.MISS): "prefetch-misses",
}

EVENTS: dict[str, tuple[int, int]] = {
    **{name: (int(PerfType.HARDWARE), int(config)) for config, name in _HARDWARE_NAMES.items()},
    **{
        f"{cache_name}-{op_name}": (int(PerfType.HW_CACHE), cache_config(cache, op, result))
        for cache, cache_name in _CACHE_NAMES.items()
        for (op, result), op_name in _OP_NAMES.items()
    },
}
"""(type, config) of the 52 generic events, by the name that the perf tool prints."""

_NAMES = {code: name for name, code in EVENTS.items()}


def event_name(type_: int, config: int) -> str:
    """The perf tool's name of an event, `rCONFIG` for a raw one, `type T config 0xC` for anything else."""
    name = _NAMES.get((type_, config))
    if name is not None:
        return name
    if type_ == PerfType.RAW:
        return f"r{config:x}"
    return f"type {type_} config {config:#x}"
