"""Behaviours of OpenSBI, the firmware that serves the PMU extension on real harts (O23 to O25).

`since` and `until` are releases of OpenSBI here, as far as they are known: between 1.1 and 1.6, the two that
were run, a behaviour may have come or gone earlier than named. `commit` is the one that ended the behaviour;
its subject is not recorded. Those of project QEMU are the hart's: they show only where QEMU is that hart.
"""

from __future__ import annotations

from .behaviour import Behaviour
from .behaviours import BEHAVIOURS


# A table, one behaviour after the other: summary, commit, since, until, reference.
class OB:
    """All behaviours of OpenSBI that the model has."""

    OPENSBI_CSR_DIRECT = Behaviour(
        "counter CSRs are the hart's own: every one that exists can be read, whatever is configured",
        "",
        "",
        "",
        "F66",
        "OpenSBI",
    )
    OPENSBI_HPMCOUNTER3_ALL_ONES = Behaviour(
        "hpmcounter3 begins with all ones: the firmware's probing of its width leaves them there",
        "",
        "1.2",
        "",
        "opensbi#381",
        "OpenSBI",
    )
    OPENSBI_NO_SHMEM = Behaviour(
        "there is no shared memory; the snapshot flags of start and stop answer NO_SHMEM before "
        "anything else of "
        "the set is looked at",
        "",
        "1.4",
        "",
        "2.4, 2.5, 2.8",
        "OpenSBI",
    )
    OPENSBI_INDEX_32_BITS = Behaviour(
        "counter_get_info drops bits 32 and above of the index",
        "",
        "",
        "",
        "O24",
        "OpenSBI",
    )
    OPENSBI_MASK_ZERO_ACCEPTED = Behaviour(
        "a set without counters is accepted: in counter_config_matching cycles and instructions get their "
        "fixed counter",
        "69a0f024",
        "",
        "1.7",
        "7.2, F16",
        "OpenSBI",
    )
    OPENSBI_WRAPPED_SET_ACCEPTED = Behaviour(
        "base + mask may wrap past 2^64 to valid counters", "0dfe6be0", "1.2", "1.9", "7.2, F17", "OpenSBI"
    )
    OPENSBI_HOLE_ACCEPTED = Behaviour(
        "a set may contain index 1 (time), which is no counter", "", "", "", "F19", "OpenSBI"
    )
    OPENSBI_RESERVED_FLAGS_IGNORED = Behaviour(
        "reserved bits of config, start and stop flags are ignored", "", "", "", "O25, F20", "OpenSBI"
    )
    OPENSBI_FIXED_COUNTER_FALLBACK = Behaviour(
        "cycles and instructions that find no programmable counter get counters 0 and 2, outside "
        "the set and in "
        "use or not",
        "65bb705f",
        "",
        "1.9",
        "2.3.3, F15",
        "OpenSBI",
    )
    OPENSBI_FIXED_COUNTER_UNUSED = Behaviour(
        "cycles and instructions get programmable counters alone: without Smcntrpmf cycle and "
        "instret leave no mode out",
        "65bb705f",
        "1.9",
        "",
        "run of OpenSBI 1.9",
        "OpenSBI",
    )
    OPENSBI_FIXED_COUNTER_RUNS = Behaviour(
        "cycle and instret have their events and run from power-on, and RESET does not unbind them",
        "",
        "",
        "",
        "2.5",
        "OpenSBI",
    )
    OPENSBI_FW_INDEX_RELATIVE = Behaviour(
        "the choice of a firmware counter answers the bit in the mask, not base + bit",
        "ac16c6b6",
        "1.2",
        "1.8",
        "2.3.3",
        "OpenSBI",
    )
    OPENSBI_SKIP_MATCH_NEEDS_CONFIGURED = Behaviour(
        "SKIP_MATCH on a counter without an event answers INVALID_PARAM", "", "", "", "F21", "OpenSBI"
    )
    OPENSBI_SKIP_MATCH_KEEPS_EVENT = Behaviour(
        "SKIP_MATCH does not bind the event: it only clears and starts",
        "",
        "",
        "",
        "2.3.3, F22 to F24",
        "OpenSBI",
    )
    OPENSBI_AUTO_START_GENERAL_ONLY = Behaviour(
        "CLEAR_VALUE and AUTO_START are ignored for cache and raw events",
        "3d29f380",
        "",
        "1.9",
        "7.2",
        "OpenSBI",
    )
    OPENSBI_EVENT_ARGUMENTS_UNCHECKED = Behaviour(
        "bits 20 and above of a firmware event_idx, and reserved event_data, are ignored",
        "",
        "",
        "",
        "F34",
        "OpenSBI",
    )
    OPENSBI_LAST_RESULT_WINS = Behaviour(
        "the result of the set's last counter is the answer: an earlier ALREADY_STARTED or "
        "ALREADY_STOPPED is lost",
        "",
        "",
        "",
        "O24, F30",
        "OpenSBI",
    )
    OPENSBI_UNCONFIGURED_SKIPPED = Behaviour(
        "start and stop pass over counters without an event; only a set of such alone is INVALID_PARAM",
        "",
        "",
        "",
        "F30, F31",
        "OpenSBI",
    )
    OPENSBI_FW_START_UNCHECKED = Behaviour(
        "starting a firmware counter that runs succeeds, and sets its value",
        "f7b81034",
        "",
        "1.8",
        "7.2, F28",
        "OpenSBI",
    )
    OPENSBI_FW_STOP_UNCHECKED = Behaviour(
        "stopping a firmware counter that stands still succeeds", "a95c36f1", "", "1.8", "7.2, F29", "OpenSBI"
    )
    OPENSBI_FW_FIRST_COUNTER_ONLY = Behaviour(
        "of several started counters with one firmware event only the first counts",
        "",
        "",
        "",
        "2.6, F32",
        "OpenSBI",
    )
    OPENSBI_FW_READ_HI_UNCHECKED = Behaviour(
        "counter_fw_read_hi on RV64 answers SUCCESS and 0 for any index",
        "9656943b",
        "1.3",
        "1.9",
        "7.2",
        "OpenSBI",
    )
    OPENSBI_FW_READ_HI_UNBOUND = Behaviour(
        "counter_fw_read_hi on RV64 answers SUCCESS and 0 for a firmware counter without an event",
        "",
        "1.3",
        "",
        "run of OpenSBI 1.9",
        "OpenSBI",
    )
    OPENSBI_FW_READ_32_BITS = Behaviour(
        "counter_fw_read drops bits 32 and above of the index",
        "",
        "",
        "1.9",
        "O24, run of OpenSBI 1.9",
        "OpenSBI",
    )
    OPENSBI_IPI_TO_SELF_NOT_COUNTED = Behaviour(
        "an interrupt that a hart sends to itself counts neither as IPI_SENT nor as IPI_RECEIVED",
        "",
        "1.2",
        "",
        "3.10",
        "OpenSBI",
    )
    OPENSBI_EVENT_INFO_NO_FIRMWARE = Behaviour(
        "event_get_info calls every firmware event unsupported", "", "1.6", "", "O23", "OpenSBI"
    )
    OPENSBI_EVENT_INFO_RAW_ALWAYS = Behaviour(
        "event_get_info calls every raw event with code 0 supported", "", "1.6", "", "O23", "OpenSBI"
    )
    OPENSBI_EVENT_INFO_LENIENT = Behaviour(
        "event_get_info answers output 0 to reserved bits of event_idx", "", "1.6", "", "2.9", "OpenSBI"
    )
    OPENSBI_EVENT_INFO_SIZE_WRAPS = Behaviour(
        "event_get_info does not check that 16 times the number of entries fits",
        "",
        "1.6",
        "",
        "2.9",
        "OpenSBI",
    )
    OPENSBI_FW_STATE_PER_CODE = Behaviour(
        "firmware counters with one event code share value and state", "", "", "1.2", "7.2", "OpenSBI"
    )
    OPENSBI_SET_SHIFTED = Behaviour(
        "a set is the mask shifted by the low 6 bits of the base: bits that fall off are not there",
        "",
        "",
        "1.2",
        "7.2",
        "OpenSBI",
    )
    OPENSBI_EVENT_UNCHECKED = Behaviour(
        "event codes are not checked: one that does not exist is an event without a counter",
        "",
        "",
        "1.2",
        "7.2",
        "OpenSBI",
    )
    OPENSBI_RESET_UNBINDS_FIXED = Behaviour(
        "RESET unbinds cycle and instret too", "bdb3c42b", "", "1.3", "7.2, 2.5", "OpenSBI"
    )
    OPENSBI_SKIP_MATCH_TAKES_BASE = Behaviour(
        "SKIP_MATCH takes counter_idx_base, whatever the mask says", "674e0199", "", "1.3", "7.2", "OpenSBI"
    )
    OPENSBI_FW_READ_ANY = Behaviour(
        "counter_fw_read succeeds on hardware counters, with a value that means nothing",
        "",
        "",
        "1.2",
        "2.6",
        "OpenSBI",
    )
    QEMU_STOPPED_COUNTER_LOST = Behaviour(
        "a counter that stands still reads 0 from its second reading on, and one that is written "
        "while it stands "
        "still has counted since then when it starts",
        "",
        "",
        "",
        "run of QEMU 7.2.22",
        "QEMU",
    )
    QEMU_ONE_COUNTER_PER_EVENT = Behaviour(
        "of several counters on one event only the first counts", "", "", "", "run of QEMU 7.2.22", "QEMU"
    )
    QEMU_TIME_IGNORES_SCOUNTEREN = Behaviour(
        "U mode reads time where scounteren closes it",
        "",
        "",
        "",
        "run of QEMU 7.2.22 with OpenSBI 1.1",
        "QEMU",
    )
    OPENSBI_NO_DBCN = Behaviour("there is no debug console", "", "", "1.3", "a run on QEMU", "OpenSBI")
    OPENSBI_SSE_FWFT_DBTR = Behaviour(
        "probe_extension finds SSE, FWFT and DBTR; of DBTR, which is there where a hart has triggers, no "
        "function is modelled: NOT_SUPPORTED",
        "",
        "1.5",
        "",
        "a run on QEMU",
        "OpenSBI",
    )
    OPENSBI_SSE_ALL_EVENTS = Behaviour(
        "SSE has events that nothing raises (RAS, double trap), and answers INVALID_PARAM for others of the "
        "specification",
        "",
        "1.5",
        "1.7",
        "runs of OpenSBI 1.6 and 1.9",
        "OpenSBI",
    )
    OPENSBI_SSE_MASK_ERRORS_SWAPPED = Behaviour(
        "masking a hart that is masked answers ALREADY_STARTED, the other way round ALREADY_STOPPED",
        "",
        "1.5",
        "1.7",
        "runs of OpenSBI 1.6 and 1.9",
        "OpenSBI",
    )
    OPENSBI_SSE_READ_ONLY_IS_BAD_RANGE = Behaviour(
        "writing a read-only attribute of an event answers BAD_RANGE, not DENIED",
        "",
        "1.5",
        "1.7",
        "runs of OpenSBI 1.6 and 1.9",
        "OpenSBI",
    )
    OPENSBI_SSE_STATUS_ALL_ONES = Behaviour(
        "the status of an event whose handler was entered has all bits but PENDING",
        "",
        "1.5",
        "1.7",
        "runs of OpenSBI 1.6 and 1.9",
        "OpenSBI",
    )
    OPENSBI_FWFT_LOCKED_IS_DENIED = Behaviour(
        "setting a feature that is locked answers DENIED, not DENIED_LOCKED",
        "",
        "1.5",
        "1.7",
        "runs of OpenSBI 1.6 and 1.9",
        "OpenSBI",
    )
    OPENSBI_ADDRESSES_BY_REGION = Behaviour(
        "of an address that a supervisor names only firmware's memory and devices are refused, before "
        "anything else is looked at: there need not be memory, and it may be odd",
        "",
        "",
        "",
        "runs of OpenSBI 1.1, 1.6 and 1.9",
        "OpenSBI",
    )
    OPENSBI_DEVICES_OUT_OF_BOUNDS = Behaviour(
        "serial port and test finisher are among the addresses that are refused",
        "",
        "1.3",
        "",
        "runs of OpenSBI 1.1, 1.6 and 1.9",
        "OpenSBI",
    )
    OPENSBI_RANGE_BY_FIRST_BYTE = Behaviour(
        "of a range of addresses only the first is looked at",
        "",
        "",
        "1.9",
        "runs of OpenSBI 1.6 and 1.9",
        "OpenSBI",
    )
    OPENSBI_RESET_KNOWN_ONLY = Behaviour(
        "system_reset of any type or reason but the specification's, looked at in 64 bits, is INVALID_PARAM",
        "",
        "",
        "",
        "runs of OpenSBI 1.1, 1.6 and 1.9",
        "OpenSBI",
    )
    OPENSBI_HART_MASK_UNCHECKED = Behaviour(
        "send_ipi and the remote fences pass over harts that do not exist",
        "",
        "",
        "1.9",
        "a run on QEMU",
        "OpenSBI",
    )
    OPENSBI_HART_BASE_CHECKED = Behaviour(
        "a hart_mask_base beyond the last hart is INVALID_PARAM, whatever the mask says",
        "",
        "",
        "1.4",
        "a run on QEMU",
        "OpenSBI",
    )


OPENSBI_BEHAVIOURS: dict[str, Behaviour] = {
    behaviour.name: behaviour for behaviour in vars(OB).values() if isinstance(behaviour, Behaviour)
}
"""Every behaviour of OpenSBI by name, in the order above."""
BEHAVIOURS.update(OPENSBI_BEHAVIOURS)
