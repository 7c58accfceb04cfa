"""Which functions of a kernel a stretch of a run is in: single steps, put into a tree of calls.

Every retired instruction belongs to one function, and to one layer: that of the function, or for a helper of
everybody's (memset, locks, slab) that of the nearest caller with one. The sum is the exact count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..hart.events import Mode

if TYPE_CHECKING:
    from ..hart.hart import Hart
    from ..vmm.machine import Machine
    from ..vmm.run_result import RunResult
    from .running_kernel import Function, RunningKernel

KVM, PERF, DRIVER, SBI, INTERRUPTS = "kvm", "perf", "driver", "sbi", "interrupts"
KERNEL, USER, OTHERS, FIRMWARE = "kernel", "user space", "other tasks", "firmware"
LAYERS = (KVM, PERF, DRIVER, SBI, INTERRUPTS, KERNEL, USER, OTHERS, FIRMWARE)
PREFIXES = (
    (("kvm_", "__kvm_"), KVM),
    (("perf_", "__perf_", "_perf_"), PERF),
    (("riscv_pmu_", "pmu_sbi_", "rvpmu_", "pmu_legacy_"), DRIVER),
    (("__sbi_ecall", "sbi_ecall"), SBI),
)
"""Functions that open a layer by the beginning of their name; those that they call belong to it."""
TRAP_ENTRY = ("handle_exception", "ret_from_exception", "handle_kernel_stack_overflow")
_RA, _SP, _TP, _A0 = 1, 2, 4, 10
LIMIT = 400_000
"""Instructions that are stepped through, 20 us each: a call that waits for another task takes millions."""
_UNWIND = 24
"""Frames that a return is looked for in."""
_UNKNOWN = "?"


@dataclass(slots=True)
class Called:
    """A call of a function. `own`: instructions in it; `total`: with what it called. `result`: a0 behind it,
    signed, None where the stretch ends before.
    """

    layer: str
    function: str
    depth: int
    own: int = 0
    total: int = 0
    result: int | None = None
    opens: bool = False
    """The layer is the function's own, not its caller's."""


@dataclass(slots=True)
class _Frame:
    called: Called
    ra: int | None
    sp: int


@dataclass(slots=True)
class CallTree:
    """The calls in the order in which they began."""

    calls: list[Called] = field(default_factory=list)
    cut: bool = False
    """The stretch is longer than was stepped through."""

    @property
    def instructions(self) -> int:
        """All of them."""
        return sum(one.own for one in self.calls)

    def layers(self) -> Counter[str]:
        """Instructions by layer."""
        found = Counter[str]()
        for one in self.calls:
            found[one.layer] += one.own
        return found

    def functions(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(layer, function) -> how often it was called, and its own instructions."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for one in self.calls:
            times, own = found.get((one.layer, one.function), (0, 0))
            found[one.layer, one.function] = times + 1, own + one.own
        return found

    def told(self) -> list[Called]:
        """The calls of functions that open a layer, with their depth among themselves."""
        found: list[Called] = []
        above: list[Called] = []
        for call in self.calls:
            while above and above[-1].depth >= call.depth:
                above.pop()
            if not call.opens:
                continue
            found.append(replace(call, depth=len(above)))
            above.append(call)
        return found


def layer_of(function: Function | None) -> str | None:
    """The layer that a function opens, None for one that belongs to its caller's."""
    if function is None:
        return None
    if function.module == KVM:
        return KVM
    return next((layer for names, layer in PREFIXES if function.name.startswith(names)), None)


def walk(
    machine: Machine, kernel: RunningKernel, until: Callable[[Hart], bool], limit: int = LIMIT
) -> tuple[CallTree, RunResult | None]:
    """Let a machine of one hart go on by single instructions until `until`, at most `limit` of them. The
    result is that of a run that ended before.
    """
    hart, tracer, ended, cut = machine.vcpu(0).hart, _Tracer(kernel), None, True
    for _ in range(limit):
        one = tracer.at(hart)
        before = hart.instructions
        result = machine.run(max_instructions=1)
        one.own += hart.instructions - before
        if result.stop != "budget":
            ended, cut = result, False
            break
        if until(hart):
            cut = False
            break
    tree = tracer.finished()
    tree.cut = cut
    return tree, ended


