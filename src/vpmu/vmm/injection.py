"""Fault plans in a machine: every seam of every vCPU asks the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import MachineError
from ..faults.injector import Effect, Injector
from ..faults.plan import FaultPlan
from ..faults.values import SNAPSHOT_PAGE
from ..hart.memory import PAGE, MemoryFault
from ..kvm import injection as kvm_injection
from ..perf.event import PerfProvider
from ..perf.injection import FaultyPerf
from ..sbi.dispatch import ecall
from ..sbi.injection import faulty
from ..see.guest_hart import GuestHart

if TYPE_CHECKING:
    from .machine import Machine


class Injection:
    """A plan at work in a machine, until `remove`."""

    def __init__(self, machine: Machine, plan: FaultPlan, providers: list[PerfProvider]) -> None:
        self.machine, self.plan = machine, plan
        self._providers = providers
        self._plain = list(providers)
        self._regions = dict(machine.memory.regions)
        self.injector = Injector(plan)
        if self.injector.wants("host.call"):
            raise MachineError(
                "fault site host.call",
                expected="a real host's kernel (--on kvm:trixie)",
                got="the model of one",
            )
        self.begin()

    def begin(self) -> None:
        """Install the plan as at its beginning: no rule has fired."""
        machine = self.machine
        self.injector = injector = Injector(self.plan, machine.recorder)
        injector.clock = lambda: machine.time
        injector.pc = lambda hart: machine.vcpus[hart].pc
        self._let_go()
        for number, vcpu in enumerate(machine.vcpus):
            perf = FaultyPerf(self._plain[number], injector, number)
            self._providers[number] = perf
            kvm_injection.equip(vcpu, injector, perf)
            if injector.wants("sbi.call"):
                vcpu.answers = faulty(ecall, injector)
            if injector.wants("kvm.run", "guest.memory", "perf.starve", "hart.counter"):
                vcpu.at_entry = self._at_entry

    def remove(self) -> None:
        """Take the plan out; what it did to the machine stays, but for slots of memory."""
        self._let_go()
        self._providers[:] = self._plain
        for vcpu, perf in zip(self.machine.vcpus, self._plain, strict=True):
            kvm_injection.strip(vcpu, perf)
            vcpu.answers = ecall
            vcpu.at_entry = None
        self.machine.memory.set_regions(self._regions)

    def _let_go(self) -> None:
        for perf in self._providers:
            if isinstance(perf, FaultyPerf):
                perf.let_go()

    def _at_entry(self, vcpu: GuestHart) -> None:
        perf = vcpu.perf
        assert isinstance(perf, FaultyPerf)
        perf.elapse()
        effect = self.injector.ask("guest.memory", vcpu.hart_id)
        if effect is not None:
            rule = next(rule for rule in self.plan.rules if rule.effect is effect)
            self._change_memory(vcpu, rule.match["address"], effect)
        kvm_injection.at_entry(vcpu, self.injector)

    def _change_memory(self, vcpu: GuestHart, address: object, effect: Effect) -> None:
        assert isinstance(address, tuple)
        memory = self.machine.memory
        first, last = address
        if first == SNAPSHOT_PAGE:
            page = vcpu.pmu.shared_page
            if page is None:
                return
            first, last = page, page + PAGE - 1
        if "restore" in effect:
            memory.set_regions(self._regions)
            return
        try:
            if "xor" in effect:
                word = int.from_bytes(memory.read(first, 8), "little") ^ int(effect["xor"])  # type: ignore[call-overload]
                memory.write(first, word.to_bytes(8, "little"))
                return
            start = first & -PAGE
            memory.carve(start, (last | PAGE - 1) + 1 - start, readonly="readonly" in effect)
        except (MemoryFault, ValueError) as error:
            if vcpu.recorder.enabled:
                vcpu.recorder.emit("vmm", "fault", "guest.memory not possible", str(error), hart=vcpu.hart_id)
