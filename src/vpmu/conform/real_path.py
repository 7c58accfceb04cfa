"""The way of a guest's request through a real host's kernel: each function on it, what it returned, and the
instructions that it took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..spec.sbi import PmuFid, StartFlag, StopFlag
from .calls import Call, Ref, Result, pmu

if TYPE_CHECKING:
    from ..peers.hooks import HostCall
    from .hooked import HookedHost

LAYERS = {
    "kvm": ("kvm_sbi_ext_pmu_handler", "kvm_riscv_vcpu_pmu_ctr_cfg_match", "kvm_riscv_vcpu_pmu_ctr_start",
            "kvm_riscv_vcpu_pmu_ctr_stop"),
    "perf": ("perf_event_create_kernel_counter", "perf_event_alloc", "perf_try_init_event",
             "perf_event_enable", "perf_event_pause", "perf_event_release_kernel"),
    "driver": ("riscv_pmu_event_init", "pmu_sbi_event_map", "riscv_pmu_add", "pmu_sbi_ctr_get_idx",
               "pmu_sbi_ctr_start", "pmu_sbi_ctr_stop", "riscv_pmu_del"),
    "sbi": ("__sbi_ecall",),
}  # fmt: skip
"""Functions that both of Debian's kernels have, from the guest's ECALL down to the host's own."""
VOID = ("perf_event_enable", "riscv_pmu_del", "pmu_sbi_ctr_start", "pmu_sbi_ctr_stop")
"""Functions that return nothing: what is left in a0 says nothing."""
ERRORS = range(-4095, 0)


@dataclass(slots=True)
class Passed:
    """One call of a function on the way. `result` None: it returns nothing."""

    layer: str
    function: str
    depth: int
    result: int | None = None
    instructions: int = 0
    """Of the host and its firmware, with what it called."""


@dataclass(frozen=True, slots=True)
class RealPath:
    """What a request met. `answers`: config, and where it was granted start and stop."""

    passed: tuple[Passed, ...]
    answers: tuple[Result, ...]

    @property
    def refuser(self) -> Passed | None:
        """Who said no where the request was refused: the deepest function that returned an errno."""
        if not self.answers[0].error:
            return None
        errors = [one for one in self.passed if one.result in ERRORS]
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
    """A guest asks for an event, starts and stops its counter."""
    passed: list[Passed] = []
    open_: list[Passed] = []

    def enter(layer: str, call: HostCall) -> None:
        one = Passed(layer, call.function.name, len(open_))
        passed.append(one)
        open_.append(one)
        start = call.vcpu.hart.instructions

        def leave(done: HostCall) -> None:
            one.instructions = done.vcpu.hart.instructions - start
            if one.function not in VOID:
                one.result = done.result
            while open_ and open_.pop() is not one:
                pass

        call.at_return(leave)

    host.fresh()
    functions = host.kernel.functions
    for layer, names in LAYERS.items():
        for name in names:
            if name in functions:
                host.hooks.on(functions[name], lambda call, layer=layer: enter(layer, call))  # type: ignore[misc]
    try:
        answers = list(
            host.target.run([pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, counters, 0, event_idx, data)])
        )
        if answers[0].error == 0:
            number = answers[0].value
            answers += host.target.run([
                pmu(PmuFid.COUNTER_START, number, 1, StartFlag.SET_INIT_VALUE, 0),
                pmu(PmuFid.COUNTER_STOP, number, 1, StopFlag.RESET),
            ])  # fmt: skip
    finally:
        host.hooks.remove()
    return RealPath(tuple(_shown(passed)), tuple(answers))


def _shown(passed: Sequence[Passed]) -> list[Passed]:
    """Without what other work of the host did in between (depth 0 is the guest's ECALL)."""
    found, inside = [], False
    for one in passed:
        if one.depth == 0:
            inside = one.function == LAYERS["kvm"][0]
        if inside:
            found.append(one)
    return found
