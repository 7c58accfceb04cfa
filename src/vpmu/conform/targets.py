"""Targets by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UnknownNameError, UsageError
from ..faults.plan import FaultPlan
from ..profiles.profiles import Profile
from .target import Target

if TYPE_CHECKING:
    from .kvm import HostOptions

OURS = ("in-process", "agent")
"""Machines of ours: a profile says what they are; of the others, what is expected of them."""
RUNNERS = ("qemu", "vpmu")
"""What a Debian host of real KVM runs on: `kvm:sid@qemu`. vpmu's own hart where nothing is said."""
NAMES = ("in-process", "agent", "opensbi", "qemu", "kvm", "serial:DEVICE")


def open_target(
    name: str,
    profile: str | Profile | None = None,
    host_pmu: str = "qemu-virt",
    faults: FaultPlan | None = None,
    host: HostOptions | None = None,
) -> Target:
    """The target of that name, ready to use; `close` it afterwards.

    `host`: beside the name, which host of real KVM. `profile` None takes the target's own: spec-3.0 for
    machines of ours, what it reports about itself for others. Raises UnknownNameError, and TargetError where
    the target cannot be had here.
    """
    if host is not None and host != type(host)() and not is_kvm(name):
        raise UsageError("--on and --host-kernel", expected="the target kvm", got=name)
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
    if is_kvm(name):
        from .kvm import kvm_target

        return kvm_target(profile, host_options(name, host))
    if name.startswith("serial:"):
        from .serial_link import serial_target

        return serial_target(name, profile)
    raise UnknownNameError("target", name, NAMES, layer="target")


def is_kvm(name: str) -> bool:
    """Whether the target is real KVM."""
    return name == "kvm" or name.startswith(("kvm:", "kvm@"))


def host_options(name: str, host: HostOptions | None = None) -> HostOptions:
    """`kvm`, `kvm:SUITE`, either with `@qemu` or `@vpmu` behind it, which counts more than what `host` says.
    Raises UsageError.
    """
    from dataclasses import replace

    from .kvm import HostOptions

    before, at, on = name.partition("@")
    suite = before.partition(":")[2] or None
    host = host if host is not None else HostOptions()
    if on not in RUNNERS and at:
        raise UnknownNameError("what runs the host", on, RUNNERS, layer="target")
    if suite is not None and host.kernel is not None:
        raise UsageError("--host-kernel", expected="the target kvm without a suite", got=name)
    return replace(host, suite=suite or host.suite, on=on or host.on)
