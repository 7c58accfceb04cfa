"""A perf layer, a memory and a vCPU's PMU that tests drive by hand: counts advance when the test says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from vpmu.hart.memory import MemoryFault
from vpmu.kvm.pmu import VcpuPmu
from vpmu.perf.event import EventState, OverflowHandler, PerfError
from vpmu.profiles.profiles import Profile, get_profile
from vpmu.spec.perf import PerfEventAttr
from vpmu.trace.recorder import Recorder

U64 = (1 << 64) - 1
PAGE = 0x8010_0000
"""Address of a page in the fake memory that tests use as shared memory."""


class FakeEvent:
    """One event; the test's `FakePerf.advance` makes it count while it is enabled."""

    def __init__(self, perf: FakePerf, attr: PerfEventAttr, handler: OverflowHandler | None) -> None:
        self.perf = perf
        self.attr = attr
        self.handler = handler
        self.state = EventState.OFF
        self.host_noise = False
        self.countable = True
        self.sample_period = attr.sample_period
        self.left = attr.sample_period
        self.count = 0
        if not attr.disabled:
            self.enable()

    def enable(self) -> None:
        running = sum(event.state is EventState.ACTIVE for event in self.perf.events)
        self.state = EventState.ACTIVE if running < self.perf.host_counters else EventState.ERROR
        self.host_noise |= self.perf.noisy
        if self.left == 0:
            self.left = self.sample_period

    def disable(self) -> None:
        if self.state is EventState.ACTIVE:
            self.state = EventState.OFF

    def read(self) -> int:
        return self.count

    def set_period(self, period: int) -> PerfError | None:
        if not self.sample_period or not period or period >> 63:
            return PerfError(22, f"set period {period:#x}")
        self.restart_with_period(period)
        return None

    def restart_with_period(self, period: int) -> None:
        self.sample_period = self.left = period

    def release(self) -> None:
        self.state = EventState.RELEASED
        if self in self.perf.events:
            self.perf.events.remove(self)

    def advance(self, n: int) -> None:
        if self.state is not EventState.ACTIVE:
            return
        while n:
            step = min(n, self.left) if self.left else n
            self.count = self.count + step & U64
            n -= step
            if self.left:
                self.left -= step
                if not self.left:
                    self.left = self.sample_period
                    if self.handler is not None:
                        self.handler(self)


class FakePerf:
    """PerfProvider: refuses what `errnos` orders, by (type, config) or for all, and has `host_counters`
    counters.
    """

    name = "fake"

    def __init__(self, num_hw_counters: int = 18, width: int = 64, *, usable: bool = True) -> None:
        self.num_hw_counters = num_hw_counters
        self.width = width
        self.usable = usable
        self.host_counters = 64
        self.noisy = False
        self.errnos: dict[tuple[int, int] | None, int] = {}
        self.events: list[FakeEvent] = []
        """Those that exist: created and not released."""
        self.created: list[PerfEventAttr] = []

    def create(self, attr: PerfEventAttr, overflow: OverflowHandler | None = None) -> FakeEvent:
        errno = self.errnos.get((attr.type, attr.config), self.errnos.get(None, 0))
        if attr.type == 6:
            errno = errno or 2
        elif attr.config == U64:
            errno = errno or 22
        if errno:
            raise PerfError(errno, f"ordered for type {attr.type} config {attr.config:#x}")
        self.created.append(attr)
        event = FakeEvent(self, attr, overflow)
        self.events.append(event)
        return event

    def advance(self, n: int) -> None:
        """Every enabled event counts `n`."""
        for event in list(self.events):
            event.advance(n)

    def budget(self) -> int | None:
        return None

    def poll(self) -> None:
        """Overflows are delivered as they happen."""


class FakeMemory:
    """Guest memory of slots: base -> (bytes, writable). Like KVM, a write that runs into a hole is done up to
    there.
    """

    def __init__(self, slots: Mapping[int, tuple[int, bool]] | None = None) -> None:
        self.slots: dict[int, tuple[bytearray, bool]] = {}
        for base, (size, writable) in (slots or {0x8000_0000: (0x20_0000, True)}).items():
            self.slots[base] = (bytearray(size), writable)
        self.writes: list[tuple[int, int]] = []
        """(address, size) of the writes that succeeded."""

    def _at(self, gpa: int, *, write: bool) -> tuple[bytearray, int]:
        for base, (data, writable) in self.slots.items():
            if base <= gpa < base + len(data) and (writable or not write):
                return data, gpa - base
        raise MemoryFault(gpa)

    def read(self, gpa: int, n: int) -> bytes:
        out = bytearray()
        while len(out) < n:
            data, offset = self._at(gpa + len(out), write=False)
            out += data[offset : offset + n - len(out)]
        return bytes(out)

    def write(self, gpa: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            target, offset = self._at(gpa + done, write=True)
            part = data[done : done + len(target) - offset]
            target[offset : offset + len(part)] = part
            done += len(part)
        self.writes.append((gpa, len(data)))

    def word(self, gpa: int) -> int:
        """The doubleword at `gpa`."""
        return int.from_bytes(self.read(gpa, 8), "little")

    def set_word(self, gpa: int, value: int) -> None:
        """What a guest's store does: not in `writes`."""
        data, offset = self._at(gpa, write=True)
        data[offset : offset + 8] = value.to_bytes(8, "little")


@dataclass
class Bench:
    """A PMU with all that it stands on. `interrupts` counts the overflow interrupts that it raised."""

    pmu: VcpuPmu
    perf: FakePerf
    memory: FakeMemory
    recorder: Recorder
    interrupts: list[int] = field(default_factory=list)

    def csr(self, idx: int) -> int:
        """A trapped read of counter CSR `idx`."""
        return self.pmu.read_csr_counter(idx)


def make_bench(
    profile: str | Profile,
    perf: FakePerf | None = None,
    memory: FakeMemory | None = None,
    *,
    record: bool = False,
) -> Bench:
    """A PMU of that profile, by default on 18 host counters of 64 bits."""
    perf = FakePerf() if perf is None else perf
    memory = FakeMemory() if memory is None else memory
    recorder = Recorder(enabled=record)
    interrupts: list[int] = []
    chosen = get_profile(profile) if isinstance(profile, str) else profile
    pmu = VcpuPmu(chosen, perf, memory, lambda: interrupts.append(1), recorder, 0)
    return Bench(pmu, perf, memory, recorder, interrupts)


class Benches:
    """What the `bench` fixture gives: call it for a Bench, or take the parts to build one from."""

    FakeMemory = FakeMemory
    FakePerf = FakePerf

    def __call__(
        self,
        profile: str | Profile,
        perf: FakePerf | None = None,
        memory: FakeMemory | None = None,
        *,
        record: bool = False,
    ) -> Bench:
        return make_bench(profile, perf, memory, record=record)


@pytest.fixture(scope="session")
def bench() -> Benches:
    """`bench(profile, perf, memory, record=False)`: see make_bench."""
    return Benches()
