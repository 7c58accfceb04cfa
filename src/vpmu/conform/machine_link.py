"""The agent on a machine of ours: the serial line is memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..hart.events import Mode
from ..payloads import path
from ..profiles.profiles import FIRMWARE, Profile
from ..spec.sbi import U64
from ..vmm.isa import FIRMWARE_ISA
from ..vmm.linux.cache import FetchError
from ..vmm.machine import Machine
from .agent import KVM_RUN_FAILED, AgentTarget
from .target import PeerAbsent, TargetError, TargetLost

MEMORY = 16 << 20
SLICE = 2_000
"""Instructions between two looks at what the agent has sent."""
POLL = 20
"""Instructions that the agent needs at most to look whether a byte has come."""
IDLE_SLICES = 4
FIRMWARE_BOOT = 200_000_000
"""Instructions in which firmware must have started the agent."""
FIRMWARE_SLACK = 20_000
PATIENCE = 20_000_000
"""Instructions after which an agent that says nothing is asked again."""


class MachineLink:
    """Runs the machine as long as an answer is waited for."""

    def __init__(self, profile: str | Profile, host_pmu: str, **options: Any) -> None:
        self._out = bytearray()
        self.machine = Machine(
            profile=profile, host_pmu=host_pmu, memory=MEMORY, console_out=self._out.extend, **options
        )
        self.machine.load(str(path("agent")))

    def send(self, data: bytes) -> None:
        self.machine.serial.feed(data)

    def receive(self, patience: float) -> bytes:
        spent = idle = 0
        while not self._out and spent < PATIENCE * patience and idle < IDLE_SLICES * patience:
            result = self.machine.run(max_instructions=SLICE)
            if result.kvm_run_errno is not None:
                step_over(self.machine, result.kvm_run_errno)
            elif result.stop != "budget":
                raise TargetLost(f"the machine stopped: {result.stop}, {result.reason}")
            spent += SLICE
            # It has read everything and only looks at its serial port: nothing will come.
            idle = idle + 1 if not self.machine.serial.waiting and result.exits > SLICE // POLL else 0
        data = bytes(self._out)
        self._out.clear()
        return data

    def close(self) -> None:
        """Nothing is held."""


def step_over(machine: Machine, errno: int) -> None:
    """Go on behind the ECALL that ended KVM_RUN, as user space may; the agent passes the errno on."""
    vcpu = machine.vcpu(0)
    vcpu.pc += 4
    vcpu.regs[10] = KVM_RUN_FAILED - errno & U64


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


def opensbi_target(
    name: str, profile: str | Profile | None = None, host_pmu: str = "full", harts: int = 1
) -> AgentTarget:
    """Real OpenSBI in M mode on a hart of ours, the agent in S mode above it: `opensbi` (the fetched one),
    `opensbi:SUITE`, or `opensbi:FILE`. Raises PeerAbsent and TargetError.
    """
    firmware = opensbi_image(name)
    link = MachineLink(FIRMWARE, host_pmu, firmware=str(firmware), isa=FIRMWARE_ISA, harts=harts)
    hart, slack = link.machine.vcpu(0).hart, FIRMWARE_SLACK
    while hart.mode is Mode.M and hart.instructions < FIRMWARE_BOOT:
        if link.machine.run(max_instructions=SLICE).stop != "budget":
            break
    if hart.mode is Mode.M:
        raise TargetError(f"{firmware} has not started the agent", expected="S mode", got=f"pc {hart.pc:#x}")
    base = link.machine.snapshot()  # before the agent has seen a request: it answers a repeated one again
    said = re.search(rb"OpenSBI v\S+", bytes(link.machine.console.output))
    version = said[0].decode() if said else firmware.name
    target = AgentTarget(
        link,
        "opensbi",
        f"{version} on vpmu, host PMU {link.machine.host_pmu.name}",
        profile=profile,
        memory_end=link.machine.memory_base + link.machine.memory_size,
        interrupts=True,
        slack=slack,
    )
    target.rewind = lambda: link.machine.restore(base)
    return target


def opensbi_image(name: str) -> Path:
    """The file of `opensbi`, `opensbi:SUITE` or `opensbi:FILE`. Raises PeerAbsent."""
    which = name.partition(":")[2]
    return Path(which) if "/" in which or which.endswith(".bin") else _fetched(which)


def _fetched(suite: str) -> Path:
    from ..vmm.linux.fetch import DEFAULT_SUITE
    from ..vmm.linux.opensbi import fetched_opensbi

    try:
        return fetched_opensbi(suite or DEFAULT_SUITE)
    except FetchError as error:
        raise PeerAbsent(error.what, expected=error.expected, got=error.got) from None
