"""Configured, started, stopped, free: the life of a counter, and resets (F59, F60; O2, O27)."""

from __future__ import annotations

from .test import table

# As many events on firmware counters as a host of ours has counters.
_HOLD = "\n".join(
    f"cfg FW+{n} 1 {flags} -> any" for flags in ("0 FW_SET_TIMER", "SKIP|AUTO 0") for n in range(18)
)
_MISSES: dict[str, object] = {"needs": ("MISSES", "PROG", "END")}

TESTS = table(
    "LIFE",
    "counter life cycle",
    ("FULL", "configure, start, stop, RESET, and again",
     """cfg HPM0 1 CLEAR PROG
        start HPM0 1 INIT 0
        stop HPM0 1 0
        stop HPM0 1 RESET -> ALREADY_STOPPED
        cfg HPM0 1 CLEAR PROG -> SUCCESS = HPM0
        start HPM0 1 INIT 0
        stop HPM0 1 RESET -> SUCCESS"""),
    ("FULL-FW", "a firmware counter configured, started, stopped, freed, and again",
     """a = cfg 0 FWSET CLEAR FW_SET_TIMER
        start a 1 INIT 0
        stop a 1 RESET
        b = cfg 0 bit(a) CLEAR FW_FENCE_I_SENT -> SUCCESS = a
        start b 1 INIT 0
        fencei
        fwread b -> SUCCESS = 1"""),
    ("LINUX", "Linux's switch-in and switch-out",
     """c = cfg 0 ALL SET_VUINH|SET_VSINH CYCLES
        start c 1 INIT (1<<63)+1 -> SUCCESS
        work 1000
        stop c 1 0
        stop c 1 RESET -> ALREADY_STOPPED"""),
    ("LINUX-TWICE", "two switches in a row",
     """c = cfg 0 PROGSET SET_UINH PROG
        start c 1 INIT 0
        stop c 1 0
        stop c 1 RESET -> ALREADY_STOPPED
        d = cfg 0 bit(c) SET_UINH PROG -> SUCCESS = c
        start d 1 INIT 0 -> SUCCESS
        stop d 1 0 -> SUCCESS"""),
    ("ALL-PROG", "a programmable event on every programmable counter",
     """cfg 0 PROGSET 0 PROG
        cfg 0 PROGSET 0 PROG
        cfg 0 PROGSET 0 PROG
        stop 0 PROGSET RESET -> ALREADY_STOPPED
        cfg HPM0 1 0 PROG -> SUCCESS = HPM0"""),
    ("STOP-ALL", "one call stops counters of both kinds",
     """a = cfg HPM0 1 CLEAR PROG
        b = cfg 0 1<<FW CLEAR FW_SET_TIMER
        start HPM0 1 INIT 0
        start FW 1 INIT 0
        stop 0 1<<HPM0|1<<FW RESET -> SUCCESS
        fwread FW -> INVALID_PARAM ~ fw-read-unbound: SUCCESS"""),
    ("RESET-VCPU", "after a reset no counter has an event (F59)",
     """cfg HPM0 1 CLEAR PROG
        reset
        cfg HPM0 1 CLEAR PROG -> SUCCESS = HPM0"""),
    ("RESET-VCPU-STARTED", "after a reset a counter that ran starts (F59, O2)",
     """cfg HPM0 1 CLEAR PROG
        start HPM0 1 INIT 0
        reset
        cfg HPM0 1 CLEAR PROG -> SUCCESS = HPM0
        start HPM0 1 INIT 0 -> SUCCESS ~ started-survives-reset: ALREADY_STARTED"""),
    ("RESET-VCPU-FW", "after a reset firmware counters start",
     """c = cfg 0 FWSET CLEAR FW_SET_TIMER
        start c 1 INIT 5
        reset
        d = cfg 0 FWSET CLEAR FW_SET_TIMER
        start d 1 INIT 0 -> SUCCESS
        fwread d -> SUCCESS = 0"""),
    ("RESET-VCPU-SHMEM", "after a reset no shared memory is set",
     """shmem PAGE 0 0
        reset
        c = cfg 0 PROGSET 0 PROG
        start c 1 0 0
        stop c 1 SNAP -> NO_SHMEM""", {"needs": ("SHMEM", "PROG")}),
    ("RESET-VCPU-VALUE", "a counter without an event does not keep its value over a reset",
     """c = cfg 0 ALL CLEAR INSTRS
        start c 1 INIT 5000000
        stop c 1 RESET
        reset
        d = cfg 0 ALL 0 INSTRS
        csr d -> value in 0..SLACK ~ value-survives-reset: value >= 5000000 ~ opensbi-csr-direct: value >= 5000000"""),
    ("HELD", "an event for which the host has no counter left (O12): it counts, or a call refuses it",
     f"""{_HOLD}
        cfg HPM0 1 CLEAR PROG
        start HPM0 1 INIT 0 -> any
        touch END-MISSES*4096 MISSES
        csr HPM0 -> value >= 1 ~ error-state-ignored, skip-match-any-type: value = 0""", _MISSES),
    ("LEAK", "RESET gives back what a counter held (O27)",
     f"""{_HOLD}
        stop 0 FWSET RESET -> any
        cfg HPM0 1 CLEAR PROG
        start HPM0 1 INIT 0 -> SUCCESS
        touch END-MISSES*4096 MISSES
        csr HPM0 -> value >= 1 ~ fw-reset-leaks-event, skip-match-any-type: value = 0""", _MISSES),
)
