"""The agent on a machine of ours: the serial line is memory."""

from __future__ import annotations

from ..payloads import path
from ..profiles.profiles import Profile
from ..spec.sbi import U64
from ..vmm.machine import Machine
from .agent import KVM_RUN_FAILED, AgentTarget
from .target import TargetLost

MEMORY = 16 << 20
SLICE = 2_000
"""Instructions between two looks at what the agent has sent."""
POLL = 20
"""Instructions that the agent needs at most to look whether a byte has come."""
IDLE_SLICES = 4
PATIENCE = 20_000_000
"""Instructions after which an agent that says nothing is asked again."""


class MachineLink:
    """Runs the machine as long as an answer is waited for."""

    def __init__(self, profile: str | Profile, host_pmu: str) -> None:
        self._out = bytearray()
        self.machine = Machine(
            profile=profile, host_pmu=host_pmu, memory=MEMORY, console_out=self._out.extend
        )
        self.machine.load(str(path("agent")))

    def send(self, data: bytes) -> None:
        self.machine.serial.feed(data)

    def receive(self, patience: float) -> bytes:
        spent = idle = 0
        while not self._out and spent < PATIENCE * patience and idle < IDLE_SLICES * patience:
            result = self.machine.run(max_instructions=SLICE)
            if result.kvm_run_errno is not None:
                self._step_over(result.kvm_run_errno)
            elif result.stop != "budget":
                raise TargetLost(f"the machine stopped: {result.stop}, {result.reason}")
            spent += SLICE
            # It has read everything and only looks at its serial port: nothing will come.
            idle = idle + 1 if not self.machine.serial.waiting and result.exits > SLICE // POLL else 0
        data = bytes(self._out)
        self._out.clear()
        return data

    def _step_over(self, errno: int) -> None:
        """Go on behind the ECALL that ended KVM_RUN, as user space may; the agent passes the errno on."""
        vcpu = self.machine.vcpu(0)
        vcpu.pc += 4
        vcpu.regs[10] = KVM_RUN_FAILED - errno & U64

    def close(self) -> None:
        """Nothing is held."""


def agent_target(profile: str | Profile | None = None, host_pmu: str = "qemu-virt") -> AgentTarget:
    """A machine of ours under `profile` (default spec-3.0) with the agent in it."""
    link = MachineLink(profile or "spec-3.0", host_pmu)
    machine = link.machine
    host = machine.host_pmu
    return AgentTarget(
        link,
        "agent",
        f"agent on vpmu, host PMU {machine.host_pmu.name}",
        profile=profile or "spec-3.0",
        memory_end=machine.memory_base + machine.memory_size,
        interrupts=host.counters.overflow_interrupts and host.overflow_latency == "none",
    )
