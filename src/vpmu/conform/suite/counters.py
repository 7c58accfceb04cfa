"""num_counters and counter_get_info (O9)."""

from __future__ import annotations

from .test import table

TESTS = table(
    "NUM",
    "num_counters (FID 0)",
    ("COUNT", "there is a counter, and at most 64", "num -> SUCCESS in 1..64"),
    ("STABLE", "the number does not change when counters are used",
     """a = num
        c = cfg 0 ALL CLEAR CYCLES
        start c 1 INIT 0
        num -> SUCCESS = a
        stop c 1 RESET
        num -> SUCCESS = a"""),
    ("VALUE", "the number is one more than the last counter's index",
     """info N-1 -> SUCCESS
        info N -> INVALID_PARAM ~ info-beyond-last: SUCCESS = 0"""),
) + table(
    "INFO",
    "counter_get_info (FID 1)",
    ("CYCLE", "counter 0 is the CSR cycle, a hardware counter of 64 bits", "info 0 -> SUCCESS = 0xc00|63<<12"),
    ("INSTRET", "counter 2 is the CSR instret, a hardware counter of 64 bits", "info 2 -> SUCCESS = 0xc02|63<<12"),
    ("HPM-CSR", "a programmable counter names its own CSR, 0xC00 + its index",
     "i = info HPM0 -> SUCCESS = (0xc00+HPM0)|(WIDTH-1)<<12", {"needs": ("PROG",)}),
    ("TIME", "index 1 is time, which is no counter", "info 1 -> INVALID_PARAM"),
    ("FIRST-FW", "the first firmware counter has type 1 in bit 63", "info FW -> SUCCESS >= 1<<63"),
    ("LAST-FW", "the last firmware counter has type 1 in bit 63", "info N-1 -> SUCCESS >= 1<<63"),
    ("LAST-HW", "the counter before the first firmware counter is of hardware", "info FW-1 -> SUCCESS <= 0xfff|63<<12"),
    ("N", "index N is no counter", "info N -> INVALID_PARAM ~ info-beyond-last: SUCCESS = 0"),
    ("N+1", "index N+1 is no counter", "info N+1 -> INVALID_PARAM ~ info-beyond-last: SUCCESS = 0"),
    ("63", "index 63 is no counter", "info 63 -> INVALID_PARAM ~ info-beyond-last: SUCCESS = 0"),
    ("64", "index 64 is no counter", "info 64 -> INVALID_PARAM ~ info-past-array: SUCCESS in 0..1"),
    ("65", "index 65 is no counter", "info 65 -> INVALID_PARAM"),
    ("BIT-31", "index 2^31 is no counter", "info 1<<31 -> INVALID_PARAM"),
    ("BIT-32", "index 2^32 is not counter 0", "info 1<<32 -> INVALID_PARAM ~ opensbi-index-32-bits: SUCCESS = 0xc00|63<<12"),
    ("BIT-63", "index 2^63 is not counter 0", "info 1<<63 -> INVALID_PARAM ~ opensbi-index-32-bits: SUCCESS = 0xc00|63<<12"),
    ("MINUS-1", "index -1 is no counter", "info U64 -> INVALID_PARAM"),
    ("SAME", "the answer is the same while the counter runs",
     """i = info 2
        c = cfg 0 ALL AUTO INSTRS
        info 2 -> SUCCESS = i"""),
)
