"""Targets by name."""

from __future__ import annotations

from ..errors import UnknownNameError, UsageError
from ..faults.plan import FaultPlan
from ..profiles.profiles import Profile
from .target import Target

OURS = ("in-process", "agent")
"""Machines of ours: a profile says what they are; of the others, what is expected of them."""
NAMES = ("in-process", "agent", "opensbi", "qemu", "kvm", "serial:DEVICE")
RUNNERS = ("qemu", "vpmu")
"""What a Debian host of real KVM runs on: `kvm:sid@vpmu`."""


def open_target(
    name: str,
    profile: str | Profile | None = None,
    host_pmu: str = "qemu-virt",
    faults: FaultPlan | None = None,
) -> Target:
    """The target of that name, ready to use; `close` it afterwards.

    `profile` None takes the target's own: spec-3.0 for machines of ours, what it reports about itself for
    others. Raises UnknownNameError, and TargetError where the target cannot be had here.
    """
    if faults and name != "in-process":
        raise UsageError("--inject", expected="the target in-process", got=name)
    if name == "in-process":
        from .in_process import InProcessTarget

        return InProcessTarget(profile or "spec-3.0", host_pmu, faults)
    if name == "agent":
        from .machine_link import agent_target

        return agent_target(profile, host_pmu)
    if name == "opensbi" or name.startswith("opensbi:"):
        from .machine_link import opensbi_target

        return opensbi_target(name, profile)
    if name == "qemu":
        from .qemu import qemu_target

        return qemu_target(profile)
    if name == "kvm" or name.startswith(("kvm:", "kvm@")):
        from .kvm import HostOptions, kvm_target

        host, _, on = name.partition("@")
        if on not in ("", *RUNNERS):
            raise UnknownNameError("what runs the host", on, RUNNERS, layer="target")
        return kvm_target(profile, HostOptions(host.partition(":")[2] or None, on=on or RUNNERS[0]))
    if name.startswith("serial:"):
        from .serial_link import serial_target

        return serial_target(name, profile)
    raise UnknownNameError("target", name, NAMES, layer="target")
