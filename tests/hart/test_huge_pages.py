"""Huge pages are taken while they are quick, and nothing of a guest depends on them."""

from __future__ import annotations

import mmap
import time
from types import SimpleNamespace

import pytest

from vpmu.hart import huge_pages
from vpmu.hart.memory import PAGE, HostMemory, PhysicalMemory

from .residency import at_hand, can_bring

MIB = 1 << 20
BASE = 0x8000_0000

pytestmark = pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="no huge pages on this system")


class Host:
    """Memory whose huge pages take as long as is said; what it was asked for, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slow: frozenset[int] = frozenset()) -> None:
        self.now, self.slow, self.brought = 0, slow, []
        self.advised: list[tuple[int, ...]] = []
        monkeypatch.setattr(huge_pages, "time", SimpleNamespace(thread_time_ns=lambda: self.now))

    def memory(self, address: int) -> HostMemory:
        memory = HostMemory.__new__(HostMemory)
        memory.address, memory.mapping = address, self  # type: ignore[assignment]
        return memory

    def madvise(self, option: int, *where: int) -> None:
        if option == mmap.MADV_HUGEPAGE:
            self.advised.append(where)
        else:
            self.now += 5_000_000 if len(self.brought) in self.slow else 90_000
            self.brought.append(where[0])


def test_ranges_are_brought_as_long_as_they_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    memory, pool = host.memory(0x7000_0010_0000), host.memory(0x7100_0000_0000)
    assert huge_pages.take([(memory, 2 * MIB, 10 * MIB), (memory, 40 * MIB, 8 * MIB), (pool, MIB, 2 * MIB)])
    # whole huge pages of the host inside each range: it begins and ends in the middle of one
    assert host.brought == [at * MIB for at in (3, 5, 7, 9, 41, 43, 45)]
    assert () not in host.advised  # all of a memory: whether that is quick, nobody knows


def test_the_first_slow_page_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch, slow=frozenset({2}))
    memory = host.memory(0x7000_0000_0000)
    assert not huge_pages.take([(memory, 0, 10 * MIB), (memory, 40 * MIB, 8 * MIB)])
    assert host.brought == [0, 2 * MIB, 4 * MIB]
    assert () not in host.advised


@pytest.mark.skipif(not can_bring(), reason="the host brings no pages before they are used")
def test_what_is_left_comes_on_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "take", lambda ranges: False)
    memory = PhysicalMemory()
    data = memory.set_slot(0, BASE, 32 * MIB)
    assert data is not None
    data.mapping.madvise(mmap.MADV_NOHUGEPAGE)
    memory.expect([(BASE + 2 * PAGE + 5, 16 * MIB), (BASE + 24 * MIB, 3)])
    last = 16 * MIB // PAGE + 2
    assert at_hand(data, 0, 32 * MIB // PAGE) == [*range(2, last + 1), 24 * MIB // PAGE]


def test_a_small_guest_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[object]] = []
    monkeypatch.setattr(huge_pages, "take", lambda ranges: taken.append(list(ranges)))
    memory = PhysicalMemory()
    memory.set_slot(0, BASE, 32 * MIB)
    memory.expect([(BASE, 7 * MIB), (BASE + 8 * MIB, 8 * MIB)])
    assert not taken
    memory.expect([(BASE, 8 * MIB), (BASE + 8 * MIB, 8 * MIB)])
    assert len(taken[0]) == 3  # and decoded pages, of which it will have many


def test_a_system_that_has_none_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    monkeypatch.setattr(host, "madvise", lambda *_: (_ for _ in ()).throw(OSError(22, "no such advice")))
    memory = host.memory(0x7000_0000_0000)
    assert not huge_pages.take([(memory, 0, 32 * MIB)])


@pytest.mark.parametrize("quick_ns", [1 << 60, 0], ids=["all", "none"])
def test_memory_reads_the_same(monkeypatch: pytest.MonkeyPatch, quick_ns: int) -> None:
    monkeypatch.setattr(huge_pages, "SLOW_NS", quick_ns)
    memory = PhysicalMemory()
    memory.set_slot(0, BASE, 32 * MIB)
    began = time.thread_time_ns()
    memory.expect([(BASE + 0x1000, 31 * MIB)])
    assert time.thread_time_ns() > began
    assert memory.read(BASE, 32 * MIB) == bytes(32 * MIB)
    memory.write(BASE + 3 * MIB - 2, b"spam")
    assert memory.read(BASE + 3 * MIB - 3, 6) == b"\0spam\0"


def test_memory_of_somebody_else_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "take", lambda ranges: taken.extend(ranges))
    taken: list[object] = []
    memory = PhysicalMemory()
    memory.set_slot(0, BASE, 32 * MIB, backing=HostMemory.over(memoryview(bytearray(32 * MIB))))
    memory.expect([(BASE, 32 * MIB)])
    assert not taken
