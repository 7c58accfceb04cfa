"""What `vpmu_host` gives a test: a guest in a fresh VM of real KVM, and the host's kernel around it.

The guest's calls have the names that they have in the model (`vpmu.Machine.vcpu`), so that one test holds for
both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vpmu.kvm.errors import KvmRunError
from vpmu.spec.sbi import Eid

if TYPE_CHECKING:
    from vpmu.conform.calls import Call, Result
    from vpmu.conform.hooked import HookedHost
    from vpmu.debug.running_kernel import RunningKernel
    from vpmu.peers.hooks import HostCall

_CYCLE = 0xC00


class RealHost:
    """A host that is up, with a guest that waits for calls. `fresh` takes it back to that."""

    def __init__(self, host: HookedHost) -> None:
        self.host = host
        self.release = host.target.facts.kernel.split(" #")[0]
        self.profile = host.target.profile

    # --- the guest

    def run(self, calls: Sequence[Call]) -> list[Result]:
        """A batch of calls (vpmu.conform.calls), one after the other. Raises TargetLost."""
        return self.host.target.run(calls)

    def ecall(self, eid: int, fid: int, *args: int) -> tuple[int, int]:
        """An SBI call: (error, value). KvmRunError where KVM_RUN fails instead of an answer."""
        from vpmu.conform.calls import ecall

        answer = self._one(ecall(eid, fid, *args))
        assert answer.error is not None
        return answer.error, answer.value

    def pmu_call(self, fid: int, *args: int) -> tuple[int, int]:
        """A call of the PMU extension."""
        return self.ecall(Eid.PMU, fid, *args)

    def csr_read(self, csr: int) -> int:
        """A counter CSR as the guest reads it (`cycle` is 0xC00)."""
        from vpmu.conform.calls import Call

        return self._one(Call("c", (csr - _CYCLE,))).value

    def work(self, instructions: int) -> None:
        """A loop of the guest: so many instructions, an even number, and the few around it."""
        from vpmu.conform.calls import Call

        self._one(Call("w", (instructions // 2,)))

    def _one(self, call: Call) -> Result:
        (answer,) = self.run([call])
        if answer.errno is not None:
            raise KvmRunError(answer.errno, "KVM_RUN")
        return answer

    # --- the host

    @property
    def kernel(self) -> RunningKernel:
        """The host's kernel and its kvm.ko: functions and symbols by name."""
        return self.host.kernel

    @property
    def console(self) -> str:
        """What the host's kernel has said."""
        return self.host.target.link.console()

    def on(self, function: str, callback: Callable[[HostCall], None], *, caller: str | None = None) -> None:
        """Meet every call of a function of the host's kernel (docs/your-kernel.md). UnknownNameError,
        HookError.
        """
        within = None if caller is None else self.kernel.function(caller)
        self.host.hooks.on(self.kernel.function(function), callback, caller=within)

    def undo(self, commit: str) -> None:
        """Have the running kernel behave as before a fix."""
        from vpmu.errors import UnknownNameError
        from vpmu.peers.host_faults import UNDO, undo

        if commit not in UNDO:
            raise UnknownNameError("fix that can be undone", commit, tuple(UNDO), layer="peers")
        undo(self.host.hooks, commit)

    def fresh(self) -> None:
        """Back to a host that has just booted, with a fresh VM; what `on` and `undo` did stays."""
        self.host.fresh()

    def restore(self) -> None:
        """As `fresh`, and without `on` and `undo`."""
        self.host.hooks.remove()
        self.host.fresh()


class RealHosts:
    """What the tests of one process share: each host is booted once (and kept on disk)."""

    def __init__(self) -> None:
        self._hosts: dict[str, RealHost] = {}

    def host(self, name: str, kernel: str | None, module: str | None) -> RealHost:
        """The host of that name, or of a user's own build. Raises PeerAbsent, TargetError, FileError."""
        from dataclasses import replace

        from vpmu.conform.hooked import HookedHost
        from vpmu.conform.kvm import VPMU, HostOptions
        from vpmu.conform.targets import host_options, is_kvm
        from vpmu.errors import UsageError

        key = repr((name, kernel, module))
        if key not in self._hosts:
            if not is_kvm(name):
                raise UsageError("--vpmu-host", expected="kvm or kvm:SUITE", got=name)
            own = HostOptions(kernel=_path(kernel), module=_path(module))
            options = host_options(name, own)
            self._hosts[key] = RealHost(HookedHost(replace(options, on=options.on or VPMU)))
        return self._hosts[key]


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
