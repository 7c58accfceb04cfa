"""Real KVM on our own hart with hooks in the host's kernel: its functions by name, and fixes undone."""

from __future__ import annotations

from functools import cached_property

from ..debug.running_kernel import RunningKernel
from ..peers.hooks import Hooks
from .kvm import HostOptions, HostTarget, host_target, source_of


class HookedHost:
    """A host that is up, and its kernel. Raises PeerAbsent, TargetError, FileError."""

    def __init__(self, options: HostOptions) -> None:
        self.source = source_of(options)
        self.target: HostTarget = host_target(None, options)
        self.machine = self.target.link.host.machine

    @cached_property
    def kernel(self) -> RunningKernel:
        """The host's kernel with its KVM module."""
        files = self.source.read()
        modules = {} if files.module is None else {"kvm": files.module}
        return RunningKernel(self.machine.vcpu(0).hart, self.machine.memory, files.kernel, modules)

    @cached_property
    def hooks(self) -> Hooks:
        """The hooks in it; none so far."""
        return Hooks(self.machine, self.kernel)

    def fresh(self, *, pmu: bool = True) -> None:
        """The host as it was kept, with a fresh VM; hooks stay."""
        self.hooks.forget_calls()
        self.target.reset(pmu=pmu)
