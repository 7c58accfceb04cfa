"""What runs a machine: turns of its vCPUs in virtual time, user space's side of KVM_RUN, waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from vpmu.kvm.errors import HostLostError
from vpmu.see.exits import (
    BreakpointExit,
    BudgetExit,
    HungExit,
    IdleExit,
    MmioExit,
    SbiExit,
    SystemEvent,
    VcpuExit,
)
from vpmu.see.guest_hart import GuestHart
from vpmu.see.vcpu_api import MP_STATE_STOPPED
from vpmu.vmm.board import Board
from vpmu.vmm.devices import EventKind, MachineEvent
from vpmu.vmm.run_result import Ending, Host

POLL_INSTRUCTIONS = 5_000_000  # between two looks at the outside world (Host.poll)
END_OF_TIME = 1 << 63  # ns: virtual time has 64 bits and does not begin again; a later timer never comes
STOPS = BREAKPOINT, WATCHPOINT = "breakpoint", "watchpoint"
LIMIT: Ending = ("budget", "the instructions that were allowed are used up", None)
QUANTUM_NS = 10_000  # virtual time that a hart runs before the next one of a multi-hart machine gets its turn


class Round(NamedTuple):
    """One round of turns: the virtual time at which it began, where it ends (None: nowhere), the harts that
    are awake, and which of them has its turn.
    """

    clock: int
    horizon: int | None
    awake: tuple[int, ...]
    at: int = 0


class Turns:
    """The vCPUs of a machine taking turns. `exits` counts exits to user space by kind; `current` is the hart
    that runs; `halted` is how the run shall end, where somebody has said so.
    """

    def __init__(self, vcpus: Sequence[GuestHart], board: Board, exits: Counter[str]) -> None:
        self.vcpus, self.board, self.exits = vcpus, board, exits
        self.current = 0
        self.halted: Ending | None = None
        self.lost: HostLostError | None = None  # the host went down: it does not come back
        self._polled = 0
        self._alone: GuestHart | None = None
        self._woken = False  # somebody, by the hart that ran alone
        self.round: Round | None = None  # that a limit of instructions cut short: the next run goes on in it

    def resume(self, current: int, cut: Round | None = None) -> None:
        """As after a restore: nothing is known but which hart ran last, and in which round."""
        self.current, self.halted, self.lost, self._alone = current, None, None, None
        self.round = cut

    def halt(self, stop: str, reason: str) -> None:
        """See Machine.halt. Another thread may call it."""
        self.halted = (stop, reason, None)
        for vcpu in self.vcpus:
            vcpu.immediate_exit = vcpu.hart.interrupted = True

    def unhalt(self) -> None:
        """After a run: what ended it does not end the next one."""
        self.halted = None
        for vcpu in self.vcpus:
            vcpu.hart.interrupted = False

    def instructions(self) -> int:
        """Retired by all harts since power-on."""
        return sum(vcpu.hart.instructions for vcpu in self.vcpus)

    def now(self) -> int:
        """Virtual nanoseconds since power-on: the hart that is furthest."""
        return max(vcpu.hart.time_ns for vcpu in self.vcpus)

    def turn(self, limit: int | None, deadline: int | None, host: Host | None) -> Ending:
        """Turn the vCPUs in hart order until something ends the run.

        A vCPU that is the only one awake runs until it sleeps, wakes another one, or a timer of another one
        is due; several take turns of a quantum of virtual time. Nothing here depends on anything but the
        guest: a run that a limit of instructions ends goes on as if it had not ended.
        """
        if self.lost is not None:
            raise self.lost
        clock = self.now() if self.round is None else self.round.clock
        self._polled = self.instructions()
        while True:
            if deadline is not None and clock >= deadline:
                return "budget", "the time that was allowed is used up", None
            if self.halted is not None:
                return self.halted
            if host is not None and self.instructions() - self._polled >= POLL_INSTRUCTIONS:
                self._polled = self.instructions()
                host.poll()
            cut, self.round = self.round, None
            found = cut or self._round(clock, host)
            if isinstance(found, int):
                clock = found if deadline is None else min(found, deadline)
                continue
            if not isinstance(found, Round):
                return found
            bounds = [bound for bound in (found.horizon, deadline) if bound is not None]
            horizon = min(bounds, default=None)
            awake = [self.vcpus[number] for number in found.awake]
            self._alone = awake[0] if len(awake) == 1 else None
            for at in range(found.at, len(awake)):
                vcpu = awake[at]
                self.current = vcpu.id
                vcpu.hart.time_ns = max(vcpu.hart.time_ns, clock)
                end = self._run_vcpu(vcpu, limit, horizon, host)
                if end is not None:
                    if end is LIMIT or self.halted is not None or end[0] in STOPS:
                        self.round = found._replace(at=at)
                    return end
            self.current = 0
            clock = max(vcpu.hart.time_ns for vcpu in awake)

    def _round(self, clock: int, host: Host | None) -> Round | int | Ending:
        """The round that begins at a virtual time; where nobody is awake, when to go on, or the end."""
        awake = [vcpu for vcpu in self.vcpus if not vcpu.sleeps(clock)]
        timers = [
            wake
            for vcpu in self.vcpus
            if (wake := vcpu.timer_ns) is not None
            and wake < END_OF_TIME
            and vcpu not in awake
            and vcpu.mp_state != MP_STATE_STOPPED
        ]
        if not awake:
            return self._wait(clock, min(timers, default=None), host)
        bounds = timers if len(awake) == 1 else [*timers, clock + QUANTUM_NS]
        return Round(clock, min(bounds, default=None), tuple(vcpu.id for vcpu in awake))

    def _wait(self, clock: int, wake: int | None, host: Host | None) -> int | Ending:
        """Every vCPU sleeps: the virtual time at which to go on, or how the run ends."""
        if all(vcpu.mp_state == MP_STATE_STOPPED for vcpu in self.vcpus):
            return "shutdown", "all harts have stopped", None
        if host is not None:
            waited = host.idle(clock, wake)
            if self.halted is not None:
                return self.halted
            if waited is not None:
                return waited
        if wake is None:
            return "idle", "every hart waits for an interrupt that nothing will raise", None
        return max(clock, wake)

    def _run_vcpu(
        self, vcpu: GuestHart, limit: int | None, horizon: int | None, host: Host | None
    ) -> Ending | None:
        """One vCPU's turn: until the horizon, a wait, or an exit that ends the run."""
        vcpu.immediate_exit = self._woken = False
        while True:
            if self.halted is not None:  # another thread may have said so before the line above
                return self.halted
            left = None if limit is None else limit - self.instructions()
            if left is not None and left <= 0:
                return LIMIT
            if host is not None:
                left = POLL_INSTRUCTIONS if left is None else min(left, POLL_INSTRUCTIONS)
            exit_ = vcpu.run(left, horizon)
            match exit_:
                case BudgetExit():
                    if self.halted is not None and not self._woken:
                        return self.halted
                    if (
                        vcpu.immediate_exit
                        or (horizon is not None and vcpu.hart.time_ns >= horizon)
                        or host is not None
                    ):
                        return None
                case IdleExit():
                    return None
                case HungExit(reason=reason):
                    return "hung", reason, None
                case BreakpointExit(pc=pc, watched=True):
                    return WATCHPOINT, f"hart {vcpu.id} is before the instruction at {pc:#x}", None
                case BreakpointExit(pc=pc):
                    return BREAKPOINT, f"hart {vcpu.id} is before the instruction at {pc:#x}", None
                case _:
                    end = self._serve(vcpu, exit_)
                    if end is not None:
                        return end

    def woken(self) -> None:
        """A sleeping vCPU became runnable: one that ran alone gives the others their turn."""
        if self._alone is not None:
            self._alone.immediate_exit = self._woken = True

    def _serve(self, vcpu: GuestHart, exit_: VcpuExit) -> Ending | None:
        """An exit to user space; an answer ends the run."""
        match exit_:
            case MmioExit(gpa=gpa, size=size, is_write=True, data=data):
                self.exits["mmio"] += 1
                event = self.board.bus.write(gpa, int.from_bytes(data, "little"), size)
                if event is not None:
                    return _machine_event(event)
            case MmioExit(gpa=gpa, size=size):
                self.exits["mmio"] += 1
                vcpu.complete_mmio(self.board.bus.read(gpa, size))
            case SbiExit():
                self.exits["sbi"] += 1
                vcpu.complete_sbi(*self.board.console.sbi(exit_))
            case SystemEvent(type=kind, reason=code):
                self.exits["system_event"] += 1
                stop = "shutdown" if kind == 1 else "reset"
                return stop, f"SBI system reset: {stop}, reason {code}", code
        return self.halted


def _machine_event(event: MachineEvent) -> Ending:
    match event.kind:
        case EventKind.POWEROFF:
            return "shutdown", "the guest wrote PASS to the test device", 0
        case EventKind.FAIL:
            return (
                "shutdown",
                f"the guest wrote FAIL with code {event.code} to the test device",
                event.code or 1,
            )
        case EventKind.RESET:
            return "reset", "the guest wrote RESET to the test device", 0
