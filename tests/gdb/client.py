"""A debugger of a few lines: packets to a server, and a machine that is served in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vpmu.debug.names import Names
from vpmu.gdb.debugged import Debugged
from vpmu.gdb.framing import Mark, Reader, packet
from vpmu.gdb.listener import Address
from vpmu.vmm.machine import Machine, RunResult


class Client:
    """Speaks the protocol over a socket; `said` is what came in O packets."""

    def __init__(self, address: Address, seconds: float = 30.0) -> None:
        self.socket = socket.create_connection((address.host, address.port), timeout=seconds)
        self._reader = Reader()
        self._events: list[bytes | Mark] = []
        self.said = ""

    def close(self) -> None:
        self.socket.close()

    def kill(self) -> None:
        """End the run, whether the guest goes or waits."""
        with suppress(OSError):
            self.socket.sendall(b"\x03" + packet(b"k"))

    def event(self) -> bytes | Mark:
        """The next packet or mark. ConnectionError where the server hangs up."""
        while not self._events:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the server hung up")
            self._events += self._reader.feed(data)
        return self._events.pop(0)

    def send(self, data: bytes) -> None:
        self.socket.sendall(packet(data))

    def answer(self) -> bytes:
        """The next packet that is an answer; it is acknowledged."""
        while True:
            event = self.event()
            if isinstance(event, Mark):
                continue
            self.socket.sendall(b"+")
            if event[:1] == b"O" and event != b"OK":
                self.said += bytes.fromhex(event[1:].decode()).decode()
                continue
            return event

    def ask(self, data: bytes) -> bytes:
        self.send(data)
        return self.answer()

    def monitor(self, line: str) -> str:
        self.said = ""
        answer = self.ask(b"qRcmd," + line.encode().hex().encode())
        assert answer == b"OK", answer
        return self.said

    def register(self, number: int) -> int:
        return int.from_bytes(bytes.fromhex(self.ask(b"p%x" % number).decode()), "little")

    @property
    def pc(self) -> int:
        return self.register(32)

    @property
    def position(self) -> int:
        return int(self.monitor("position").split()[1].rstrip(",").replace(",", ""))


class Served:
    """A machine that runs in a thread under a debugger's server."""

    def __init__(self, machine: Machine, *, waits: bool = True, names: Names | None = None) -> None:
        self.machine = machine
        self.server = Debugged(machine, Address("127.0.0.1", 0), names or Names(lambda: None), waits=waits)
        self.result: RunResult | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.result = self.machine.run()
        except BaseException as error:
            self.error = error
        finally:
            self.server.close()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float = 30.0) -> RunResult:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the run does not end"
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result


@contextmanager
def serving(
    machine: Machine, *, waits: bool = True, names: Names | None = None
) -> Iterator[tuple[Served, Client]]:
    """A machine under a server, and a debugger that has come. What is left at the end is killed."""
    served = Served(machine, waits=waits, names=names)
    served.start()
    client = Client(served.server.address)
    try:
        yield served, client
    finally:
        if served.alive:
            client.kill()
            served.wait()
        client.close()
