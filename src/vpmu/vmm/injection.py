"""Fault plans in a machine: every seam of every vCPU asks the plan."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..errors import MachineError
from ..faults.injector import Effect, Injector
from ..faults.plan import FaultPlan
from ..faults.sites import SITES
from ..faults.values import SNAPSHOT_PAGE
from ..firmware import injection as firmware_injection
from ..firmware.bare import BareHart
from ..hart.memory import PAGE, MemoryFault
from ..kvm import injection as kvm_injection
from ..perf.event import PerfProvider
from ..perf.host_pmu import HostPmuPerf
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
        if machine.levels.whole:
            self._check_whole()
        self.begin()

    def _check_whole(self) -> None:
        """Refuse what a hart with all its modes has no place for: it would never happen."""
        vcpu = self.machine.vcpus[0]
        missing = firmware_injection.missing(vcpu)
        for rule in self.plan.rules:
            why = missing.get(rule.site)
            if rule.site == "sbi.call" and "errno" in rule.effect and why is None:
                why = missing.get("kvm.run")  # it ends KVM_RUN
            if rule.match.get("address") == (SNAPSHOT_PAGE, SNAPSHOT_PAGE) and vcpu.pmu.shared_page is None:
                why = None if vcpu.pmu.csrs_trap else "firmware has no snapshot page"
            if why is not None:
                there = sorted(SITES.keys() - missing.keys() - {"host.call"})
                expected = f"a site of this machine: {', '.join(there)}"
                raise MachineError(f"fault {rule.source}", expected=expected, got=why)

    def begin(self) -> None:
        """Install the plan as at its beginning: no rule has fired."""
        machine = self.machine
        self.injector = injector = Injector(self.plan, machine.recorder)
        injector.clock = lambda: machine.time
        injector.pc = lambda hart: machine.vcpus[hart].pc
        for number, vcpu in enumerate(machine.vcpus):
            perf = FaultyPerf(self._plain[number], injector, number)
            self._providers[number] = perf
            kvm_injection.equip(vcpu, injector, perf)
            perf.taken = partial(firmware_injection.taken, vcpu)
            if isinstance(vcpu, BareHart) and injector.wants("kvm.interrupt"):
                vcpu.lines = firmware_injection.Lines(injector, vcpu)
            if injector.wants("sbi.call"):
                vcpu.answers = faulty(ecall, injector)
            timed = ("kvm.run", "guest.memory", "perf.starve", "hart.counter")
            late = ("kvm.interrupt", "hart.overflow") if self.machine.levels.whole else ()
            if injector.wants(*timed, *late):
                vcpu.at_entry = self._at_entry

    def remove(self) -> None:
        """Take the plan out; what it did to the machine stays, but for slots of memory."""
        self._providers[:] = self._plain
        for vcpu, perf in zip(self.machine.vcpus, self._plain, strict=True):
            kvm_injection.strip(vcpu, perf)
            vcpu.answers = ecall
            vcpu.at_entry = None
            if isinstance(vcpu, BareHart):
                vcpu.lines = None
            if isinstance(perf, HostPmuPerf):
                perf.between = None
        self.machine.memory.set_regions(self._regions)

    def _at_entry(self, vcpu: GuestHart) -> None:
        perf = vcpu.perf
        assert isinstance(perf, FaultyPerf)
        perf.elapse()
        if isinstance(vcpu, BareHart) and vcpu.lines is not None:
            vcpu.lines.elapse()
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
