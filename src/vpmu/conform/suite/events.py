"""Which events exist (F33 to F36)."""

from __future__ import annotations

from .test import table

_NO_CODE = "NOT_SUPPORTED | INVALID_PARAM"
"""The specification names no error for an event that it does not have (O22)."""

TESTS = table(
    "EVENT",
    "Event Encoding",
    ("NO-EVENT", "general event 0 is no event (F36)", f"cfg 0 ALL 0 0 -> {_NO_CODE} ~ no-event-counts-cycles: SUCCESS among PROGSET"),
    *(
        (f"GENERAL-{code:X}", f"general code {code:#x} does not exist (F36)", f"cfg 0 ALL 0 {code} -> {_NO_CODE}")
        for code in (11, 12, 0xFF, 0x1234, 0xFFFF)
    ),
    *(
        (f"GENERAL-{code}", f"general event {code}: counted, or refused with NOT_SUPPORTED", f"cfg 0 ALL 0 {code} -> SUCCESS among ALL | NOT_SUPPORTED")
        for code in range(3, 11)
    ),
    *(
        (f"CACHE-{name}", title, f"cfg 0 ALL 0 {0x10000 | code:#x} -> {_NO_CODE}")
        for name, code, title in (
            ("OP-3", 0x6, "cache operation 3 does not exist"),
            ("OP-3-MISS", 0x7, "cache operation 3, result miss, does not exist"),
            ("ID-7", 0x38, "cache 7 does not exist"),
            ("ID-7-OP-3", 0x3F, "cache 7 with operation 3 does not exist"),
            ("ID-MAX", 0xFFFF, "cache 8191 does not exist"),
        )
    ),
    *(
        (f"CACHE-{code:02X}", f"cache event {code:#x}: counted, or refused with NOT_SUPPORTED", f"cfg 0 ALL 0 {0x10000 | code:#x} -> SUCCESS among PROGSET | NOT_SUPPORTED")
        for code in (0x00, 0x01, 0x09, 0x10, 0x18, 0x19, 0x1B, 0x21, 0x28, 0x30)
    ),
    *(
        (f"TYPE-{kind}", f"event type {kind} does not exist (F35)", f"cfg 0 ALL 0 {kind << 16:#x} -> {_NO_CODE}")
        for kind in range(4, 15)
    ),
    *(
        (f"FW-{code}", f"firmware event {code} can be counted", f"cfg 0 ALL 0 {0xF0000 | code:#x} -> SUCCESS among FWSET")
        for code in (0, 1, 2, 3, 4, 5, 6, 8, 10, 14, 21)
    ),
    *(
        (f"FW-{code}", f"firmware code {code} is reserved (F33)", f"cfg 0 ALL 0 {0xF0000 | code:#x} -> {_NO_CODE} ~ opensbi-event-unchecked: SUCCESS among FWSET")
        for code in (22, 128, 255)
    ),
    *(
        (f"FW-{code}", f"firmware code {code} is the implementation's or the platform's: refused where there is none", f"cfg 0 ALL 0 {0xF0000 | code:#x} -> SUCCESS among FWSET | {_NO_CODE}")
        for code in (256, 65534, 65535)
    ),
    ("IDX-BIT-20", "bit 20 of event_idx is not part of it (F34)", f"cfg 0 ALL 0 (1<<20)|CYCLES -> {_NO_CODE} ~ event-arguments-unchecked: SUCCESS = 0"),
    ("IDX-BIT-32", "bit 32 of event_idx is not part of it", f"cfg 0 ALL 0 (1<<32)|CYCLES -> {_NO_CODE} ~ event-arguments-unchecked: SUCCESS = 0"),
    ("IDX-BIT-20-FW", "bit 20 of event_idx is not part of a firmware event", f"cfg 0 ALL 0 (1<<20)|FW_SET_TIMER -> {_NO_CODE} ~ event-arguments-unchecked: SUCCESS among FWSET ~ opensbi-event-arguments-unchecked: SUCCESS among FWSET"),
    ("DATA-CYCLES", "event_data of a general event is reserved", f"cfg 0 ALL 0 CYCLES 1 -> SUCCESS | {_NO_CODE}"),
    ("DATA-FW", "event_data of a firmware event is reserved", f"cfg 0 ALL 0 FW_SET_TIMER 1 -> SUCCESS | {_NO_CODE}"),
    ("RAW-CODE", "the code of a raw event must be 0 (F34)", f"cfg 0 ALL 0 0x20001 1 -> {_NO_CODE} ~ event-arguments-unchecked: SUCCESS among PROGSET"),
    ("RAW-V2-CODE", "the code of a raw event of version 2 must be 0", f"cfg 0 ALL 0 0x30001 1 -> {_NO_CODE} ~ event-arguments-unchecked, raw-v2: SUCCESS among PROGSET"),
    ("RAW-WIDE", "a raw event has 48 bits of event_data (F34)", f"cfg 0 ALL 0 0x20000 1<<48 -> {_NO_CODE} ~ event-arguments-unchecked: SUCCESS among PROGSET"),
    ("RAW-V2-WIDE", "a raw event of version 2 has 56 bits of event_data", f"cfg 0 ALL 0 0x30000 1<<56 -> {_NO_CODE} ~ event-arguments-unchecked, raw-v2: SUCCESS among PROGSET"),
    ("RAW", "a raw event: counted, or refused with NOT_SUPPORTED", "cfg 0 ALL 0 0x20000 1 -> SUCCESS among PROGSET | NOT_SUPPORTED"),
    ("RAW-V2", "a raw event of version 2: counted, or refused with NOT_SUPPORTED", "cfg 0 ALL 0 0x30000 1 -> SUCCESS among PROGSET | NOT_SUPPORTED"),
    ("ABSENT", "an event that the host lacks (F1)", "cfg 0 ALL 0 ABSENT -> NOT_SUPPORTED"),
    ("ABSENT-CLEAR", "an event that the host lacks, with flags", "cfg 0 ALL CLEAR|AUTO|SET_UINH ABSENT -> NOT_SUPPORTED"),
    ("ABSENT-KEEPS", "a refused event leaves all counters free",
     """cfg HPM0 1 0 ABSENT -> NOT_SUPPORTED
        cfg HPM0 1 0 PROG -> SUCCESS = HPM0"""),
    ("ABSENT-AGAIN", "asking again changes nothing",
     """cfg 0 ALL 0 ABSENT -> NOT_SUPPORTED
        cfg 0 ALL 0 ABSENT -> NOT_SUPPORTED
        cfg 0 ALL 0 CYCLES -> SUCCESS among ALL"""),
)
