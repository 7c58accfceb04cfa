"""Overflow and its interrupt (F50 to F58). Only where the host signals overflows."""

from __future__ import annotations

from .test import table

_ARM = "c = cfg 0 PROGSET CLEAR INSTRS -> any"
_NEED: dict[str, object] = {"needs": ("LCOFI",)}
_NEED_PAGE: dict[str, object] = {"needs": ("LCOFI", "SHMEM")}

TESTS = table(
    "OVERFLOW",
    "counter overflow; Sscofpmf",
    ("PENDING", "a wrap makes LCOFI pending in sip", "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT U64-999\nwork 50000\ncsr 33 -> value >= 1<<13", _NEED),
    ("TAKEN", "an enabled LCOFI is taken", "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT U64-9999\ninterrupts 1<<13 50000 -> value = 1<<13", _NEED),
    ("NOT-YET", "before the wrap nothing is pending", "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT U64-9999999\nwork 50000\ncsr 33 -> value <= (1<<13)-1", _NEED),
    ("NONE", "from 0 nothing is pending", "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT 0\nwork 50000\ncsr 33 -> value <= (1<<13)-1", _NEED),
    ("STOPPED", "a stopped counter does not wrap", "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT U64-99999\nstop c 1 0\nwork 500000\ncsr 33 -> value <= (1<<13)-1", _NEED),
    ("BITMAP", "the snapshot's bitmap names the counter that wrapped",
     "shmem PAGE 0 0\nc = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT U64-999\nwork 50000\nstop c 1 SNAP\nload PAGE -> value = 1", _NEED_PAGE),
    ("BITMAP-SLOT", "the slot holds the value after the wrap",
     "shmem PAGE 0 0\nc = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT U64-999\nwork 50000\nstop c 1 SNAP\nload PAGE+8 -> value in 99000..99000+SLACK", _NEED_PAGE),
    ("CLEARED", "a guest that clears LCOFI sees it clear", "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT U64-999\nwork 50000\ncsrset 1 1<<13 -> any\ncsr 33 -> value <= (1<<13)-1", _NEED),
    ("FW", "a firmware counter that wraps interrupts nobody", "c = cfg 0 FWSET CLEAR FW_SET_TIMER\nstart c 1 INIT U64\ntimer\nfwread c -> SUCCESS = 0\ncsr 33 -> value <= (1<<13)-1", _NEED),
    ("SECOND", "after a stop, a new start overflows again",
     "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT U64-999\nwork 50000\nstop c 1 0\ncsrset 1 1<<13 -> any\nstart c 1 INIT U64-999\nwork 50000\ncsr 33 -> value >= 1<<13", _NEED),
)
