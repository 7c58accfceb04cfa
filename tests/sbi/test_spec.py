"""Names and layouts of the SBI."""

from __future__ import annotations

import pytest

from vpmu.errors import UsageError
from vpmu.spec.sbi import CounterInfo, CounterType, SbiError, error_name
from vpmu.spec.sbi_events import (
    Event,
    FwEvent,
    cache_code,
    event_by_name,
    event_name,
    split_cache_code,
    split_event_idx,
    standard_events,
)


@pytest.mark.parametrize(
    ("word", "info"),
    [
        (0x3FC00, CounterInfo(0xC00, 63, CounterType.HARDWARE)),
        (0x2FC03, CounterInfo(0xC03, 47, CounterType.HARDWARE)),
        (0x8000_0000_0003_F000, CounterInfo(0, 63, CounterType.FIRMWARE)),
    ],
)
def test_counter_info(word: int, info: CounterInfo) -> None:
    assert info.pack() == word
    assert CounterInfo.unpack(word) == info


@pytest.mark.parametrize(
    ("name", "idx"),
    [
        ("cycles", 1),
        ("cpu-cycles", 1),
        ("instructions", 2),
        ("cache-misses", 4),
        ("branches", 5),
        ("ref-cycles", 10),
        ("dTLB-load-misses", 0x10019),
        ("dtlb-load-misses", 0x10019),
        ("iTLB-load-misses", 0x10021),
        ("L1-dcache-prefetch-misses", 0x10005),
        ("node-loads", 0x10030),
        ("branch-load-misses", 0x10029),
        ("fw:set_timer", 0xF0005),
        ("fw:hfence_vvma_asid_received", 0xF0015),
        ("0x10019", 0x10019),
    ],
)
def test_event_by_name(name: str, idx: int) -> None:
    assert event_by_name(name).event_idx == idx


def test_raw_events() -> None:
    assert event_by_name("r10019") == Event(0x20000, 0x10019, "r10019")
    assert event_by_name("raw-v2:80000000000000") == Event(0x30000, 1 << 55, "raw-v2:80000000000000")
    assert event_name(0x20000, 0x19) == "r19"
    for wide in ("r1000000000000", "raw-v2:100000000000000", "r1x2"):
        with pytest.raises(UsageError, match="raw event"):
            event_by_name(wide)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("cycels", "cycles"), ("dTLB-misses", "dTLB-load-misses"), ("fw:timer", "fw:set_timer")],
)
def test_near_names(wrong: str, near: str) -> None:
    with pytest.raises(UsageError, match=near):
        event_by_name(wrong)
    with pytest.raises(UsageError):
        event_by_name("0x123456")


def test_all_events() -> None:
    events = standard_events()
    assert len(events) == 10 + 42 + 22
    assert len({event.event_idx for event in events.values()}) == len(events)
    for name, event in events.items():
        assert event_by_name(name) == event
        assert event_name(event.event_idx) == name
    assert event_name(0xFFFFF) == "0xfffff"


def test_parts_of_an_event() -> None:
    assert split_event_idx(0x1F0005) == (15, 5)
    assert split_event_idx(0xFFFFFFFF) == (15, 0xFFFF)
    assert split_cache_code(0x19) == (3, 0, 1)
    assert cache_code(3, 0, 1) == 0x19
    assert FwEvent.SFENCE_VMA_SENT + 1 == FwEvent.SFENCE_VMA_RECEIVED


def test_error_names() -> None:
    assert error_name(SbiError.NO_SHMEM) == "NO_SHMEM"
    assert error_name(-999) == "-999"
