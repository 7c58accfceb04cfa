"""A vCPU: KVM_RUN, the exits that KVM serves itself, and those that it hands to user space.

Guest instructions run on a `Hart`; what the hart cannot do for a guest (ECALL, counter CSRs, WFI, MMIO, what
is not delegated) stops it, and is handled here as arch/riscv/kvm/vcpu_exit.c and vcpu_insn.c do.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from vpmu.hart.events import Mode
from vpmu.hart.exits import Stop
from vpmu.hart.hart import GuestFault, Hart
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.state import STATE, TICK_NS
from vpmu.kvm import counter_csr
from vpmu.kvm.behaviours import B
from vpmu.kvm.counter import IllegalCounter
from vpmu.kvm.exits import (
    BudgetExit,
    HungExit,
    IdleExit,
    KvmRunError,
    MmioExit,
    SbiExit,
    SystemEvent,
    VcpuExit,
)
from vpmu.kvm.interrupts import VcpuInterrupts
from vpmu.kvm.opensbi_pmu import make_pmu
from vpmu.kvm.profiles import Profile
from vpmu.kvm.sbi_extensions import SbiExtensions
from vpmu.kvm.vcpu_api import MP_STATE_RUNNABLE, MP_STATE_STOPPED, GuestTrap
from vpmu.perf.event import PerfProvider
from vpmu.spec.csr import Cause, Csr, Irq
from vpmu.spec.sbi import Eid, SbiRet
from vpmu.trace.recorder import Recorder

if TYPE_CHECKING:
    from vpmu.faults.injector import Injector

MASK = (1 << 64) - 1
UNLIMITED = 1 << 62
SLICE = 50_000_000  # instructions between two chances for Ctrl-C: an engine does not see signals
# exits in a row, without a retired instruction or an answer of user space, of a guest that hangs
STALLED_EXITS = 100_000

_SIP, _SIE, _PC, _TIME = (STATE[name] for name in ("sip", "sie", "pc", "time_ns"))
_COUNT_VU, _COUNT_VS = STATE["count_vu"], STATE["count_vs"]

# Asked for at every exit: Enum.name is a descriptor, and an enum's member hashes slowly.
_STOP_NAME = tuple(stop.name for stop in Stop)

Args = tuple[int, int, int, int, int, int]
IoBus = Callable[[int, int, bool, int], int | None]
"""(gpa, size, is write, value) -> the value read or 0; None: nobody on this bus, the access leaves to
user space.
"""
Ecall = Callable[["Vcpu", int, int, Args], SbiRet | SystemEvent | SbiExit]

# Firmware events that KVM counts when it sends an exception back to the guest (facts 3.10).
_FIRMWARE_EVENT = {
    Cause.LOAD_MISALIGNED: 0,
    Cause.STORE_MISALIGNED: 1,
    Cause.LOAD_ACCESS: 2,
    Cause.STORE_ACCESS: 3,
}
_FW_ILLEGAL_INSN = 4

# CSRRW and CSRRWI always write; the others write unless rs1 (or the immediate) is 0
_OPCODE_SYSTEM, _CSRRW = 0x73, 1

# CSRs that user space reads and writes by ONE_REG, and the word of the hart that holds each.
_GUEST_CSRS = {
    Csr.SSTATUS: "sstatus", Csr.SIE: "sie", Csr.STVEC: "stvec", Csr.SSCRATCH: "sscratch", Csr.SEPC: "sepc",
    Csr.SCAUSE: "scause", Csr.STVAL: "stval", Csr.SIP: "sip", Csr.SATP: "satp",
    Csr.SCOUNTEREN: "scounteren", Csr.SENVCFG: "senvcfg",
}  # fmt: skip


class Registers(Sequence[int]):
    """x0..x31 of a vCPU, readable and writable by index; x0 stays 0."""

    def __init__(self, hart: Hart) -> None:
        self._hart = hart

    def __getitem__(self, index: int) -> int:  # type: ignore[override]
        return self._hart.x(range(32)[index])

    def __setitem__(self, index: int, value: int) -> None:
        self._hart.set_x(range(32)[index], value)

    def __len__(self) -> int:
        return 32


class Vcpu:
    """One vCPU of a machine. `ecall` answers SBI calls (sbi.dispatch.ecall); `vcpus` is the list of all,
    shared by them.
    """

    mvendorid = marchid = mimpid = 0

    def __init__(
        self,
        vcpu_id: int,
        hart: Hart,
        memory: PhysicalMemory,
        profile: Profile,
        perf: PerfProvider,
        ecall: Ecall,
        vcpus: Sequence[Vcpu],
        recorder: Recorder,
        *,
        lcofi: bool,
        scountovf: Callable[[], int | None],
    ) -> None:
        self.id = self.hart_id = vcpu_id
        self.hart, self.memory, self.profile, self.perf, self.recorder = hart, memory, profile, perf, recorder
        self.vcpus = vcpus
        self.interrupts = VcpuInterrupts()
        self._lcofi = lcofi
        self._configure_hart()
        self.pmu = make_pmu(profile, perf, memory, self._raise_overflow, recorder, self.hart_id)
        self.extensions = SbiExtensions(profile, pmu_available=self.pmu.available)
        self.sbi_enabled = self.extensions.enabled
        self.mp_state = MP_STATE_RUNNABLE if vcpu_id == 0 else MP_STATE_STOPPED
        self.blocking = False
        self._suspended = False  # what it waits for while blocking, see _wake_mask
        self.exits: Counter[str] = Counter()  # exits to KVM by reason
        self.sbi_calls: Counter[tuple[int, int, int]] = Counter()  # answered calls by (EID, FID, error)
        self.io_bus: IoBus | None = None  # devices that are served without leaving KVM_RUN (KVM's kvm_io_bus)
        self.immediate_exit = False  # user space wants KVM_RUN to return as soon as it can
        self.wakes: Callable[[], None] | None = None  # called when something makes this vCPU runnable
        self.regs = Registers(hart)
        self._ecall, self._scountovf = ecall, scountovf
        self._timer: int | None = None
        self._reset_to: tuple[int, int] | None = None
        # rd, size, sign extend, length of the access that waits for user space
        self._mmio: tuple[int, int, bool, int] | None = None
        self._sbi_pending = False
        self._stalled = 0
        self.overflows = 0  # overflow interrupts that KVM raised since power-on
        self.steal_time_area: int | None = None
        self.firmware_features: dict[int, tuple[int, bool]] = {}
        self.faults: Injector | None = None
        # told of every counter that the guest reads, and of a reset (counter None)
        self.watch: Callable[[Vcpu, int | None, int], None] | None = None
        # asked before every entry, where there are faults
        self.at_entry: Callable[[Vcpu], None] | None = None

    # ------------------------------------------------------------ KVM_RUN

    def run(self, max_instructions: int | None = None, until_ns: int | None = None) -> VcpuExit:
        """KVM_RUN: run the guest until something is user space's, at most `max_instructions` or until a
        virtual time.

        Raises KvmRunError where KVM_RUN fails with an errno.
        """
        self.extensions.ran_at_least_once = True
        hart, words, interrupts = self.hart, self.hart.words, self.interrupts
        limit = UNLIMITED if max_instructions is None else hart.instructions + max_instructions
        while True:
            if self.at_entry is not None:
                self.at_entry(self)
            if self._reset_to is not None:
                self._enter_reset_state()
            if self.mp_state == MP_STATE_STOPPED:
                return IdleExit(None)
            if self._timer is not None:
                self._expire_timer()
            words[_SIP] = interrupts.flush() if interrupts.pending_mask else interrupts.hvip
            if self.blocking:
                if not words[_SIP] & self._wake_mask():
                    return IdleExit(None if self._timer is None else self._timer * TICK_NS)
                self.blocking = False
            retired = words[_COUNT_VU] + words[_COUNT_VS]
            budget = self._budget(limit - retired, until_ns)
            if budget <= 0 or self.immediate_exit:
                return BudgetExit()
            stop = self._enter_guest(budget)
            if words[_SIP] != interrupts.hvip:
                interrupts.sync(words[_SIP])
            self.perf.poll()
            if stop is Stop.BUDGET:
                self._stalled = 0
                continue
            self.exits[_STOP_NAME[stop]] += 1
            exit_ = self._sbi_call() if stop is Stop.ECALL else self._handle(stop)
            if exit_ is not None:
                self._stalled = 0
                return exit_
            if words[_COUNT_VU] + words[_COUNT_VS] != retired:
                self._stalled = 0
            elif self._stalled < STALLED_EXITS:
                self._stalled += 1
            else:
                return HungExit(f"{STALLED_EXITS} exits at pc {hart.pc:#x} without one retired instruction")

    def _enter_guest(self, budget: int) -> Stop:
        """Run the hart; accesses to devices on the in-kernel bus are served on the way."""
        hart = self.hart
        end = hart.words[_TIME] + budget
        stop = hart.run(budget)
        if self.io_bus is None or self.recorder.enabled:
            return stop
        while stop is Stop.MMIO_LOAD or stop is Stop.MMIO_STORE:
            self.interrupts.sync(hart.get("sip"))
            if not self._serve_on_bus(self.io_bus, stop is Stop.MMIO_STORE):
                return stop
            self.exits[_STOP_NAME[stop]] += 1
            budget = end - hart.time_ns
            if budget <= 0 or self.immediate_exit:
                return Stop.BUDGET
            hart.set("sip", self.interrupts.flush())
            stop = hart.run(budget)
        return stop

    def _budget(self, left: int, until_ns: int | None) -> int:
        """Instructions until user space's limit, the timer, or the next host counter overflow."""
        budget = left if left < SLICE else SLICE
        if until_ns is not None or self._timer is not None:
            now = self.hart.time_ns
            if until_ns is not None and until_ns - now < budget:
                budget = until_ns - now
            if self._timer is not None:
                # A tick after its time: KVM's hrtimer is never early and reaches the guest by an exit, so
                # that a guest which has just read `time` never finds the interrupt ahead of what it read.
                budget = min(budget, max((self._timer + 1) * TICK_NS - now, 1))
        overflow = self.perf.budget()
        if overflow is not None and overflow < budget:
            budget = min(budget, max(overflow, 1))
        return budget

    def _handle(self, stop: Stop) -> VcpuExit | None:
        """An exit other than an ECALL."""
        details = self.hart.details
        match stop:
            case Stop.VIRTUAL:
                self._virtual_instruction()
                return None
            case Stop.ILLEGAL:
                if not self.profile.has(B.ILLEGAL_INSN_DELEGATED):
                    self.pmu.incr_fw(_FW_ILLEGAL_INSN)
                self._redirect(Cause.ILLEGAL_INSTRUCTION, self._instruction())
                return None
            case Stop.MMIO_LOAD | Stop.MMIO_STORE:
                return self._mmio_exit(details.a, details.b, stop is Stop.MMIO_STORE)
            case Stop.WFI:
                self.hart.pc += 4
                self.blocking, self._suspended = True, False
                return None
            case Stop.EXCEPTION:
                if details.a in _FIRMWARE_EVENT:
                    self.pmu.incr_fw(_FIRMWARE_EVENT[Cause(details.a)])
                self._redirect(details.a, details.b)
                return None
            case Stop.FETCH_HOLE:
                # gstage_page_fault emulates loads and stores only
                raise KvmRunError(
                    errno.EOPNOTSUPP,
                    f"instruction fetch at {self.hart.pc:#x}: "
                    f"no memory at guest physical address {details.a:#x}",
                )
            case Stop.TRAP_STORM:
                return HungExit(
                    f"the trap handler at {self.hart.get('stvec') & ~3:#x} itself traps, for ever "
                    f"(cause {self.hart.get('scause')})"
                )
        raise AssertionError(stop)

    def _redirect(self, cause: int, value: int) -> None:
        if self.recorder.enabled:
            self.recorder.emit(
                "kvm", "vcpu", "redirect", hart=self.hart_id, cause=cause, stval=value, pc=self.hart.pc
            )
        self.hart.inject(cause, value)

    def _instruction(self) -> int:
        """The instruction word at pc (0 if it cannot be read)."""
        try:
            word = int.from_bytes(self.load_virtual(self.hart.pc, 2, access=2), "little")
            if word & 3 == 3:
                word |= (
                    int.from_bytes(self.load_virtual(self.hart.pc + 2 & MASK, 2, access=2), "little") << 16
                )
        except GuestTrap:
            return 0
        return word

    # ------------------------------------------------------------ ECALL

    def _sbi_call(self) -> VcpuExit | None:
        a0, a1, a2, a3, a4, a5, fid, eid = self.hart.words[10:18]
        try:
            answer = self._ecall(self, eid, fid, (a0, a1, a2, a3, a4, a5))
        except GuestTrap as trap:
            self._redirect(trap.cause, trap.stval)
            return None
        if isinstance(answer, SbiRet):
            self._finish_sbi(eid, fid, answer)
            return None
        if isinstance(answer, SystemEvent):
            return answer
        self._sbi_pending = True
        return answer

    def _finish_sbi(self, eid: int, fid: int, answer: SbiRet) -> None:
        error, value = int(answer.error), answer.value
        self.sbi_calls[eid, fid, error] += 1
        if self._reset_to is not None and self.mp_state == MP_STATE_RUNNABLE and not self.blocking:
            return
        words = self.hart.words
        words[10] = error & MASK
        if value is not None:
            words[11] = value & MASK
        words[_PC] = words[_PC] + 4 & MASK

    def complete_sbi(self, error: int, value: int | None) -> None:
        """User space's answer to an SbiExit."""
        if self._sbi_pending:
            self._sbi_pending = False
            self._finish_sbi(self.regs[17], self.regs[16], SbiRet(error, value))

    # ------------------------------------------------------------ virtual instructions

    def _virtual_instruction(self) -> None:
        word = self._instruction()
        operation, rs1, rd = word >> 12 & 7, word >> 15 & 31, word >> 7 & 31
        if word & 0x7F != _OPCODE_SYSTEM or operation & 3 == 0:
            self._redirect(Cause.ILLEGAL_INSTRUCTION, word)
            return
        try:
            value = self._read_counter_csr(word >> 20, writes=operation & 3 == _CSRRW or rs1 != 0)
        except IllegalCounter:
            self._redirect(Cause.ILLEGAL_INSTRUCTION, word)
            return
        if rd:
            self.hart.words[rd] = value
        self.hart.pc += 4
        return

    def _read_counter_csr(self, csr: int, writes: bool) -> int:
        if self.pmu.direct_csrs:
            self._emulate_counter_csr(csr, writes)  # illegal: it does not retire
            self.hart.advance(1)  # the hart answers, and counts the instruction in what it answers
        elif csr == Csr.SCOUNTOVF and not writes and self.hart.mode is Mode.VS:
            overflowed = self._scountovf()
            if overflowed is not None:
                self.pmu.undetermined = True  # the host's counters, whoever uses them
                self.hart.advance(1)  # the hart answers this one itself: nothing trapped
                return overflowed
        value = self._emulate_counter_csr(csr, writes)
        if self.faults is not None:
            value = faulty_csr(self.faults, self.hart_id, csr - Csr.CYCLE, value)
        if self.watch is not None:
            self.watch(self, csr - Csr.CYCLE, value)
        if self.recorder.enabled:
            self.recorder.emit("kvm", "csr", "read", value, hart=self.hart_id, csr=csr)
        return value

    def _emulate_counter_csr(self, csr: int, writes: bool) -> int:
        return counter_csr.emulate(
            self.pmu, csr, writes=writes, sbi_pmu_enabled=self.sbi_enabled(Eid.PMU),
            user_mode=self.hart.mode is Mode.VU, scounteren=self.hart.get("scounteren"),
        )  # fmt: skip

    # ------------------------------------------------------------ MMIO

    def _mmio_exit(self, gpa: int, size: int, is_write: bool) -> VcpuExit:
        # the tables cost a tenth of a payload's start, and few payloads
        from vpmu.hart.isa.instruction import Kind
        from vpmu.hart.isa.table import decode  # have devices

        decoded = decode(self._instruction())
        row = decoded.row
        if row.kind not in (Kind.LOAD, Kind.STORE):
            raise KvmRunError(
                errno.EOPNOTSUPP,
                f"{row.name} at {self.hart.pc:#x} on guest physical address {gpa:#x}, "
                "where there is no memory",
            )
        if self.recorder.enabled:
            self.recorder.emit("kvm", "vcpu", "mmio", hart=self.hart_id, gpa=gpa, size=size, write=is_write)
        if is_write:
            self.hart.pc += decoded.length
            return MmioExit(
                gpa, size, True, (self.hart.x(decoded.rs2) & (1 << 8 * size) - 1).to_bytes(size, "little")
            )
        self._mmio = (decoded.rd, size, row.sign_extend, decoded.length)
        return MmioExit(gpa, size, False)

    def _serve_on_bus(self, bus: IoBus, is_write: bool) -> bool:
        """Serve the access that stopped the hart on the in-kernel bus; False leaves everything as it was."""
        hart = self.hart
        access = _access(hart.fetched_instruction())
        if access is None:
            return False
        register, size, sign, length = access
        gpa = hart.get("exit_a")
        value = bus(gpa, size, is_write, hart.words[register] if is_write else 0)
        if value is None:
            return False
        if not is_write:
            if sign and value >> (8 * size - 1):
                value |= MASK << 8 * size & MASK
            hart.words[register] = value
        hart.pc += length
        return True

    def complete_mmio(self, value: int) -> None:
        """User space's answer to a reading MmioExit."""
        if self._mmio is None:
            return
        rd, size, sign, length = self._mmio
        self._mmio = None
        value &= (1 << 8 * size) - 1
        if sign and value >> (8 * size - 1):
            value -= 1 << 8 * size
        self.hart.words[rd] = value & MASK
        self.hart.pc += length

    # ------------------------------------------------------------ what SBI extensions ask of it
    # (vcpu_api.VcpuLike)

    @property
    def timer_ns(self) -> int | None:
        """Virtual time at which the timer interrupt comes, if one is set."""
        return None if self._timer is None else self._timer * TICK_NS

    def sleeps(self, now_ns: int) -> bool:
        """Whether the vCPU has nothing to do at virtual time `now_ns`: stopped, or waiting for an
        interrupt.
        """
        if self.mp_state == MP_STATE_STOPPED:
            return True
        if not self.blocking or (self._timer is not None and self._timer * TICK_NS <= now_ns):
            return False
        return not self.interrupts.flush() & self._wake_mask()

    def _wake_mask(self) -> int:
        """The interrupts that end waiting: those that sie enables, or, in a suspension, all of them."""
        return MASK if self._suspended else self.hart.words[_SIE]

    def set_timer(self, next_cycle: int) -> None:
        self._timer = None if next_cycle == MASK else next_cycle
        self.interrupts.unset(Irq.TIMER)
        self._expire_timer()

    def _expire_timer(self) -> None:
        if self._timer is not None and self.hart.time_ns // TICK_NS >= self._timer:
            self._timer = None
            self.interrupts.set(Irq.TIMER)

    def set_interrupt(self, irq: int) -> None:
        self.interrupts.set(irq)
        if self.wakes is not None and self.blocking:
            self.wakes()

    def unset_interrupt(self, irq: int) -> None:
        self.interrupts.unset(irq)

    def _raise_overflow(self) -> None:
        """A host counter of this vCPU overflowed; without Ssaia KVM has no way to tell the guest (facts
        3.12, step 4).
        """
        if self.recorder.enabled:
            self.recorder.emit(
                "kvm", "interrupt", "set", hart=self.hart_id, irq=int(Irq.LCOFI), delivered=self._lcofi
            )
        self.overflows += 1
        if self._lcofi:
            self.interrupts.set(Irq.LCOFI)

    def fence_i(self) -> None:
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
        self._suspended = not self.profile.has(B.SUSPEND_NEEDS_ENABLED_INTERRUPT)

    def request_reset(self, pc: int, opaque: int) -> None:
        self._reset_to = (pc, opaque)

    def _enter_reset_state(self) -> None:
        """kvm_riscv_check_vcpu_requests: a pending vCPU reset is done before the guest is entered."""
        assert self._reset_to is not None
        if self.blocking:  # non-retentive suspend: the reset comes with the wake-up
            self._expire_timer()
            self.hart.set("sip", self.interrupts.flush())
            if not self.hart.get("sip") & self._wake_mask():
                return
        pc, opaque = self._reset_to
        self._reset_to = None
        self.reset()
        self.hart.pc = pc
        self.regs[10], self.regs[11] = self.hart_id, opaque

    def reset(self) -> None:
        """A vCPU reset: registers, pending interrupts, timer and virtual PMU."""
        self.hart.reset()
        self._configure_hart()
        if self.faults is None or self.faults.ask("kvm.reset", self.hart_id) is None:
            self.pmu.reset()
        self.interrupts.reset()
        self.firmware_features.clear()
        self._timer = None
        self.blocking = self._sbi_pending = False
        self._mmio = None
        if self.watch is not None:
            self.watch(self, None, 0)

    def _configure_hart(self) -> None:
        """henvcfg, which a vCPU reset does not change. ADUE is set where the ISA of the vCPU has Svadu and
        not Svade, as the recorded hosts offer it (kvm_riscv_vcpu_config_ran_once).
        """
        self.hart.set("adue", not self.profile.has(B.SVADU_WITHHELD))

    def renew_pmu(self) -> None:
        """A virtual PMU as after the creation of a vCPU; the old one is the caller's business."""
        old = self.pmu
        self.pmu = make_pmu(
            self.profile, old.perf, self.memory, self._raise_overflow, self.recorder, self.hart_id
        )
        self.pmu.memory, self.pmu.host_allocate = old.memory, old.host_allocate

    def load_virtual(self, address: int, size: int, access: int = 0) -> bytes:
        """Load through the guest's translation. Raises GuestTrap."""
        parts = []
        while size > 0:
            length = min(size, 4096 - address % 4096)
            try:
                parts.append(self.memory.read(self.hart.translate(address, access), length))
            except GuestFault as fault:
                raise GuestTrap(fault.cause, fault.value) from None
            address, size = address + length & MASK, size - length
        return b"".join(parts)

    def set_steal_time_area(self, gpa: int | None) -> None:
        self.steal_time_area = gpa

    # ------------------------------------------------------------ the scripted guest, and ONE_REG

    def ecall(self, eid: int, fid: int, *args: int) -> SbiRet | SystemEvent | SbiExit:
        """Make an SBI call as the guest would in VS mode, without machine code. Raises KvmRunError and
        GuestTrap.
        """
        if self.at_entry is not None:
            self.at_entry(self)
        # plain numbers: flags of an enum compute slowly
        a0, a1, a2, a3, a4, a5, *_ = [*[int(value) & MASK for value in args], 0, 0, 0, 0, 0, 0]
        return self._ecall(self, eid & MASK, fid & MASK, (a0, a1, a2, a3, a4, a5))

    @property
    def answers(self) -> Ecall:
        """What answers its SBI calls; may be exchanged for something that stands before it."""
        return self._ecall

    @answers.setter
    def answers(self, ecall: Ecall) -> None:
        self._ecall = ecall

    def one_reg_list(self) -> dict[int, int]:
        """KVM_GET_REG_LIST by type of register: how many of each there are (facts 3.3: none of them is
        the PMU's).
        """
        return {
            0x01: self.profile.config_registers,
            0x02: 33,  # core: pc, x1..x31, mode
            0x03: len(_GUEST_CSRS),
            0x04: 4,  # timer
            0x05: 33,  # F: f0..f31, fcsr
            0x06: 33,  # D
            0x07: self.profile.isa_registers,
            0x08: len(self.profile.extensions) - (not self.pmu.available),
            0x0A: 2,  # SBI state: the steal-time area
        }

    def csr_read(self, csr: int) -> int:
        """Read a CSR as the guest would in VS mode. Raises GuestTrap where that traps."""
        if csr in _GUEST_CSRS:
            return self.interrupts.one_reg_sip() if csr == Csr.SIP else self.hart.get(_GUEST_CSRS[Csr(csr)])
        if csr == Csr.TIME:
            return self.hart.time_ns // TICK_NS
        try:
            return self._read_counter_csr(csr, writes=False)
        except IllegalCounter:
            raise GuestTrap(Cause.ILLEGAL_INSTRUCTION, csr << 20 | 0x2073) from None

    def work(self, instructions: int) -> None:
        """Retire `instructions` in VS mode, overflowing counters exactly where they would."""
        while instructions > 0:
            if self.at_entry is not None:
                self.at_entry(self)
            overflow = self.perf.budget()
            step = instructions if overflow is None else min(instructions, max(overflow, 1))
            self.hart.advance(step)
            self.perf.poll()
            instructions -= step

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


def faulty_csr(injector: Injector, hart_id: int, counter: int, value: int) -> int:
    """The value of a counter CSR after what a fault plan does to it. Raises IllegalCounter."""
    effect = injector.ask("kvm.csr", hart_id, counter=counter)
    if effect is None:
        return value
    if "illegal" in effect:
        raise IllegalCounter("injected")
    if "value" in effect:
        return int(effect["value"]) & MASK  # type: ignore[call-overload, no-any-return]
    return (value + int(effect.get("add", 0)) ^ int(effect.get("xor", 0))) & MASK  # type: ignore[call-overload, no-any-return]


@lru_cache(maxsize=512)
def _access(word: int | None) -> tuple[int, int, bool, int] | None:
    """(index of the register's word in the hart's state, size, sign extension, length) of an integer load
    or store.
    """
    if word is None:
        return None
    from vpmu.hart.isa.instruction import Kind
    from vpmu.hart.isa.table import decode

    decoded = decode(word)
    row = decoded.row
    if row.kind is Kind.STORE:
        return decoded.rs2, row.size, False, decoded.length
    if row.kind is Kind.LOAD:
        return decoded.rd, row.size, row.sign_extend, decoded.length
    return None
