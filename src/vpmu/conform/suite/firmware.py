"""Firmware counters: counter_fw_read, counter_fw_read_hi, what counts (F32; O8, O14)."""

from __future__ import annotations

from .test import table

_RUN = "c = cfg 0 FWSET CLEAR FW_SET_TIMER\nstart c 1 INIT 0"

TESTS = table(
    "FWREAD",
    "counter_fw_read (FID 5)",
    ("ZERO", "a started counter is 0 before its event happens", f"{_RUN}\nfwread c -> SUCCESS = 0"),
    ("THREE", "three events count as three", f"{_RUN}\ntimer\ntimer\ntimer\nfwread c -> SUCCESS = 3"),
    ("INIT", "the initial value counts", "c = cfg 0 FWSET CLEAR FW_SET_TIMER\nstart c 1 INIT 100\ntimer\nfwread c -> SUCCESS = 101"),
    ("INIT-WIDE", "an initial value of 64 bits", "c = cfg 0 FWSET CLEAR FW_SET_TIMER\nstart c 1 INIT 0xfedcba9876543210\ntimer\nfwread c -> SUCCESS = 0xfedcba9876543211"),
    ("WRAP", "a firmware counter of 64 bits wraps to 0", "c = cfg 0 FWSET CLEAR FW_SET_TIMER\nstart c 1 INIT U64\ntimer\nfwread c -> SUCCESS = 0"),
    ("TWICE", "reading does not change the counter", f"{_RUN}\ntimer\nfwread c -> SUCCESS = 1\nfwread c -> SUCCESS = 1"),
    ("STOPPED", "a stopped counter keeps its value", f"{_RUN}\ntimer\nstop c 1 0\ntimer\nfwread c -> SUCCESS = 1"),
    ("RESTART", "a stopped counter goes on from its value", f"{_RUN}\ntimer\nstop c 1 0\nstart c 1 0 0\ntimer\nfwread c -> SUCCESS = 2 ~ fw-stop-keeps-base: SUCCESS = 1"),
    ("CONFIGURED", "a configured counter that never ran can be read", "c = cfg 0 FWSET CLEAR FW_SET_TIMER\nfwread c -> SUCCESS"),
    ("NOT-STARTED", "a configured counter does not count before start", "c = cfg 0 FWSET CLEAR FW_SET_TIMER\na = fwread c\ntimer\nfwread c -> SUCCESS = a"),
    ("FREE", "a firmware counter without an event", "fwread FW -> INVALID_PARAM ~ fw-read-unbound: SUCCESS"),
    ("AFTER-RESET", "after RESET the counter has no value", f"{_RUN}\nstop c 1 RESET\nfwread c -> INVALID_PARAM ~ fw-read-unbound: SUCCESS"),
    ("HW", "a configured hardware counter (O8)", "c = cfg 0 PROGSET 0 PROG\nfwread c -> INVALID_PARAM ~ fw-read-accepts-hw: SUCCESS ~ opensbi-fw-read-any: SUCCESS"),
    ("HW-FREE", "a hardware counter without an event", "fwread HPM0 -> INVALID_PARAM"),
    ("CYCLE-FREE", "counter 0 without an event", "fwread 0 -> INVALID_PARAM ~ opensbi-fw-read-any: SUCCESS", {"lenient": True}),
    ("TIME", "index 1", "fwread 1 -> INVALID_PARAM"),
    ("N", "index N", "fwread N -> INVALID_PARAM"),
    ("63", "index 63", "fwread 63 -> INVALID_PARAM"),
    ("64", "index 64", "fwread 64 -> INVALID_PARAM ~ read-index-unchecked: any"),
    ("BIT-32", "index 2^32 + FW is not FW", "cfg 0 1<<FW CLEAR FW_SET_TIMER\nstart FW 1 INIT 0\nfwread (1<<32)+FW -> INVALID_PARAM ~ opensbi-fw-read-32-bits: SUCCESS ~ read-index-unchecked: any"),
    ("MINUS-1", "index -1", "fwread U64 -> INVALID_PARAM ~ read-index-unchecked: any"),
    ("TWO-CODES", "two counters with different events count apart",
     """a = cfg 0 FWSET CLEAR FW_SET_TIMER
        b = cfg 0 FWSET CLEAR FW_FENCE_I_SENT
        start a 1 INIT 0
        start b 1 INIT 0
        timer
        timer
        fencei
        fwread a -> SUCCESS = 2
        fwread b -> SUCCESS = 1"""),
    ("ONE-CODE", "two counters with one event count apart (F32, O14)",
     """a = cfg 0 FWSET CLEAR FW_SET_TIMER
        b = cfg 0 FWSET CLEAR FW_SET_TIMER
        start a 1 INIT 10
        start b 1 INIT 1000 -> SUCCESS ~ fw-state-per-code: ALREADY_STARTED
        timer
        fwread a -> SUCCESS = 11 ~ opensbi-fw-state-per-code: SUCCESS = 1001
        fwread b -> SUCCESS = 1001 ~ fw-state-per-code: SUCCESS = 11 ~ opensbi-fw-first-counter-only: SUCCESS = 1000"""),
    ("ONE-CODE-STOP", "stopping one of two counters with one event leaves the other running",
     """a = cfg 0 FWSET CLEAR FW_SET_TIMER
        b = cfg 0 FWSET CLEAR FW_SET_TIMER
        start a 1 INIT 0
        start b 1 INIT 0 -> SUCCESS ~ fw-state-per-code: ALREADY_STARTED
        stop a 1 0
        timer
        fwread b -> SUCCESS = 1 ~ fw-state-per-code: SUCCESS = 0 ~ opensbi-fw-state-per-code: SUCCESS = 0"""),
    ("IDX-RANGE", "the highest firmware counter works as the first does",
     "cfg 0 1<<(N-1) CLEAR FW_SET_TIMER\nstart N-1 1 INIT 0\ntimer\nfwread N-1 -> SUCCESS = 1"),
    ("CLEAR-KEEPS-STOPPED", "CLEAR_VALUE does not start the counter", "c = cfg 0 FWSET CLEAR FW_SET_TIMER\ntimer\nstart c 1 0 0\nfwread c -> SUCCESS = 0"),
) + table(
    "FWHI",
    "counter_fw_read_hi (FID 6)",
    ("VALID", "on RV64 the upper half is 0", "c = cfg 0 FWSET CLEAR FW_SET_TIMER\nstart c 1 INIT U64\nfwhi c -> SUCCESS = 0", {"needs": ("FWHI",)}),
    ("HW", "a hardware counter (O8)", "fwhi HPM0 -> INVALID_PARAM ~ fw-read-hi-unchecked: SUCCESS = 0 ~ opensbi-fw-read-hi-unchecked: SUCCESS = 0", {"needs": ("FWHI",)}),
    ("HW-CONFIGURED", "a configured hardware counter", "c = cfg 0 PROGSET 0 PROG\nfwhi c -> INVALID_PARAM ~ fw-read-hi-unchecked: SUCCESS = 0 ~ opensbi-fw-read-hi-unchecked: SUCCESS = 0", {"needs": ("FWHI",)}),
    ("TIME", "index 1", "fwhi 1 -> INVALID_PARAM ~ fw-read-hi-unchecked: SUCCESS = 0 ~ opensbi-fw-read-hi-unchecked: SUCCESS = 0", {"needs": ("FWHI",)}),
    ("N", "index N", "fwhi N -> INVALID_PARAM ~ fw-read-hi-unchecked: SUCCESS = 0 ~ opensbi-fw-read-hi-unchecked: SUCCESS = 0", {"needs": ("FWHI",)}),
    ("64", "index 64", "fwhi 64 -> INVALID_PARAM ~ fw-read-hi-unchecked: SUCCESS = 0 ~ opensbi-fw-read-hi-unchecked: SUCCESS = 0", {"needs": ("FWHI",)}),
    ("FREE", "a firmware counter without an event", "fwhi FW -> INVALID_PARAM ~ fw-read-hi-unchecked: SUCCESS = 0 ~ opensbi-fw-read-hi-unchecked: SUCCESS = 0 ~ opensbi-fw-read-hi-unbound: SUCCESS = 0", {"needs": ("FWHI",)}),
) + table(
    "FWEVENT",
    "Firmware Events",
    ("SET-TIMER", "set_timer counts as SET_TIMER", f"{_RUN}\ntimer\nfwread c -> SUCCESS = 1"),
    ("FENCE-I-SENT", "remote_fence_i counts as FENCE_I_SENT", "c = cfg 0 FWSET CLEAR FW_FENCE_I_SENT\nstart c 1 INIT 0\nfencei\nfwread c -> SUCCESS = 1"),
    ("FENCE-I-RECEIVED", "remote_fence_i to oneself counts as FENCE_I_RECEIVED", "c = cfg 0 FWSET CLEAR FW_FENCE_I_RECEIVED\nstart c 1 INIT 0\nfencei\nfwread c -> SUCCESS = 1"),
    ("SFENCE-SENT", "remote_sfence_vma counts as SFENCE_VMA_SENT", "c = cfg 0 FWSET CLEAR FW_SFENCE_VMA_SENT\nstart c 1 INIT 0\nsfence\nfwread c -> SUCCESS = 1 ~ sfence-counted-as-hfence: SUCCESS = 0"),
    ("SFENCE-RECEIVED", "remote_sfence_vma to oneself counts as SFENCE_VMA_RECEIVED", "c = cfg 0 FWSET CLEAR FW_SFENCE_VMA_RECEIVED\nstart c 1 INIT 0\nsfence\nfwread c -> SUCCESS = 1 ~ sfence-counted-as-hfence: SUCCESS = 0"),
    ("SFENCE-NOT-HFENCE", "remote_sfence_vma does not count as HFENCE_VVMA_SENT", "c = cfg 0 FWSET CLEAR FW_HFENCE_VVMA_SENT\nstart c 1 INIT 0\nsfence\nfwread c -> SUCCESS = 0 ~ sfence-counted-as-hfence: SUCCESS = 1"),
    ("IPI-SENT", "send_ipi counts as IPI_SENT", "c = cfg 0 FWSET CLEAR FW_IPI_SENT\nstart c 1 INIT 0\nipi\nfwread c -> SUCCESS = 1 ~ opensbi-ipi-to-self-not-counted: SUCCESS = 0"),
    ("IPI-RECEIVED", "send_ipi to oneself counts as IPI_RECEIVED", "c = cfg 0 FWSET CLEAR FW_IPI_RECEIVED\nstart c 1 INIT 0\nipi\nfwread c -> SUCCESS = 1 ~ opensbi-ipi-to-self-not-counted: SUCCESS = 0"),
    ("OTHER", "an event counts for its own code only", "c = cfg 0 FWSET CLEAR FW_ACCESS_LOAD\nstart c 1 INIT 0\ntimer\nfencei\nfwread c -> SUCCESS = 0"),
)
