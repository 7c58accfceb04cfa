"""A machine with a debugger: its runs are the debugger's to start, stop and walk.

`Debugged` takes the place of the machine's `run`, so that whoever runs a machine (a command, a boot, a host
of real KVM) does so as ever, and a machine without a debugger has nothing of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Unpack

from vpmu.debug.names import Names
from vpmu.errors import VpmuError
from vpmu.gdb.attention import attention
from vpmu.gdb.forward import OneWay
from vpmu.gdb.framing import Mark
from vpmu.gdb.keyboard import PACE_NS, SECONDS, Keyboard
from vpmu.gdb.listener import Address, Connection, Listener, ready, say
from vpmu.gdb.monitor import Monitor
from vpmu.gdb.points import Points
from vpmu.gdb.session import OK, Go, Session
from vpmu.gdb.walk import TRAP, Walk, said, stop_reply
from vpmu.travel.travel import ASKED, BUDGET, NOTHING, Arrival, Traveller

if TYPE_CHECKING:
    from vpmu.vmm.machine import Machine
    from vpmu.vmm.run_result import Host, Limits, RunResult
    from vpmu.vmm.snapshot import Snapshot

FOR_THE_CALLER = frozenset({"line", "ready", "budget"})
"""Ends of a run after which whoever asked for it goes on with it: the debugger need not know."""
MOST_WAITING = 64
"""Packets that may come while the guest goes: nobody who waits for an answer sends as many."""
KILLED = "killed"
"""RunResult.stop of a run that its debugger killed."""


class Debugged:
    """A server on a machine. `waits`: the guest waits for a debugger before its first instruction.
    `budget`: bytes for what is kept to go back. UsageError where it cannot listen.
    """

    def __init__(
        self, machine: Machine, address: Address, names: Names, *, waits: bool, budget: int = BUDGET
    ) -> None:
        self.machine, self.names, self._budget = machine, names, budget
        self.points = Points(machine, names)
        self.monitor = Monitor(self)
        self.walk: Walk
        self._listener = Listener(address)
        self._connection: Connection | None = None
        self._held = waits
        self._going: Go | None = None  # what the debugger waits for
        self._waiting: deque[bytes | Mark] = deque(
            maxlen=MOST_WAITING
        )  # packets that came while the guest went
        self._inside, self._stale = False, True
        self._session = self._new_session()
        self._keyboard = Keyboard(machine, lambda data: self.traveller.feed(data))
        self._deadline: int | None = None
        machine.run = self._run  # type: ignore[method-assign]
        machine.restore = self._restore  # type: ignore[method-assign]
        machine.snapshot = self._snapshot  # type: ignore[method-assign]
        say(f"listening on {self._listener.address}"
            + ("; the guest waits for a debugger" if waits else ""))  # fmt: skip

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self._listener.address

    @property
    def traveller(self) -> Traveller | OneWay:
        """Who walks the run."""
        return self.walk.traveller

    def close(self, status: int = 0) -> None:
        """The run is over, with this exit status: a debugger that is there is told, and the machine runs as
        before.
        """
        if self._connection is not None and self._going is not None:
            self._send([b"W%02x" % (status & 0xFF)])
        self._drop()
        self._listener.close()
        for name in ("run", "restore", "snapshot", "console_input"):
            vars(self.machine).pop(name, None)

    # --- in the place of the machine's own

    def _run(
        self, max_instructions: int | None = None, timeout_ns: int | None = None, host: Host | None = None
    ) -> RunResult:
        if self._inside:
            return type(self.machine).run(self.machine, max_instructions, timeout_ns, host)
        self._inside = True
        try:
            self._begin(timeout_ns, host)
            limit = None if max_instructions is None else self.machine.instructions + max_instructions
            while True:
                result = self._wait() if self._held else self._go(limit)
                if result is not None:
                    return result
        finally:
            self._inside = False

    def _begin(self, timeout_ns: int | None, host: Host | None) -> None:
        machine = self.machine
        self._deadline = None if timeout_ns is None else machine.turns.now() + timeout_ns
        if self._stale:
            self._stale = False
            self.walk = Walk(self._traveller(), self._session)
        elif machine.injection is None:
            self.traveller.keep()  # whoever runs the machine may have changed it since
        self.traveller.asked = self._look
        self._keyboard.belongs_to(host)
        self.traveller.pace = None if host is None else PACE_NS

    def _restore(self, snapshot: Snapshot) -> None:
        type(self.machine).restore(self.machine, snapshot)
        self._stale = not self._inside

    def _snapshot(self) -> Snapshot:
        taken = type(self.machine).snapshot(self.machine)
        self._stale = True
        return taken

    def _traveller(self) -> Traveller | OneWay:
        machine = self.machine
        if machine.arguments["perf"] != "model":
            return OneWay(machine, "it counts with this machine's own counters")
        if not _reverses(machine):
            return OneWay(machine, "its fault plan has begun")
        return Traveller(machine, self._budget, anew=machine.injection is not None)

    def _new_session(self) -> Session:
        machine = self.machine
        reverses = _reverses(machine) if self._stale else isinstance(self.traveller, Traveller)
        return Session(
            machine, self.points, lambda line, vcpu: self.monitor.answer(line, vcpu),
            reverses=reverses, writes=machine.injection is None or not reverses,
        )  # fmt: skip

    # --- while the guest goes

    def _go(self, limit: int | None) -> RunResult | None:
        """The guest goes, with a debugger or without; the result where the run is over."""
        go = self._going
        if go is None:
            with self.attention():
                arrival = self.traveller.onwards(NOTHING, limit)
            return self._result(arrival, limit)
        try:
            if go.step and go.how == "onwards" and self.walk.destination is None:
                arrival = self.walk.go(go, limit)
            else:
                with self.attention():
                    arrival = self.walk.go(go, limit)
        except VpmuError as error:
            self._send([said(str(error)), stop_reply(self._session, TRAP, b"")])
            self._held, self._going = True, None
            return None
        if self._going is not go:  # who wanted it is gone
            return self._result(arrival, limit)
        if arrival.why == "interrupted" and self._late():
            return self._result(arrival, limit)
        if arrival.why == "end" and arrival.end is not None:
            if arrival.end.stop in FOR_THE_CALLER:
                return arrival.end
            return self._end(arrival)
        if (
            arrival.why == "there"
            and limit is not None
            and self.machine.instructions >= limit
            and not go.step
        ):
            return self._end(Arrival("end", end=self._straight(max_instructions=0)))
        self.walk.over = None
        self._held, self._going = True, None
        self._send(self.walk.told(go, arrival))
        return None

    def _end(self, arrival: Arrival) -> RunResult | None:
        """The run is over: a debugger is told once, and may go back; who goes on again ends it."""
        result = arrival.end
        assert result is not None
        go = self._going
        assert go is not None
        if (self.walk.over is not None and not go.step) or isinstance(self.traveller, OneWay):
            return result
        self.walk.over = result
        self._held, self._going = True, None
        back = "reverse-continue goes back, continue ends it"
        self._send(
            [said(f"the run is over: {result.stop} ({result.reason}); {back}"), *self.walk.told(go, arrival)]
        )
        return None

    def _result(self, arrival: Arrival, limit: int | None) -> RunResult | None:
        match arrival.why:
            case "end":
                return arrival.end
            case "there" if limit is not None and self.machine.instructions >= limit:
                return self._straight(max_instructions=0)
            case _ if self._late():
                return self._straight(timeout_ns=0)
        return None

    def _straight(self, **limits: Unpack[Limits]) -> RunResult:
        return type(self.machine).run(self.machine, **limits)

    def _late(self) -> bool:
        return self._deadline is not None and self.machine.turns.now() >= self._deadline

    def _look(self) -> bool:
        """Between two pieces of a walk: whether it shall end."""
        self._keyboard.keep_pace()
        for source in ready(self._sources(), 0):
            if source is self._listener:
                if self._accept():
                    return True
            else:
                self._receive()
                if self._connection is None:
                    return True
        if Mark.INTERRUPT in self._waiting:
            while self._waiting.popleft() is not Mark.INTERRUPT:
                pass  # nobody may send these while the guest goes: they are left out
            return True
        return self._late()

    @contextmanager
    def attention(self) -> Iterator[None]:
        """While something takes long: who wants it to end is heard."""
        turns = self.machine.turns
        if Mark.INTERRUPT in self._waiting:  # it came with the packet that lets the guest go
            turns.interrupt(ASKED)
        try:
            with attention(self._sources(), lambda: turns.interrupt(ASKED)):
                yield
        finally:
            turns.uninterrupt(ASKED)

    # --- while it waits

    def _wait(self) -> RunResult | None:
        """The guest waits: answer until it shall go; the result where the run is ended."""
        while self._waiting:
            event = self._waiting.popleft()
            if isinstance(event, bytes) and not self._answer(event):
                return self._ended()
        for source in ready(self._sources(), None if self._keyboard.host is None else SECONDS):
            if source is self._listener:
                self._accept()
            else:
                self._receive()
        self._keyboard.poll()
        if self.machine.turns.halted is not None:  # left with Ctrl-A X
            self._drop()
            return self._straight()
        return None

    def _ended(self) -> RunResult | None:
        """After a Go: None where the guest goes, else it is killed."""
        if self._going is not None and self._going.how == "kill":
            self._drop()
            self._held, self._going = False, None
            self.machine.halt(KILLED, "the debugger killed it")
            return self._straight()
        return None

    def _answer(self, data: bytes) -> bool:
        """Answer a packet; False where the guest goes, or is killed."""
        session = self._session
        answer = session.handle(data)
        if isinstance(answer, list):
            self._send(answer)
            if self._connection is not None:
                self._connection.acks = session.acks
            return True
        self._held, self._going = False, answer
        if answer.how == "detach":
            self._send([OK])
            self._drop()
            self._going = None
        elif answer.how == "kill":
            self._send([OK if data.startswith(b"v") else b"X09"])  # lldb waits for one, gdb for none
        return False

    # --- who is there

    def _sources(self) -> list[Listener | Connection]:
        return [self._listener] if self._connection is None else [self._connection, self._listener]

    def _accept(self) -> bool:
        """Somebody is at the door: whether he was let in."""
        connection = self._listener.accept(self._connection)
        if connection is None:
            return False
        self._connection, self._held, self._going = connection, True, None
        self._waiting.clear()
        self.points.clear()
        self._session = self._new_session()
        if not self._stale:
            self.walk.session = self._session
        self._session.stopped = stop_reply(self._session, TRAP, b"")
        say(f"{connection.name} debugs the guest, at instruction {self.machine.instructions:,}")
        return True

    def _receive(self) -> None:
        """Take what the debugger sends."""
        connection = self._connection
        assert connection is not None
        try:
            for event in connection.receive():
                match event:
                    case Mark.INTERRUPT:
                        self._waiting.append(event)
                    case Mark.AGAIN:
                        connection.again()
                    case Mark.DAMAGED:
                        connection.acknowledge(b"-")
                    case bytes():
                        connection.acknowledge(b"+")
                        self._waiting.append(event)
        except ConnectionError as gone:
            self._lost(str(gone))

    def _lost(self, why: str) -> None:
        connection = self._connection
        if connection is None:
            return
        waits = f"the guest waits at instruction {self.machine.instructions:,} for another one"
        say(f"{connection.name} is gone ({why}); {waits if self._held else 'the guest goes on'}")
        self._drop()
        self._going = None

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._waiting.clear()
        self.points.clear()

    def _send(self, packets: list[bytes]) -> None:
        try:
            for data in packets:
                if self._connection is not None:
                    self._connection.send(data)
        except ConnectionError as gone:
            self._lost(str(gone))


def _reverses(machine: Machine) -> bool:
    """Whether a run of it can go back."""
    begun = machine.injection is not None and machine.injection.injector.begun
    return machine.arguments["perf"] == "model" and not begun
