"""What counters count: values over start, stop, configuration and time (F28, F58, F69; O1)."""

from __future__ import annotations

from .test import table

_RUN = """c = cfg 0 ALL CLEAR INSTRS
        start c 1 INIT 0"""

TESTS = table(
    "VALUE",
    "counter_start, counter_stop; counters",
    ("COUNT", "instructions count the instructions of a loop", f"{_RUN}\nwork 50000\ncsr c -> value in 100000..100000+SLACK"),
    ("COUNT-CYCLES", "cycles advance", "c = cfg 0 ALL CLEAR CYCLES\nstart c 1 INIT 0\nwork 50000\ncsr c -> value >= 1000"),
    ("READ-TWICE", "reading does not change a running counter (F69, O1)",
     f"{_RUN}\nwork 50000\na = csr c -> value in 100000..100000+SLACK\ncsr c -> value in a..a+SLACK ~ read-accumulates: value >= 2*a"),
    ("READ-THRICE", "three readings differ by what was counted in between",
     f"{_RUN}\nwork 50000\na = csr c -> any\nwork 50000\nb = csr c -> value in a+100000..a+100000+SLACK ~ read-accumulates: value >= 2*a\ncsr c -> value in b..b+SLACK ~ read-accumulates: value >= b+a"),
    ("FROZEN", "a stopped counter stands still", f"{_RUN}\nwork 50000\nstop c 1 0\na = csr c -> value in 100000..100000+SLACK\nwork 50000\ncsr c -> value = a ~ read-accumulates: value = 2*a ~ qemu-stopped-counter-lost: value = 0"),
    ("READ-STOPPED-TWICE", "two readings of a stopped counter are equal", f"{_RUN}\nwork 1000\nstop c 1 0\na = csr c -> value in 2000..2000+SLACK\ncsr c -> value = a ~ read-accumulates: value = 2*a ~ qemu-stopped-counter-lost: value = 0"),
    ("RESTART", "without SET_INIT_VALUE a counter goes on from its value",
     f"{_RUN}\nwork 50000\nstop c 1 0\nstart c 1 0 0\nwork 50000\nstop c 1 0\ncsr c -> value in 200000..200000+2*SLACK"),
    ("INIT", "SET_INIT_VALUE sets the value", "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT 1000000\ncsr c -> value in 1000000..1000000+SLACK"),
    ("INIT-AGAIN", "SET_INIT_VALUE replaces what was counted before",
     f"{_RUN}\nwork 50000\nstop c 1 0\nstart c 1 INIT 7\nwork 1000\nstop c 1 0\ncsr c -> value in 2007..2007+SLACK ~ read-accumulates: value >= 100000"),
    ("INIT-LARGE", "an initial value with bit 62 set", "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT 1<<62\ncsr c -> value in (1<<62)..(1<<62)+SLACK", {"needs": ("WIDE",)}),
    ("INIT-63", "an initial value with bit 63 set", "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT 1<<63\ncsr c -> value in (1<<63)..(1<<63)+SLACK", {"needs": ("WIDE",)}),
    ("INIT-LINUX", "the initial value that Linux uses: 2^63 + 1", "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT (1<<63)+1\nwork 50000\ncsr c -> value in (1<<63)+100001..(1<<63)+100001+SLACK", {"needs": ("WIDE",)}),
    ("WRAP", "a counter of 64 bits wraps to 0 (F58)",
     "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT U64-999\nwork 50000\ncsr c -> value in 99000..99000+SLACK", {"needs": ("WIDE",)}),
    ("INIT-IGNORED", "initial_value without SET_INIT_VALUE is ignored",
     "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 0 1000000000\ncsr c -> value in 0..SLACK"),
    ("STOPPED-START", "a configured counter does not count before start (F66)",
     "c = cfg 0 ALL CLEAR INSTRS\nwork 50000\nstart c 1 0 0\ncsr c -> value in 0..SLACK ~ event-created-enabled: any ~ qemu-stopped-counter-lost: value in 100000..100000+SLACK"),
    ("INDEPENDENT", "two counters of one event count alike",
     """a = cfg 0 PROGSET CLEAR INSTRS -> any
        b = cfg 0 ALL CLEAR INSTRS
        start a 1 INIT 0 -> any
        start b 1 INIT 0 -> any
        work 50000
        csr b -> value >= 100000 ~ qemu-one-counter-per-event: value = 0""", {"lenient": True}),
    ("STOP-ONE", "stopping one counter leaves the other running",
     """a = cfg 0 ALL CLEAR CYCLES
        b = cfg 0 ALL CLEAR INSTRS
        start a 1 INIT 0
        start b 1 INIT 0
        stop a 1 0
        work 50000
        csr b -> value in 100000..100000+SLACK"""),
    ("FILTER-S", "with SET_SINH instructions of S mode do not count, or the hint is ignored",
     "c = cfg 0 ALL CLEAR|SET_SINH INSTRS\nstart c 1 INIT 0\nwork 50000\ncsr c -> value <= SLACK | value in 100000..100000+SLACK"),
    ("FILTER-U", "with SET_UINH instructions of S mode count",
     "c = cfg 0 ALL CLEAR|SET_UINH INSTRS\nstart c 1 INIT 0\nwork 50000\ncsr c -> value in 100000..100000+SLACK"),
    ("RESET-VALUE", "a new event without CLEAR_VALUE does not lose the value before start",
     f"{_RUN}\nwork 1000\nstop c 1 0\na = csr c -> any\ncsr c -> value = a ~ read-accumulates: value = 2*a ~ qemu-stopped-counter-lost: value = 0"),
    ("CYCLES-GE-INSTRS", "a loop takes time", "c = cfg 0 ALL CLEAR CYCLES\nstart c 1 INIT 0\nwork 50000\na = csr c -> value >= 1\nwork 50000\ncsr c -> value >= a+1"),
    ("LONG", "a million instructions", f"{_RUN}\nwork 500000\ncsr c -> value in 1000000..1000000+SLACK"),
)
