"""The SBI as numbers and layouts (specification 3.0): extensions, functions, errors, PMU flags and shared
memory.

The names of PMU events are in `sbi_events`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple

U64 = (1 << 64) - 1
XLEN = 64


class SbiError(IntEnum):
    """Error codes of `sbiret.error` (chapter "Binary Encoding", table of standard errors)."""

    SUCCESS = 0
    FAILED = -1
    NOT_SUPPORTED = -2
    INVALID_PARAM = -3
    DENIED = -4
    INVALID_ADDRESS = -5
    ALREADY_AVAILABLE = -6
    ALREADY_STARTED = -7
    ALREADY_STOPPED = -8
    NO_SHMEM = -9
    INVALID_STATE = -10
    BAD_RANGE = -11
    TIMEOUT = -12
    IO = -13
    DENIED_LOCKED = -14


class SbiRet(NamedTuple):
    """What an SBI call leaves in a0 and a1. `value` is None where a1 keeps what the caller had in it (legacy
    calls).
    """

    error: int
    value: int | None = 0


class Eid(IntEnum):
    """Extension ids (each extension's chapter). Legacy v0.1 calls are EIDs 0 to 8 themselves."""

    LEGACY_SET_TIMER = 0x00
    LEGACY_CONSOLE_PUTCHAR = 0x01
    LEGACY_CONSOLE_GETCHAR = 0x02
    LEGACY_CLEAR_IPI = 0x03
    LEGACY_SEND_IPI = 0x04
    LEGACY_REMOTE_FENCE_I = 0x05
    LEGACY_REMOTE_SFENCE_VMA = 0x06
    LEGACY_REMOTE_SFENCE_VMA_ASID = 0x07
    LEGACY_SHUTDOWN = 0x08
    BASE = 0x10
    TIME = 0x54494D45
    IPI = 0x735049
    RFENCE = 0x52464E43
    HSM = 0x48534D
    SRST = 0x53525354
    PMU = 0x504D55
    DBCN = 0x4442434E
    SUSP = 0x53555350
    CPPC = 0x43505043
    NACL = 0x4E41434C
    STA = 0x535441
    SSE = 0x535345
    FWFT = 0x46574654
    DBTR = 0x44425452
    MPXY = 0x4D505859


EXPERIMENTAL_EIDS = 0x08
VENDOR_EIDS = 0x09
"""Bits 31:24 (and nothing above them) of the EIDs that are set aside for experiments and for vendors."""


class BaseFid(IntEnum):
    """Functions of BASE (chapter "Base Extension")."""

    GET_SPEC_VERSION = 0
    GET_IMPL_ID = 1
    GET_IMPL_VERSION = 2
    PROBE_EXTENSION = 3
    GET_MVENDORID = 4
    GET_MARCHID = 5
    GET_MIMPID = 6


class RfenceFid(IntEnum):
    """Functions of RFNC (chapter "RFENCE Extension")."""

    FENCE_I = 0
    SFENCE_VMA = 1
    SFENCE_VMA_ASID = 2
    HFENCE_GVMA_VMID = 3
    HFENCE_GVMA = 4
    HFENCE_VVMA_ASID = 5
    HFENCE_VVMA = 6


class HsmFid(IntEnum):
    """Functions of HSM (chapter "Hart State Management Extension")."""

    HART_START = 0
    HART_STOP = 1
    HART_GET_STATUS = 2
    HART_SUSPEND = 3


class HartState(IntEnum):
    """HSM hart states (chapter "Hart State Management Extension", table of states)."""

    STARTED = 0
    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    SUSPENDED = 4
    SUSPEND_PENDING = 5
    RESUME_PENDING = 6


class FwftFid(IntEnum):
    """Functions of FWFT (chapter "Firmware Features Extension", SBI 3.0)."""

    SET = 0
    GET = 1


class FwftFeature(IntEnum):
    """Features of FWFT (table of feature identifiers); all are local to a hart. Other ids are reserved or a
    platform's.
    """

    MISALIGNED_EXC_DELEG = 0
    LANDING_PAD = 1
    SHADOW_STACK = 2
    DOUBLE_TRAP = 3
    PTE_AD_HW_UPDATING = 4
    POINTER_MASKING_PMLEN = 5


class PmuFid(IntEnum):
    """Functions of PMU (chapter "Performance Monitoring Unit Extension"); 6, 7 came with 2.0, 8 with 3.0."""

    NUM_COUNTERS = 0
    COUNTER_GET_INFO = 1
    COUNTER_CONFIG_MATCHING = 2
    COUNTER_START = 3
    COUNTER_STOP = 4
    COUNTER_FW_READ = 5
    COUNTER_FW_READ_HI = 6
    SNAPSHOT_SET_SHMEM = 7
    EVENT_GET_INFO = 8


class ConfigFlag(IntFlag):
    """`config_flags` of counter_config_matching; bits 8 and above are reserved."""

    SKIP_MATCH = 1 << 0
    CLEAR_VALUE = 1 << 1
    AUTO_START = 1 << 2
    SET_VUINH = 1 << 3
    SET_VSINH = 1 << 4
    SET_UINH = 1 << 5
    SET_SINH = 1 << 6
    SET_MINH = 1 << 7


class StartFlag(IntFlag):
    """`start_flags` of counter_start; bits 2 and above are reserved."""

    SET_INIT_VALUE = 1 << 0
    INIT_SNAPSHOT = 1 << 1


class StopFlag(IntFlag):
    """`stop_flags` of counter_stop; bits 2 and above are reserved."""

    RESET = 1 << 0
    TAKE_SNAPSHOT = 1 << 1


CONFIG_FLAGS = 0xFF
START_FLAGS = 0b11
STOP_FLAGS = 0b11
"""Defined bits of each function's flags; the others are reserved and must be zero."""

SHMEM_DISABLE = U64
"""Both halves of a shared-memory address have this value to switch the area off."""


class CounterType(IntEnum):
    """Who implements a counter (bit XLEN-1 of counter_info)."""

    HARDWARE = 0
    FIRMWARE = 1


@dataclass(frozen=True, slots=True)
class CounterInfo:
    """`counter_info` (section "Get details of a counter"): CSR number, width in bits *minus one*, type."""

    csr: int
    width: int
    type: CounterType

    def pack(self) -> int:
        """The word that counter_get_info returns on RV64."""
        return self.csr | self.width << 12 | self.type << (XLEN - 1)

    @classmethod
    def unpack(cls, word: int) -> CounterInfo:
        """The fields of a counter_info word."""
        return cls(word & 0xFFF, word >> 12 & 0x3F, CounterType(word >> (XLEN - 1) & 1))


SNAPSHOT_SIZE = 4096
SNAPSHOT_SLOTS = 64
SNAPSHOT_VALUES = 8
"""Offset of the first of 64 little-endian u64 values; before it the overflow bitmap (section "Set PMU
snapshot shared memory").
"""


class EventInfo(NamedTuple):
    """One entry of event_get_info's table (section "Get PMU Event info"); `output` bit 0 says that the event
    is supported.
    """

    event_idx: int
    output: int
    event_data: int


EVENT_INFO_ENTRY = struct.Struct("<IIQ")
"""Layout of one entry: event_idx (bits 31:20 must be zero), output, event_data; 16 bytes, little-endian."""
EVENT_INFO_RESERVED = 0xFFF00000


@dataclass(frozen=True, slots=True)
class Function:
    """A function's name and the names of its arguments, in register order from a0."""

    name: str
    arguments: tuple[str, ...] = ()


_HARTS = ("hart_mask", "hart_mask_base")
_RANGE = ("start_addr", "size")
_SET = ("counter_idx_base", "counter_idx_mask")

LEGACY: dict[int, Function] = {
    Eid.LEGACY_SET_TIMER: Function("legacy_set_timer", ("stime_value",)),
    Eid.LEGACY_CONSOLE_PUTCHAR: Function("legacy_console_putchar", ("ch",)),
    Eid.LEGACY_CONSOLE_GETCHAR: Function("legacy_console_getchar"),
    Eid.LEGACY_CLEAR_IPI: Function("legacy_clear_ipi"),
    Eid.LEGACY_SEND_IPI: Function("legacy_send_ipi", ("hart_mask",)),
    Eid.LEGACY_REMOTE_FENCE_I: Function("legacy_remote_fence_i", ("hart_mask",)),
    Eid.LEGACY_REMOTE_SFENCE_VMA: Function("legacy_remote_sfence_vma", ("hart_mask", *_RANGE)),
    Eid.LEGACY_REMOTE_SFENCE_VMA_ASID: Function(
        "legacy_remote_sfence_vma_asid", ("hart_mask", *_RANGE, "asid")
    ),
    Eid.LEGACY_SHUTDOWN: Function("legacy_shutdown"),
}
"""The v0.1 calls (chapter "Legacy Extensions"): no function id, and only a0 comes back."""

FUNCTIONS: dict[tuple[int, int], Function] = {
    (Eid.BASE, 0): Function("get_spec_version"),
    (Eid.BASE, 1): Function("get_impl_id"),
    (Eid.BASE, 2): Function("get_impl_version"),
    (Eid.BASE, 3): Function("probe_extension", ("extension_id",)),
    (Eid.BASE, 4): Function("get_mvendorid"),
    (Eid.BASE, 5): Function("get_marchid"),
    (Eid.BASE, 6): Function("get_mimpid"),
    (Eid.TIME, 0): Function("set_timer", ("stime_value",)),
    (Eid.IPI, 0): Function("send_ipi", _HARTS),
    (Eid.RFENCE, 0): Function("remote_fence_i", _HARTS),
    (Eid.RFENCE, 1): Function("remote_sfence_vma", (*_HARTS, *_RANGE)),
    (Eid.RFENCE, 2): Function("remote_sfence_vma_asid", (*_HARTS, *_RANGE, "asid")),
    (Eid.RFENCE, 3): Function("remote_hfence_gvma_vmid", (*_HARTS, *_RANGE, "vmid")),
    (Eid.RFENCE, 4): Function("remote_hfence_gvma", (*_HARTS, *_RANGE)),
    (Eid.RFENCE, 5): Function("remote_hfence_vvma_asid", (*_HARTS, *_RANGE, "asid")),
    (Eid.RFENCE, 6): Function("remote_hfence_vvma", (*_HARTS, *_RANGE)),
    (Eid.HSM, 0): Function("hart_start", ("hartid", "start_addr", "opaque")),
    (Eid.HSM, 1): Function("hart_stop"),
    (Eid.HSM, 2): Function("hart_get_status", ("hartid",)),
    (Eid.HSM, 3): Function("hart_suspend", ("suspend_type", "resume_addr", "opaque")),
    (Eid.SRST, 0): Function("system_reset", ("reset_type", "reset_reason")),
    (Eid.PMU, 0): Function("num_counters"),
    (Eid.PMU, 1): Function("counter_get_info", ("counter_idx",)),
    (Eid.PMU, 2): Function("counter_config_matching", (*_SET, "config_flags", "event_idx", "event_data")),
    (Eid.PMU, 3): Function("counter_start", (*_SET, "start_flags", "initial_value")),
    (Eid.PMU, 4): Function("counter_stop", (*_SET, "stop_flags")),
    (Eid.PMU, 5): Function("counter_fw_read", ("counter_idx",)),
    (Eid.PMU, 6): Function("counter_fw_read_hi", ("counter_idx",)),
    (Eid.PMU, 7): Function("snapshot_set_shmem", ("shmem_phys_lo", "shmem_phys_hi", "flags")),
    (Eid.PMU, 8): Function("event_get_info", ("shmem_phys_lo", "shmem_phys_hi", "num_entries", "flags")),
    (Eid.DBCN, 0): Function("console_write", ("num_bytes", "base_addr_lo", "base_addr_hi")),
    (Eid.DBCN, 1): Function("console_read", ("num_bytes", "base_addr_lo", "base_addr_hi")),
    (Eid.DBCN, 2): Function("console_write_byte", ("byte",)),
    (Eid.SUSP, 0): Function("system_suspend", ("sleep_type", "resume_addr", "opaque")),
    (Eid.FWFT, 0): Function("fwft_set", ("feature", "value", "flags")),
    (Eid.FWFT, 1): Function("fwft_get", ("feature",)),
    (Eid.STA, 0): Function("steal_time_set_shmem", ("shmem_phys_lo", "shmem_phys_hi", "flags")),
}
"""Every function that a profile may offer."""

_EID_NAMES = {int(eid): eid.name for eid in Eid if eid > Eid.LEGACY_SHUTDOWN}


def function(eid: int, fid: int) -> Function:
    """The function behind an ecall; an unknown one is named after its numbers and has no named arguments."""
    known = LEGACY.get(eid) or FUNCTIONS.get((eid, fid))
    if known is not None:
        return known
    return Function(f"{_EID_NAMES.get(eid, hex(eid))}:{fid:#x}")


def error_name(code: int) -> str:
    """`SUCCESS`, `NOT_SUPPORTED` and so on; a code that the specification does not have is returned as a
    number.
    """
    try:
        return SbiError(code).name
    except ValueError:
        return str(code)
