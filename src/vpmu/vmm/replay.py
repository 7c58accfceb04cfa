"""The monitor of the mailbox protocol: it runs a recorded script, in machine code, on a machine of ours.

The payload reads commands from a mailbox at 0x10000000 and writes results there, each access one exit; the
monitor does what the one that recorded the tables did, in the same order, and prints the same lines.
"""

from __future__ import annotations

import errno as errno_codes
import os
from collections.abc import Iterator
from typing import Any

from ..hart.memory import HostMemory, PhysicalMemory
from ..kvm.errors import HostLostError, KvmRunError
from ..see.exits import BudgetExit, MmioExit, SbiExit, SystemEvent
from .replay_limits import MAX_LINES, Patience
from .replay_report import HOST_VALUE, LATE_OVERFLOW, TIME_READ, StepOutput
from .replay_table import U64, Run, Step, error_name, result_line, sharp_hex, signed

MAILBOX = 0x10000000
RAM_BASE = 0x88000000
RAM_SIZE = 4 << 20
PAGE = 4096
EXTRA_PAGES = 64  # of the monitor's that `m` can put into the guest's address space and `v` looks at
HSM_HELPER = 0x400  # offset of the code that VCPU 1 runs for `R`, in the payload that has it
MAX_FAILURES = 50  # after more failing KVM_RUNs than this the monitor gives up
KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY = 1, 2
MP_STATE_RUNNABLE, MP_STATE_STOPPED = 0, 5
CSR_SEPC = 0x141
SIP_INDEX = 33  # `c 33` reads sip (and `C 1`, `C 2` answer with it)

_OPCODES = {
    "e": 1, "c": 2, "w": 3, "l": 5, "s": 6, "b": 8, "E": 9,
    "u": 10, "W": 11, "f": 12, "k": 13, "C": 14, "t": 15,
}  # fmt: skip # what the payload reads from the mailbox for an operation
_RESET_DONE = 99  # what the payload would read after `R`: the reset takes the read away again
_EXIT, _RESULT_A0, _RESULT_A1, _DONE, _CHECK = 0xC0, 0x80, 0x88, 0x90, 0x98
_TRAP_SCAUSE, _TRAP_SEPC, _TRAP_STVAL = 0xA0, 0xA8, 0xB0

_READS_TIME = {("c", 1), ("u", 1)}


class _Stopped(Exception):
    """The run is over: exit, power-off, or too many failures."""


