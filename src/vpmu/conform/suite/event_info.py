"""event_get_info (F47 to F49; O7, O23)."""

from __future__ import annotations

from .test import table

_NEED: dict[str, object] = {"needs": ("EVINFO",)}
_BAD: dict[str, object] = {"needs": ("EVINFO", "BAD_ADDRESSES")}


def _one(word: str, data: str, output: str) -> str:
    return f"store PAGE 0xdeadbeef<<32|({word})\nstore PAGE+8 {data}\nevinfo PAGE 0 1 0\nload PAGE -> {output}"


TESTS = table(
    "EVINFO",
    "event_get_info (FID 8)",
    ("OPTIONAL", "the function is there, or NOT_SUPPORTED", "store PAGE CYCLES\nstore PAGE+8 0\nevinfo PAGE 0 1 0 -> SUCCESS | NOT_SUPPORTED"),
    ("CYCLES", "cycles can be counted", _one("CYCLES", "0", "value = 1<<32|CYCLES"), _NEED),
    ("INSTRS", "instructions can be counted", _one("INSTRS", "0", "value = 1<<32|INSTRS"), _NEED),
    ("PROG", "an event that can be configured is supported", _one("PROG", "0", "value = 1<<32|PROG"), _NEED),
    ("ABSENT", "an event that the host lacks has output 0", _one("ABSENT", "0", "value = ABSENT"), _NEED),
    ("FW", "a firmware event is supported (O23)", _one("FW_SET_TIMER", "0", "value = 1<<32|FW_SET_TIMER ~ opensbi-event-info-no-firmware: value = FW_SET_TIMER"), _NEED),
    ("FW-RESERVED", "a reserved firmware code has output 0", _one("0xf0016", "0", "value = 0xf0016 ~ event-info-unchecked: value = 1<<32|0xf0016"), _NEED),
    ("GENERAL-11", "a general code that does not exist has output 0", _one("11", "0", "value = 11"), _NEED),
    ("CACHE-BAD", "a cache code that does not exist has output 0", _one("0x1003f", "0", "value = 0x1003f"), _NEED),
    ("TYPE-4", "a type that does not exist has output 0", _one("0x40000", "0", "value = 0x40000"), _NEED),
    ("NO-EVENT", "NO_EVENT has output 0", _one("0", "0", "value = 0 ~ no-event-counts-cycles: value = 1<<32"), _NEED),
    ("DATA", "event_data stays as it is", "store PAGE 0x20000\nstore PAGE+8 0x77\nevinfo PAGE 0 1 0\nload PAGE+8 -> value = 0x77", _NEED),
    ("RAW-BAD", "a raw event that FID 2 refuses has output 0",
     "cfg 0 ALL 0 0x20001 1 -> any\n" + _one("0x20001", "1", "value = 0x20001 ~ event-info-unchecked: value = 1<<32|0x20001"), _NEED),
    ("RESERVED", "reserved bits of event_idx (F49)",
     "store PAGE 1<<20|CYCLES\nstore PAGE+8 0\nevinfo PAGE 0 1 0 -> INVALID_PARAM ~ event-info-lenient: SUCCESS ~ opensbi-event-info-lenient: SUCCESS", _NEED),
    ("RESERVED-31", "bit 31 of event_idx",
     "store PAGE 1<<31|CYCLES\nstore PAGE+8 0\nevinfo PAGE 0 1 0 -> INVALID_PARAM ~ event-info-lenient: SUCCESS ~ opensbi-event-info-lenient: SUCCESS", _NEED),
    ("FLAGS", "flags must be 0", "evinfo PAGE 0 1 1 -> INVALID_PARAM", _NEED),
    ("FLAGS-63", "bit 63 of flags", "evinfo PAGE 0 1 1<<63 -> INVALID_PARAM", _NEED),
    ("UNALIGNED-8", "an address that is not 16-aligned", "evinfo PAGE+8 0 1 0 -> INVALID_PARAM", _NEED),
    ("UNALIGNED-1", "an odd address", "evinfo PAGE+1 0 1 0 -> INVALID_PARAM", _NEED),
    ("HIGH", "bits above 63", "evinfo PAGE 1 1 0 -> INVALID_ADDRESS", _NEED),
    ("ZERO-ENTRIES", "no entries (F47)", "evinfo PAGE 0 0 0 -> INVALID_PARAM | SUCCESS", _NEED),
    ("HUGE", "2^60 entries (F47)", "evinfo PAGE 0 1<<60 0 -> INVALID_PARAM | FAILED | INVALID_ADDRESS", {"needs": ("EVINFO",), "without": ("opensbi-event-info-size-wraps",)}),
    ("UNREADABLE", "memory that is not there (F48)", "evinfo HOLE 0 1 0 -> INVALID_ADDRESS ~ event-info-read-failed: FAILED", _BAD),
    ("ACROSS-END", "a table that crosses the end of memory", "evinfo END-16 0 2 0 -> INVALID_ADDRESS ~ event-info-read-failed: FAILED", _BAD),
    ("SEVERAL", "three entries, each with its own answer",
     """store PAGE CYCLES
        store PAGE+8 0
        store PAGE+16 ABSENT
        store PAGE+24 0
        store PAGE+32 INSTRS
        store PAGE+40 0
        store PAGE+48 0xffffffff<<32|CYCLES
        store PAGE+56 0
        evinfo PAGE 0 3 0
        load PAGE -> value = 1<<32|CYCLES
        load PAGE+16 -> value = ABSENT
        load PAGE+32 -> value = 1<<32|INSTRS
        load PAGE+48 -> value = 0xffffffff<<32|CYCLES""", _NEED),
    ("RUNNING", "asking does not disturb a running counter",
     "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT 0\nwork 50000\nstore PAGE INSTRS\nstore PAGE+8 0\nevinfo PAGE 0 1 0\nload PAGE -> value = 1<<32|INSTRS\ncsr c -> value in 100000..100000+2*SLACK", _NEED),
    ("CROSS-PAGE", "a table that crosses a page",
     "store PAGE2-16 CYCLES\nstore PAGE2-8 0\nstore PAGE2 INSTRS\nstore PAGE2+8 0\nevinfo PAGE2-16 0 2 0\nload PAGE2-16 -> value = 1<<32|CYCLES\nload PAGE2 -> value = 1<<32|INSTRS", _NEED),
)
