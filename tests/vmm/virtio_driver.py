"""A driver of virtio-mmio in a few lines: what Linux's does, and what it would not do."""

from __future__ import annotations

import struct

from vpmu import Machine
from vpmu.vmm.devicetree import VIRTIO_BASE, VIRTIO_SIZE

RAM = 0x80000000
DESCRIPTORS, DRIVER, DEVICE, BUFFERS = RAM + 0x10000, RAM + 0x12000, RAM + 0x13000, RAM + 0x20000
SIZE = 16


class Driver:
    """One device with one queue of SIZE descriptors."""

    def __init__(self, machine: Machine, slot: int = 0, features: int = 1 << 32) -> None:
        self.machine, self.base = machine, VIRTIO_BASE + VIRTIO_SIZE * slot
        self.index = self.seen = 0
        self.write(0x70, 0)
        self.write(0x70, 3)
        for word in (0, 1):
            self.write(0x24, word)
            self.write(0x20, features >> 32 * word & 0xFFFFFFFF)
        self.write(0x70, 11)
        self.accepted = bool(self.read(0x70) & 8)
        self.write(0x30, 0)
        self.write(0x38, SIZE)
        for register, address in ((0x80, DESCRIPTORS), (0x90, DRIVER), (0xA0, DEVICE)):
            self.write(register, address & 0xFFFFFFFF)
            self.write(register + 4, address >> 32)
        for area in (DRIVER, DEVICE):
            machine.memory.write(area, bytes(0x100))
        self.write(0x44, 1)
        self.write(0x70, 15)

    def read(self, offset: int, size: int = 4) -> int:
        return self.machine.bus.read(self.base + offset, size)

    def write(self, offset: int, value: int) -> None:
        self.machine.bus.write(self.base + offset, value, 4)

    def offer(self, head: int) -> None:
        """Put the head of a chain into the available ring, and ring."""
        memory = self.machine.memory
        memory.write(DRIVER + 4 + 2 * (self.index % SIZE), struct.pack("<H", head))
        self.index = self.index + 1 & 0xFFFF
        memory.write(DRIVER + 2, struct.pack("<H", self.index))
        self.write(0x50, 0)

    def describe(self, number: int, gpa: int, size: int, flags: int, following: int = 0) -> None:
        entry = struct.pack("<QIHH", gpa, size, flags, following)
        self.machine.memory.write(DESCRIPTORS + 16 * number, entry)

    def ask(self, out: bytes, room: int) -> tuple[int, bytes] | None:
        """A request of two buffers: how many bytes were written, and the second one; None: no answer came."""
        at = BUFFERS + (len(out) + 0xFFF & ~0xFFF)
        self.machine.memory.write(BUFFERS, out)
        self.describe(0, BUFFERS, len(out), 1, 1)
        self.describe(1, at, room, 2)
        self.offer(0)
        used = int.from_bytes(self.machine.memory.read(DEVICE + 2, 2), "little")
        if used == self.seen:
            return None
        entry = self.machine.memory.read(DEVICE + 4 + 8 * (self.seen % SIZE), 8)
        self.seen = used
        head, written = struct.unpack("<II", entry)
        assert head == 0
        return written, self.machine.memory.read(at, room)

    def block(self, kind: int, sector: int, data: bytes = b"", room: int = 0) -> tuple[int, bytes]:
        """A request of virtio-blk: its status, and what was read."""
        answer = self.ask(struct.pack("<IIQ", kind, 0, sector) + data, room + 1)
        assert answer is not None
        return answer[1][room], answer[1][:room]
