"""What runs a machine: turns of its vCPUs in virtual time, user space's side of KVM_RUN, waiting."""

from __future__ import annotations

from _thread import RLock
from collections import Counter
from collections.abc import Mapping, Sequence

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
_OUT_OF_TIME: Ending = ("budget", "the time that was allowed is used up", None)
_ENDED: Ending = ("timeout", "the virtual time that was allowed is used up", None)
QUANTUM_NS = 10_000  # virtual time that a hart runs before the next one of a multi-hart machine gets its turn


class Turns:
    """The vCPUs of a machine taking turns. `exits` counts exits to user space by kind; `current` is the hart
    that runs; `halted` is how the run shall end, where somebody has said so.

    A round is a turn of each vCPU that was awake when it began. A run may end anywhere in it; the next run
    goes on at that place: where runs end is nothing that a guest can see.
    """

    def __init__(self, vcpus: Sequence[GuestHart], board: Board, exits: Counter[str]) -> None:
        self.vcpus, self.board, self.exits = vcpus, board, exits
        self.current = 0
        self.halted: Ending | None = None
        self._halting = RLock()
        self.lost: HostLostError | None = None  # the host went down: it does not come back
        self._polled = 0
        self.ends_ns: int | None = None
        """Virtual time at which the machine's life ends (stop "timeout"), wherever runs before have ended."""
        # --- the round, which a snapshot keeps
        self._clock = 0  # virtual time at which it began
        self._horizon: int | None = None  # virtual time at which each turn of it ends
        self._round: list[int] = []  # the vCPUs of it
        self._turn = 0  # which of them has its turn

    def state(self) -> dict[str, object]:
        """Where the turns are, for a snapshot."""
        return {"current": self.current, "clock": self._clock, "horizon": self._horizon,
                "round": list(self._round), "turn": self._turn}  # fmt: skip

    def resume(self, state: Mapping[str, object]) -> None:
        """As after a restore; `state` as `state()` gave it. TypeError, ValueError."""
        current, clock, turn = (_number(state[name]) for name in ("current", "clock", "turn"))
        members, horizon = state["round"], state["horizon"]
        if not isinstance(members, list) or not isinstance(horizon, int | None):
            raise TypeError("turns of the harts")
        if not {current, *members} <= set(range(len(self.vcpus))) or not 0 <= turn <= len(members):
            raise ValueError("turns of the harts")
        self.current, self._clock, self._horizon = current, clock, horizon
        self._round, self._turn = list(members), turn
        self.halted = self.lost = None

    def halt(self, stop: str, reason: str) -> None:
        """See Machine.halt. Another thread may call it."""
        with self._halting:
            self._halt((stop, reason, None))

    def interrupt(self, stop: str) -> None:
        """As `halt`, unless somebody else has halted it: for a thread that wants to have a look."""
        with self._halting:
            if self.halted is None:
                self._halt((stop, "", None))

    def uninterrupt(self, stop: str) -> None:
        """What `interrupt` said holds no longer, where no run has ended by it."""
        with self._halting:
            if self.halted is not None and self.halted[0] == stop:
                self.unhalt()

    def _halt(self, ending: Ending) -> None:
        self.halted = ending
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
        return max(self._clock, *(vcpu.hart.time_ns for vcpu in self.vcpus))

    def turn(self, limit: int | None, deadline: int | None, host: Host | None) -> Ending:
        """Turn the vCPUs in hart order until something ends the run."""
        last = self.ends_ns
        if last is None:
            return self._turn_on(limit, deadline, host)
        end = self._turn_on(limit, last if deadline is None else min(deadline, last), host)
        return _ENDED if end is _OUT_OF_TIME and self.now() >= last else end

    def _turn_on(self, limit: int | None, deadline: int | None, host: Host | None) -> Ending:
        """See turn.

        A vCPU that is the only one awake runs until it sleeps, wakes another one, or a timer of another one
        is due; several take turns of a quantum of virtual time. Nothing here depends on anything but the
        guest.
        """
        if self.lost is not None:
            raise self.lost
        self._polled = self.instructions()
        while True:
            while self._turn < len(self._round):
                vcpu = self.vcpus[self._round[self._turn]]
                self.current = vcpu.id
                vcpu.hart.time_ns = max(vcpu.hart.time_ns, self._clock)
                end = self._run_vcpu(vcpu, limit, deadline, host)
                if end is not None:
                    return end
                self._turn += 1
            end = self._next_round(deadline, host)
            if end is not None:
                return end

    def _next_round(self, deadline: int | None, host: Host | None) -> Ending | None:
        """Who takes turns now, and for how long; or how the run ends."""
        if self._round:
            self.current = 0
            self._clock = max(self._clock, *(self.vcpus[number].hart.time_ns for number in self._round))
            self._round, self._turn = [], 0
        clock = self._clock
        if deadline is not None and clock >= deadline:
            return _OUT_OF_TIME
        if self.halted is not None:
            return self.halted
        if host is not None and self.instructions() - self._polled >= POLL_INSTRUCTIONS:
            self._polled = self.instructions()
            host.poll()
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
            waited = self._wait(clock, min(timers, default=None), host)
            if not isinstance(waited, int):
                return waited
            self._clock = waited if deadline is None else min(waited, deadline)
            return None
        self._round = [vcpu.id for vcpu in awake]
        self._horizon = min(timers if len(awake) == 1 else [*timers, clock + QUANTUM_NS], default=None)
        return None

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
        self, vcpu: GuestHart, limit: int | None, deadline: int | None, host: Host | None
    ) -> Ending | None:
        """One vCPU's turn, None where it is over: until the horizon, a wait, or another one is awake; or an
        exit that ends the run.
        """
        until = horizon = self._horizon
        if deadline is not None:
            until = deadline if horizon is None else min(horizon, deadline)
        vcpu.immediate_exit = False
        while True:
            halted = self.halted
            if halted is not None:  # another thread may have said so before the line above
                return halted
            if self._turn == len(self._round):
                return None  # see woken
            left = None if limit is None else limit - self.instructions()
            if left is not None and left <= 0:
                return "budget", "the instructions that were allowed are used up", None
            if host is not None:
                left = POLL_INSTRUCTIONS if left is None else min(left, POLL_INSTRUCTIONS)
            exit_ = vcpu.run(left, until)
            match exit_:
                case BudgetExit():
                    now = vcpu.hart.time_ns
                    if self.halted is not None:
                        continue
                    if vcpu.immediate_exit or (horizon is not None and now >= horizon) or host is not None:
                        return None
                    if deadline is not None and now >= deadline:
                        return _OUT_OF_TIME
                case IdleExit():
                    return None
                case HungExit(reason=reason):
                    return "hung", reason, None
                case BreakpointExit(pc=pc, watched=True):
                    return "watchpoint", f"hart {vcpu.id} is before the instruction at {pc:#x}", None
                case BreakpointExit(pc=pc):
                    return "breakpoint", f"hart {vcpu.id} is before the instruction at {pc:#x}", None
                case _:
                    end = self._serve(vcpu, exit_)
                    if end is not None:
                        return end

    def woken(self) -> None:
        """A sleeping vCPU became runnable: one that runs alone gives the others their turn, as soon as it
        can.
        """
        if len(self._round) == 1:
            self.vcpus[self._round[0]].immediate_exit = True
            self._turn = 1

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
        case EventKind.LINE:
            return "line", "the guest's software has something to say", None
        case EventKind.RESET:
            return "reset", "the guest wrote RESET to the test device", 0


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("turns of the harts")
    return value
