"""Frames of the agent's serial protocol (guests/agent.c), and the search for them in a stream that lies.

`A5 5A`, sequence, length (2 bytes), check of these two, payload, CRC-32 of sequence, length and payload;
numbers are little-endian. A byte that is lost, doubled or flipped costs the frame it is in, never gives a
wrong one.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

MAGIC = b"\xa5\x5a"
HEADER = 6
TRAILER = 4
MAX_PAYLOAD = 16384


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. `sequence` (0 to 255) ties an answer to its request."""

    sequence: int
    payload: bytes

    def pack(self) -> bytes:
        """The bytes on the line. Raises ValueError for a payload that is too long."""
        if len(self.payload) > MAX_PAYLOAD:
            raise ValueError(f"frame: at most {MAX_PAYLOAD} bytes of payload, got {len(self.payload)}")
        head = struct.pack("<BH", self.sequence, len(self.payload))
        check = bytes([header_check(self.sequence, len(self.payload))])
        crc = zlib.crc32(head + self.payload)
        return MAGIC + head + check + self.payload + struct.pack("<I", crc)


def header_check(sequence: int, length: int) -> int:
    """Check byte of a header: a wrong length must not swallow what follows."""
    return 0x5F ^ (sequence * 31 & 0xFF) ^ ((length & 0xFF) * 7 & 0xFF) ^ ((length >> 8) * 13 & 0xFF)


class FrameReader:
    """Finds frames in what arrives. `dropped` counts the places where something was no frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.dropped = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes; the frames that are complete now, in order."""
        self._buffer += data
        frames: list[Frame] = []
        while True:
            frame = self._next()
            if frame is None:
                return frames
            frames.append(frame)

    def _next(self) -> Frame | None:
        buffer = self._buffer
        while True:
            start = buffer.find(MAGIC)
            if start < 0:
                # The last byte may be the first half of a magic.
                del buffer[: -1 if buffer[-1:] == MAGIC[:1] else len(buffer)]
                return None
            del buffer[:start]
            if len(buffer) < HEADER:
                return None
            sequence, length = struct.unpack_from("<BH", buffer, len(MAGIC))
            if buffer[HEADER - 1] != header_check(sequence, length) or length > MAX_PAYLOAD:
                self._skip()
                continue
            end = HEADER + length + TRAILER
            if len(buffer) < end:
                return None
            payload = bytes(buffer[HEADER : HEADER + length])
            (crc,) = struct.unpack_from("<I", buffer, HEADER + length)
            if crc != zlib.crc32(bytes(buffer[2:5]) + payload):
                self._skip()
                continue
            del buffer[:end]
            return Frame(sequence, payload)

    def _skip(self) -> None:
        """Not a frame: look for the next magic behind this one, which may lie inside what looked like a
        payload.
        """
        self.dropped += 1
        del self._buffer[: len(MAGIC)]

    def forget(self) -> None:
        """Drop what waits for the rest of a frame that will not come."""
        self._buffer.clear()
