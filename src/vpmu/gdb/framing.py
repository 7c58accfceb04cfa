"""Packets of gdb's remote serial protocol: `$data#checksum`, as they come in whatever pieces (gdb manual, E.1
Overview). Whatever is no packet is left out; nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

LONGEST = 0x4000
"""Bytes of a packet's data, in both directions (qSupported's PacketSize)."""
_ESCAPE, _FLIP = 0x7D, 0x20
_SPECIAL = frozenset(b"#$}*")


class Mark(Enum):
    """What can come beside a packet."""

    ACK = auto()
    AGAIN = auto()
    """The last packet of ours has been damaged on its way."""
    INTERRUPT = auto()
    """Ctrl-C."""
    DAMAGED = auto()
    """A packet with a wrong checksum, or one that is too long."""


class Reader:
    """Takes bytes, gives packets and marks. `nonsense`: bytes that were neither."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.nonsense = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes | Mark]:
        """What is complete with these bytes. Data of packets is unescaped."""
        self._held += data
        while self._held:
            first = self._held[0]
            if first == ord("$"):
                end = self._held.find(b"#")
                again = self._held.find(b"$", 1, end if end >= 0 else len(self._held))
                if again >= 0:  # a new packet begins: the one before was cut off
                    del self._held[:again]
                    yield Mark.DAMAGED
                    continue
                if end < 0 or len(self._held) < end + 3:
                    if len(self._held) <= 2 * LONGEST + 4:
                        return
                    self._held.clear()
                    yield Mark.DAMAGED
                    return
                body, tail = bytes(self._held[1:end]), bytes(self._held[end + 1 : end + 3])
                del self._held[: end + 3]
                yield unescaped(body) if tail.lower() == checksum(body) else Mark.DAMAGED
                continue
            del self._held[0]
            mark = _MARKS.get(first)
            if mark is not None:
                yield mark
            elif len(self.nonsense) < 64:
                self.nonsense.append(first)


_MARKS = {ord("+"): Mark.ACK, ord("-"): Mark.AGAIN, 3: Mark.INTERRUPT}


def checksum(body: bytes) -> bytes:
    """Two hexadecimal digits: the sum of the bytes as they are sent."""
    return b"%02x" % (sum(body) & 0xFF)


def packet(data: bytes) -> bytes:
    """A packet with this data, ready to be sent."""
    body = escaped(data)
    return b"$" + body + b"#" + checksum(body)


def escaped(data: bytes) -> bytes:
    """Binary data as it stands in a packet."""
    if not _SPECIAL & set(data):
        return data
    out = bytearray()
    for byte in data:
        out += bytes((_ESCAPE, byte ^ _FLIP)) if byte in _SPECIAL else bytes((byte,))
    return bytes(out)


def unescaped(body: bytes) -> bytes:
    """The other way; an escape at the end stands for nothing."""
    if _ESCAPE not in body:
        return body
    out, flip = bytearray(), 0
    for byte in body:
        if byte == _ESCAPE and not flip:
            flip = _FLIP
            continue
        out.append(byte ^ flip)
        flip = 0
    return bytes(out)
