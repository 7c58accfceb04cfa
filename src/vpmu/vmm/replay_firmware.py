"""Replaying a table that was recorded in S mode on real OpenSBI, which is software in M mode on our hart.

Which values nobody can know (what cycle counts of the firmware's own instructions, words of its stack) the
model of the firmware says: it does every run first.
"""

from __future__ import annotations

import re
import struct
from typing import Any

from ..errors import UsageError
from ..payloads import path
from .isa import FIRMWARE_ISA
from .machine import Machine
from .replay_machine import RECORDED_HOST, Options, host_for
from .replay_native import ENTRIES, ENTRY, _answer, _entry
from .replay_report import StepOutput
from .replay_table import Run

MEMORY = 512 << 20
BOOT = 40_000_000
MOST = 300_000_000
"""Instructions for one run, of which the recorded ones need a tenth."""


READ_ITSELF = "reads that QEMU counts before they read"
_READS = ("c", "u")
_COUNT = re.compile(r"\((\d+)\)")


class RealFirmware:
    """Where recorded runs are replayed on firmware in an image, whose release `profile` models."""

    def __init__(self, image: str, profile: str = "") -> None:
        self.image, self._profile = image, profile

    def profile(self) -> str:
        """The model of the firmware. UsageError where its banner does not say which it is."""
        if not self._profile:
            machine = Machine(firmware=self.image, isa=FIRMWARE_ISA, host_pmu=RECORDED_HOST, memory=MEMORY)
            machine.load(b"\x6f\0\0\0")
            machine.run(max_instructions=BOOT)
            said = re.search(rb"OpenSBI v(\d+)\.(\d+)", bytes(machine.console.output))
            if said is None:
                raise UsageError("--on", expected="OpenSBI, which says its version", got=self.image)
            self._profile = f"opensbi-{int(said[1])}.{int(said[2])}"
        return self._profile

    def monitor(self, run: Run) -> FirmwareMonitor:
        """A fresh machine with the firmware, the payload behind it. UsageError for a table of KVM."""
        if run.native_base is None:
            raise UsageError("--on", expected="a table that was recorded on firmware", got=run.title)
        machine = Machine(firmware=self.image, isa=FIRMWARE_ISA, host_pmu=host_for(run, None), memory=MEMORY)
        machine.load(path("mailbox-native").read_bytes())
        return FirmwareMonitor(machine, run, run.native_base, Options(self.profile()).monitor(run))


class FirmwareMonitor:
    """Runs the operations of `run` on a machine whose M mode is software, and the model's beside it."""

    def __init__(self, machine: Machine, run: Run, base: int, model: Any) -> None:
        self.machine, self.base, self._run, self._model = machine, base, run, model
        self.outputs = [StepOutput() for _ in run.steps]

    def run(self) -> None:
        """Write the table, run to the power-off, read the results."""
        table, memory, steps = self.base + ENTRIES, self.machine.memory, self._run.steps
        for number, step in enumerate(steps):
            memory.write(table + ENTRY * number, _entry(step))
        memory.write(table + ENTRY * len(steps), bytes(ENTRY))
        result = self.machine.run(max_instructions=MOST)
        if result.stop != "shutdown":
            where = self.machine.vcpu(0).pc
            self.outputs[0].lines.append(
                f"the run ended otherwise: {result.stop} {result.reason} at {where:#x}"
            )
            return
        self._model.run()
        for number, (step, output) in enumerate(zip(steps, self.outputs, strict=True)):
            words = struct.unpack("<32Q", memory.read(table + ENTRY * number, ENTRY))
            _answer(step, words, output)
            output.undetermined = output.undetermined or self._model.outputs[number].undetermined
            if step.operation in _READS and step.lines and _one_more(step.lines[-1].text, output.lines[-1]):
                output.undetermined = READ_ITSELF


def _one_more(recorded: str, got: str) -> bool:
    """Whether a recorded count is one more than ours."""
    found = [_COUNT.search(text) for text in (recorded, got)]
    return all(found) and int(found[0][1]) == int(found[1][1]) + 1  # type: ignore[index]
