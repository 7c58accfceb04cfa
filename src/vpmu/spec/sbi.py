"""The SBI as numbers and layouts (specification 3.0): extensions, functions, errors, PMU flags and shared
memory.

The names of PMU events are in `sbi_events`, those of functions and arguments in `sbi_functions`.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

U64: Final = (1 << 64) - 1
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


class SseFid(IntEnum):
    """Functions of SSE (chapter "Supervisor Software Events Extension", SBI 3.0)."""

    READ_ATTRS = 0
    WRITE_ATTRS = 1
    REGISTER = 2
    UNREGISTER = 3
    ENABLE = 4
    DISABLE = 5
    COMPLETE = 6
    INJECT = 7
    HART_UNMASK = 8
    HART_MASK = 9


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


CONFIG_FLAGS: Final = 0xFF
START_FLAGS: Final = 0b11
STOP_FLAGS: Final = 0b11
"""Defined bits of each function's flags; the others are reserved and must be zero."""

SHMEM_DISABLE = U64
"""Both halves of a shared-memory address have this value to switch the area off."""


class CounterType(IntEnum):
    """Who implements a counter (bit XLEN-1 of counter_info)."""

    HARDWARE = 0
    FIRMWARE = 1


class CounterInfo(NamedTuple):
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


def error_name(code: int) -> str:
    """`SUCCESS`, `NOT_SUPPORTED` and so on; a code that the specification does not have is returned as a
    number.
    """
    try:
        return SbiError(code).name
    except ValueError:
        return str(code)
