"""The monitor of a KVM host on our own hart: a request is put into memory, the run ends with its answer."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import VpmuError
from ..hart.events import Mode
from ..hart.memory import MemoryFault
from ..peers.host_source import HostSource, kernel_image
from ..peers.kvm_host import trouble
from ..peers.vpmu_host import BOOT_INSTRUCTIONS, ISA, HostOnVpmu, build, keep, kept_path, restored
from ..spec.sbi import PmuFid
from ..vmm.linux.progress import Progress
from .agent import LOST, packed_batch
from .calls import Call, Ref, pmu
from .host_facts import HostFacts, parse_facts
from .target import HostDown, HostStopped, NoAnswer, TargetLost

if TYPE_CHECKING:
    from ..vmm.machine import Machine
    from ..vmm.run_result import RunResult

PATIENCE = 400_000_000
"""Instructions of host and guest within which an answer comes."""
CONSOLE = "console-of-the-last-host-that-did-not-come-up.txt"
FACTS, REFUSED, FRESH = b"I", b"Z", b"F"
_COUNTERS = 0xFFFF_FFFD
"""Of the guest's, those that a host with a PMU has in any case. A set with one more is refused."""


def _warm() -> list[Call]:
    """What the host's kernel does once since boot (static keys of perf: it patches its code) is done before
    the snapshot.
    """
    calls: list[Call] = []
    for event in (1, 2, 0xF0005):
        config = Ref(len(calls))
        calls += [
            pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, _COUNTERS, 0, event, 0),
            pmu(PmuFid.COUNTER_START, config, 1, 0, 0),
            Call("w", (100,)),
            pmu(PmuFid.COUNTER_STOP, config, 1, 1),
        ]
    return calls


class HostLink:
    """Runs the host as long as an answer is waited for: `patience` instructions at most. `host` is the
    machine. Raises HostDown where it does not come up.
    """

    def __init__(
        self, source: HostSource, progress: Progress, isa: tuple[str, ...] = ISA, host_pmu: str = "full",
        guest_memory: int = 0, opened: Callable[[Machine], None] | None = None,
    ) -> None:  # fmt: skip
        self._folder, self._source = source.folder, source
        self.patience = PATIENCE
        self.stopped: Callable[[], RunResult | None] | None = None
        """Called where a breakpoint has ended the run; the result where it has run the machine to an end."""
        path = kept_path(source, isa, host_pmu, guest_memory)
        kept = _kept(path)
        if kept is None:
            self.host = build(source, isa=isa, host_pmu=host_pmu, guest_memory=guest_memory)
            progress.step("booting the KVM host on vpmu: once, then it is kept")
            if opened is not None:
                opened(self.host.machine)
            self._boot(source.kernel)
            if opened is None:
                keep(self.host, path)
            else:  # who watches it may have changed it
                self.host.base = self.host.machine.snapshot()
            progress.finish()
        else:
            self.host = kept
            if opened is not None:
                opened(self.host.machine)
        self.facts: HostFacts = parse_facts(self.exchange(FACTS)[1:].decode(errors="replace"))
        self.rewind()

    def _boot(self, kernel: Path) -> None:
        """To the monitor's greeting, and on to a fresh VM of a host that has done everything once."""
        result = self.host.run(BOOT_INSTRUCTIONS)
        if result.stop != "line":
            how = "it hangs" if result.stop == "budget" else f"it ends ({result.stop})"
            why = f"the KVM host does not come up: {how} after {result.instructions / 1e6:.0f} M instructions"
            where = self._where(kernel) if result.stop == "budget" else ""
            said = trouble(self.console()) or "nothing on its console"
            raise self._down(f"{why}{where}: {said}", "host kernel")
        if self.host.answer()[:1] == REFUSED:
            raise self._refused(self.host.answer()[1:].decode(errors="replace"))
        try:
            self.exchange(packed_batch(b"R", _warm()))
            self.exchange(packed_batch(FRESH, ()))
        except TargetLost as lost:
            raise self._down(
                f"the KVM host comes up, and is lost in its first VM: {lost.what}", "kvm"
            ) from None

    def _where(self, kernel: Path) -> str:
        """Where a kernel hangs, with the function where its table has one."""
        from ..vmm.kallsyms import Kallsyms

        hart = self.host.machine.vcpu(0).hart
        try:
            found = Kallsyms(kernel_image(kernel)).at(hart.pc)
        except VpmuError:
            found = None
        name = f" ({found.name})" if found is not None else ""
        return f", {hart.mode.name} mode, pc {hart.pc:#x}{name}"

    def _refused(self, why: str) -> HostDown:
        """The monitor could not start: which layer said no, and its own words where it has any."""
        said = self.console()
        if "hypervisor extension not available" in said:
            why = "no KVM: expected a hart with the H extension, got one without it"
        elif why.startswith("no /dev/kvm"):
            why = "no KVM in this kernel: expected it built in, or --kvm-module, got no /dev/kvm"
        else:
            why = re.sub(r"errno (\d+)", lambda found: os.strerror(int(found[1])), why)
            told = [line for line in said.splitlines() if "kvm" in line.casefold()]
            why += f"; the console: {told[-1].strip()}" if told else ""
        return self._down(why, "kvm")

    def _down(self, why: str, layer: str) -> HostDown:
        folder, console = self._folder, self.console()
        if console:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / CONSOLE).write_bytes(self.host.console)
            why += f" (its console: {folder / CONSOLE})"
        down = HostDown(why, layer=layer)
        down.console = console
        return down

    def exchange(self, request: bytes) -> bytes:
        """One request to monitor or agent, and its answer. Raises TargetLost."""
        self.host.ask(request)
        result = self.host.run(self.patience)
        while result.stop == "breakpoint" and self.stopped is not None:
            result = self.stopped() or self.host.run(self.patience)
        if result.stop == "line":
            answer = self.host.answer()
            if answer[:1] == LOST:
                raise TargetLost(answer[1:].decode(errors="replace"))
            return answer
        if result.stop in ("budget", "timeout"):
            where = self._where_now()
            raise NoAnswer(f"no answer within {self.patience // 1_000_000} M instructions: {where}")
        raise HostStopped(f"the KVM host stopped: {result.stop}, {result.reason}: {trouble(self.console())}")

    def _where_now(self) -> str:
        """Mode and pc, and where it is the kernel's the function."""
        machine = self.host.machine
        hart = machine.vcpu(0).hart
        where = f"{hart.mode.name} mode, pc {hart.pc:#x}"
        if hart.mode is not Mode.S:
            return where
        from ..debug.running_kernel import RunningKernel

        try:
            files = self._source.read()
            modules = {} if files.module is None else {"kvm": files.module}
            found = RunningKernel(hart, machine.memory, files.kernel, modules).at(hart.pc)
        except (VpmuError, MemoryFault):
            return where
        return where if found is None else f"{where} ({found.name})"

    def rewind(self) -> None:
        """Back to a fresh VM: the host and all of its kernel."""
        self.host.rewind()

    def console(self) -> str:
        """What the host's kernel has said."""
        return self.host.console.decode("utf-8", "replace")

    def close(self) -> None:
        """Nothing is held."""


def _kept(path: Path) -> HostOnVpmu | None:
    """The host as it was kept; one that does not fit any more is booted anew."""
    if not path.exists():
        return None
    try:
        return restored(path)
    except VpmuError:
        path.unlink(missing_ok=True)
        return None
