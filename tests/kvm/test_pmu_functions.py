"""Every row of the function tables: what the specification's column says and what the newest KVM's column
says.

A row is: section and what it shows, calls before, the call, the answer under spec-3.0, the answer under
kvm-7.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from vpmu.spec.sbi import SbiError as E

ALL = 0x1FF_FFFF_FFFD
"""Counters 0 to 40 without the hole: N = 41, 19 of them hardware."""
TOP = (1 << 64) - 1
PAGE = 0x8010_0000
END_OF_RAM = 0x8020_0000
HOLE = 0x5000_0000
READ_ONLY = 0x9100_0000
CYCLES, INSTRUCTIONS, MISSES, DTLB, TIMER = 1, 2, 4, 0x10019, 0xF0005
SKIP, CLEAR, AUTO = 1, 2, 4

Call = tuple[object, ...]


def info(idx: int) -> Call:
    return ("counter_get_info", idx)


def config(base: int, mask: int, flags: int, event: int, data: int = 0) -> Call:
    return ("counter_config_matching", base, mask, flags, event, data)


def start(base: int, mask: int, flags: int = 0, value: int = 0) -> Call:
    return ("counter_start", base, mask, flags, value)


def stop(base: int, mask: int, flags: int = 0) -> Call:
    return ("counter_stop", base, mask, flags)


def fw_read(idx: int) -> Call:
    return ("counter_fw_read", idx)


def fw_read_hi(idx: int) -> Call:
    return ("counter_fw_read_hi", idx)


def shmem(lo: int, hi: int = 0, flags: int = 0) -> Call:
    return ("snapshot_set_shmem", lo, hi, flags)


def event_info(lo: int, hi: int, num: int, flags: int = 0) -> Call:
    return ("event_get_info", lo, hi, num, flags)


class Row(NamedTuple):
    name: str
    before: tuple[Call, ...]
    call: Call
    spec: tuple[int, int] | int
    kvm: tuple[int, int] | int


OK = E.SUCCESS
ROWS = [
    Row("2.1 num_counters", (), ("num_counters",), (OK, 41), (OK, 41)),
    Row("2.2 cycle", (), info(0), (OK, 0x3FC00), (OK, 0x3FC00)),
    Row("2.2 index 1 is time", (), info(1), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.2 instret", (), info(2), (OK, 0x3FC02), (OK, 0x3FC02)),
    Row("2.2 hpmcounter3", (), info(3), (OK, 0x3FC03), (OK, 0x3FC03)),
    Row("2.2 last hardware counter", (), info(18), (OK, 0x3FC12), (OK, 0x3FC12)),
    Row("2.2 first firmware counter", (), info(19), (OK, 1 << 63 | 0x3F000), (OK, 1 << 63 | 0x3F000)),
    Row("2.2 N-1", (), info(40), (OK, 1 << 63 | 0x3F000), (OK, 1 << 63 | 0x3F000)),
    Row("2.2 N", (), info(41), E.INVALID_PARAM, (OK, 0)),
    Row("2.2 63", (), info(63), E.INVALID_PARAM, (OK, 0)),
    Row("2.2 64", (), info(64), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.2 index is not truncated", (), info(1 << 32), E.INVALID_PARAM, E.INVALID_PARAM),
    # FID 2
    Row("2.3 mask 0", (), config(0, 0, 0, CYCLES), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.3 mask 0 before the event", (), config(0, 0, 0, 0xF00FF), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.3 base N", (), config(41, 1, 0, CYCLES), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.3 base + msb = N", (), config(40, 2, 0, CYCLES), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.3 wrap to a valid counter", (), config(TOP, 2, 0, CYCLES), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.3 set with the hole", (), config(0, 3, 0, CYCLES), E.INVALID_PARAM, (OK, 0)),
    Row("2.3 reserved flag", (), config(0, ALL, 0x100, CYCLES), E.INVALID_PARAM, (OK, 0)),
    Row("2.3 all filter flags", (), config(0, ALL, 0xF8, CYCLES), (OK, 0), (OK, 0)),
    Row("2.3 cycles", (), config(0, ALL, 0, CYCLES), (OK, 0), (OK, 0)),
    Row("2.3 instructions", (), config(0, ALL, 0, INSTRUCTIONS), (OK, 2), (OK, 2)),
    Row("2.3 programmable", (), config(0, ALL, 0, DTLB), (OK, 3), (OK, 3)),
    Row("2.3 next programmable", (config(0, ALL, 0, DTLB),), config(0, ALL, 0, DTLB), (OK, 4), (OK, 4)),
    Row("2.3 absolute index", (), config(5, 0b110, 0, DTLB), (OK, 6), (OK, 6)),
    Row("2.3 firmware", (), config(0, ALL, 0, TIMER), (OK, 19), (OK, 19)),
    Row("2.3 general code 11", (), config(0, ALL, 0, 11), E.NOT_SUPPORTED, E.NOT_SUPPORTED),
    Row("2.3 general code 0x1234", (), config(0, ALL, 0, 0x1234), E.NOT_SUPPORTED, E.NOT_SUPPORTED),
    Row("2.3 general code 0", (), config(0, ALL, 0, 0), E.NOT_SUPPORTED, (OK, 3)),
    Row("2.3 cache op 3", (), config(0, ALL, 0, 0x10006), E.NOT_SUPPORTED, E.NOT_SUPPORTED),
    Row("2.3 cache id 7", (), config(0, ALL, 0, 0x10038), E.NOT_SUPPORTED, E.NOT_SUPPORTED),
    Row("2.3 raw", (), config(0, ALL, 0, 0x20000, 5), (OK, 3), (OK, 3)),
    Row("2.3 raw with a code", (), config(0, ALL, 0, 0x20001, 5), E.NOT_SUPPORTED, (OK, 3)),
    Row("2.3 raw data above 48 bits", (), config(0, ALL, 0, 0x20000, 1 << 48), E.NOT_SUPPORTED, (OK, 3)),
    Row("2.3 raw v2", (), config(0, ALL, 0, 0x30000, 1 << 48), (OK, 3), (OK, 3)),
    Row("2.3 raw v2 data above 56 bits", (), config(0, ALL, 0, 0x30000, 1 << 56), E.NOT_SUPPORTED, (OK, 3)),
    Row("2.3 type 4", (), config(0, ALL, 0, 0x40000), E.NOT_SUPPORTED, E.NOT_SUPPORTED),
    Row("2.3 type 14", (), config(0, ALL, 0, 0xE0000), E.NOT_SUPPORTED, E.NOT_SUPPORTED),
    Row("2.3 event_idx bit 20", (), config(0, ALL, 0, 1 << 20 | CYCLES), E.NOT_SUPPORTED, (OK, 0)),
    Row("2.3 event_data of a general event", (), config(0, ALL, 0, CYCLES, 7), E.NOT_SUPPORTED, (OK, 0)),
    Row("2.3 fw code 21", (), config(0, ALL, 0, 0xF0015), (OK, 19), (OK, 19)),
    Row("2.3 fw code 22", (), config(0, ALL, 0, 0xF0016), E.NOT_SUPPORTED, E.NOT_SUPPORTED),
    Row("2.3 fw code 65534", (), config(0, ALL, 0, 0xFFFFE), E.NOT_SUPPORTED, E.NOT_SUPPORTED),
    Row("2.3 fw platform event", (), config(0, ALL, 0, 0xFFFFF), E.NOT_SUPPORTED, E.NOT_SUPPORTED),
    Row("2.3 fw event on hardware counters", (), config(3, 0xFF, 0, TIMER), E.NOT_SUPPORTED, E.NOT_SUPPORTED),
    Row(
        "2.3 only counters in use",
        (config(3, 1, 0, DTLB),),
        config(3, 1, 0, DTLB),
        E.NOT_SUPPORTED,
        E.NOT_SUPPORTED,
    ),
    Row("2.3 only fixed counters, other event", (), config(0, 5, 0, DTLB), E.NOT_SUPPORTED, E.NOT_SUPPORTED),
    Row("2.3 cycles, mask without bit 0", (), config(3, 1, 0, CYCLES), (OK, 3), (OK, 0)),
    Row("2.3 cycles, firmware counters only", (), config(19, 1, 0, CYCLES), E.NOT_SUPPORTED, (OK, 0)),
    Row(
        "2.3 cycles, counter 0 in use",
        (config(0, 1, 0, CYCLES),),
        config(0, 1, 0, CYCLES),
        E.NOT_SUPPORTED,
        (OK, 0),
    ),
    Row(
        "2.3 cycles again, larger set",
        (config(0, 1, 0, CYCLES),),
        config(0, ALL, 0, CYCLES),
        (OK, 3),
        (OK, 0),
    ),
    Row("2.3 SKIP_MATCH unconfigured", (), config(3, 1, SKIP, DTLB), (OK, 3), E.FAILED),
    Row(
        "2.3 SKIP_MATCH lowest bit decides",
        (config(0, 16, 0, DTLB),),
        config(3, 3, SKIP, DTLB),
        (OK, 3),
        E.FAILED,
    ),
    Row("2.3 SKIP_MATCH configured", (config(0, 8, 0, DTLB),), config(3, 1, SKIP, 0x1001B), (OK, 3), (OK, 3)),
    Row(
        "2.3 SKIP_MATCH fw on hardware",
        (config(0, 8, 0, DTLB),),
        config(3, 1, SKIP, TIMER),
        E.NOT_SUPPORTED,
        (OK, 3),
    ),
    Row(
        "2.3 SKIP_MATCH hardware on fw",
        (config(19, 1, 0, TIMER),),
        config(19, 1, SKIP, DTLB),
        E.NOT_SUPPORTED,
        (OK, 19),
    ),
    Row(
        "2.3 SKIP_MATCH fixed, other event",
        (config(0, 1, 0, CYCLES),),
        config(0, 1, SKIP, DTLB),
        E.NOT_SUPPORTED,
        (OK, 0),
    ),
    Row("2.3 host cannot create", (), config(0, ALL, 0, MISSES), E.NOT_SUPPORTED, E.NOT_SUPPORTED),
    Row(
        "2.3 host cannot create, SKIP_MATCH",
        (config(0, 8, 0, DTLB),),
        config(3, 1, SKIP, MISSES),
        E.NOT_SUPPORTED,
        E.NOT_SUPPORTED,
    ),
    Row(
        "2.3 host cannot create, AUTO_START",
        (),
        config(0, ALL, AUTO, MISSES),
        E.NOT_SUPPORTED,
        E.NOT_SUPPORTED,
    ),
    # FID 3
    Row("2.4 mask 0", (), start(0, 0), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.4 base + msb = N", (), start(0, 1 << 41), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.4 reserved flag", (config(0, 1, 0, CYCLES),), start(0, 1, 4), E.INVALID_PARAM, OK),
    Row(
        "2.4 both init flags", (shmem(PAGE), config(0, 1, 0, CYCLES)), start(0, 1, 3, 5), E.INVALID_PARAM, OK
    ),
    Row(
        "2.4 both init flags, no shmem",
        (config(0, 1, 0, CYCLES),),
        start(0, 1, 3, 5),
        E.INVALID_PARAM,
        E.NO_SHMEM,
    ),
    Row("2.4 INIT_SNAPSHOT, no shmem", (config(0, 1, 0, CYCLES),), start(0, 1, 2), E.NO_SHMEM, E.NO_SHMEM),
    Row("2.4 unconfigured only", (), start(4, 1), E.INVALID_PARAM, OK),
    Row("2.4 unconfigured member", (config(0, 1, 0, CYCLES),), start(0, 5), E.INVALID_PARAM, OK),
    Row(
        "2.4 already started",
        (config(0, 1, 0, CYCLES), start(0, 1)),
        start(0, 1),
        E.ALREADY_STARTED,
        E.ALREADY_STARTED,
    ),
    Row(
        "2.4 one started, one not",
        (config(0, 1, 0, CYCLES), config(0, 4, 0, INSTRUCTIONS), start(0, 1)),
        start(0, 5),
        E.ALREADY_STARTED,
        E.ALREADY_STARTED,
    ),
    Row("2.4 after AUTO_START", (config(0, 1, AUTO, CYCLES),), start(0, 1), E.ALREADY_STARTED, OK),
    Row(
        "2.4 fw after AUTO_START",
        (config(19, 1, AUTO, TIMER),),
        start(19, 1),
        E.ALREADY_STARTED,
        E.ALREADY_STARTED,
    ),
    Row("2.4 counter 1 in the set", (), start(1, 1), E.INVALID_PARAM, OK),
    Row(
        "2.4 broken counter",
        (config(0, 8, 0, DTLB), config(3, 1, SKIP, MISSES)),
        start(3, 1),
        OK,
        E.INVALID_PARAM,
    ),
    # FID 4
    Row("2.5 mask 0", (), stop(0, 0), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.5 reserved flag", (config(0, 1, 0, CYCLES), start(0, 1)), stop(0, 1, 4), E.INVALID_PARAM, OK),
    Row(
        "2.5 TAKE_SNAPSHOT, no shmem",
        (config(0, 1, 0, CYCLES), start(0, 1)),
        stop(0, 1, 2),
        E.NO_SHMEM,
        E.NO_SHMEM,
    ),
    Row("2.5 unconfigured only", (), stop(4, 1), E.ALREADY_STOPPED, OK),
    Row("2.5 running", (config(0, 1, 0, CYCLES), start(0, 1)), stop(0, 1), OK, OK),
    Row("2.5 already stopped", (config(0, 1, 0, CYCLES),), stop(0, 1), E.ALREADY_STOPPED, E.ALREADY_STOPPED),
    Row(
        "2.5 already stopped, RESET",
        (config(0, 1, 0, CYCLES),),
        stop(0, 1, 1),
        E.ALREADY_STOPPED,
        E.ALREADY_STOPPED,
    ),
    Row(
        "2.5 RESET is done all the same",
        (config(3, 1, 0, DTLB), stop(3, 1, 1)),
        config(3, 1, 0, DTLB),
        (OK, 3),
        (OK, 3),
    ),
    Row("2.5 AUTO_START-ed", (config(0, 1, AUTO, CYCLES),), stop(0, 1), OK, E.ALREADY_STOPPED),
    Row("2.5 fw AUTO_START-ed", (config(19, 1, AUTO, TIMER),), stop(19, 1), OK, OK),
    # FID 5, 6
    Row(
        "2.6 configured fw counter",
        (config(19, 1, 0, TIMER), start(19, 1, 1, 77)),
        fw_read(19),
        (OK, 77),
        (OK, 77),
    ),
    Row("2.6 64 bits", (config(19, 1, 0, TIMER), start(19, 1, 1, TOP)), fw_read(19), (OK, TOP), (OK, TOP)),
    Row("2.6 hardware counter", (config(0, 1, CLEAR, CYCLES),), fw_read(0), E.INVALID_PARAM, (OK, 0)),
    Row("2.6 unconfigured hardware counter", (), fw_read(0), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.6 index 1", (), fw_read(1), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.6 index N", (), fw_read(41), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.6 unconfigured fw counter", (), fw_read(19), E.INVALID_PARAM, E.INVALID_PARAM),
    Row(
        "2.6 stopped",
        (config(19, 1, 0, TIMER), start(19, 1, 1, 9), stop(19, 1)),
        fw_read(19),
        (OK, 9),
        (OK, 9),
    ),
    Row(
        "2.7 configured fw counter",
        (config(19, 1, 0, TIMER), start(19, 1, 1, TOP)),
        fw_read_hi(19),
        (OK, 0),
        (OK, 0),
    ),
    Row("2.7 hardware counter", (), fw_read_hi(0), E.INVALID_PARAM, (OK, 0)),
    Row("2.7 invalid index", (), fw_read_hi(TOP), E.INVALID_PARAM, (OK, 0)),
    # FID 7
    Row("2.8 set", (), shmem(PAGE), OK, OK),
    Row("2.8 flags", (), shmem(PAGE, 0, 1), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.8 flags come first", (), shmem(TOP, TOP, 1), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.8 misaligned", (), shmem(PAGE + 8), E.INVALID_PARAM, OK),
    Row("2.8 disable", (), shmem(TOP, TOP), OK, OK),
    Row("2.8 lo all-ones only", (), shmem(TOP, 0), E.INVALID_PARAM, E.INVALID_ADDRESS),
    Row("2.8 hi not 0", (), shmem(PAGE, 1), E.INVALID_ADDRESS, E.INVALID_ADDRESS),
    Row("2.8 no memory", (), shmem(HOLE), E.INVALID_ADDRESS, E.INVALID_ADDRESS),
    Row("2.8 read-only", (), shmem(READ_ONLY), E.INVALID_ADDRESS, E.INVALID_ADDRESS),
    Row("2.8 across the end of memory", (), shmem(END_OF_RAM - 0x800), E.INVALID_PARAM, E.INVALID_ADDRESS),
    # FID 8
    Row("2.9 one entry", (), event_info(PAGE, 0, 1), OK, OK),
    Row("2.9 flags", (), event_info(PAGE, 0, 1, 1), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.9 misaligned", (), event_info(PAGE + 8, 0, 1), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.9 no entries", (), event_info(PAGE, 0, 0), E.INVALID_PARAM, E.INVALID_PARAM),
    Row("2.9 2^60 entries", (), event_info(PAGE, 0, 1 << 60), E.FAILED, E.INVALID_PARAM),
    Row("2.9 2^59 entries", (), event_info(PAGE, 0, 1 << 59), E.FAILED, E.FAILED),
    Row("2.9 2^28 entries", (), event_info(PAGE, 0, 1 << 28), E.FAILED, E.FAILED),
    Row("2.9 hi not 0", (), event_info(PAGE, 1, 1), E.INVALID_ADDRESS, E.INVALID_ADDRESS),
    Row("2.9 unreadable", (), event_info(HOLE, 0, 1), E.INVALID_ADDRESS, E.FAILED),
    Row("2.9 runs out of memory", (), event_info(END_OF_RAM - 16, 0, 2), E.INVALID_ADDRESS, E.FAILED),
    Row("2.9 read-only", (), event_info(READ_ONLY, 0, 1), E.INVALID_ADDRESS, E.INVALID_ADDRESS),
]


def run(make: Any, profile: str, row: Row) -> tuple[Any, Any]:
    memory = make.FakeMemory({0x8000_0000: (0x20_0000, True), READ_ONLY: (0x1000, False)})
    perf = make.FakePerf()
    perf.errnos[0, 3] = 2  # cache-misses: ENOENT
    bench = make(profile, perf, memory)
    for name, *args in row.before:
        getattr(bench.pmu, str(name))(*args)
    name, *args = row.call
    return bench, getattr(bench.pmu, str(name))(*args)


@pytest.mark.parametrize("profile", ["spec-3.0", "kvm-7.2"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(bench: Any, row: Row, profile: str) -> None:
    expected = row.spec if profile == "spec-3.0" else row.kvm
    made, answer = run(bench, profile, row)
    if isinstance(expected, tuple):
        assert answer == expected
    else:
        assert answer == (expected, 0), made.pmu.last_refusal
    assert (answer[0] == OK) == (made.pmu.last_refusal is None)


def test_a_function_that_the_profile_lacks(bench: Any) -> None:
    for profile, call in (
        ("kvm-6.9", shmem(PAGE)),
        ("kvm-6.9", fw_read_hi(19)),
        ("kvm-6.12", event_info(PAGE, 0, 1)),
    ):
        _, answer = run(bench, profile, Row("", (), call, 0, 0))
        assert answer == (E.NOT_SUPPORTED, 0)


def test_row_names_are_unique() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
