"""The shared-memory page (F38 to F46; O6, O7)."""

from __future__ import annotations

from .test import table

_PAGE = "fill PAGE 512 0x5a5a\nshmem PAGE 0 0"
_RUN = "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT 0\nwork 50000"
_STALE = "SUCCESS | NO_SHMEM ~ shmem-stale-page: host lost"
"""What becomes of the page in place is not said; a host that goes down is no choice."""
_NEED: dict[str, object] = {"needs": ("SHMEM",)}

TESTS = table(
    "SHMEM",
    "snapshot_set_shmem (FID 7)",
    ("OPTIONAL", "the function is there, or NOT_SUPPORTED", "shmem PAGE 0 0 -> SUCCESS | NOT_SUPPORTED"),
    ("SET", "a page of memory", "shmem PAGE 0 0 -> SUCCESS", _NEED),
    ("DISABLE", "all-ones halves switch it off", "shmem PAGE 0 0\nshmem U64 U64 0 -> SUCCESS", _NEED),
    ("DISABLE-FIRST", "switching off what was never set", "shmem U64 U64 0 -> SUCCESS", _NEED),
    (
        "DISABLED",
        "after switching off TAKE_SNAPSHOT is NO_SHMEM (F46)",
        "shmem PAGE 0 0\nshmem U64 U64 0\nc = cfg 0 PROGSET 0 PROG\nstart c 1 0 0\nstop c 1 SNAP -> NO_SHMEM",
        _NEED,
    ),
    ("FLAG-0", "flags must be 0", "shmem PAGE 0 1 -> INVALID_PARAM", _NEED),
    ("FLAG-63", "bit 63 of flags", "shmem PAGE 0 1<<63 -> INVALID_PARAM", _NEED),
    ("FLAG-DISABLE", "flags must be 0 when switching off", "shmem U64 U64 1 -> INVALID_PARAM", _NEED),
    (
        "UNALIGNED-8",
        "an address that is not 4096-aligned (F38)",
        "shmem PAGE+8 0 0 -> INVALID_PARAM ~ shmem-unaligned: SUCCESS",
        _NEED,
    ),
    (
        "UNALIGNED-2048",
        "an address in the middle of a page",
        "shmem PAGE+2048 0 0 -> INVALID_PARAM ~ shmem-unaligned: SUCCESS",
        _NEED,
    ),
    ("UNALIGNED-1", "an odd address", "shmem PAGE+1 0 0 -> INVALID_PARAM ~ shmem-unaligned: SUCCESS", _NEED),
    ("HIGH", "bits above 63 (F41)", "shmem PAGE 1 0 -> INVALID_ADDRESS", _NEED),
    ("HIGH-ONES", "the high half alone all-ones", "shmem PAGE U64 0 -> INVALID_ADDRESS", _NEED),
    ("LOW-ONES", "the low half alone all-ones", "shmem U64 0 0 -> INVALID_ADDRESS | INVALID_PARAM", _NEED),
    ("HOLE", "an address without memory (F39)", "shmem HOLE 0 0 -> INVALID_ADDRESS", _NEED),
    ("END", "the first address behind the memory", "shmem END 0 0 -> INVALID_ADDRESS", _NEED),
    ("ZERO", "address 0, where no memory is", "shmem 0 0 0 -> INVALID_ADDRESS", _NEED),
    (
        "STALE-STOP",
        "a failing set with a page in place, then TAKE_SNAPSHOT",
        f"{_PAGE}\n{_RUN}\nshmem HOLE 0 0 -> INVALID_ADDRESS\nstop c 1 SNAP -> {_STALE}",
        _NEED,
    ),
    (
        "STALE-START",
        "a failing set with a page in place, then INIT_SNAPSHOT",
        f"{_PAGE}\nc = cfg 0 ALL CLEAR INSTRS\nshmem HOLE 0 0 -> INVALID_ADDRESS\nstart c 1 INIT_SNAPSHOT 0 -> {_STALE}",
        _NEED,
    ),
    (
        "STALE-OFF",
        "a failing set with a page in place, then none: nothing is left of either",
        f"{_PAGE}\n{_RUN}\nshmem HOLE 0 0 -> INVALID_ADDRESS\nshmem U64 U64 0\nstop c 1 SNAP -> NO_SHMEM",
        _NEED,
    ),
    (
        "STALE-AGAIN",
        "a failing set with a page in place, then a good one",
        f"{_PAGE}\n{_RUN}\nshmem HOLE 0 0 -> INVALID_ADDRESS\nshmem PAGE 0 0\nstop c 1 SNAP -> SUCCESS",
        _NEED,
    ),
    (
        "FLAG-KEEPS",
        "refused flags leave the previous address in place",
        "shmem PAGE 0 0\nshmem PAGE2 0 1 -> INVALID_PARAM\nc = cfg 0 PROGSET 0 PROG\nstart c 1 0 0\nstop c 1 SNAP -> SUCCESS",
        _NEED,
    ),
    ("AGAIN", "the same page again", "shmem PAGE 0 0\nshmem PAGE 0 0 -> SUCCESS", _NEED),
    (
        "MOVE",
        "another page takes over",
        f"{_PAGE}\nshmem PAGE2 0 0\nfill PAGE 512 0x77\n{_RUN}\nstop c 1 SNAP\ndiffer PAGE 512 0x77 -> value = 0\nload PAGE2+8 -> value in 100000..100000+SLACK",
        _NEED,
    ),
) + table(
    "SNAP",
    "counter_stop with TAKE_SNAPSHOT, counter_start with INIT_SNAPSHOT",
    (
        "VALUE",
        "the value lies in the slot of the set's bit",
        f"{_PAGE}\n{_RUN}\nstop c 1 SNAP\nload PAGE+8 -> value in 100000..100000+SLACK",
        _NEED,
    ),
    (
        "VALUE-CSR",
        "the slot holds what the CSR reads afterwards",
        f"{_PAGE}\n{_RUN}\nstop c 1 SNAP\na = load PAGE+8\ncsr c -> value = a ~ read-accumulates: value = 2*a",
        _NEED,
    ),
    (
        "SLOT",
        "the slot is relative to the set's base",
        f"{_PAGE}\ncfg 0 ALL CLEAR INSTRS -> any\nc = cfg 0 PROGSET CLEAR PROG\nstart 0 bit(c) 0 0\nstop 0 bit(c) SNAP\nload PAGE+8+8*63 -> any",
        _NEED,
    ),
    (
        "RESET",
        "RESET and TAKE_SNAPSHOT together store the value (O6)",
        f"{_PAGE}\n{_RUN}\nstop c 1 SNAP|RESET\nload PAGE+8 -> value in 100000..100000+SLACK ~ snapshot-reset-loses-delta: value <= SLACK",
        _NEED,
    ),
    (
        "FW",
        "a firmware counter's value",
        f"{_PAGE}\nc = cfg 0 FWSET CLEAR FW_SET_TIMER\nstart c 1 INIT 40\ntimer\nstop c 1 SNAP\nload PAGE+8 -> value = 41",
        _NEED,
    ),
    (
        "OTHER-SLOTS",
        "slots of other counters stay as they are (F45)",
        f"{_PAGE}\nstore PAGE+16 0x1234\n{_RUN}\nstop c 1 SNAP\nload PAGE+16 -> value = 0x1234 ~ snapshot-from-copy: value = 0",
        _NEED,
    ),
    (
        "RESERVED",
        "bytes behind the slots stay as they are",
        f"{_PAGE}\nstore PAGE+0x208 0x1234\n{_RUN}\nstop c 1 SNAP\nload PAGE+0x208 -> value = 0x1234 ~ snapshot-from-copy: value = 0",
        _NEED,
    ),
    (
        "NOT-TAKEN",
        "without TAKE_SNAPSHOT the page stays as it is",
        f"shmem PAGE 0 0\nfill PAGE 512 0x77\n{_RUN}\nstop c 1 0\ndiffer PAGE 512 0x77 -> value = 0",
        _NEED,
    ),
    (
        "START-READS",
        "counter_start does not write the page",
        f"shmem PAGE 0 0\nfill PAGE 512 0x77\n{_RUN}\ndiffer PAGE 512 0x77 -> value = 0",
        _NEED,
    ),
    (
        "ALREADY",
        "an error of the first counter does not keep the second from being stored (O6)",
        f"""{_PAGE}
        cfg HPM0 1 CLEAR PROG
        d = cfg 0 FWSET CLEAR FW_SET_TIMER
        start d 1 INIT 55
        stop HPM0 1<<(FW-HPM0)|1 SNAP -> ALREADY_STOPPED
        load PAGE+8+8*(FW-HPM0) -> value = 55 ~ snapshot-ends-at-error: value = 0""",
        {"needs": ("SHMEM", "PROG")},
    ),
    (
        "ALREADY-OWN",
        "a counter that was stopped already",
        f"{_PAGE}\n{_RUN}\nstop c 1 0\nstop c 1 SNAP -> ALREADY_STOPPED",
        _NEED,
    ),
    (
        "INIT",
        "INIT_SNAPSHOT starts from the slot",
        f"{_PAGE}\nc = cfg 0 ALL CLEAR INSTRS\nstore PAGE+8 1000000\nstart c 1 INIT_SNAPSHOT 0\ncsr c -> value in 1000000..1000000+SLACK",
        _NEED,
    ),
    (
        "INIT-FW",
        "INIT_SNAPSHOT of a firmware counter",
        f"{_PAGE}\nc = cfg 0 FWSET CLEAR FW_SET_TIMER\nstore PAGE+8 40\nstart c 1 INIT_SNAPSHOT 0\ntimer\nfwread c -> SUCCESS = 41",
        _NEED,
    ),
    (
        "INIT-IGNORES-VALUE",
        "INIT_SNAPSHOT ignores initial_value",
        f"{_PAGE}\nc = cfg 0 FWSET CLEAR FW_SET_TIMER\nstore PAGE+8 40\nstart c 1 INIT_SNAPSHOT 9\nfwread c -> SUCCESS = 40",
        _NEED,
    ),
    (
        "INIT-BOTH",
        "both start flags contradict each other",
        f"{_PAGE}\nc = cfg 0 FWSET CLEAR FW_SET_TIMER\nstart c 1 INIT|INIT_SNAPSHOT 9 -> INVALID_PARAM ~ reserved-flags-ignored: SUCCESS",
        _NEED,
    ),
    (
        "ROUND",
        "stop and start through the page, as Linux does",
        f"{_PAGE}\n{_RUN}\nstop c 1 SNAP\nstart c 1 INIT_SNAPSHOT 0\nwork 50000\nstop c 1 SNAP\nload PAGE+8 -> value in 200000..200000+2*SLACK ~ read-accumulates: value >= 200000",
        _NEED,
    ),
    (
        "BITMAP",
        "without an overflow the bitmap is 0",
        f"{_PAGE}\n{_RUN}\nstop c 1 SNAP\nload PAGE -> value = 0",
        _NEED,
    ),
    (
        "STOPS",
        "TAKE_SNAPSHOT stops the counter",
        f"{_PAGE}\n{_RUN}\nstop c 1 SNAP\nstop c 1 0 -> ALREADY_STOPPED",
        _NEED,
    ),
    (
        "TWO",
        "two counters of a set, each in its slot",
        f"""{_PAGE}
        a = cfg 0 3<<FW CLEAR FW_SET_TIMER
        b = cfg 0 3<<FW CLEAR FW_FENCE_I_SENT
        start FW 3 INIT 10
        timer
        fencei
        fencei
        stop FW 3 SNAP
        load PAGE+8 -> value = 11
        load PAGE+16 -> value = 12""",
        _NEED,
    ),
)
