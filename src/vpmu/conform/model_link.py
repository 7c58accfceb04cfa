"""The agent in machine code on a machine of ours, as a VM of real KVM has it: its mailbox is memory, and what
it counts is exact.
"""

from __future__ import annotations

import struct

from ..payloads import path
from ..profiles.profiles import Profile
from ..vmm.machine import Machine
from .agent import AgentTarget
from .machine_link import step_over
from .target import TargetLost

MEMORY = 4 << 20
"""As the monitor's VM has (guests/kvm_monitor.c)."""
PATIENCE = 400_000_000
MAX_FAILURES = 5000


class ModelLink:
    """A request is put where the agent's mailbox says, the run ends with the answer."""

    def __init__(self, profile: str | Profile, host_pmu: str) -> None:
        self.machine = Machine(profile=profile, host_pmu=host_pmu, memory=MEMORY, line=True)
        self.machine.load(str(path("agent-line")))
        self._mailbox = self._next()
        self._base = self.machine.snapshot()

    def _next(self) -> int:
        for _ in range(MAX_FAILURES):
            result = self.machine.run(max_instructions=PATIENCE)
            if result.stop == "line" and self.machine.board.line is not None:
                return self.machine.board.line.doorbell.value
            if result.kvm_run_errno is None:
                raise TargetLost(f"the machine stopped: {result.stop}, {result.reason}")
            step_over(self.machine, result.kvm_run_errno)
        raise TargetLost("KVM_RUN fails without end")

    def exchange(self, request: bytes) -> bytes:
        """One request, and its answer. Raises TargetLost."""
        memory, mailbox = self.machine.memory, self._mailbox
        where, room = struct.unpack("<QQ", memory.read(mailbox, 16))
        if len(request) > room:
            raise TargetLost(f"a request of {len(request)} bytes for a mailbox of {room}")
        memory.write(where, request)
        memory.write(mailbox + 16, len(request).to_bytes(8, "little"))
        self._mailbox = mailbox = self._next()
        at, length = struct.unpack("<QQ", memory.read(mailbox + 24, 16))
        return memory.read(at, length)

    def rewind(self) -> None:
        """Back to an agent that has been asked nothing."""
        self.machine.restore(self._base)

    def close(self) -> None:
        """Nothing is held."""


def model_target(profile: Profile, host_pmu: str = "full") -> AgentTarget:
    """The model of a profile with the agent in it; `reset` goes back to its start."""
    link = ModelLink(profile, host_pmu)
    memory = link.machine.memory_base + link.machine.memory_size
    target = AgentTarget(link, "model", "model", profile=profile, memory_end=memory, interrupts=True)
    target.rewind = link.rewind
    return target
