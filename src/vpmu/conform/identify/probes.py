"""What shows a behaviour: tests of the suite that name it, and sequences that only an identification needs.

A sequence is written as a test of the suite. What it tells is not whether an answer is right, but which of
the expectations that stand beside a call the answer meets: the model, with a behaviour and without, says
which these are.
"""

from __future__ import annotations

from functools import cache

from ...profiles.behaviour import Behaviour
from ...profiles.behaviours import BEHAVIOURS, B
from ...profiles.opensbi_behaviours import OB
from ..suite import Test, load_suite
from ..suite.test import table

MOST = 3
"""Tests of the suite that are asked for one behaviour."""
_AGAIN = "shmem PAGE 0 0\n" * 250 + "unreclaimable -> any\n"
"""A copy of the page that is leaked each time is 1 MB of the host's memory; a batch has no room for more calls."""

PROBES = table(
    "TELL",
    "",
    # Functions and events that came later.
    ("SNAPSHOT", "function 7 exists", "shmem U64 U64 0 -> SUCCESS ~ snapshot: SUCCESS"),
    ("FWHI", "function 6 exists", "c = cfg 0 FWSET 0 FW_SET_TIMER\nfwhi c -> SUCCESS ~ fw-read-hi: SUCCESS"),
    ("EVENT-INFO", "function 8 exists", "store PAGE CYCLES\nstore PAGE+8 0\nevinfo PAGE 0 1 0 -> SUCCESS ~ event-get-info: SUCCESS"),
    ("RAW-V2", "event type 3 exists", "cfg 0 PROGSET 0 0x30000 1 -> SUCCESS ~ raw-v2: SUCCESS"),
    ("OVERFLOW", "a wrap makes LCOFI pending",
     "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT U64-999\nwork 50000\ncsr 33 -> value >= 1<<13 ~ overflow-interrupt: value >= 1<<13", {"needs": ("LCOFI",)}),
    ("OVERFLOW-AGAIN", "a counter that goes on after its overflow overflows again",
     """c = cfg 0 ALL CLEAR INSTRS
        start c 1 INIT U64-999
        work 5000
        csrset 1 1<<13 -> any
        stop c 1 0
        start c 1 INIT U64-999
        work 5000
        csrset 1 1<<13 -> any
        csr 33 -> value <= (1<<13)-1 ~ overflow-period-from-total: value <= (1<<13)-1""", {"needs": ("LCOFI",)}),
    ("RAW-NOBODY", "a raw event that nothing counts", "cfg 0 PROGSET 0 0x20000 0xffff77 -> NOT_SUPPORTED ~ raw-event-unchecked: any"),
    # Failures that leave KVM_RUN.
    ("PERF-FAILURE", "an event that the host cannot count", "cfg 0 PROGSET 0 ABSENT -> NOT_SUPPORTED ~ perf-failure-ends-kvm-run: any"),
    ("EVENT-INFO-OOM", "a table of events for which the host has no memory", "evinfo PAGE 0 1<<40 0 -> FAILED | NOT_SUPPORTED ~ event-info-oom-ends-kvm-run: any", {"needs": ("EVINFO",)}),
    # Values.
    ("RESET-TOTAL", "RESET leaves the value as it was counted",
     """c = cfg 0 PROGSET CLEAR INSTRS -> any
        d = cfg 0 ALL CLEAR INSTRS
        start d 1 INIT 0
        work 50000
        csr d -> any
        stop d 1 RESET
        e = cfg 0 ALL 0 INSTRS
        csr e -> value <= 100000+SLACK ~ reset-adds-total: value >= 100001+SLACK"""),
    # Shared memory.
    ("SLOT-CHECK", "a page that crosses the end of memory", "shmem END-8 0 0 -> INVALID_ADDRESS | INVALID_PARAM ~ shmem-slot-check: FAILED", {"needs": ("SHMEM", "END")}),
    ("TEARDOWN", "switching shared memory off leaves the page alone",
     "shmem PAGE 0 0\nstore PAGE+0x800 77\nshmem U64 U64 0\nload PAGE+0x800 -> value = 77 ~ teardown-zeroes-page: value = 0", {"needs": ("SHMEM",)}),
    ("WRITE-FAILS", "a snapshot that cannot be written",
     "shmem PAGE 0 0\nc = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT 0\nprotect PAGE\nstop c 1 SNAP -> FAILED ~ snapshot-write-ignored: SUCCESS", {"needs": ("SHMEM",)}),
    ("LEAK", "setting the page again costs the host no memory",
     "shmem PAGE 0 0\na = unreclaimable\n" + 4 * _AGAIN + "unreclaimable -> value <= a+2000 ~ shmem-copy-leaked: value >= a+2001", {"needs": ("SHMEM",)}),
    # Interrupts over ONE_REG.
    ("ONE-REG", "LCOFI in sip over ONE_REG", "sipset 1<<13\nsipget -> value = 1<<13 ~ lcofi-lost-over-one-reg: value != 1<<13", {"without": ("opensbi-csr-direct",)}),
    # The other extensions, of KVM.
    ("IPI", "send_ipi to a hart that is not there", "ecall EID_IPI 0 1 9 -> INVALID_PARAM ~ ipi-invalid-hart-ignored: SUCCESS"),
    ("TIME-FID", "an unknown function of TIME", "ecall EID_TIME 9 -> NOT_SUPPORTED ~ bad-fid-is-invalid-param: INVALID_PARAM"),
    ("FENCE", "a fence for a hart that is not there", "ecall EID_RFENCE 0 1 9 -> INVALID_PARAM ~ rfence-invalid-hart-ignored: SUCCESS"),
    ("HFENCE", "a fence of the hypervisor's", "ecall EID_RFENCE 4 1 0 0 U64 -> NOT_SUPPORTED ~ hfence-nop: SUCCESS"),
    ("LEGACY", "set_timer of version 0.1", "ecall 0 0 U64 -> SUCCESS ~ legacy-not-built: NOT_SUPPORTED"),
    ("HART-STATUS", "the state of a hart that is not there", "ecall EID_HSM 2 9 -> INVALID_PARAM ~ hart-status-loses-error: SUCCESS"),
    ("HART-ID", "a hart id of more than 32 bits", "ecall EID_HSM 2 1<<32 -> INVALID_PARAM ~ hart-id-truncated: SUCCESS"),
    ("RESET-TYPE", "a reserved type of system reset", "ecall EID_SRST 0 9 0 -> INVALID_PARAM ~ srst-unknown-not-supported: NOT_SUPPORTED"),
    # OpenSBI, all of its extensions.
    ("NO-SHMEM", "TAKE_SNAPSHOT without shared memory", "c = cfg 0 FWSET CLEAR FW_SET_TIMER\nstart c 1 INIT 0\nstop c 1 SNAP -> NO_SHMEM ~ opensbi-no-shmem: NO_SHMEM"),
    ("RESET-FIXED", "RESET of the cycle counter",
     "cfg 0 5 CLEAR CYCLES -> any\nstop 0 1 RESET -> any\nstart 0 1 INIT 0 -> SUCCESS | ALREADY_STARTED ~ opensbi-reset-unbinds-fixed: INVALID_PARAM"),
    ("DBCN", "the debug console", "ecall EID_BASE 3 EID_DBCN -> value = 1 ~ opensbi-no-dbcn: value = 0"),
    ("FWFT", "firmware features", "ecall EID_BASE 3 EID_FWFT -> value = 0 ~ opensbi-sse-fwft-dbtr: value = 1"),
    ("SSE-EVENT", "an event that nothing raises", "ecall EID_SSE 3 0 -> NOT_SUPPORTED ~ opensbi-sse-all-events: INVALID_STATE"),
    ("SSE-MASK", "masking a hart that is masked", "ecall EID_SSE 9 -> any\necall EID_SSE 9 -> ALREADY_STOPPED | NOT_SUPPORTED ~ opensbi-sse-mask-errors-swapped: ALREADY_STARTED"),
    ("SSE-READ-ONLY", "writing an attribute that is read-only",
     "store PAGE 0\necall EID_SSE 1 0xffff0000 4 1 PAGE 0 -> DENIED | NOT_SUPPORTED ~ opensbi-sse-read-only-is-bad-range: BAD_RANGE"),
    ("REGION", "starting a hart in the firmware's memory", "ecall EID_HSM 0 0 0x80000000 0 -> ALREADY_AVAILABLE ~ opensbi-addresses-by-region: INVALID_ADDRESS"),
    ("DEVICE", "starting a hart in the serial port", "ecall EID_HSM 0 0 0x10000000 0 -> ALREADY_AVAILABLE ~ opensbi-devices-out-of-bounds: INVALID_ADDRESS"),
    ("RESET-VENDOR", "a vendor's type of system reset", "ecall EID_SRST 0 0xf0000000 0 -> NOT_SUPPORTED ~ opensbi-reset-known-only: INVALID_PARAM"),
    ("IPI-MASK", "send_ipi to a hart beside the last", "ecall EID_IPI 0 1<<63 0 -> INVALID_PARAM ~ opensbi-hart-mask-unchecked: SUCCESS"),
    ("IPI-BASE", "send_ipi to nobody beyond the last hart", "ecall EID_IPI 0 0 1000 -> SUCCESS ~ opensbi-hart-base-checked: INVALID_PARAM"),
)  # fmt: skip

