"""counter_config_matching: sets, flags and the choice of a counter (F14 to F27)."""

from __future__ import annotations

from .test import table

TESTS = table(
    "CFG",
    "counter_config_matching (FID 2)",
    ("CYCLES", "cycles get a counter of the set", "cfg 0 ALL 0 CYCLES -> SUCCESS among ALL"),
    ("INSTRS", "instructions get a counter of the set", "cfg 0 ALL 0 INSTRS -> SUCCESS among ALL"),
    ("PROG", "another event gets a programmable counter of the set", "cfg 0 ALL 0 PROG -> SUCCESS among PROGSET"),
    ("FW", "a firmware event gets a firmware counter of the set", "cfg 0 ALL 0 FW_SET_TIMER -> SUCCESS among FWSET"),
    ("BASE", "the set starts at counter_idx_base, and the answer is absolute", "cfg HPM0 1 0 PROG -> SUCCESS = HPM0"),
    ("BASE-MASK", "bit i of the mask is counter base + i", "cfg HPM0 4 0 PROG -> SUCCESS = HPM0+2"),
    ("LAST-PROG", "the last programmable counter can be asked for", "cfg FW-1 1 0 PROG -> SUCCESS = FW-1"),
    ("FIRST-FW", "the first firmware counter can be asked for", "cfg FW 1 0 FW_SET_TIMER -> SUCCESS = FW ~ opensbi-fw-index-relative: SUCCESS | NOT_SUPPORTED"),
    ("LAST-FW", "the last firmware counter can be asked for", "cfg 0 1<<(N-1) 0 FW_SET_TIMER -> SUCCESS = N-1"),
    ("TWO", "two events get two counters",
     """a = cfg 0 ALL 0 PROG
        cfg 0 ALL 0 PROG -> SUCCESS among PROGSET&~(1<<a)"""),
    ("FW-TWO", "two firmware events get two counters",
     """a = cfg 0 ALL 0 FW_SET_TIMER
        cfg 0 ALL 0 FW_IPI_SENT -> SUCCESS among FWSET&~(1<<a)"""),
    # The set.
    ("MASK-0", "a set without counters", "cfg 0 0 0 CYCLES -> INVALID_PARAM ~ opensbi-mask-zero-accepted: SUCCESS = 0"),
    ("MASK-0-PROG", "a set without counters, programmable event", "cfg HPM0 0 0 PROG -> INVALID_PARAM ~ opensbi-mask-zero-accepted: NOT_SUPPORTED"),
    ("BASE-N", "base N", "cfg N 1 0 CYCLES -> INVALID_PARAM"),
    ("BASE-63", "base 63", "cfg 63 1 0 CYCLES -> INVALID_PARAM"),
    ("BASE-64", "base 64", "cfg 64 1 0 CYCLES -> INVALID_PARAM ~ opensbi-set-shifted: NOT_SUPPORTED"),
    ("BIT-N", "bit N of the mask, among valid ones", "cfg 0 ALL|1<<N 0 CYCLES -> INVALID_PARAM"),
    ("BIT-63", "bit 63 of the mask", "cfg 0 1<<63 0 CYCLES -> INVALID_PARAM"),
    ("SUM-N", "base + highest bit = N", "cfg N-1 2 0 FW_SET_TIMER -> INVALID_PARAM"),
    ("BASE-BIT-32", "base 2^32 is not base 0", "cfg 1<<32 1 0 CYCLES -> INVALID_PARAM ~ opensbi-set-shifted: NOT_SUPPORTED"),
    ("BASE-BIT-63", "base 2^63 is not base 0", "cfg 1<<63 1 0 CYCLES -> INVALID_PARAM ~ opensbi-set-shifted: NOT_SUPPORTED"),
    ("BASE-MINUS-1", "base -1, mask 1", "cfg U64 1 0 CYCLES -> INVALID_PARAM"),
    ("WRAP-0", "base -1, mask 2: wraps to counter 0",
     "cfg U64 2 0 CYCLES -> INVALID_PARAM ~ opensbi-set-shifted: NOT_SUPPORTED ~ wrapped-set-accepted: SUCCESS = 0 ~ opensbi-wrapped-set-accepted: NOT_SUPPORTED"),
    ("WRAP-PROG", "base -1: wraps to a programmable counter",
     "cfg U64 1<<(HPM0+1) 0 PROG -> INVALID_PARAM ~ opensbi-set-shifted: NOT_SUPPORTED ~ wrapped-set-accepted: SUCCESS ~ opensbi-wrapped-set-accepted: NOT_SUPPORTED"),
    ("HOLE", "index 1 alone", "cfg 1 1 0 CYCLES -> INVALID_PARAM ~ hole-accepted, fixed-counter-ignores-set: SUCCESS = 0 ~ opensbi-hole-accepted: SUCCESS ~ opensbi-fixed-counter-unused: NOT_SUPPORTED"),
    ("HOLE-AMONG", "index 1 among valid counters", "cfg 0 7 0 CYCLES -> INVALID_PARAM ~ hole-accepted: SUCCESS ~ opensbi-hole-accepted: SUCCESS ~ opensbi-fixed-counter-unused: NOT_SUPPORTED"),
    ("HOLE-PROG", "index 1 alone, programmable event", "cfg 1 1 0 PROG -> INVALID_PARAM ~ hole-accepted: NOT_SUPPORTED ~ opensbi-hole-accepted: NOT_SUPPORTED"),
    ("HOLE-FW", "index 1 alone, firmware event", "cfg 1 1 0 FW_SET_TIMER -> INVALID_PARAM ~ hole-accepted: NOT_SUPPORTED ~ opensbi-hole-accepted: NOT_SUPPORTED"),
    # Flags.
    *(
        (f"FLAG-{bit}", f"reserved bit {bit} of config_flags",
         f"cfg 0 ALL 1<<{bit} CYCLES -> INVALID_PARAM ~ reserved-flags-ignored: SUCCESS ~ opensbi-reserved-flags-ignored: SUCCESS")
        for bit in (8, 16, 31, 32, 63)
    ),
    ("FLAG-CLEAR-8", "reserved bit 8 beside CLEAR_VALUE",
     "cfg 0 ALL CLEAR|0x100 CYCLES -> INVALID_PARAM ~ reserved-flags-ignored: SUCCESS ~ opensbi-reserved-flags-ignored: SUCCESS"),
    ("FLAG-FW", "a reserved flag with a firmware event",
     "cfg 0 ALL 0x100 FW_SET_TIMER -> INVALID_PARAM ~ reserved-flags-ignored: SUCCESS ~ opensbi-reserved-flags-ignored: SUCCESS"),
    ("FLAG-INHIBITS", "all five filter flags are accepted", "cfg 0 ALL 0xf8 INSTRS -> SUCCESS among ALL"),
    *(
        (f"FLAG-{name}", f"{name} is accepted", f"cfg 0 ALL {name} CYCLES -> SUCCESS among ALL")
        for name in ("CLEAR_VALUE", "AUTO_START", "SET_UINH", "SET_SINH", "SET_VUINH", "SET_VSINH", "SET_MINH")
    ),
    # The choice.
    ("IN-USE", "the only counter of the set is in use (F15)",
     """cfg HPM0 1 0 PROG
        cfg HPM0 1 0 PROG -> NOT_SUPPORTED"""),
    ("EXHAUST", "the set shrinks by one with each event (F14)",
     """a = cfg 0 3<<HPM0 0 PROG
        b = cfg 0 3<<HPM0 0 PROG
        cfg 0 3<<HPM0 0 PROG -> NOT_SUPPORTED
        stop a 1 RESET -> ALREADY_STOPPED
        cfg 0 3<<HPM0 0 PROG -> SUCCESS = a"""),
    ("EXHAUST-FW", "firmware counters run out (F14)",
     """cfg 0 3<<FW 0 FW_SET_TIMER
        cfg 0 3<<FW 0 FW_SET_TIMER
        cfg 0 3<<FW 0 FW_SET_TIMER -> NOT_SUPPORTED"""),
    ("FW-APART", "firmware counters do not count hardware events", "cfg 0 FWSET 0 CYCLES -> NOT_SUPPORTED ~ fixed-counter-ignores-set: SUCCESS = 0 ~ opensbi-fixed-counter-fallback: SUCCESS = 0"),
    ("FW-APART-BASE", "firmware counters, named by their base, do not count hardware events", "cfg FW 1 0 CYCLES -> NOT_SUPPORTED ~ fixed-counter-ignores-set: SUCCESS = 0"),
    ("PROG-FW-APART", "firmware counters do not count programmable events", "cfg 0 FWSET 0 PROG -> NOT_SUPPORTED"),
    ("HW-APART", "hardware counters do not count firmware events", "cfg 0 HWSET 0 FW_SET_TIMER -> NOT_SUPPORTED"),
    ("FIXED-PROG", "cycle and instret count nothing else", "cfg 0 5 0 PROG -> NOT_SUPPORTED"),
    ("CYCLES-SET", "cycles stay within the set", "cfg 0 4 0 CYCLES -> NOT_SUPPORTED ~ fixed-counter-ignores-set: SUCCESS = 0 ~ opensbi-fixed-counter-fallback: SUCCESS = 0"),
    ("INSTRS-SET", "instructions stay within the set", "cfg 0 1 0 INSTRS -> NOT_SUPPORTED ~ fixed-counter-ignores-set: SUCCESS = 2 ~ opensbi-fixed-counter-fallback: SUCCESS = 2"),
    ("CYCLES-PROG", "cycles on a programmable counter, where the set has no other",
     "cfg HPM0 1 0 CYCLES -> SUCCESS = HPM0 | NOT_SUPPORTED ~ fixed-counter-ignores-set: SUCCESS = 0"),
    ("INSTRS-PROG", "instructions on a programmable counter, where the set has no other",
     "cfg HPM0 1 0 INSTRS -> SUCCESS = HPM0 | NOT_SUPPORTED ~ fixed-counter-ignores-set: SUCCESS = 2"),
    ("CYCLES-TWICE", "a second event on a counter that counts already (F78)",
     """cfg 0 1 CLEAR CYCLES ~ opensbi-fixed-counter-unused: NOT_SUPPORTED
        start 0 1 INIT 0 -> SUCCESS | ALREADY_STARTED
        cfg 0 1 CLEAR CYCLES -> NOT_SUPPORTED ~ fixed-counter-ignores-set: SUCCESS = 0 ~ opensbi-fixed-counter-fallback: SUCCESS = 0"""),
    ("RUNNING-KEPT", "a refused configuration leaves a running counter as it is (O28)",
     """cfg 0 1 CLEAR CYCLES ~ opensbi-fixed-counter-unused: NOT_SUPPORTED
        start 0 1 INIT 0 -> SUCCESS | ALREADY_STARTED
        work 50000
        a = csr 0 -> value >= 1
        cfg 0 1 0 CYCLES -> any
        work 50000
        csr 0 -> value >= a+100000 ~ fixed-counter-ignores-set: value <= a+a""", {"lenient": True}),
    # SKIP_MATCH.
    ("SKIP-FREE", "SKIP_MATCH takes a counter without an event (F21)",
     "cfg HPM0 1 SKIP PROG -> SUCCESS = HPM0 ~ skip-match-needs-configured: FAILED ~ opensbi-skip-match-needs-configured: INVALID_PARAM"),
    ("SKIP-FREE-FW", "SKIP_MATCH takes a firmware counter without an event",
     "cfg FW 1 SKIP FW_SET_TIMER -> SUCCESS = FW ~ skip-match-needs-configured: FAILED ~ opensbi-skip-match-needs-configured: INVALID_PARAM"),
    ("SKIP-SAME", "SKIP_MATCH on a counter with that event",
     """cfg HPM0 1 0 PROG
        cfg HPM0 1 SKIP PROG -> SUCCESS = HPM0"""),
    ("SKIP-FIRST", "SKIP_MATCH takes the first counter of the set",
     """cfg HPM0 2 0 PROG
        cfg HPM0 6 SKIP PROG -> SUCCESS = HPM0+1 ~ opensbi-skip-match-takes-base: INVALID_PARAM"""),
    ("SKIP-SAME-FW", "SKIP_MATCH on a firmware counter with that event",
     """a = cfg 0 FWSET 0 FW_SET_TIMER
        cfg a 1 SKIP FW_SET_TIMER -> SUCCESS = a"""),
    ("SKIP-REBIND-FW", "SKIP_MATCH binds another firmware event",
     """a = cfg 0 FWSET CLEAR FW_IPI_SENT
        cfg a 1 SKIP|CLEAR FW_SET_TIMER -> SUCCESS = a
        start a 1 INIT 0
        timer
        fwread a -> SUCCESS = 1 ~ opensbi-skip-match-keeps-event: SUCCESS = 0"""),
    ("SKIP-BAD-SET", "SKIP_MATCH checks the set", "cfg N 1 SKIP PROG -> INVALID_PARAM"),
    ("SKIP-ABSENT", "SKIP_MATCH of an event that the host lacks (F22)",
     """cfg HPM0 1 0 PROG
        cfg HPM0 1 SKIP ABSENT -> NOT_SUPPORTED ~ opensbi-skip-match-keeps-event: SUCCESS = HPM0"""),
    ("SKIP-ABSENT-KEEPS", "after a refused SKIP_MATCH the old event is still bound (F22)",
     """cfg HPM0 1 0 PROG
        cfg HPM0 1 SKIP ABSENT -> any
        start HPM0 1 INIT 0 -> SUCCESS ~ rebind-releases-first: INVALID_PARAM"""),
    ("SKIP-ABSENT-REPAIR", "stop with RESET frees a counter whose SKIP_MATCH was refused",
     """cfg HPM0 1 0 PROG
        cfg HPM0 1 SKIP ABSENT -> any
        stop HPM0 1 RESET -> ALREADY_STOPPED ~ rebind-releases-first: INVALID_PARAM
        cfg HPM0 1 0 PROG -> SUCCESS = HPM0"""),
    ("SKIP-FW-ON-HW", "SKIP_MATCH of a firmware event on a hardware counter (F24)",
     """cfg HPM0 1 0 PROG
        cfg HPM0 1 SKIP FW_SET_TIMER -> NOT_SUPPORTED ~ skip-match-any-type: SUCCESS = HPM0 ~ opensbi-skip-match-keeps-event: SUCCESS = HPM0"""),
    ("SKIP-HW-ON-FIXED", "SKIP_MATCH of another event on cycle",
     """cfg 0 1 0 CYCLES ~ opensbi-fixed-counter-unused: NOT_SUPPORTED
        cfg 0 1 SKIP PROG -> NOT_SUPPORTED ~ skip-match-any-type: SUCCESS = 0 ~ opensbi-skip-match-keeps-event: SUCCESS = 0"""),
    ("SKIP-RUNNING", "SKIP_MATCH of a running counter with the same event keeps it usable (F23)",
     """cfg HPM0 1 CLEAR PROG
        start HPM0 1 INIT 0
        cfg HPM0 1 SKIP PROG -> SUCCESS = HPM0 | NOT_SUPPORTED
        stop HPM0 1 RESET -> SUCCESS | ALREADY_STOPPED"""),
    # AUTO_START.
    ("AUTO-START", "AUTO_START, then start (F26)",
     """c = cfg 0 PROGSET CLEAR|AUTO PROG
        start c 1 INIT 0 -> ALREADY_STARTED ~ auto-start-untracked: SUCCESS ~ opensbi-auto-start-general-only: SUCCESS"""),
    ("AUTO-START-CYCLES", "AUTO_START of cycles, then start",
     """c = cfg 0 ALL CLEAR|AUTO CYCLES
        start c 1 INIT 0 -> ALREADY_STARTED ~ auto-start-untracked: SUCCESS"""),
    ("AUTO-STOP", "AUTO_START, then stop (F27)",
     """c = cfg 0 PROGSET CLEAR|AUTO PROG
        stop c 1 0 -> SUCCESS ~ auto-start-untracked: ALREADY_STOPPED ~ opensbi-auto-start-general-only: ALREADY_STOPPED"""),
    ("AUTO-STOP-FROZEN", "AUTO_START, then stop: the value stands still (O3)",
     """c = cfg 0 ALL CLEAR|AUTO INSTRS
        stop c 1 0 -> any
        a = csr c
        work 50000
        csr c -> value = a ~ auto-start-untracked: value >= a+100000 ~ qemu-stopped-counter-lost: value = 0"""),
    ("AUTO-COUNTS", "AUTO_START counts from the configuration on",
     """c = cfg 0 ALL CLEAR|AUTO INSTRS
        work 50000
        csr c -> value in 100000..100000+SLACK"""),
    ("AUTO-FW", "AUTO_START of a firmware event, then start",
     """c = cfg 0 FWSET CLEAR|AUTO FW_SET_TIMER
        a = fwread c
        timer
        fwread c -> SUCCESS = a+1
        start c 1 INIT 5 -> ALREADY_STARTED ~ opensbi-fw-start-unchecked: SUCCESS"""),
    ("AUTO-FW-STOP", "AUTO_START of a firmware event, then stop",
     """c = cfg 0 FWSET CLEAR|AUTO FW_SET_TIMER
        stop c 1 0 -> SUCCESS"""),
    ("AUTO-ABSENT", "AUTO_START of an event that the host lacks starts nothing (F25)",
     """cfg 0 ALL AUTO ABSENT -> NOT_SUPPORTED
        cfg HPM0 1 0 PROG -> SUCCESS = HPM0"""),
    # CLEAR_VALUE.
    ("NO-CLEAR-FW", "without CLEAR_VALUE a firmware counter keeps its value",
     """c = cfg 0 FWSET 0 FW_SET_TIMER
        start c 1 INIT 40
        stop c 1 0
        cfg c 1 SKIP FW_SET_TIMER -> SUCCESS = c
        fwread c -> SUCCESS = 40"""),
    ("CLEAR-FW", "CLEAR_VALUE clears a firmware counter",
     """c = cfg 0 FWSET 0 FW_SET_TIMER
        start c 1 INIT 40
        stop c 1 0
        cfg c 1 SKIP|CLEAR FW_SET_TIMER -> SUCCESS = c
        fwread c -> SUCCESS = 0 ~ fw-clear-ignored: SUCCESS = 40"""),
    ("CLEAR-HW", "CLEAR_VALUE clears a hardware counter",
     """c = cfg 0 ALL CLEAR INSTRS
        start c 1 INIT 50000000
        stop c 1 RESET
        d = cfg 0 bit(c) CLEAR INSTRS -> SUCCESS = c
        csr d -> value in 0..SLACK"""),
)
