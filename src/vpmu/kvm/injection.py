"""Faults in KVM's own dealings: interrupts, shared memory, kernel memory, the virtual PMU's life."""

from __future__ import annotations

from ..faults.injector import Injector
from ..perf.event import PerfProvider
from ..perf.injection import AGAIN_NS
from ..see.guest_hart import GuestHart
from ..see.interrupts import Interrupts
from ..see.vcpu_api import GuestMemory, MemoryFault
from .errors import KvmRunError
from .interrupts import VcpuInterrupts
from .pmu import VcpuPmu, allocate


class FaultyInterrupts(VcpuInterrupts):
    """Interrupts of one vCPU, of which requests may get lost, come late or come twice. `exits`: the guest
    exits often enough that the second of two comes with an exit; else it is looked for in between.
    """

    __slots__ = ("_again", "_exits", "_hart_id", "_injector", "_late", "_look")
    moves_by_itself = True

    def __init__(self, injector: Injector, hart_id: int, old: Interrupts, *, exits: bool = True) -> None:
        super().__init__()
        self.take_over(old)
        self._exits = exits
        self._look: int | None = None
        self._injector, self._hart_id = injector, hart_id
        self._late: list[tuple[int, int]] = []
        self._again: set[int] = set()

    def set(self, irq: int) -> None:
        """As without faults, unless the plan has a rule for it."""
        effect = self._injector.ask("kvm.interrupt", self._hart_id, irq=irq)
        if effect is None:
            super().set(irq)
        elif "duplicate" in effect:
            super().set(irq)
            self._again.add(irq)
            self._look_again()
        elif "delay" in effect:
            due = self._injector.clock() + int(effect["delay"])  # type: ignore[call-overload]
            self._late.append((due, irq))
            self._injector.until.append(due)

    @property
    def due_ns(self) -> int | None:
        """When the first of those that are late comes."""
        return min((due for due, _ in self._late), default=None)

    def _look_again(self) -> None:
        if self._look is None and not self._exits:
            self._look = self._injector.clock() + AGAIN_NS
            self._injector.until.append(self._look)

    def flush(self) -> int:
        """As without faults, after what was late."""
        if not self._late and not self._again and self._look is None:
            return super().flush()
        now = self._injector.clock()
        for late in [late for late in self._late if late[0] <= now]:
            self._late.remove(late)
            self._injector.until.remove(late[0])
            super().set(late[1])
        for irq in sorted(self._again):
            if not (self.pending | self.hvip) >> irq & 1:  # the guest has taken the first one
                self._again.discard(irq)
                super().set(irq)
        if self._look is not None and self._look <= now:
            self._injector.until.remove(self._look)
            self._look = None
            if self._again:
                self._look_again()
        return super().flush()

    def reset(self) -> None:
        super().reset()
        self._again.clear()


class FaultyMemory:
    """Guest memory as the virtual PMU reaches it; pages may be gone."""

    def __init__(self, inner: GuestMemory, injector: Injector, hart_id: int) -> None:
        self.inner, self._injector, self._hart_id = inner, injector, hart_id

    def read(self, gpa: int, n: int) -> bytes:
        """As below. Raises MemoryFault."""
        if self._injector.ask("kvm.snapshot", self._hart_id, n, access="read", address=gpa) is not None:
            raise MemoryFault(gpa)
        return self.inner.read(gpa, n)

    def write(self, gpa: int, data: bytes) -> None:
        """As below. Raises MemoryFault."""
        if (
            self._injector.ask("kvm.snapshot", self._hart_id, len(data), access="write", address=gpa)
            is not None
        ):
            raise MemoryFault(gpa)
        self.inner.write(gpa, data)


def equip(vcpu: GuestHart, injector: Injector, perf: PerfProvider) -> None:
    """Make the seams of a vCPU ask `injector`; `perf` is the provider from now on. Events that exist stay."""
    vcpu.faults = injector
    vcpu.perf = perf
    vcpu.interrupts = FaultyInterrupts(injector, vcpu.hart_id, vcpu.interrupts, exits=not vcpu.hart.whole)
    if injector.wants("kvm.snapshot"):
        vcpu.pmu.memory = FaultyMemory(vcpu.memory, injector, vcpu.hart_id)
    if isinstance(vcpu.pmu, VcpuPmu):
        vcpu.pmu.perf = perf
        if injector.wants("kvm.allocate"):
            vcpu.pmu.host_allocate = lambda size: (
                injector.ask("kvm.allocate", vcpu.hart_id, size) is None and allocate(size)
            )


def strip(vcpu: GuestHart, perf: PerfProvider) -> None:
    """Undo `equip`; what the faults did stays."""
    plain = vcpu.new_interrupts()
    plain.take_over(vcpu.interrupts)
    vcpu.faults, vcpu.perf, vcpu.interrupts = None, perf, plain
    vcpu.pmu.memory = vcpu.memory
    if isinstance(vcpu.pmu, VcpuPmu):
        vcpu.pmu.perf, vcpu.pmu.host_allocate = perf, allocate


def at_entry(vcpu: GuestHart, injector: Injector) -> None:
    """What a plan orders for an entry into the guest. Raises KvmRunError."""
    effect = injector.ask("kvm.run", vcpu.hart_id)
    if effect is None:
        return
    if "errno" in effect:
        raise KvmRunError(int(effect["errno"]), "KVM_RUN (injected)")  # type: ignore[call-overload]
    if "reset" in effect:
        vcpu.pmu.reset()
    else:
        migrate(vcpu)


def migrate(vcpu: GuestHart) -> None:
    """What a migration does to a vCPU: memory and the registers of ONE_REG arrive, nothing of the virtual PMU
    does.
    """
    interrupts = vcpu.interrupts
    pending = interrupts.one_reg_sip(vcpu.profile) if isinstance(interrupts, VcpuInterrupts) else 0
    if isinstance(vcpu.pmu, VcpuPmu):
        vcpu.pmu.snapshot.install(None)  # the page is written to no more: it belongs to the other machine
    vcpu.pmu.deinit()
    vcpu.renew_pmu()
    if isinstance(interrupts, VcpuInterrupts):
        interrupts.set_one_reg_sip(pending, vcpu.profile)
