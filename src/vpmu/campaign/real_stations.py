"""Guests of a campaign on real KVM: a host on our own hart with the VM inside, brought back for every run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..conform.calls import pmu
from ..conform.hooked import HookedHost
from ..conform.kvm import VPMU, HostOptions
from ..conform.real_guest import BASE, MEMORY, RealEnd, RealGuest
from ..conform.real_vm import pages_of_vm
from ..conform.targets import host_options
from ..errors import UsageError
from ..faults.plan import FaultPlan, Rule
from ..payloads import path as payload
from ..peers.host_faults import HostFaults
from ..peers.kvm_host import agent_path
from ..perf.description import load_host_pmu
from ..spec.sbi import CounterInfo, PmuFid, SbiError
from ..trace.recorder import NULL, Recorder
from ..vmm.loader import load_image
from .guests import Outcome, random_steps
from .plan import OWN_HOST, Guest
from .real_oracle import RealOracle
from .real_script import NotReal, RealScript
from .script import parse_script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..conform.kvm import HostTarget
    from ..vmm.snapshot import Snapshot


def options_of(implementation: str, host_pmu: str) -> HostOptions:
    """Which host `kvm`, `kvm:SUITE` or `kvm:IMAGE[+MODULE]` is. An IMAGE is a path with a slash in it."""
    where = implementation.partition(":")[2]
    options = HostOptions(on=VPMU, host_pmu=host_pmu)
    if "/" not in where:
        return replace(host_options(implementation, options), on=VPMU)
    kernel, _, module = where.partition(OWN_HOST)
    return replace(options, kernel=Path(kernel), module=Path(module) if module else None)


class RealStation(ABC):
    """What all of them share: the host, its faults, the oracle, and the moment at which a run begins."""

    def __init__(
        self, guest: Guest, implementation: str, host_pmu: str, recorder: Recorder | None,
        guest_memory: int = 0,
    ) -> None:  # fmt: skip
        self.guest = guest
        self.host = HookedHost(replace(options_of(implementation, host_pmu), guest_memory=guest_memory))
        self.machine = self.host.machine
        self.recorder = recorder if recorder is not None else NULL
        self._description = load_host_pmu(host_pmu)
        self._masks = counter_masks(self.host.target)
        self._rules: tuple[Rule, ...] | None = None
        self._faults: HostFaults | None = None
        self.host.target.link.rewind()
        self.oracle = self._prepared()
        self._snapshot: Snapshot = self.machine.snapshot()

    @abstractmethod
    def _prepared(self) -> RealOracle:
        """Bring the guest to where its runs begin; the oracle stands in it."""

    def _oracle(self, pages: list[int], code: Mapping[int, bytes]) -> RealOracle:
        if self.recorder.enabled:
            self.recorder.clock = lambda: self.machine.vcpu(0).hart.time_ns
        oracle = RealOracle(
            self.machine, self.host.target.profile, self._description, BASE, pages, self._masks, self.recorder
        )
        oracle.place(code)
        return oracle

    def _begin(self, faults: FaultPlan) -> None:
        """Back to the beginning, with these faults."""
        if faults.rules != self._rules:
            self._install(faults)
        self.host.hooks.forget_calls()
        self.machine.restore(self._snapshot)
        if self._faults is not None:
            self._faults.begin(faults.seed)
        self.oracle.begin()

    def _install(self, faults: FaultPlan) -> None:
        """UsageError for a rule that the real stack has no place for."""
        if self._rules:
            self.machine.inject(None)
        self.host.hooks.remove()
        self._rules = self._faults = None
        if faults:
            placed = HostFaults(self.host.hooks, faults)
            if placed.not_carried:
                rule, why = placed.not_carried[0]
                placed.remove()
                raise UsageError(f"{rule.source} on real KVM: {why}", layer="faults")
            self._faults = placed
        self.oracle.listen(self.host.hooks)
        self._rules = faults.rules

    def _common(self) -> dict[str, object]:
        oracle, faults = self.oracle, self._faults
        return {
            "findings": tuple(oracle.findings), "values": oracle.values, "samples": tuple(oracle.samples),
            "injected": 0 if faults is None else faults.fired,
            "drawn": () if faults is None else tuple(faults.drawn),
        }  # fmt: skip

    @abstractmethod
    def run(self, faults: FaultPlan, seed: int, max_instructions: int) -> Outcome:
        """One run."""


class RealPayloadStation(RealStation):
    """A payload, or any image that fits into the VM: from its entry to its end."""

    def _prepared(self) -> RealOracle:
        what = self.guest.what
        image = load_image(what if "/" in what else str(payload(what)), BASE, MEMORY)
        self.vm = RealGuest(self.host.target.link, self._description, MEMORY)
        self.vm.load(image)
        return self._oracle(self.vm.pages, {gpa: bytes(data) for gpa, data in image.segments})

    def run(self, faults: FaultPlan, seed: int, max_instructions: int) -> Outcome:
        self._begin(faults)
        self.vm.begin()
        return self._outcome(self.vm.run(max_instructions))

    def _outcome(self, end: RealEnd) -> Outcome:
        return Outcome(
            end.stop, end.reason, end.instructions, end.virtual_ns, bytes(self.vm.output),
            dict(sorted(self.oracle.calls.items())), status=end.reset_reason,
            lost=end.stop == "kvm_run_failed", hung=end.stop == "budget",
            host_lost=end.stop == "host_lost", **self._common(),  # type: ignore[arg-type]
        )  # fmt: skip


class RealScriptStation(RealStation):
    """A scripted guest: its steps are calls of the agent in the VM."""

    def _prepared(self) -> RealOracle:
        target = self.host.target
        self._total = target.run([pmu(PmuFid.NUM_COUNTERS)])[0].value
        pages = pages_of_vm(target.link, MEMORY)
        return self._oracle(pages, {target.base: agent_path().read_bytes()})

    def run(self, faults: FaultPlan, seed: int, max_instructions: int) -> Outcome:
        if self.guest.kind == "random":
            steps = random_steps(int(self.guest.what), seed)
        else:
            steps = self.guest.what.replace("; ", "\n").splitlines()
        self.host.target.link.patience = max_instructions
        return self.run_steps(steps, faults)

    def run_steps(self, steps: list[str], faults: FaultPlan) -> Outcome:
        """One run of any steps."""
        self._begin(faults)
        hart = self.machine.vcpu(0).hart
        began, start = self.machine.instructions, hart.time_ns
        script = RealScript(self.host.target, self._total)
        try:
            answers = script.run_real(parse_script("\n".join(steps)), self.host.target.profile)
        except NotReal as error:
            raise UsageError(f"script on real KVM: {error}", layer="campaign") from None
        calls: dict[str, int] = {}
        for answer in answers:
            key = f"{answer.step.partition(' ')[0]} {answer.observed.partition(' ')[0]}"
            calls[key] = calls.get(key, 0) + 1
        lines = tuple(f"{answer.step} → {answer.observed}" for answer in answers)
        stop, reason = "script", "all steps are done"
        if script.host_dead:
            stop = "budget" if script.hung else "kvm_run_failed" if script.gone else "host_lost"
            reason = script.host_dead
        elif script.lost is not None:
            stop, reason = "kvm_run_failed", script.lost
        return Outcome(
            stop, reason, self.machine.instructions - began, hart.time_ns - start,
            "\n".join(lines).encode(), dict(sorted(calls.items())), status=0 if stop == "script" else None,
            lost=stop == "kvm_run_failed", hung=stop == "budget", host_lost=stop == "host_lost",
            answers=lines, **self._common(),  # type: ignore[arg-type]
        )  # fmt: skip


def counter_masks(target: HostTarget) -> dict[int, int]:
    """What each counter of the guest's can hold; nothing where KVM offers no PMU."""
    first = target.run([pmu(PmuFid.NUM_COUNTERS)])[0]
    if first.error != SbiError.SUCCESS:
        return {}
    masks = {}
    infos = target.run([pmu(PmuFid.COUNTER_GET_INFO, index) for index in range(min(first.value, 64))])
    for index, info in enumerate(infos):
        told = CounterInfo.unpack(info.value)
        if info.error == SbiError.SUCCESS:
            masks[index] = (2 << told.width) - 1
    return masks


def real_station(guest: Guest, implementation: str, host_pmu: str, recorder: Recorder | None) -> RealStation:
    """The station of a guest on real KVM. Raises VpmuError."""
    match guest.kind:
        case "payload":
            return RealPayloadStation(guest, implementation, host_pmu, recorder)
        case "linux":
            from .real_linux_station import RealLinuxStation

            return RealLinuxStation(guest, implementation, host_pmu, recorder)
        case _:
            return RealScriptStation(guest, implementation, host_pmu, recorder)