class _Tracer:
    def __init__(self, kernel: RunningKernel) -> None:
        self._kernel, self._tree = kernel, CallTree()
        self._known: dict[int, Function | None] = {}
        self._frames: list[_Frame] = []
        self._pc = self._home = 0
        self._function: Function | None = None
        self._outside: Called | None = None

    def at(self, hart: Hart) -> Called:
        """Whose instruction comes next."""
        pc, mode = hart.pc, hart.mode
        if mode is not Mode.S:
            return self._elsewhere(USER if mode is Mode.U else FIRMWARE)
        if pc not in self._known:
            self._known[pc] = self._kernel.at(pc)
        function = self._known[pc]
        if self._outside is None and function is self._function and 0 < pc - self._pc <= 4:
            self._pc = pc
            return self._frames[-1].called
        entry = function is not None and function.name in TRAP_ENTRY
        task = hart.x(_TP)
        if not entry:  # tp is the user's for some instructions there
            self._home = self._home or task
            if task != self._home:
                return self._elsewhere(OTHERS)
        self._moved(hart, pc, function, entry=entry)
        self._pc, self._function, self._outside = pc, function, None
        return self._frames[-1].called

    def _elsewhere(self, layer: str) -> Called:
        if self._outside is None or self._outside.layer != layer:
            self._outside = Called(layer, layer, 0)
            self._tree.calls.append(self._outside)
        return self._outside

    def _moved(self, hart: Hart, pc: int, function: Function | None, *, entry: bool) -> None:
        """Not the next instruction of the same function: a branch, a call, a return, a trap."""
        sp, ra = hart.x(_SP), hart.x(_RA)
        for frame in reversed(self._frames[-_UNWIND:]):
            # A hook that answers in the function's place has the next instruction done as well.
            if (
                frame.ra is not None
                and frame.sp == sp
                and pc - frame.ra in (0, 2, 4)
                and (pc == frame.ra or function is not self._function)
            ):
                self._returned(frame, hart.x(_A0))
                if self._frames:
                    return
                break
        if not self._frames or (self._outside is not None and self._outside.layer == USER):
            self._base(function, INTERRUPTS if entry and self._outside is None else KERNEL)
            return
        if function is self._function:
            return
        if entry and (self._function is None or self._function.name not in TRAP_ENTRY):
            self._push(function, hart.get("sepc"), sp, INTERRUPTS)
        elif ra - self._pc in (2, 4):
            self._push(function, ra, sp, self._frames[-1].called.layer)
        elif function is not None and pc == function.address:  # a jump to it: a tail call
            frame = self._frames.pop()
            above = self._frames[-1].called.layer if self._frames else frame.called.layer
            self._push(function, frame.ra, frame.sp, above)
        else:  # back in who had called before this stretch began
            self._base(function, KERNEL)

    def _returned(self, frame: _Frame, value: int) -> None:
        while self._frames.pop() is not frame:
            pass
        frame.called.result = value - (1 << 64) if value >> 63 else value

    def _base(self, function: Function | None, layer: str) -> None:
        self._frames.clear()
        self._push(function, None, 0, layer)

    def _push(self, function: Function | None, ra: int | None, sp: int, layer: str) -> None:
        name = _UNKNOWN if function is None else function.name
        own = layer_of(function)
        called = Called(own or layer, name, len(self._frames), opens=own is not None)
        self._tree.calls.append(called)
        self._frames.append(_Frame(called, ra, sp))

    def finished(self) -> CallTree:
        """The tree, with the totals."""
        open_: list[Called] = []
        for one in self._tree.calls:
            while open_ and open_[-1].depth >= one.depth:
                open_.pop()
            open_.append(one)
            for above in open_:
                above.total += one.own
        return self._tree
