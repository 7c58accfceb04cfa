"""Replaying a table that a payload in S mode recorded directly on OpenSBI: no monitor, a table of operations
in memory.

All operations run in one go; their results are read afterwards. Lines that the model cannot know are marked
while the payload runs: what cycle and instret count includes the firmware's own instructions,
`counter_fw_read` leaves a stack word of the firmware in a1 when it fails, and a TLB of QEMU is not the
modelled one.
"""

from __future__ import annotations

import struct
from typing import Any

from ..kvm.errors import KvmRunError
from ..see.exits import BudgetExit, SystemEvent
from ..spec.sbi import Eid
from .replay import _OPCODES
from .replay_limits import Patience
from .replay_report import TIME_READ, StepOutput
from .replay_table import Run, Step, error_name, result_line, sharp_hex, signed

ENTRIES = 0x10000
"""Where the table of operations begins, from the payload's start on."""
ENTRY = 0x100
FIRMWARE_COUNT = "counts and register contents of the firmware itself"
TLB_COUNT = "TLB misses of the recorded hart"
_READS_TIME = {("c", 1), ("u", 1)}
_TLB_EVENTS = (0x10019, 0x1001B, 0x10021)

__all__ = ["ENTRIES", "FIRMWARE_COUNT", "TLB_COUNT", "NativeMonitor"]


class NativeMonitor:
    """Runs the operations of `run` on `machine`, whose memory holds the native payload at `base`."""

    def __init__(self, machine: Any, run: Run, base: int) -> None:
        self.machine, self.run_, self.base = machine, run, base
        self.vcpu = machine.vcpu(0)
        self.outputs = [StepOutput() for _ in run.steps]

    def run(self) -> None:
        """Write the table, run to the power-off, read the results."""
        table = self.base + ENTRIES
        for number, step in enumerate(self.run_.steps):
            self.vcpu.write(table + ENTRY * number, _entry(step))
        self.vcpu.write(table + ENTRY * len(self.run_.steps), bytes(ENTRY))
        self._watch(table)
        patience = Patience(self.vcpu, len(self.outputs))
        try:
            exit_ = patience.run()
        except KvmRunError as error:
            self.outputs[0].lines.append(f"KVM_RUN failed with errno {error.errno}")
            return
        if not isinstance(exit_, SystemEvent):
            lost = isinstance(exit_, BudgetExit)
            self.outputs[0].lines.append(patience.lost if lost else f"the guest left the protocol: {exit_}")
            return
        for number, (step, output) in enumerate(zip(self.run_.steps, self.outputs, strict=True)):
            words = struct.unpack("<32Q", self.vcpu.read(table + ENTRY * number, ENTRY))
            _answer(step, words, output)

    def _watch(self, table: int) -> None:
        """Note, as calls and reads happen, what of them the model cannot know."""
        vcpu, pmu = self.vcpu, self.vcpu.pmu
        answer = vcpu.answers

        def ecall(caller: Any, eid: int, fid: int, args: Any) -> Any:
            pmu.undetermined = False
            result = answer(caller, eid, fid, args)
            if eid == Eid.PMU and pmu.undetermined:
                self._at(table).undetermined = FIRMWARE_COUNT
            return result

        def seen(hart: Any, index: int | None, value: int) -> None:
            if index is None or index >= len(pmu.active):
                return  # a reset, or scountovf
            if pmu.undetermined:
                self._at(table).undetermined = FIRMWARE_COUNT
            elif pmu.active[index] in _TLB_EVENTS or (value and index in self._tlb_values):
                self._at(table).undetermined = TLB_COUNT
            if pmu.active[index] in _TLB_EVENTS:
                self._tlb_values.add(index)

        self._tlb_values: set[int] = set()
        vcpu.answers = ecall
        vcpu.watch = seen  # every read comes here, none is the engine's alone

    def _at(self, table: int) -> StepOutput:
        number = (self.vcpu.regs[8] - table) // ENTRY
        return self.outputs[number] if 0 <= number < len(self.outputs) else StepOutput()


def _entry(step: Step) -> bytes:
    words = [0] * 32
    words[0] = _OPCODES[step.operation]
    if step.operation in ("e", "E"):
        words[2:8] = step.operands[2:8]
        words[8], words[9] = step.operands[1], step.operands[0]
    else:
        words[2:5] = step.operands[:3]
    return struct.pack("<32Q", *words)


def _answer(step: Step, words: tuple[int, ...], output: StepOutput) -> None:
    a0, a1, check = words[16], words[17], words[19]
    scause, sepc, stval, trapped = words[20:24]
    if trapped:
        output.lines.append(f"  trap scause={scause:x} sepc={sepc:x} stval={stval:x}")
    suffix = " TRAPPED" if trapped else ""
    if step.operation in ("e", "E"):
        result = f"a0={signed(a0)} ({error_name(a0)}) a1={sharp_hex(a1)}{suffix}"
        if step.operation == "E":
            result += f" regs-changed={sharp_hex(check & ~1)}"
    else:
        result = f"{sharp_hex(a0)} ({a0}) {sharp_hex(a1)}{suffix}"
    output.lines.append(result_line(step.script, result))
    if not trapped and (step.operation, step.operands[0]) in _READS_TIME:
        output.undetermined = TIME_READ
