"""What tells one implementation of the SBI PMU from another: each difference has a name, a commit and
releases.

A behaviour that a profile does not have means: as the specification says. The code asks
`profile.has(B.NAME)`, never for a version. `reference` names the finding (docs/sources.md): O1 to O30 are
known defects, F1 to F80 failure scenarios, numbers with dots places in specification and source.
"""

from __future__ import annotations

from .behaviour import Behaviour


# A table, one behaviour after the other: summary, commit, since, until, reference.
# fmt: off
class B:
    """All behaviours."""

    # What came later than the first virtual PMU; the specification has it all.
    SNAPSHOT = Behaviour(
        "counter_start and counter_stop can pass values through shared memory; FID 7 exists",
        "c2f41ddbcdd7", "6.10", "", "2.8")
    OVERFLOW_INTERRUPT = Behaviour(
        "a counter that wraps raises the local counter-overflow interrupt 13",
        "16b0bde9a37c", "6.10", "", "3.12")
    FW_READ_HI = Behaviour(
        "counter_fw_read_hi (FID 6) exists", "08fb07d6dcf7", "6.10", "", "2.7")
    EVENT_GET_INFO = Behaviour(
        "event_get_info (FID 8) exists", "e309fd113b9f", "6.18", "", "2.9")
    RAW_V2 = Behaviour(
        "event type 3 with 56 bits of event_data exists", "190b74154299", "6.18", "", "1.6")

    # Failures of the kernel below that leave KVM_RUN instead of reaching the guest.
    PERF_FAILURE_ENDS_KVM_RUN = Behaviour(
        "a perf event that cannot be created ends KVM_RUN with its errno: the guest dies of asking",
        "2196c066f138", "6.3", "6.10", "3.13, F1-F8")
    SHMEM_OOM_ENDS_KVM_RUN = Behaviour(
        "snapshot_set_shmem without kernel memory ends KVM_RUN with ENOMEM",
        "0835ee26938e", "6.10", "7.1", "F42", stable=("6.12.92",))
    EVENT_INFO_OOM_ENDS_KVM_RUN = Behaviour(
        "event_get_info without kernel memory ends KVM_RUN with ENOMEM", "0e9d0e7a7c78", "6.18", "7.1", "F47")

    # Counter sets and flags.
    WRAPPED_SET_ACCEPTED = Behaviour(
        "counter_idx_base is not checked by itself: base + index may wrap past 2^64 to a valid counter",
        "1762ac42eed6", "6.3", "7.1", "F17")
    HOLE_ACCEPTED = Behaviour(
        "a set may contain index 1 (time), which is no counter", "0cb74b65d2e5", "6.3", "", "F19")
    RESERVED_FLAGS_IGNORED = Behaviour(
        "reserved bits of config, start and stop flags, and contradicting start flags, are ignored",
        "0cb74b65d2e5", "6.3", "", "O10, F20")

    # counter_get_info.
    INFO_BEYOND_LAST = Behaviour(
        "counter_get_info answers SUCCESS and 0 for indices from N to 63", "0cb74b65d2e5", "6.3", "", "O9")
    INFO_PAST_ARRAY = Behaviour(
        "counter_get_info(64) reads one element past the array of counters",
        "5c1bb0787111", "6.3", "7.0", "2.2")

    # counter_config_matching.
    SKIP_MATCH_NEEDS_CONFIGURED = Behaviour(
        "SKIP_MATCH on a counter without an event answers FAILED", "0cb74b65d2e5", "6.3", "", "O5, F21")
    SKIP_MATCH_ANY_TYPE = Behaviour(
        "SKIP_MATCH puts firmware events on hardware counters and the reverse",
        "badc386869e2", "6.3", "", "F24")
    FIXED_COUNTER_IGNORES_SET = Behaviour(
        "cycles and instructions always get counters 0 and 2, whatever the set says and even if they "
        "count already",
        "0cb74b65d2e5", "6.3", "", "O4, O28, F15, F78")
    REBIND_RELEASES_FIRST = Behaviour(
        "a new event replaces the old one before it is known to exist: a failure leaves a counter in "
        "use without event, and `started` survives the exchange",
        "0cb74b65d2e5", "6.3", "", "F22, F23")
    AUTO_START_UNTRACKED = Behaviour(
        "AUTO_START enables a hardware counter without noting it: start succeeds, stop says "
        "ALREADY_STOPPED and it goes on",
        "0cb74b65d2e5", "6.3", "", "O3, F26, F27")
    FW_CLEAR_IGNORED = Behaviour(
        "CLEAR_VALUE has no effect on firmware counters", "badc386869e2", "6.3", "", "2.3")
    EVENT_CREATED_ENABLED = Behaviour(
        "the perf event counts from counter_config_matching on",
        "bbb622488749", "6.3", "6.15", "3.5", stable=("6.12.23",))
    NO_EVENT_COUNTS_CYCLES = Behaviour(
        "general event 0 counts cycles on a programmable counter", "0cb74b65d2e5", "6.3", "", "O11, F36")
    UNTRANSLATABLE_REACHES_PERF = Behaviour(
        "codes and types without meaning are passed to perf as all-ones config and type 6",
        "0cb74b65d2e5", "6.3", "", "O11, F35, F36")
    EVENT_ARGUMENTS_UNCHECKED = Behaviour(
        "event_idx bits 20 and above, codes of raw events and reserved or too wide event_data are ignored",
        "0cb74b65d2e5", "6.3", "", "F34")
    PERIOD_REJECTED_SILENTLY = Behaviour(
        "an initial value that needs a period of 2^63 or more keeps the old period: overflow at the "
        "wrong time",
        "0cb74b65d2e5", "6.3", "", "O16, F12")
    PERIOD_OF_ZERO_TOO_LARGE = Behaviour(
        "the sample period of value 0 is 2^width, 0 for 64 bits: an event that does not sample",
        "57990ab90ce3", "6.3", "6.10", "3.6", stable=("6.9.9",))
    ERROR_STATE_IGNORED = Behaviour(
        "a pinned event that got no host counter is not noticed: SUCCESS, and the value stands still",
        "0cb74b65d2e5", "6.3", "", "O12, F10")

    # counter_start, counter_stop, values.
    READ_ACCUMULATES = Behaviour(
        "every read adds the event's total to the stored value again: repeated reads over-count",
        "c7e2cc38c561", "6.3", "7.3", "O1, F69", stable=("6.12.112", "7.2.9"))
    RESET_ADDS_TOTAL = Behaviour(
        "counter_stop with RESET adds the event's total to the value", "98ce906bd0a6", "6.3", "6.10", "3.8")
    WIDTH_NOT_MASKED = Behaviour(
        "values wrap at 64 bits, whatever width counter_get_info reports", "0cb74b65d2e5", "6.3", "", "F58")
    START_OVERWRITES_RUNNING = Behaviour(
        "counter_start on a running counter answers ALREADY_STARTED and changes its value",
        "0cb74b65d2e5", "6.3", "", "F28")
    UNCONFIGURED_SKIPPED = Behaviour(
        "start and stop pass over counters without an event: SUCCESS", "0cb74b65d2e5", "6.3", "", "F31")
    FW_STATE_PER_CODE = Behaviour(
        "firmware counters with one event code share value and state", "badc386869e2", "6.3", "", "O14, F32")
    FW_STOP_KEEPS_BASE = Behaviour(
        "stopping a firmware counter does not store its value: a start without a value goes back to the "
        "one last read",
        "8b3fd1a8b305", "6.3", "7.3", "2.5", stable=("6.12.112", "7.2.9"))
    FW_RESET_LEAKS_EVENT = Behaviour(
        "RESET of a firmware counter that carries a perf event does not release it: the host event "
        "outlives the vCPU",
        "badc386869e2", "6.3", "", "O27, F24")
    FW_READ_UNBOUND = Behaviour(
        "counter_fw_read of a firmware counter without an event returns host memory",
        "99594f75b49e", "6.3", "7.1", "2.6")
    READ_INDEX_UNCHECKED = Behaviour(
        "counter reads do not check the index: reads past the array", "4e21f2238ad5", "6.3", "6.10", "2.6")
    FW_READ_ACCEPTS_HW = Behaviour(
        "counter_fw_read reads hardware counters too", "badc386869e2", "6.3", "", "O8")
    FW_READ_HI_UNCHECKED = Behaviour(
        "counter_fw_read_hi on RV64 answers SUCCESS and 0 for any index", "08fb07d6dcf7", "6.10", "", "O8")
    INVALID_READ_WARNS = Behaviour(
        "each read of an index that does not exist writes a line to the host's log",
        "4e21f2238ad5", "6.10", "", "O15")
    STARTED_SURVIVES_RESET = Behaviour(
        "after a vCPU reset a counter that ran answers ALREADY_STARTED to start, and does not count",
        "0cb74b65d2e5", "6.3", "", "O2, F59")
    VALUE_SURVIVES_RESET = Behaviour(
        "a vCPU reset keeps the values of counters without an event", "0cb74b65d2e5", "6.3", "", "3.3")

    # Shared memory.
    SHMEM_UNALIGNED = Behaviour(
        "snapshot_set_shmem does not check the alignment", "c2f41ddbcdd7", "6.10", "", "O7, F38")
    SHMEM_SLOT_CHECK = Behaviour(
        "snapshot_set_shmem looks at the first page only; a failure later is FAILED, and the previous "
        "address stays",
        "41f4d0cc331a", "6.10", "6.18", "F40")
    SHMEM_FAILURE_DROPS_PAGE = Behaviour(
        "a failing snapshot_set_shmem leaves no shared memory at all", "b7749531a9b1", "7.3", "", "F39")
    SHMEM_COPY_LEAKED = Behaviour(
        "setting shared memory again leaks the kernel's copy of the previous page",
        "b7749531a9b1", "6.10", "7.3", "2.8", stable=("6.12.117",))
    TEARDOWN_ZEROES_PAGE = Behaviour(
        "disabling shared memory and destroying a vCPU write zeros to the guest's page",
        "47d40d93292d", "6.10", "6.12", "7.1")
    SNAPSHOT_FROM_COPY = Behaviour(
        "TAKE_SNAPSHOT writes the kernel's copy of the whole page: what the guest wrote is lost, "
        "overflow bits stay set",
        "c2f41ddbcdd7", "6.10", "", "F45")
    SNAPSHOT_ENDS_AT_ERROR = Behaviour(
        "after the first error of a call no further counter of its set is stored",
        "c2f41ddbcdd7", "6.10", "", "O6")
    SNAPSHOT_RESET_LOSES_DELTA = Behaviour(
        "with RESET the stored value lacks what was counted since the last read",
        "c7e2cc38c561", "6.10", "7.3", "O6", stable=("6.12.112", "7.2.9"))
    SNAPSHOT_WRITE_IGNORED = Behaviour(
        "a snapshot that cannot be written is SUCCESS",
        "057dd2639cea", "6.10", "7.3", "F43", stable=("6.12.112", "7.2.9"))
    EVENT_INFO_LENIENT = Behaviour(
        "event_get_info ignores reserved bits of event_idx", "e309fd113b9f", "6.18", "", "O7, F49")
    EVENT_INFO_READ_FAILED = Behaviour(
        "event_get_info answers FAILED for memory that it cannot read", "e309fd113b9f", "6.18", "", "O7, F48")
    EVENT_INFO_UNCHECKED = Behaviour(
        "event_get_info calls every firmware event supported, those without meaning included, and every raw "
        "event that the host's driver takes",
        "e309fd113b9f", "6.18", "", "2.9")

    # Overflow and interrupts.
    OVERFLOW_PERIOD_FROM_TOTAL = Behaviour(
        "after an overflow the event goes on with a period of minus its total: the next one comes after "
        "2^64 events",
        "16b0bde9a37c", "6.10", "", "3.12, F55")
    LCOFI_LOST_OVER_ONE_REG = Behaviour(
        "a pending counter-overflow interrupt does not survive reading and writing sip by ONE_REG",
        "52c6b7d20d3e", "6.10", "7.3", "O13", stable=("7.2.9",))

    # Traps.
    ILLEGAL_INSN_DELEGATED = Behaviour(
        "illegal instructions go straight to the guest: firmware event ILLEGAL_INSN stays 0",
        "3729fe8cbb48", "6.17", "", "3.10")

    SVADU_WITHHELD = Behaviour(
        "a guest takes a page fault for an accessed or dirty bit that is not set: the hart does not set it",
        "97eccf7db4f2", "6.3", "6.13", "3.10")

    # Counter CSRs.
    CSR_TABLE_ENDS_AT_30 = Behaviour(
        "hpmcounter31 is not among the emulated counters: always illegal",
        "5aa09297a3dc", "6.3", "6.12", "F68")
    CSR_ILLEGAL_WITHOUT_CONFIG = Behaviour(
        "cycle and instret are illegal where the host kernel was built without its SBI PMU driver",
        "7d1ffc8b087e", "6.3", "6.12", "3.11")
    CSR_IGNORES_SCOUNTEREN = Behaviour(
        "VU mode reads counters that scounteren closes", "a9ac6c37521f", "6.3", "", "F70")
    CSR_ILLEGAL_WHEN_DISABLED = Behaviour(
        "with the PMU extension switched off cycle and instret are illegal instead of 0",
        "7d1ffc8b087e", "6.3", "", "O30, F63")

    # The other extensions.
    IPI_INVALID_HART_IGNORED = Behaviour(
        "send_ipi passes over harts that do not exist",
        "0611f78f83c9", "6.3", "6.14", "2.10", stable=("6.12.18",))
    BAD_FID_IS_INVALID_PARAM = Behaviour(
        "TIME and IPI answer INVALID_PARAM to an unknown function",
        "b90148485299", "6.3", "6.14", "2.10", stable=("6.12.18",))
    RFENCE_INVALID_HART_IGNORED = Behaviour(
        "remote fences pass over harts that do not exist", "c39cea6f38ee", "6.3", "", "2.10")
    SFENCE_COUNTED_AS_HFENCE = Behaviour(
        "remote sfence.vma counts as HFENCE_VVMA_SENT and HFENCE_VVMA_RECEIVED",
        "c39cea6f38ee", "6.3", "", "3.10")
    HFENCE_NOP = Behaviour(
        "remote HFENCE functions succeed and do nothing",
        "2e7be1629966", "6.3", "6.16", "2.10", stable=("6.12.35",))
    FWFT_WITHOUT_FEATURES = Behaviour(
        "FWFT is there and has no feature, as on the recorded host, whose firmware delegates no misaligned "
        "accesses",
        "", "6.18", "", "2.10")
    LEGACY_NOT_BUILT = Behaviour(
        "no legacy calls: the host kernel was built without RISCV_SBI_V01, as Debian's is",
        "", "6.3", "", "2.10")
    HART_STATUS_LOSES_ERROR = Behaviour(
        "hart_get_status of a hart that does not exist answers SUCCESS and 0",
        "41e81f7e3ef9", "6.3", "7.3", "2.10", stable=("6.12.112", "7.2.9"))
    HART_ID_TRUNCATED = Behaviour(
        "HSM looks at the low 32 bits of a hart id", "", "6.3", "", "2.10")
    HART_START_ADDRESS_UNCHECKED = Behaviour(
        "hart_start accepts any address", "", "6.3", "", "2.10")
    SUSPEND_NEEDS_ENABLED_INTERRUPT = Behaviour(
        "a suspended hart wakes as from WFI, for interrupts that its sie enables only",
        "", "6.3", "", "2.10")
    NON_RETENTIVE_SUSPEND_REFUSED = Behaviour(
        "hart_suspend knows the retentive type only", "", "6.3", "", "2.10")
    SRST_UNKNOWN_NOT_SUPPORTED = Behaviour(
        "system_reset answers NOT_SUPPORTED to reserved types, and takes any reason", "", "6.3", "", "2.10")
    RAW_EVENT_UNCHECKED = Behaviour(
        "a raw event that no counter of the host counts is bound all the same: it never counts",
        "0cb74b65d2e5", "6.3", "", "2.3, O12")
    WFI_IGNORES_LCOFI = Behaviour(
        "WFI waits although a counter-overflow interrupt is pending and enabled in sie",
        "52c6b7d20d3e", "6.10", "7.3", "3.12", stable=("7.2.9",))
    SHMEM_STALE_PAGE = Behaviour(
        "a failing snapshot_set_shmem frees the kernel's copy of a page that is in place and keeps its "
        "address: the next TAKE_SNAPSHOT or INIT_SNAPSHOT brings the host down",
        "b7749531a9b1", "6.18", "7.3", "F39, F42")
# fmt: on


BEHAVIOURS: dict[str, Behaviour] = {
    behaviour.name: behaviour for behaviour in vars(B).values() if isinstance(behaviour, Behaviour)
}
"""Every behaviour by name, in the order above."""
