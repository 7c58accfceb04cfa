"""Real KVM on our own hart with hooks in the host's kernel: its functions by name, and fixes undone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from ..debug.call_tree import CallTree, walk
from ..debug.running_kernel import HookError, RunningKernel
from ..errors import UsageError
from ..faults.plan import FaultPlan
from ..peers.hooks import Hooks
from ..peers.host_faults import HostFaults
from ..peers.host_source import release_of
from ..profiles.profiles import Profile
from .kvm import QEMU, HostOptions, HostTarget, host_target, source_of

if TYPE_CHECKING:
    from ..vmm.run_result import RunResult


class HookedHost:
    """A host that is up, and its kernel. Raises PeerAbsent, TargetError, FileError."""

    def __init__(self, options: HostOptions, profile: str | Profile | None = None) -> None:
        if options.on == QEMU:
            raise UsageError("hooks in a host's kernel", expected="a host on vpmu", got="one in QEMU")
        self.source = source_of(options)
        self.target: HostTarget = host_target(profile, options)
        self.machine = self.target.link.host.machine

    @cached_property
    def kernel(self) -> RunningKernel:
        """The host's kernel with its KVM module. HookError where the kept host is another one's."""
        files = self.source.read()
        release, runs = release_of(files.kernel), self.target.facts.kernel
        if release not in runs.split():
            raise HookError(f"the host that is kept for {self.source.kernel}", expected=release, got=runs)
        modules = {} if files.module is None else {"kvm": files.module}
        return RunningKernel(self.machine.vcpu(0).hart, self.machine.memory, files.kernel, modules)

    @cached_property
    def hooks(self) -> Hooks:
        """The hooks in it; none so far."""
        return Hooks(self.machine, self.kernel)

    @contextmanager
    def walked(self) -> Iterator[list[CallTree]]:
        """Where a run ends in the host (WorldSwitch.stop_at), go by single steps until the guest goes on:
        the functions on the way, a tree for each time.
        """
        trees: list[CallTree] = []

        def stopped() -> RunResult | None:
            tree, ended = walk(self.machine, self.kernel, lambda hart: bool(hart.get("virt")))
            trees.append(tree)
            return ended

        self.target.link.stopped = stopped
        try:
            yield trees
        finally:
            self.target.link.stopped = None

    def fresh(self, *, pmu: bool = True) -> None:
        """The host as it was kept, with a fresh VM; hooks stay."""
        self.hooks.forget_calls()
        self.target.reset(pmu=pmu)


def faulty_target(profile: str | Profile | None, options: HostOptions, plan: FaultPlan) -> HostTarget:
    """Real KVM whose host has faults: the plan begins anew with every fresh VM. UsageError for a rule that
    the real stack has no place for.
    """
    host = HookedHost(options, profile)
    faults = HostFaults(host.hooks, plan)
    if faults.not_carried:
        rule, why = faults.not_carried[0]
        raise UsageError(f"{rule.source} on real KVM: {why}", layer="faults")
    rewind = host.target.link.rewind

    def fresh() -> None:
        host.hooks.forget_calls()
        rewind()
        faults.begin()

    host.target.rewind = fresh
    return host.target
