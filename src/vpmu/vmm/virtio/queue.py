"""A split virtqueue as the device sees it (virtio 1.2, section 2.7). The driver is not trusted."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vpmu.hart.memory import MemoryFault

if TYPE_CHECKING:
    from vpmu.hart.memory import PhysicalMemory

MOST = 256
"""Descriptors of a queue (QueueNumMax)."""
LARGEST_CHAIN = 64 << 20
"""Bytes that one request may name, both directions together."""
NEXT, WRITE, INDIRECT = 1, 2, 4
NO_INTERRUPT = 1
_DESCRIPTOR = struct.Struct("<QIHH")
_MASK16 = 0xFFFF
FIELDS = ("size", "ready", "descriptors", "driver", "device", "seen", "used")


class BrokenQueue(Exception):
    """What a driver may not do: the device needs a reset then."""


@dataclass(slots=True)
class Chain:
    """One request: the buffers that the device reads, and those that it writes."""

    head: int
    memory: PhysicalMemory
    readable: list[tuple[int, int]] = field(default_factory=list)
    writable: list[tuple[int, int]] = field(default_factory=list)

    @property
    def room(self) -> int:
        """Bytes that the device may write."""
        return sum(size for _, size in self.writable)

    def read(self) -> bytes:
        """All that the driver has put there. BrokenQueue."""
        try:
            return b"".join([self.memory.read(at, size) for at, size in self.readable])
        except MemoryFault as fault:
            raise BrokenQueue(str(fault)) from None

    def write(self, data: bytes | memoryview, offset: int = 0) -> None:
        """Put an answer, from byte `offset` of the writable buffers on. BrokenQueue: it is not theirs."""
        view = memoryview(data)
        try:
            for at, size in self.writable:
                if offset >= size:
                    offset -= size
                    continue
                if not view:
                    return
                part = view[: size - offset]
                self.memory.write(at + offset, part)
                view, offset = view[len(part) :], 0
        except MemoryFault as fault:
            raise BrokenQueue(str(fault)) from None
        if view:
            raise BrokenQueue("an answer that does not fit")


class Queue:
    """Where a queue lies in the guest's memory, and how far the device has come with it."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self.reset()

    def reset(self) -> None:
        """As after power-on."""
        self.size, self.ready = MOST, 0
        self.descriptors = self.driver = self.device = 0  # addresses of the three areas
        self.seen = self.used = 0  # of 2^16

    def state(self) -> dict[str, int]:
        """For a snapshot."""
        return {name: getattr(self, name) for name in FIELDS}

    def resume(self, state: Mapping[str, object]) -> None:
        """What `state` gave."""
        for name in FIELDS:
            setattr(self, name, state[name])

    def pop(self) -> Chain | None:
        """The next request of the driver. BrokenQueue for one that makes no sense."""
        if not self.ready:
            return None
        available = self._word(self.driver + 2)
        if available == self.seen:
            return None
        if (available - self.seen & _MASK16) > self.size:
            raise BrokenQueue("more requests than the queue holds")
        head = self._word(self.driver + 4 + 2 * (self.seen % self.size))
        self.seen = self.seen + 1 & _MASK16
        return self._chain(head)

    def push(self, chain: Chain, written: int) -> bool:
        """Give a request back, of whose buffers so many bytes were written; whether the driver wants to be
        interrupted for it.
        """
        entry = struct.pack("<II", chain.head, written)
        try:
            self._memory.write(self.device + 4 + 8 * (self.used % self.size), entry)
            self.used = self.used + 1 & _MASK16
            self._memory.write(self.device + 2, self.used.to_bytes(2, "little"))
        except MemoryFault as fault:
            raise BrokenQueue(str(fault)) from None
        return not self._word(self.driver) & NO_INTERRUPT

    def _word(self, gpa: int) -> int:
        return int.from_bytes(self._read(gpa, 2), "little")

    def _read(self, gpa: int, size: int) -> bytes:
        try:
            return self._memory.read(gpa, size)
        except MemoryFault as fault:
            raise BrokenQueue(str(fault)) from None

    def _chain(self, head: int) -> Chain:
        table, count, number = self._read(self.descriptors, 16 * self.size), self.size, head
        chain, total, steps, inside = Chain(head, self._memory), 0, 0, False
        while True:
            steps += 1
            if number >= count or steps > count:
                raise BrokenQueue("a chain of descriptors without an end")
            gpa, size, flags, following = _DESCRIPTOR.unpack_from(table, 16 * number)
            if flags & INDIRECT:
                if inside or flags & (NEXT | WRITE) or size % 16 or not 16 <= size <= 16 << 16:
                    raise BrokenQueue("an indirect table where none can be")
                table, count, number, steps, inside = self._read(gpa, size), size // 16, 0, 0, True
                continue
            if chain.writable and not flags & WRITE:
                raise BrokenQueue("a buffer to read behind one to write")
            total += size
            if total > LARGEST_CHAIN:
                raise BrokenQueue(f"a request of more than {LARGEST_CHAIN >> 20} MiB")
            (chain.writable if flags & WRITE else chain.readable).append((gpa, size))
            if not flags & NEXT:
                return chain
            number = following
