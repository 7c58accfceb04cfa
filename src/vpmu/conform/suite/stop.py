"""counter_stop: sets, flags, states (F16 to F20, F29)."""

from __future__ import annotations

from .test import table

TESTS = table(
    "STOP",
    "counter_stop (FID 4)",
    ("ONE", "a running counter stops", "c = cfg 0 PROGSET 0 PROG\nstart c 1 INIT 0\nstop c 1 0 -> SUCCESS"),
    ("RESET", "a running counter stops and gives its event up", "c = cfg 0 PROGSET 0 PROG\nstart c 1 INIT 0\nstop c 1 RESET -> SUCCESS"),
    ("FW", "a running firmware counter stops", "c = cfg 0 FWSET 0 FW_SET_TIMER\nstart c 1 INIT 0\nstop c 1 0 -> SUCCESS"),
    ("MASK-0", "a set without counters (F16)", "stop 0 0 0 -> INVALID_PARAM"),
    ("BASE-N", "base N", "stop N 1 0 -> INVALID_PARAM"),
    ("BASE-64", "base 64", "stop 64 1 0 -> INVALID_PARAM"),
    ("BIT-N", "bit N of the mask", "stop 0 1<<N 0 -> INVALID_PARAM"),
    ("BIT-63", "bit 63 of the mask", "stop 0 1<<63 0 -> INVALID_PARAM"),
    ("SUM-N", "base + highest bit = N", "stop N-1 2 0 -> INVALID_PARAM"),
    ("BASE-BIT-32", "base 2^32 is not base 0", "stop 1<<32 1 0 -> INVALID_PARAM"),
    ("BASE-MINUS-1", "base -1, mask 1", "stop U64 1 0 -> INVALID_PARAM"),
    ("WRAP", "base -1 wraps to a running counter (F17)",
     """cfg HPM0 1 0 PROG
        start HPM0 1 0 0
        stop U64 1<<(HPM0+1) 0 -> INVALID_PARAM ~ wrapped-set-accepted: SUCCESS ~ opensbi-wrapped-set-accepted: SUCCESS"""),
    ("HOLE", "a set with index 1 (F19)",
     """cfg HPM0 1 0 PROG
        start HPM0 1 0 0
        stop 0 2|1<<HPM0 0 -> INVALID_PARAM ~ hole-accepted: SUCCESS ~ opensbi-hole-accepted: SUCCESS"""),
    *(
        (f"FLAG-{bit}", f"reserved bit {bit} of stop_flags (F20)",
         f"c = cfg 0 PROGSET 0 PROG\nstart c 1 0 0\nstop c 1 1<<{bit} -> INVALID_PARAM ~ reserved-flags-ignored: SUCCESS ~ opensbi-reserved-flags-ignored: SUCCESS")
        for bit in (2, 3, 31, 32, 63)
    ),
    ("FLAG-KEEPS", "a stop refused for its flags stops nothing",
     """c = cfg 0 PROGSET 0 PROG
        start c 1 0 0
        stop c 1 4 -> INVALID_PARAM ~ reserved-flags-ignored: SUCCESS ~ opensbi-reserved-flags-ignored: SUCCESS
        stop c 1 0 -> SUCCESS ~ reserved-flags-ignored: ALREADY_STOPPED ~ opensbi-reserved-flags-ignored: ALREADY_STOPPED"""),
    ("TWICE", "stopping a stopped counter (F29)", "c = cfg 0 PROGSET 0 PROG\nstart c 1 0 0\nstop c 1 0\nstop c 1 0 -> ALREADY_STOPPED"),
    ("TWICE-FW", "stopping a stopped firmware counter",
     "c = cfg 0 FWSET 0 FW_SET_TIMER\nstart c 1 0 0\nstop c 1 0\nstop c 1 0 -> ALREADY_STOPPED ~ opensbi-fw-stop-unchecked: SUCCESS"),
    ("NEVER-STARTED", "stopping a counter that never ran", "c = cfg 0 PROGSET 0 PROG\nstop c 1 0 -> ALREADY_STOPPED"),
    ("NEVER-STARTED-FW", "stopping a firmware counter that never ran",
     "c = cfg 0 FWSET 0 FW_SET_TIMER\nstop c 1 0 -> ALREADY_STOPPED ~ opensbi-fw-stop-unchecked: SUCCESS"),
    ("RESET-STOPPED", "RESET of a stopped counter: ALREADY_STOPPED, and its event is gone",
     """cfg HPM0 1 0 PROG
        stop HPM0 1 RESET -> ALREADY_STOPPED
        cfg HPM0 1 0 PROG -> SUCCESS = HPM0"""),
    ("NO-RESET-KEEPS", "without RESET the event stays bound",
     """cfg HPM0 1 0 PROG
        start HPM0 1 0 0
        stop HPM0 1 0
        cfg HPM0 1 0 PROG -> NOT_SUPPORTED"""),
    ("RESET-FREES", "after RESET the counter can be chosen again",
     """cfg HPM0 1 0 PROG
        start HPM0 1 0 0
        stop HPM0 1 RESET
        cfg HPM0 1 0 PROG -> SUCCESS = HPM0"""),
    ("RESET-FREES-FW", "after RESET a firmware counter can be chosen again",
     """c = cfg 0 FWSET 0 FW_SET_TIMER
        start c 1 0 0
        stop c 1 RESET
        cfg 0 bit(c) 0 FW_SET_TIMER -> SUCCESS = c"""),
    ("FREE", "stopping a counter without an event", "stop HPM0 1 0 -> ALREADY_STOPPED | INVALID_PARAM ~ unconfigured-skipped: SUCCESS"),
    ("FREE-FW", "stopping a firmware counter without an event", "stop FW 1 0 -> ALREADY_STOPPED | INVALID_PARAM ~ unconfigured-skipped: SUCCESS"),
    ("MIXED-STOPPED-FIRST", "a stopped counter and a running one: ALREADY_STOPPED, and both are stopped",
     """cfg HPM0 1 0 PROG
        cfg HPM0+1 1 0 PROG
        start HPM0+1 1 0 0
        stop HPM0 3 0 -> ALREADY_STOPPED ~ opensbi-last-result-wins: SUCCESS
        stop HPM0+1 1 0 -> ALREADY_STOPPED"""),
    ("MIXED-STOPPED-LAST", "a running counter and a stopped one: ALREADY_STOPPED, and both are stopped",
     """cfg HPM0 1 0 PROG
        cfg HPM0+1 1 0 PROG
        start HPM0 1 0 0
        stop HPM0 3 0 -> ALREADY_STOPPED
        stop HPM0 1 0 -> ALREADY_STOPPED"""),
    ("ALL", "stopping every counter where none runs",
     "cfg 0 PROGSET 0 PROG\nstop 0 PROGSET RESET -> ALREADY_STOPPED"),
    ("NO-SHMEM", "TAKE_SNAPSHOT without shared memory (F46)",
     "c = cfg 0 PROGSET 0 PROG\nstart c 1 0 0\nstop c 1 SNAP -> NO_SHMEM", {"needs": ("SNAPSHOTS",)}),
    ("NO-SHMEM-KEEPS", "a stop refused with NO_SHMEM stops nothing",
     "c = cfg 0 PROGSET 0 PROG\nstart c 1 0 0\nstop c 1 SNAP -> NO_SHMEM\nstop c 1 0 -> SUCCESS", {"needs": ("SNAPSHOTS",)}),
    ("NO-SHMEM-RESET", "TAKE_SNAPSHOT and RESET without shared memory",
     "c = cfg 0 PROGSET 0 PROG\nstop c 1 SNAP|RESET -> NO_SHMEM", {"needs": ("SNAPSHOTS",)}),
    ("NO-SHMEM-BAD-SET", "a bad set comes before the missing shared memory", "stop N 1 SNAP -> INVALID_PARAM", {"needs": ("SNAPSHOTS",)}),
)
