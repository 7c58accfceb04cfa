"""Hooks in a host's kernel that runs on our hart: a function is met at its entry, and where it returns.

They are breakpoints by physical address, in HS mode, so user space that maps the page does not meet them. A
hook costs no instruction, and the kernel cannot see it: what it changes are the registers of a call.

    hooks = Hooks(machine, kernel)
    hooks.on(kernel.function("perf_event_create_kernel_counter"), lambda call: call.answer(-16))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..debug.running_kernel import Function, HookError, RunningKernel
from ..hart.events import Mode
from ..hart.memory import MemoryFault

if TYPE_CHECKING:
    from ..hart.hart import Hart
    from ..see.guest_hart import GuestHart
    from ..vmm.machine import Machine

U64 = (1 << 64) - 1
RA, SP, TP, A0 = 1, 2, 4, 10
_COMM_SIZE = 16
_COMM_WITHIN = 0x4000
"""TASK_COMM_LEN, and how far into struct task_struct the name is looked for."""

Callback = Callable[["HostCall"], None]
_Frame = tuple[int, int, int]
"""Where a call returns to, its stack pointer, and its task: together they name it."""


@dataclass(slots=True)
class HostCall:
    """A call of a function of the host's kernel, before its first instruction or, for what `at_return` was
    given, behind its last.
    """

    hooks: Hooks
    vcpu: GuestHart
    function: Function
    ra: int
    sp: int
    arguments: tuple[int, ...]
    """a0 to a7 at the entry."""

    @property
    def hart(self) -> Hart:
        """The hart that makes it."""
        return self.vcpu.hart

    @property
    def caller(self) -> Function | None:
        """The function that it returns to."""
        return self.hooks.kernel.at(self.ra)

    @property
    def task(self) -> str:
        """The name (comm) of the task that makes it; "" where it cannot be told."""
        return self.hooks.task_name(self.hart.x(TP))

    @property
    def result(self) -> int:
        """a0 as a signed number: what a function has returned."""
        value = self.hart.x(A0)
        return value - (1 << 64) if value >> 63 else value

    @result.setter
    def result(self, value: int) -> None:
        self.hart.set_x(A0, value)

    def answer(self, value: int | None = None) -> None:
        """Do not run the function: it returns at once, `value` or what a0 holds. The first answer counts."""
        if self.hart.pc != self.function.address:
            return
        if value is not None:
            self.result = value
        self.hart.pc = self.ra

    def delay(self, ns: int) -> None:
        """Let virtual time pass before the caller goes on. At the return: a timer that expires at the entry
        would bring the hart back there.
        """

        def late(call: HostCall) -> None:
            call.hart.time_ns += ns

        self.at_return(late)

    def at_return(self, callback: Callback) -> None:
        """Have `callback` called when the function returns."""
        self.hooks.watch_return(self, callback)


class Hooks:
    """The hooks of one machine, until `remove`."""

    def __init__(self, machine: Machine, kernel: RunningKernel) -> None:
        self.machine, self.kernel = machine, kernel
        self._placed: list[tuple[int, Callable[[GuestHart], bool]]] = []
        self._returns: dict[_Frame, list[tuple[HostCall, Callback]]] = {}
        self._return_points: dict[int, int] = {}  # virtual address -> physical
        self._comm: int | None = None

    def on(self, function: Function, callback: Callback, *, caller: Function | None = None) -> None:
        """Call `callback` before every call of a function, or of those that `caller` makes. HookError where
        nothing is mapped there.
        """
        try:
            physical = self.kernel.physical(function.address)
        except MemoryFault:
            raise HookError(
                f"hook on {function.name}", expected="code of the running kernel",
                got=f"nothing at {function.address:#x}",
            ) from None  # fmt: skip
        handler = partial(self._entered, function, caller, callback)
        self.machine.memory.breakpoints.add(physical, handler)
        self._placed.append((physical, handler))

    def remove(self) -> None:
        """Take all of them away."""
        points = self.machine.memory.breakpoints
        for physical, handler in self._placed:
            points.remove(physical, handler)
        self._placed.clear()
        self.forget_calls()

    def forget_calls(self) -> None:
        """The machine was brought back: no call is under way."""
        points = self.machine.memory.breakpoints
        for physical in self._return_points.values():
            points.remove(physical, self._returned)
        self._return_points.clear()
        self._returns.clear()

    def _entered(
        self, function: Function, caller: Function | None, callback: Callback, vcpu: GuestHart
    ) -> bool:
        hart = vcpu.hart
        if hart.mode is not Mode.S:
            return False
        ra = hart.x(RA)
        if caller is not None and ra not in caller:
            return False
        registers = tuple(hart.x(A0 + i) for i in range(8))
        callback(HostCall(self, vcpu, function, ra, hart.x(SP), registers))
        return False

    # --- returns

    def watch_return(self, call: HostCall, callback: Callback) -> None:
        """See HostCall.at_return."""
        self._returns.setdefault((call.ra, call.sp, call.hart.x(TP)), []).append((call, callback))
        if call.ra not in self._return_points:
            physical = self.kernel.physical(call.ra)
            self._return_points[call.ra] = physical
            self.machine.memory.breakpoints.add(physical, self._returned)

    def _returned(self, vcpu: GuestHart) -> bool:
        hart = vcpu.hart
        if hart.mode is Mode.S:
            for call, callback in self._returns.pop((hart.pc, hart.x(SP), hart.x(TP)), ()):
                callback(call)
        return False

    # --- tasks

    def task_name(self, task: int) -> str:
        """comm of a struct task_struct."""
        try:
            if self._comm is None:
                self._comm = self._find_comm()
            return "" if not self._comm else self._text(task + self._comm)
        except MemoryFault:
            return ""

    def _find_comm(self) -> int:
        """Where comm is: init_task's is `swapper`."""
        first = self.kernel.symbol("init_task")
        if first is None:
            return 0
        return max(self.kernel.read(first, _COMM_WITHIN).find(b"swapper\0"), 0) or max(
            self.kernel.read(first, _COMM_WITHIN).find(b"swapper/0\0"), 0
        )

    def _text(self, address: int) -> str:
        return self.kernel.read(address, _COMM_SIZE).split(b"\0")[0].decode("utf-8", "replace")
