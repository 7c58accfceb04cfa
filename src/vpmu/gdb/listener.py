"""The socket that debuggers come to, and the one that has come."""

from __future__ import annotations

import select
import socket
import sys
from dataclasses import dataclass

from vpmu.errors import UsageError
from vpmu.gdb.framing import Mark, Reader, packet

LOOPBACK = "127.0.0.1"
PATIENCE = 10.0
"""Seconds that a debugger may take no byte before it is taken for lost."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`1234`, `:1234`, `tcp::1234`, `HOST:PORT`, `[::1]:PORT`; without a host the loopback address. Port 0
    is any that is free. UsageError.
    """
    plain = text.strip().removeprefix("tcp:")
    host, colon, port = plain.rpartition(":")
    host = host.strip("[]") if colon else ""
    if not port.isdecimal() or int(port) > 65535 or (":" in host and not plain.startswith("[")):
        raise UsageError("address for gdb", expected="PORT, :PORT or HOST:PORT", got=text or "nothing")
    return Address(host or LOOPBACK, int(port))


def say(line: str) -> None:
    """One line about the debugger, on standard error."""
    print(f"vpmu: gdb: {line}", file=sys.stderr, flush=True)


class Connection:
    """A debugger that has come. `ConnectionError` from any method: it is gone."""

    def __init__(self, peer: socket.socket, name: str) -> None:
        self._socket, self.name = peer, name
        peer.settimeout(PATIENCE)
        if peer.family in (socket.AF_INET, socket.AF_INET6):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = Reader()
        self.acks = True
        self._sent = b""
        self._told = False

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def receive(self) -> list[bytes | Mark]:
        """What has come, waiting for something."""
        try:
            data = self._socket.recv(1 << 16)
        except OSError as error:
            raise ConnectionError(str(error)) from None
        if not data:
            raise ConnectionError("it closed the connection")
        events = list(self.reader.feed(data))
        if self.reader.nonsense and not self._told:
            self._told = True
            say(f"{self.name}: expected packets of gdb's remote protocol, got "
                f"{bytes(self.reader.nonsense[:24])!r}; it is ignored")  # fmt: skip
        return events

    def send(self, data: bytes) -> None:
        """A packet."""
        self._sent = packet(data)
        self._out(self._sent)

    def again(self) -> None:
        """The last packet once more."""
        if self._sent:
            self._out(self._sent)

    def acknowledge(self, mark: bytes) -> None:
        """`+` or `-`, where those are still sent."""
        if self.acks:
            self._out(mark)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _out(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise ConnectionError(str(error)) from None


class Listener:
    """Listens; one debugger at a time is let in. UsageError where it cannot listen."""

    def __init__(self, address: Address) -> None:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((address.host, address.port))
            self._socket.listen(4)
        except OSError as error:
            self._socket.close()
            why = (error.strerror or str(error)).lower()
            raise UsageError(
                f"no debugger can come to {address}", expected="a free address of this machine", got=why
            ) from None
        self.address = Address(address.host, self._socket.getsockname()[1])

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def accept(self, busy: Connection | None) -> Connection | None:
        """Who is at the door; None where he was sent away, because one is there, or has gone again."""
        try:
            peer, who = self._socket.accept()
        except OSError:
            return None
        name = f"{who[0]}:{who[1]}"
        if busy is not None:
            peer.close()
            say(f"{name} was sent away: {busy.name} debugs this guest")
            return None
        return Connection(peer, name)

    def close(self) -> None:
        """Nobody comes any more."""
        self._socket.close()


def ready(sources: list[Listener | Connection], seconds: float | None) -> list[Listener | Connection]:
    """Those of them that have something; None waits as long as it takes."""
    return select.select(sources, [], [], seconds)[0]
