"""vCPUs that record what the extensions ask of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from vpmu.hart.memory import MemoryFault
from vpmu.kvm.pmu import VcpuPmu
from vpmu.perf.event import PerfError
from vpmu.profiles.profiles import Profile, SbiExtension, get_profile
from vpmu.sbi.dispatch import ecall
from vpmu.see.sbi_extensions import SbiExtensions
from vpmu.see.vcpu_api import MP_STATE_RUNNABLE, MP_STATE_STOPPED, GuestTrap
from vpmu.trace.recorder import NULL, Recorder

RAM = 0x8000_0000
SIZE = 0x10_0000


class Memory:
    """One slot of RAM."""

    def __init__(self) -> None:
        self.data = bytearray(SIZE)

    def read(self, gpa: int, n: int) -> bytes:
        if not RAM <= gpa <= gpa + n <= RAM + SIZE:
            raise MemoryFault(gpa)
        return bytes(self.data[gpa - RAM : gpa - RAM + n])

    def write(self, gpa: int, data: bytes) -> None:
        self.read(gpa, len(data))
        self.data[gpa - RAM : gpa - RAM + len(data)] = data


class Perf:
    """A host that refuses every event, on 18 counters."""

    name = "refusing"
    usable = True
    num_hw_counters = 18
    width = 64

    def create(self, attr: Any, overflow: Any = None) -> Any:
        raise PerfError(2, "nothing can be counted here")

    def budget(self) -> int | None:
        return None

    def poll(self) -> None:
        return


class Vcpu:
    """See see.vcpu_api.VcpuLike. `done` lists what was asked of it."""

    mvendorid, marchid, mimpid = 0x11, 0x22, 0x33

    def __init__(
        self, hart_id: int, profile: Profile, vcpus: list[Vcpu], memory: Memory, recorder: Recorder
    ) -> None:
        self.id = self.hart_id = hart_id
        self.profile = profile
        self.memory = memory
        self.recorder = recorder
        self.vcpus: Sequence[Vcpu] = vcpus
        self.mp_state = MP_STATE_RUNNABLE if hart_id == 0 else MP_STATE_STOPPED
        self.blocking = False
        self.suspended = self.has_hypervisor = False
        self.software_events: dict[int, list[int]] = {}
        self.events_masked = True
        self.done: list[tuple[object, ...]] = []
        self.firmware_features: dict[int, tuple[int, bool]] = {}
        self.pmu = VcpuPmu(profile, Perf(), memory, lambda: None, recorder, hart_id)
        self.extensions = SbiExtensions(profile, pmu_available=True)

    def call(self, eid: int, fid: int, *args: int) -> Any:
        """An ecall with these arguments, zeros behind them."""
        padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
        return ecall(self, eid, fid, padded)

    def sbi_enabled(self, eid: int) -> bool:
        return self.extensions.enabled(eid)

    def set_timer(self, next_cycle: int) -> None:
        self.done.append(("set_timer", next_cycle))

    def set_interrupt(self, irq: int) -> None:
        self.done.append(("set", irq))

    def unset_interrupt(self, irq: int) -> None:
        self.done.append(("unset", irq))

    def fence_i(self) -> None:
        self.done.append(("fence_i",))

    def sfence_vma(self, start: int, size: int, asid: int | None) -> None:
        self.done.append(("sfence_vma", start, size, asid))

    def start(self, pc: int, opaque: int) -> None:
        self.done.append(("start", pc, opaque))
        self.mp_state = MP_STATE_RUNNABLE

    def stop(self) -> None:
        self.done.append(("stop",))
        self.mp_state = MP_STATE_STOPPED

    def interrupt_for_event(self) -> None:
        self.done.append(("event",))

    def leave_event(self, row: list[int]) -> None:
        self.done.append(("left",))

    def suspend(self) -> None:
        self.done.append(("suspend",))

    def request_reset(self, pc: int, opaque: int) -> None:
        self.done.append(("reset", pc, opaque))

    def load_virtual(self, address: int, size: int) -> bytes:
        try:
            return self.memory.read(address, size)
        except MemoryFault:
            raise GuestTrap(13, address) from None

    def set_steal_time_area(self, gpa: int | None) -> None:
        self.done.append(("steal_time", gpa))


class Machines:
    """`machine(profile, harts)`: its vCPUs; hart 0 runs, the others are stopped."""

    RAM = RAM
    SIZE = SIZE

    def __call__(self, profile: str = "spec-3.0", harts: int = 3, recorder: Recorder = NULL) -> list[Vcpu]:
        vcpus: list[Vcpu] = []
        memory = Memory()
        for hart in range(harts):
            vcpus.append(Vcpu(hart, get_profile(profile), vcpus, memory, recorder))
        for vcpu in vcpus:
            if SbiExtension.SUSP in vcpu.profile.extensions:
                vcpu.extensions.set(SbiExtension.SUSP, 1)
            with suppress(FileNotFoundError):  # OpenSBI 1.1 has none
                vcpu.extensions.set(SbiExtension.DBCN, 1)
        return vcpus


@pytest.fixture(scope="session")
def machine() -> Machines:
    """See Machines."""
    return Machines()
