"""The world switch of KVM on a host's hart: every way out of its guest, and the way back in.

The host's kernel enters a guest with the SRET of `__kvm_riscv_switch_to` and is entered again behind it. Two
breakpoints there see all that a guest asks for and is answered, with the exact cost, and cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..debug.running_kernel import HookError
from ..hart.events import HartEvent, Mode
from ..hart.memory import MemoryFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..debug.running_kernel import RunningKernel
    from ..see.guest_hart import GuestHart
    from ..vmm.machine import Machine

SWITCH = "__kvm_riscv_switch_to"
HELLO = b"H"
SRET = (0x10200073).to_bytes(4, "little")
ECALL_VS, VIRTUAL = 10, 22
"""scause of an ECALL of VS mode, and of an instruction that the hypervisor emulates."""
_INTERRUPT = 1 << 63
_SEARCH = 400_000
_SLICE = 10
_NEAR = 64


@dataclass(slots=True)
class GuestExit:
    """One way out of the guest. `registers`: a0 to a7 of the guest; `host` and `user`: instructions of HS and
    U mode until it went on; `guest`: its own so far, in VS and VU mode.
    """

    cause: int
    stval: int
    pc: int
    registers: tuple[int, ...]
    time_ns: int
    guest: int
    host: int = 0
    user: int = 0
    firmware: int = 0
    """Of M mode, likewise."""
    back: bool = False
    answer: tuple[int, int] = (0, 0)
    """a0 and a1 of the guest when it goes on."""
    written: int = 0
    """For an emulated instruction: what its rd holds when it goes on."""

    @property
    def is_call(self) -> bool:
        """An SBI call."""
        return self.cause == ECALL_VS


class WorldSwitch:
    """Listens from now until `remove`; `exits` are those since the last `clear`. HookError where KVM has no
    such place.
    """

    def __init__(self, machine: Machine, kernel: RunningKernel) -> None:
        self.machine, self.exits = machine, list[GuestExit]()
        self.stop_at: Callable[[GuestExit], bool] | None = None
        """Asked at each way out: whether the run shall end there."""
        out, back = _places(machine, kernel)
        self._placed = [(kernel.physical(out), self._out), (kernel.physical(back), self._back)]
        for physical, handler in self._placed:
            machine.memory.breakpoints.add(physical, handler)

    def clear(self) -> None:
        """Forget what was seen."""
        self.exits = []

    def remove(self) -> None:
        """Listen no more."""
        for physical, handler in self._placed:
            self.machine.memory.breakpoints.remove(physical, handler)
        self._placed = []

    def _out(self, vcpu: GuestHart) -> bool:
        hart = vcpu.hart
        if hart.mode is not Mode.S:
            return False
        count, what = hart.count, HartEvent.INSTRUCTIONS
        exit_ = GuestExit(
            hart.get("scause"), hart.get("stval"), hart.get("sepc"), tuple(hart.words[10:18]), hart.time_ns,
            count(what, Mode.VS) + count(what, Mode.VU), count(what, Mode.S), count(what, Mode.U),
            count(what, Mode.M),
        )  # fmt: skip
        self.exits.append(exit_)
        return self.stop_at is not None and self.stop_at(exit_)

    def _back(self, vcpu: GuestHart) -> bool:
        hart = vcpu.hart
        if hart.mode is not Mode.S or not self.exits or self.exits[-1].back:
            return False
        exit_, what = self.exits[-1], HartEvent.INSTRUCTIONS
        exit_.back, exit_.answer = True, (hart.x(10), hart.x(11))
        exit_.host = hart.count(what, Mode.S) + 1 - exit_.host  # the SRET, too
        exit_.user = hart.count(what, Mode.U) - exit_.user
        exit_.firmware = hart.count(what, Mode.M) - exit_.firmware
        if exit_.cause == VIRTUAL:
            exit_.written = hart.x(exit_.stval >> 7 & 31)
        return False


def _places(machine: Machine, kernel: RunningKernel) -> tuple[int, int]:
    """Where a guest comes out, and the SRET before it."""
    function = kernel.functions.get(SWITCH)
    if function is not None:
        code, base = kernel.read(function.address, function.size), function.address
        at = code.find(SRET)
    else:  # a kernel without names: stvec while a guest runs
        stvec = _stvec(machine)
        base = stvec - _NEAR
        try:
            at = kernel.read(base, _NEAR).rfind(SRET)
        except MemoryFault:
            at = -1
    if at < 0:
        raise HookError("KVM's world switch", expected="an SRET before the way out", got="none")
    back = base + at
    return back + 4 + 3 & ~3, back


def _stvec(machine: Machine) -> int:
    """stvec of HS mode as it is while a guest runs: on a copy of the state, which is restored."""
    hart, before = machine.vcpu(0).hart, machine.snapshot()
    try:
        if machine.board.line is not None:
            machine.board.line.ask(HELLO)  # of the agent: it has the monitor run the guest
        for _ in range(_SEARCH // _SLICE):
            if hart.get("virt"):
                return hart.get("other_stvec")
            if machine.run(max_instructions=_SLICE).stop != "budget":
                break
    finally:
        machine.restore(before)
    raise HookError("KVM's world switch", expected="a guest that runs", got="none")


def cause_name(cause: int) -> str:
    """A cause of exit in words."""
    if cause & _INTERRUPT:
        return _INTERRUPTS.get(cause ^ _INTERRUPT, f"interrupt {cause ^ _INTERRUPT}")
    return _CAUSES.get(cause, f"exception {cause}")


_INTERRUPTS = {5: "timer interrupt", 9: "external interrupt", 13: "counter overflow", 1: "software interrupt"}
_CAUSES = {
    ECALL_VS: "SBI call", 2: "illegal instruction", VIRTUAL: "emulated instruction", 12: "fetch fault",
    20: "fetch of a page without memory", 21: "load from a page without memory",
    23: "store to a page without memory",
}  # fmt: skip
