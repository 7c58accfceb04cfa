"""counter_start: sets, flags, states (F16 to F20, F28, F30, F31)."""

from __future__ import annotations

from .test import table

TESTS = table(
    "START",
    "counter_start (FID 3)",
    ("ONE", "a configured counter starts", "c = cfg 0 PROGSET 0 PROG\nstart c 1 INIT 0 -> SUCCESS"),
    ("NO-INIT", "a configured counter starts without a value", "c = cfg 0 PROGSET 0 PROG\nstart c 1 0 0 -> SUCCESS"),
    ("FW", "a configured firmware counter starts", "c = cfg 0 FWSET 0 FW_SET_TIMER\nstart c 1 INIT 0 -> SUCCESS"),
    ("CYCLES", "cycles start",
     "c = cfg 0 ALL CLEAR CYCLES\nstart c 1 INIT 0 -> SUCCESS"),
    ("MASK", "a counter is named by mask as well as by base", "c = cfg 0 PROGSET 0 PROG\nstart 0 bit(c) 0 0 -> SUCCESS"),
    ("MASK-0", "a set without counters (F16)", "start 0 0 0 0 -> INVALID_PARAM"),
    ("BASE-N", "base N", "start N 1 0 0 -> INVALID_PARAM"),
    ("BASE-64", "base 64", "start 64 1 0 0 -> INVALID_PARAM"),
    ("BIT-N", "bit N of the mask", "start 0 1<<N 0 0 -> INVALID_PARAM"),
    ("BIT-63", "bit 63 of the mask", "start 0 1<<63 0 0 -> INVALID_PARAM"),
    ("SUM-N", "base + highest bit = N", "start N-1 3 0 0 -> INVALID_PARAM"),
    ("BASE-BIT-32", "base 2^32 is not base 0", "start 1<<32 1 0 0 -> INVALID_PARAM"),
    ("BASE-MINUS-1", "base -1, mask 1", "start U64 1 0 0 -> INVALID_PARAM"),
    ("WRAP", "base -1 wraps to a configured counter (F17)",
     """cfg HPM0 1 0 PROG
        start U64 1<<(HPM0+1) 0 0 -> INVALID_PARAM ~ wrapped-set-accepted: SUCCESS ~ opensbi-wrapped-set-accepted: SUCCESS"""),
    ("HOLE", "a set with index 1 (F19)",
     """cfg 0 PROGSET 0 PROG
        start 1 1 0 0 -> INVALID_PARAM ~ hole-accepted: SUCCESS"""),
    ("HOLE-AMONG", "a set with index 1 and a configured counter",
     """cfg HPM0 1 0 PROG
        start 0 2|1<<HPM0 0 0 -> INVALID_PARAM ~ hole-accepted: SUCCESS ~ opensbi-hole-accepted: SUCCESS"""),
    *(
        (f"FLAG-{bit}", f"reserved bit {bit} of start_flags (F20)",
         f"c = cfg 0 PROGSET 0 PROG\nstart c 1 1<<{bit} 0 -> INVALID_PARAM ~ reserved-flags-ignored: SUCCESS ~ opensbi-reserved-flags-ignored: SUCCESS")
        for bit in (2, 3, 31, 32, 63)
    ),
    ("FLAG-INIT-2", "reserved bit 2 beside SET_INIT_VALUE",
     "c = cfg 0 PROGSET 0 PROG\nstart c 1 INIT|4 0 -> INVALID_PARAM ~ reserved-flags-ignored: SUCCESS ~ opensbi-reserved-flags-ignored: SUCCESS"),
    ("TWICE", "starting a counter that runs (F28)",
     "c = cfg 0 PROGSET 0 PROG\nstart c 1 INIT 0\nstart c 1 INIT 0 -> ALREADY_STARTED"),
    ("TWICE-FW", "starting a firmware counter that runs",
     "c = cfg 0 FWSET 0 FW_SET_TIMER\nstart c 1 INIT 0\nstart c 1 INIT 0 -> ALREADY_STARTED ~ opensbi-fw-start-unchecked: SUCCESS"),
    ("TWICE-FW-VALUE", "starting a firmware counter that runs leaves its value",
     """c = cfg 0 FWSET 0 FW_SET_TIMER
        start c 1 INIT 10
        start c 1 INIT 500 -> ALREADY_STARTED ~ opensbi-fw-start-unchecked: SUCCESS
        fwread c -> SUCCESS = 10 ~ opensbi-fw-start-unchecked: SUCCESS = 500"""),
    ("TWICE-VALUE", "starting a counter that runs leaves its value (O28)",
     """c = cfg 0 ALL CLEAR INSTRS
        start c 1 INIT 0
        work 1000
        start c 1 INIT 1<<40 -> ALREADY_STARTED
        csr c -> value in 2000..2000+SLACK ~ start-overwrites-running: value >= 1<<40""", {"lenient": True}),
    ("AFTER-STOP", "a stopped counter starts again", "c = cfg 0 PROGSET 0 PROG\nstart c 1 INIT 0\nstop c 1 0\nstart c 1 0 0 -> SUCCESS"),
    ("AFTER-RESET", "a counter without its event does not start (F31)",
     "cfg HPM0 1 0 PROG\nstart HPM0 1 INIT 0\nstop HPM0 1 RESET\nstart HPM0 1 0 0 -> INVALID_PARAM ~ unconfigured-skipped: SUCCESS"),
    ("FREE", "a counter without an event (F31)", "start HPM0 1 0 0 -> INVALID_PARAM ~ unconfigured-skipped: SUCCESS"),
    ("FREE-FW", "a firmware counter without an event", "start FW 1 0 0 -> INVALID_PARAM ~ unconfigured-skipped: SUCCESS"),
    ("FREE-TWO", "two counters without an event", "start HPM0 3 INIT 9 -> INVALID_PARAM ~ unconfigured-skipped: SUCCESS"),
    ("MIXED-FREE", "a configured counter and one without an event (F30)",
     "cfg HPM0 1 0 PROG\nstart HPM0 3 INIT 0 -> INVALID_PARAM ~ unconfigured-skipped: SUCCESS ~ opensbi-unconfigured-skipped: SUCCESS"),
    ("MIXED-STARTED-FIRST", "a running counter and a stopped one: ALREADY_STARTED (F30)",
     """cfg HPM0 1 0 PROG
        cfg HPM0+1 1 0 PROG
        start HPM0 1 INIT 0
        start HPM0 3 INIT 0 -> ALREADY_STARTED ~ opensbi-last-result-wins: SUCCESS
        stop HPM0+1 1 0 -> SUCCESS"""),
    ("MIXED-STARTED-LAST", "a stopped counter and a running one: ALREADY_STARTED",
     """cfg HPM0 1 0 PROG
        cfg HPM0+1 1 0 PROG
        start HPM0+1 1 INIT 0
        start HPM0 3 INIT 0 -> ALREADY_STARTED
        stop HPM0 1 0 -> SUCCESS"""),
    ("MIXED-FW", "a running hardware counter and a stopped firmware counter",
     """a = cfg 0 PROGSET 0 PROG
        start a 1 INIT 0
        cfg 0 1<<FW CLEAR FW_SET_TIMER
        start 0 FWSET&-FWSET|PROGSET 0 0 -> ALREADY_STARTED | INVALID_PARAM ~ opensbi-last-result-wins: SUCCESS"""),
    ("NO-SHMEM", "INIT_SNAPSHOT without shared memory (F46)",
     "c = cfg 0 PROGSET 0 PROG\nstart c 1 INIT_SNAPSHOT 0 -> NO_SHMEM", {"needs": ("SNAPSHOTS",)}),
    ("NO-SHMEM-KEEPS", "a start refused with NO_SHMEM starts nothing",
     "c = cfg 0 PROGSET 0 PROG\nstart c 1 INIT_SNAPSHOT 0 -> NO_SHMEM\nstop c 1 0 -> ALREADY_STOPPED", {"needs": ("SNAPSHOTS",)}),
    ("NO-SHMEM-BAD-SET", "a bad set comes before the missing shared memory", "start N 1 INIT_SNAPSHOT 0 -> INVALID_PARAM", {"needs": ("SNAPSHOTS",)}),
)