class Monitor:
    """Plays the monitor of one run on `machine`, whose memory holds the payload at RAM_BASE.

    `outputs` has one entry per step, in order; steps that were never reached stay empty.
    """

    def __init__(self, machine: Any, run: Run) -> None:
        self.machine = machine
        self.vcpu = machine.vcpu(0)
        self.outputs = [StepOutput() for _ in run.steps]
        self.extra = HostMemory(EXTRA_PAGES * PAGE)
        self.kvm_runs = 0
        self._patience = Patience(self.vcpu)
        self._steps: Iterator[tuple[Step, StepOutput]] = iter(zip(run.steps, self.outputs, strict=True))
        self._step = Step(0, "")
        self._output = StepOutput()
        self._command = [0] * 10
        self._results = [0, 0]
        self._check = 0
        self._trap = [0, 0, 0]
        self._trapped = False
        self._failures = 0
        self._second: Any = None

    def run(self) -> None:
        """Run until the payload has done every step, or the run ends before that."""
        try:
            while True:
                self._once()
        except _Stopped:
            return

    def _say(self, text: str) -> None:
        lines = self._output.lines
        lines.append(text if len(lines) < MAX_LINES else f"more than {MAX_LINES} lines")
        if len(lines) > MAX_LINES:
            raise _Stopped

    def _answer(self, result: str) -> None:
        self._say(result_line(self._step.script, result))

    def _once(self) -> None:
        self.kvm_runs += 1
        try:
            exit_ = self._patience.run()
        except KvmRunError as error:
            self._failed(error.errno)
            return
        except HostLostError as lost:
            self._answer(f"HOST LOST, fixed by {lost.commit}")
            raise _Stopped from None
        match exit_:
            case MmioExit(is_write=True):
                self._write(exit_.gpa - MAILBOX, int.from_bytes(exit_.data, "little"))
            case MmioExit():
                self.vcpu.complete_mmio(self._read(exit_.gpa - MAILBOX))
            case SbiExit():
                args = " ".join(f"{value:x}" for value in exit_.args[:3])
                self._answer(f"EXIT_RISCV_SBI ext={exit_.eid:x} fid={exit_.fid:x} args {args}")
                self.vcpu.complete_sbi(-2, 0)
            case SystemEvent():
                self._say(f"SYSTEM_EVENT type {exit_.type}")
                raise _Stopped
            case BudgetExit():
                self._say(self._patience.lost)
                raise _Stopped
            case _:
                self._say(f"the guest left the protocol: {exit_}")
                raise _Stopped

    # The payload's side of the mailbox.

    def _read(self, offset: int) -> int:
        if offset == 0:
            self._next()
        index = offset // 8
        return self._command[index] if 0 <= index < len(self._command) else 0

    def _write(self, offset: int, value: int) -> None:
        if offset == _RESULT_A0:
            self._results[0] = value
        elif offset == _RESULT_A1:
            self._results[1] = value
        elif offset == _CHECK:
            self._check = value
        elif offset == _DONE:
            self._done()
        elif offset == _TRAP_SCAUSE:
            self._trap[0] = value
        elif offset == _TRAP_SEPC:
            self._trap[1] = value
        elif offset == _TRAP_STVAL:
            self._trap[2] = value
            self._trapped = True
            self._say("  trap scause={:x} sepc={:x} stval={:x}".format(*self._trap))
        elif offset == _EXIT:
            raise _Stopped
        else:
            self._say(f"mmio write {offset & U64:x}={value:x}")

    def _next(self) -> None:
        """Take the next step that the payload does; the monitor's own are done on the way."""
        self._command = [0] * 10
        self._trapped = False
        self._patience.begin()
        # It tells of the last call to the PMU, which an earlier step may have made.
        self.vcpu.pmu.undetermined = False
        for step, output in self._steps:
            self._step, self._output = step, output
            operation, operands = step.operation, step.operands
            if operation in ("e", "E"):
                # The mailbox has the arguments first, then FID (a6) and EID (a7).
                self._command = [_OPCODES[operation], 0, *operands[2:8], operands[1], operands[0]]
                if operation == "E":
                    self._check = 0
                return
            if operation in _OPCODES:
                self._command[0] = _OPCODES[operation]
                self._command[2:5] = operands[:3]
                return
            if operation == "R":
                self._command[0] = _RESET_DONE
                self._reset()
                return
            {"m": self._memory_slot, "v": self._view, "G": self._register_list}[operation](operands)

    def _done(self) -> None:
        a0, a1 = self._results
        trapped = " TRAPPED" if self._trapped else ""
        if self._command[0] in (_OPCODES["e"], _OPCODES["E"]):
            result = f"a0={signed(a0)} ({error_name(a0)}) a1={sharp_hex(a1)}{trapped}"
            if self._command[0] == _OPCODES["E"]:
                result += f" regs-changed={sharp_hex(self._check & ~1)}"
        else:
            result = f"{sharp_hex(a0)} ({a0}) {sharp_hex(a1)}{trapped}"
        self._answer(result)
        if not self._trapped and (self._step.operation, self._step.operands[0]) in _READS_TIME:
            self._output.undetermined = TIME_READ
        elif self.vcpu.pmu.undetermined:
            self._output.undetermined = HOST_VALUE
        elif self._shows_overflow():
            self._output.undetermined = LATE_OVERFLOW

    def _shows_overflow(self) -> bool:
        """The step shows LCOFIP or the overflow bitmap after an overflow, on a host that signals it late or
        never.
        """
        if self.machine.host_pmu.overflow_latency == "none" or not self.vcpu.overflows:
            return False
        operation, operand = self._step.operation, self._step.operands[0]
        if operation == "c":
            return operand == SIP_INDEX
        if operation == "C":
            return operand != 0
        return operation == "l" and operand == self.vcpu.pmu.shared_page

    # What the monitor does itself.

    def _memory_slot(self, operands: tuple[int, ...]) -> None:
        slot, gpa, pages, flags, offset = operands[:5]
        code = set_memory_region(
            self.machine.memory, slot, gpa, pages * PAGE, flags, self.extra, offset * PAGE
        )
        self._answer(f"VMM set memslot rc={-code}")

    def _view(self, operands: tuple[int, ...]) -> None:
        value = int.from_bytes(self.extra.view[operands[0] : operands[0] + 8], "little")
        self._answer(f"VMM view of xmem+off: {sharp_hex(value)}")

    def _register_list(self, operands: tuple[int, ...]) -> None:
        by_type = self.vcpu.one_reg_list()
        counts = "".join(f" {kind:02x}:{count}" for kind, count in sorted(by_type.items()) if count)
        self._answer(f"reg list rc=0 n={sum(by_type.values())} by type:{counts}")

    def _reset(self) -> None:
        """Stop VCPU 0 by SET_MP_STATE and let VCPU 1 start it again by hart_start."""
        # The payload's read of its command is finished first: a reset forgets what the read left behind.
        self.vcpu.complete_mmio(_RESET_DONE)
        if self._second is None:
            self._second = self.machine.vcpu(1)
        second = self._second
        self.vcpu.mp_state = MP_STATE_STOPPED
        second.mp_state = MP_STATE_RUNNABLE
        second.pc = RAM_BASE + HSM_HELPER
        second.regs[13] = RAM_BASE
        answer, done = 0xDEAD, 0
        try:
            exit_ = Patience(second).run()
        except KvmRunError as error:
            self._say(f"VCPU1 run errno {error.errno}")
        else:
            if isinstance(exit_, MmioExit) and exit_.is_write:
                answer, done = int.from_bytes(exit_.data, "little"), 1
            else:
                self._say(f"VCPU1 exit {exit_}")
        self._answer(
            f"SET_MP_STATE(STOPPED) errno=0; hart_start(0) from VCPU 1 -> {signed(answer)} (done {done}); "
            f"VCPU0 mp_state now {self.vcpu.mp_state}"
        )

    def _failed(self, errno: int) -> None:
        """KVM_RUN failed: print the registers, try twice more, then step over the instruction."""
        for attempt in range(3):
            if attempt:
                self.kvm_runs += 1
                try:
                    self._patience.run()
                    errno = 0
                except KvmRunError as error:
                    errno = error.errno
            self._answer(f"KVM_RUN {'AGAIN ' if attempt else 'FAILED'} {self._registers(errno)}")
            if not errno:
                break
        pc = self.vcpu.pc
        word = 0
        if RAM_BASE <= pc < RAM_BASE + RAM_SIZE:
            word = int.from_bytes(self.vcpu.read(pc, 4), "little")
        self._say(f"    instruction at pc = {sharp_hex(word)}; VMM now sets pc+4, a0=-999 and goes on")
        self.vcpu.pc = pc + 4
        self.vcpu.regs[10] = -999 & U64
        self._failures += 1
        if self._failures > MAX_FAILURES:
            raise _Stopped

    def _registers(self, errno: int) -> str:
        regs, pc = self.vcpu.regs, self.vcpu.pc
        code, text = (-1, os.strerror(errno)) if errno else (0, "ok")
        return (
            f"rc={code} errno={errno} ({text}) exit_reason=0 pc={sharp_hex(pc)} a0={signed(regs[10])} "
            f"a1={sharp_hex(regs[11])} a3={sharp_hex(regs[13])} a6={signed(regs[16])} "
            f"a7={sharp_hex(regs[17])} guest-sepc={sharp_hex(self.vcpu.csr_read(CSR_SEPC))}"
        )


def set_memory_region(
    memory: PhysicalMemory, slot: int, gpa: int, size: int, flags: int, backing: HostMemory, offset: int
) -> int:
    """KVM_SET_USER_MEMORY_REGION (size 0 deletes): 0, or the errno with which KVM refuses."""
    if flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY) or offset + size > backing.size:
        return errno_codes.EINVAL
    readonly = bool(flags & KVM_MEM_READONLY)
    old = memory.regions.get(slot)
    if old is None:
        if not size:
            return errno_codes.EINVAL
        if any(
            gpa < other.base + other.size and other.base < gpa + size for other in memory.regions.values()
        ):
            return errno_codes.EEXIST
    elif size and (old.backing, old.offset, old.size, old.readonly) != (backing, offset, size, readonly):
        # A slot can move in the guest's address space and change its logging, nothing else.
        return errno_codes.EINVAL
    try:
        memory.set_slot(slot, gpa, size, backing=backing, offset=offset, readonly=readonly)
    except ValueError:
        return errno_codes.EINVAL
    return 0