HIDDEN: dict[Behaviour, str] = {
    B.SHMEM_OOM_ENDS_KVM_RUN: "it takes a host without memory",
    B.UNTRANSLATABLE_REACHES_PERF: "the guest is told the same either way",
    B.PERIOD_REJECTED_SILENTLY: "it takes an overflow after 2^63 events",
    B.PERIOD_OF_ZERO_TOO_LARGE: "it takes an overflow after 2^64 events",
    B.WIDTH_NOT_MASKED: "it takes counters of less than 64 bits",
    B.INVALID_READ_WARNS: "it shows in the host's log only",
    B.WFI_IGNORES_LCOFI: "it takes a guest that waits",
    B.SHMEM_STALE_PAGE: "asking brings the host down",
    B.SHMEM_FAILURE_DROPS_PAGE: "asking brings hosts down that lack b7749531a9b1",
    B.ILLEGAL_INSN_DELEGATED: "it takes machine code",
    B.SVADU_WITHHELD: "it takes page tables",
    B.CSR_TABLE_ENDS_AT_30: "it takes a host with 29 programmable counters",
    B.CSR_ILLEGAL_WITHOUT_CONFIG: "it takes a host kernel without its PMU driver",
    B.FWFT_WITHOUT_FEATURES: "features depend on the host's firmware",
    B.HART_START_ADDRESS_UNCHECKED: "it takes a second hart",
    B.SUSPEND_NEEDS_ENABLED_INTERRUPT: "it takes a second hart",
    B.NON_RETENTIVE_SUSPEND_REFUSED: "asking may suspend the hart for ever",
    OB.OPENSBI_CSR_DIRECT: "it is what makes it firmware",
    OB.OPENSBI_SSE_STATUS_ALL_ONES: "it takes a handler of a software event",
    OB.OPENSBI_FWFT_LOCKED_IS_DENIED: "asking locks a feature until the next reset",
    OB.OPENSBI_RANGE_BY_FIRST_BYTE: "asking makes the firmware touch what is not its own",
    OB.OPENSBI_HPMCOUNTER3_ALL_ONES: "it shows at power-on only",
}
"""What no sequence asks for, and why."""


@cache
def sequences_for() -> dict[Behaviour, tuple[Test, ...]]:
    """The tests that are asked for each behaviour, those of this module first; none for some."""
    found: dict[Behaviour, list[Test]] = {behaviour: [] for behaviour in BEHAVIOURS.values()}
    for test in (*PROBES, *load_suite()):
        for name in dict.fromkeys(name for step in test.steps for who, _ in step.divergences for name in who):
            found[BEHAVIOURS[name]].append(test)
    return {behaviour: tuple(sorted(tests, key=_value)[:MOST]) for behaviour, tests in found.items()}


def _value(test: Test) -> tuple[bool, bool, int]:
    """Sequences of this module come first, then those that are no less than sure, then the shortest."""
    return not test.id.startswith("TELL-"), test.lenient, len(test.steps)
