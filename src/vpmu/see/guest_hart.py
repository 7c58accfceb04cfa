"""A hart with a guest on it: its state, and what its runner, SBI extensions and a scripted guest ask of it.

Guest instructions run on a `Hart`; what the hart cannot do for a guest stops it, and is served by who plays
the level below: `kvm.vcpu` or `firmware.supervisor`. What both do is in the modules beside this one: timer,
reset, sbi_call, trap, mmio, counter_read and scripted. They share the public attributes of `GuestHart`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vpmu.hart.exits import Stop
from vpmu.hart.hart import GuestFault, Hart
from vpmu.hart.memory import MemoryFault, PhysicalMemory
from vpmu.perf.event import PerfProvider
from vpmu.profiles.behaviours import B
from vpmu.profiles.opensbi_behaviours import OB
from vpmu.profiles.profiles import IMPL_ID_KVM, Profile
from vpmu.see import mmio, reset, sbi_call, scripted, software_events, timer
from vpmu.see.exits import BreakpointExit, EventResumed, SbiExit, SystemEvent, Tally, VcpuExit
from vpmu.see.interrupts import Interrupts
from vpmu.see.pmu import SbiPmu
from vpmu.see.registers import Registers
from vpmu.see.sbi_extensions import SbiExtensions
from vpmu.see.vcpu_api import MP_STATE_RUNNABLE, MP_STATE_STOPPED, GuestTrap
from vpmu.spec.csr import Cause, Irq
from vpmu.spec.sbi import U64, SbiRet
from vpmu.trace.recorder import Recorder

if TYPE_CHECKING:
    from vpmu.faults.injector import Injector
    from vpmu.hart.published import PublishedCounters
    from vpmu.see.standing import Standing

Args = tuple[int, int, int, int, int, int]
IoBus = Callable[[int, int, bool, int], int | None]
"""(gpa, size, is write, value) -> the value read or 0; None: nobody on this bus, the access leaves to
user space.
"""
Ecall = Callable[["GuestHart", int, int, Args], SbiRet | SystemEvent | SbiExit | EventResumed]


class GuestHart(ABC):
    """One hart of a machine. `ecall` answers SBI calls (sbi.dispatch.ecall); `vcpus` is the list of all,
    shared by them; `pmu` makes the PMU that the guest sees, of what its overflow calls.
    """

    mvendorid = 0
    marchid = 0
    mimpid = 0
    timer_lag = 0
    """Ticks of `time` by which the interrupt of a timer comes late; see timer.due_ns."""

    def __init__(
        self,
        vcpu_id: int,
        hart: Hart,
        memory: PhysicalMemory,
        profile: Profile,
        perf: PerfProvider,
        ecall: Ecall,
        vcpus: Sequence[GuestHart],
        recorder: Recorder,
        *,
        pmu: Callable[[Callable[[], None]], SbiPmu],
        lcofi: bool,
        scountovf: Callable[[], int | None],
    ) -> None:
        self.id = self.hart_id = vcpu_id
        self.hart, self.memory, self.profile, self.perf, self.recorder = hart, memory, profile, perf, recorder
        self.vcpus = vcpus
        self.interrupts = self.new_interrupts()
        self.wakes_by = self.interrupts.wakes_by(profile)  # what ends waiting, where sie enables it
        self.bare = profile.has(OB.OPENSBI_CSR_DIRECT)  # firmware is below it, no KVM
        self._lcofi = lcofi
        reset.configure_hart(self)
        self.pmu = pmu(self._raise_overflow)
        self.pmu.leaving = self._leaving
        self.extensions = SbiExtensions(profile, pmu_available=self.pmu.available)
        self.sbi_enabled = self.extensions.enabled
        self.regs = Registers(hart)
        self.scountovf = scountovf  # the CSR as the guest reads it; None: the read traps
        self.answers = ecall  # may be exchanged for something that stands before it
        # --- state that a snapshot keeps
        self.mp_state = MP_STATE_RUNNABLE if vcpu_id == 0 else MP_STATE_STOPPED
        self.blocking = False  # it waits for an interrupt (WFI or hart_suspend)
        self.suspended = False  # what it waits for while blocking, see timer.wake_mask
        self.timer: int | None = None  # tick of `time` at which the timer interrupt comes
        self.reset_to: tuple[int, int] | None = None  # pc and opaque of a requested reset
        # rd, size, sign extend, length of the access that waits for user space
        self.mmio: tuple[int, int, bool, int] | None = None
        self.sbi_pending = False  # an SBI call waits for user space
        self.progress, self.stalled = 0, 0  # instructions retired, and exits since the last one
        self.exits: Counter[str] = Tally()  # exits to KVM by reason
        self.sbi_calls: Counter[tuple[int, int, int]] = Tally()  # answered calls by (EID, FID, error)
        self.overflows = 0  # overflow interrupts that KVM raised since power-on
        self.steal_time_area: int | None = None
        self.firmware_features: dict[int, tuple[int, bool]] = {}
        self.software_events: software_events.Events = {}
        self.events_masked = True
        self.immediate_exit = False  # user space wants KVM_RUN to return as soon as it can
        self.midway = False  # a limit of instructions stopped it where nothing else would have
        # --- who else has a say
        self.io_bus: IoBus | None = None  # devices that are served without leaving KVM_RUN (KVM's kvm_io_bus)
        self.devices: Callable[[int], bool] = lambda gpa: True  # whether anything lies at an address
        self.wakes: Callable[[], None] | None = None  # called when something makes this vCPU runnable
        self.faults: Injector | None = None
        # told of every counter that the guest reads, and of a reset (counter None)
        self.watch: Callable[[GuestHart, int | None, int], None] | None = None
        # told of every overflow interrupt; `pmu.last_overflow` is its counter
        self.overflow_seen: Callable[[GuestHart], None] | None = None
        self.published: PublishedCounters | None = None  # where the hart's engine answers counter CSRs
        self.standing: Standing | None = None  # exits that the hart's engine answers itself
        # asked before every entry, where there are faults
        self.at_entry: Callable[[GuestHart], None] | None = None

    @property
    def has_hypervisor(self) -> bool:
        return self.hart.whole and "h" in self.hart.isa

    def new_interrupts(self) -> Interrupts:
        """Interrupts of which none is pending."""
        return Interrupts()

    # --- what who runs it asks

    @abstractmethod
    def run(self, max_instructions: int | None = None, until_ns: int | None = None) -> VcpuExit:
        """Run the guest until something is left to the caller, at most `max_instructions` or until a virtual
        time.
        """

    def breakpoint(self, stop: Stop) -> BreakpointExit | None:
        """The hart stopped at a breakpoint or watchpoint: None where its handlers go on."""
        self.midway = True
        del self.exits[stop.name]  # the guest knows nothing of it
        memory = self.memory
        ends = (memory.breakpoints if stop is Stop.BREAKPOINT else memory.watchpoints).hit(self)
        return BreakpointExit(self.hart.pc, stop is Stop.WATCHPOINT) if ends else None

    def open_counters(self) -> None:
        """Before a run: the hart's engine answers a counter CSR itself where nobody wants to see it."""
        if self.published is not None:
            self.published.answer(self.faults is None and self.watch is None and not self.recorder.enabled)

    def complete_sbi(self, error: int, value: int | None) -> None:
        """User space's answer to an SbiExit."""
        sbi_call.complete(self, error, value)

    def complete_mmio(self, value: int) -> None:
        """User space's answer to a reading MmioExit."""
        mmio.complete_mmio(self, value)

    @property
    def timer_ns(self) -> int | None:
        """Virtual time at which the timer interrupt comes, if one is set."""
        return timer.deadline(self)

    def sleeps(self, now_ns: int) -> bool:
        """Whether the vCPU has nothing to do at virtual time `now_ns`: stopped, or waiting for an
        interrupt.
        """
        return timer.sleeps(self, now_ns)

    def renew_pmu(self) -> None:
        """A virtual PMU as after the creation of a vCPU; the old one is the caller's business."""
        self.pmu = self.pmu.renewed()
        self.pmu.leaving = self._leaving

    def _leaving(self) -> bool:
        return self.immediate_exit

    # --- what SBI extensions ask of it (vcpu_api.VcpuLike)

    def set_timer(self, next_cycle: int) -> None:
        timer.arm(self, next_cycle)

    def set_interrupt(self, irq: int) -> None:
        self.interrupts.set(irq)
        if self.wakes is not None and self.blocking:
            self.wakes()

    def unset_interrupt(self, irq: int) -> None:
        self.interrupts.unset(irq)

    def _raise_overflow(self) -> None:
        """A host counter of this vCPU overflowed; without Ssaia KVM has no way to tell the guest."""
        if self.recorder.enabled:
            layer = "kvm" if self.pmu.csrs_trap else "hart"
            self.recorder.emit(
                layer, "interrupt", "set", hart=self.hart_id, irq=int(Irq.LCOFI), delivered=self._lcofi
            )
        self.overflows += 1
        if self.overflow_seen is not None:
            self.overflow_seen(self)
        if self._lcofi:
            self.interrupts.set(Irq.LCOFI)

    def fence_i(self) -> None:  # noqa: B027 - nobody has to
        """Stores to code are seen at once: nothing to do."""

    def sfence_vma(self, start: int, size: int, asid: int | None) -> None:
        self.hart.flush()

    def start(self, pc: int, opaque: int) -> None:
        self.request_reset(pc, opaque)
        self.mp_state = MP_STATE_RUNNABLE
        if self.wakes is not None:
            self.wakes()

    def stop(self) -> None:
        self.mp_state = MP_STATE_STOPPED

    def suspend(self) -> None:
        self.blocking = True
        self.suspended = not self.profile.has(B.SUSPEND_NEEDS_ENABLED_INTERRUPT)

    def request_reset(self, pc: int, opaque: int) -> None:
        self.reset_to = (pc, opaque)

    def reset(self) -> None:
        """A vCPU reset: registers, pending interrupts, timer and virtual PMU."""
        reset.reset(self)

    def load_virtual(self, address: int, size: int, access: int = 0) -> bytes:
        """Load through the guest's translation. Raises GuestTrap."""
        parts = []
        while size > 0:
            length = min(size, 4096 - address % 4096)
            try:
                parts.append(self.memory.read(self.hart.translate(address, access), length))
            except GuestFault as fault:
                raise GuestTrap(fault.cause, fault.value) from None
            except MemoryFault:  # kvm_riscv_vcpu_unpriv_read hands on what HLV met; firmware meets PMA
                is_kvm = self.profile.impl_id == IMPL_ID_KVM
                raise GuestTrap(
                    Cause.LOAD_GUEST_PAGE_FAULT if is_kvm else Cause.LOAD_ACCESS, address
                ) from None
            address, size = address + length & U64, size - length
        return b"".join(parts)

    def leave_event(self, row: list[int]) -> None:
        software_events.leave(self, row)

    def interrupt_for_event(self) -> None:
        software_events.interrupt(self)

    def set_steal_time_area(self, gpa: int | None) -> None:
        self.steal_time_area = gpa

    # --- the scripted guest

    def ecall(self, eid: int, fid: int, *args: int) -> SbiRet | SystemEvent | SbiExit | EventResumed:
        """Make an SBI call as the guest would in VS mode, without machine code. Raises KvmRunError and
        GuestTrap.
        """
        if self.at_entry is not None:
            self.at_entry(self)
        # plain numbers: flags of an enum compute slowly
        a0, a1, a2, a3, a4, a5, *_ = [*[int(value) & U64 for value in args], 0, 0, 0, 0, 0, 0]
        return self.answers(self, eid & U64, fid & U64, (a0, a1, a2, a3, a4, a5))

    def pmu_call(self, fid: int, *args: int) -> tuple[int, int]:
        """A call of the PMU extension: (error, value). Raises KvmRunError."""
        return scripted.pmu_call(self, fid, *args)

    def csr_read(self, csr: int) -> int:
        """Read a CSR as the guest would in VS mode. Raises GuestTrap where that traps."""
        return scripted.csr_read(self, csr)

    def work(self, instructions: int) -> None:
        """Retire `instructions` in VS mode, overflowing counters exactly where they would."""
        scripted.work(self, instructions)

    @property
    def pc(self) -> int:
        return self.hart.pc

    @pc.setter
    def pc(self, value: int) -> None:
        self.hart.pc = value

    def read(self, gpa: int, size: int) -> bytes:
        """Guest physical memory. Raises MemoryFault."""
        return self.memory.read(gpa, size)

    def write(self, gpa: int, data: bytes) -> None:
        """Guest physical memory. Raises MemoryFault."""
        self.memory.write(gpa, data)
