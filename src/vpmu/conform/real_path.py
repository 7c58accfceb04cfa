"""The way of a guest's request through a real host's kernel: each function that opens a layer, what it
returned, and the instructions that it took; for a refusal, who said no.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..debug.call_tree import PERF, Called, CallTree
from ..peers.world_switch import GuestExit, WorldSwitch
from ..spec.sbi import PmuFid, StartFlag, StopFlag
from .calls import Call, Ref, Result, pmu

if TYPE_CHECKING:
    from .hooked import HookedHost

ERRORS = range(-4095, 0)
VOID = frozenset({
    "perf_event_enable", "riscv_pmu_del", "pmu_sbi_ctr_start", "pmu_sbi_ctr_stop", "riscv_pmu_start",
    "riscv_pmu_stop", "riscv_pmu_read", "perf_event_pause",
})  # fmt: skip
"""Functions that return nothing, or a count: what is left in a0 says nothing of success."""
HANDLER = "kvm_sbi_ext_pmu_handler"


@dataclass(frozen=True, slots=True)
class Stage:
    """One call of the guest: its name, the answer, the functions on its way (depth among themselves)."""

    name: str
    answer: Result
    passed: tuple[Called, ...]
    layers: Counter[str] = field(default_factory=Counter)
    """Instructions of the host by layer, from the guest's ECALL to its next instruction."""

    @property
    def instructions(self) -> int:
        """Of the host, in all."""
        return self.layers.total()


@dataclass(frozen=True, slots=True)
class RealPath:
    """What a request met: config, and where it was granted start and stop."""

    stages: tuple[Stage, ...]

    @property
    def answers(self) -> tuple[Result, ...]:
        """What the guest was answered."""
        return tuple(stage.answer for stage in self.stages)

    @property
    def refuser(self) -> Called | None:
        """Who said no where the request was refused: of the functions that returned the errno that perf gave
        KVM, the deepest; without perf on the way the deepest that returned any.
        """
        config = self.stages[0]
        if not config.answer.error and config.answer.errno is None:
            return None
        errors = [one for one in config.passed if one.result in ERRORS and one.function not in VOID]
        given = next((one.result for one in errors if one.layer == PERF), None)
        errors = [one for one in errors if given in (None, one.result)]
        return max(errors, key=lambda one: one.depth, default=None)


def counting(event_idx: int, data: int, turns: int) -> list[Call]:
    """What a guest does that counts an event: ask, start from 0, a loop of so many turns, read, stop."""
    everything = (1 << 41) - 1 & ~2
    return [
        pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, everything, 0, event_idx, data),
        pmu(PmuFid.COUNTER_START, 0, Ref(0, bit=True), StartFlag.SET_INIT_VALUE, 0),
        Call("w", (turns,)),
        Call("c", (Ref(0),)),
        pmu(PmuFid.COUNTER_STOP, 0, Ref(0, bit=True), StopFlag.RESET),
    ]


def follow(host: HookedHost, event_idx: int, data: int, counters: int) -> RealPath:
    """A guest asks for an event, starts and stops its counter. What the host does once only (its first event)
    it has done before.
    """
    config = pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, counters, 0, event_idx, data)
    answer = _asked(host, [config])[0]
    if answer.error or answer.errno is not None:
        return RealPath((_stage(host, "config", [config], config),))
    number = answer.value
    start = pmu(PmuFid.COUNTER_START, number, 1, StartFlag.SET_INIT_VALUE, 0)
    stop = pmu(PmuFid.COUNTER_STOP, number, 1, StopFlag.RESET)
    warm = [config, start, stop]
    return RealPath((
        _stage(host, "config", warm, config), _stage(host, "start", [*warm, config], start),
        _stage(host, "stop", [*warm, config, start], stop),
    ))  # fmt: skip


def _asked(host: HookedHost, calls: Sequence[Call]) -> list[Result]:
    host.fresh()
    return list(host.target.run(calls))


def _stage(host: HookedHost, name: str, before: Sequence[Call], call: Call) -> Stage:
    """Walk through the last call of a batch by single steps."""
    host.fresh()
    switch = WorldSwitch(host.machine, host.kernel)
    seen = 0

    def stop_at(exit_: GuestExit) -> bool:
        nonlocal seen
        seen += exit_.is_call
        return exit_.is_call and seen == len(before) + 1

    switch.stop_at = stop_at
    try:
        with host.walked() as trees:
            results = host.target.run([*before, call])
    finally:
        switch.remove()
    tree = trees[0] if trees else CallTree()
    return Stage(name, results[-1], tuple(_inside(tree.told())), tree.layers())


def _inside(calls: Sequence[Called]) -> list[Called]:
    """From KVM's handler of the PMU extension on: what every exit takes is in the layers' sums."""
    found: list[Called] = []
    for one in calls:
        if found and one.depth <= found[0].depth:
            break
        if found or one.function.partition(".")[0] == HANDLER:
            found.append(one)
    base = found[0].depth if found else 0
    for one in found:
        one.depth -= base
    return found
