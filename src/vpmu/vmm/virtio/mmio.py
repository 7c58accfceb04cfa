"""The virtio-mmio transport, version 2 (virtio 1.2, section 4.2.2): registers, features, queues, interrupt.

Whatever the driver asks for is done before its store to QueueNotify ends: nothing here has a time of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Protocol

from vpmu.vmm.virtio.queue import FIELDS, MOST, BrokenQueue, Chain, Queue

if TYPE_CHECKING:
    from vpmu.hart.memory import PhysicalMemory

MAGIC, VERSION, VENDOR = 0x74726976, 2, 0x756D7076
"""`virt`, and `vpmu` as the vendor."""
F_INDIRECT_DESC, F_VERSION_1 = 1 << 28, 1 << 32
CONFIG = 0x100
NEEDS_RESET, FEATURES_OK, DRIVER_OK = 0x40, 8, 4
USED, CONFIG_CHANGED = 1, 2
"""Bits of InterruptStatus."""
_AREAS = {0x80: ("descriptors", 0), 0x84: ("descriptors", 32), 0x90: ("driver", 0), 0x94: ("driver", 32),
          0xA0: ("device", 0), 0xA4: ("device", 32)}  # fmt: skip
_SHM = range(0xB0, 0xC0)
_WORD = 0xFFFFFFFF


class Register(IntEnum):
    """Offsets of 4.2.2; those of a queue's areas are in a table of their own."""

    MAGIC, VERSION, DEVICE, VENDOR = 0x00, 0x04, 0x08, 0x0C
    FEATURES, FEATURES_SEL, ACCEPTED, ACCEPTED_SEL = 0x10, 0x14, 0x20, 0x24
    QUEUE_SEL, NUM_MAX, NUM, READY, NOTIFY = 0x30, 0x34, 0x38, 0x44, 0x50
    INTERRUPT, ACK, STATUS, GENERATION = 0x60, 0x64, 0x70, 0xFC


REGISTERS = ("features_sel", "accepted", "accepted_sel", "queue_sel", "interrupt", "status")


class Backend(Protocol):
    """What a device is behind its transport."""

    device_id: ClassVar[int]
    queues: ClassVar[int]
    features: int

    def config(self) -> bytes:
        """Its configuration space."""

    def serve(self, chain: Chain) -> int:
        """Do one request; how many bytes of its buffers were written. BrokenQueue."""

    def reset(self) -> None:
        """The driver has begun anew."""

    def hashed(self) -> dict[str, object]:
        """What the hash of a state has of it: all that a guest can come to see, but what is the host's."""

    def state(self) -> dict[str, object]:
        """Its state as plain data, for a snapshot."""

    def resume(self, state: Mapping[str, object]) -> None:
        """What `state` gave."""

    def check(self, where: str, state: object) -> None:
        """Senseless (snapshot_kinds) for what `state` cannot have given."""


class VirtioMmio:
    """A virtio device on the bus. `interrupt` is called with the level of its line when that changes."""

    def __init__(self, backend: Backend, memory: PhysicalMemory, interrupt: Callable[[bool], None]) -> None:
        self.backend, self._line = backend, interrupt
        self.queues = [Queue(memory) for _ in range(backend.queues)]
        self._offered = backend.features | F_VERSION_1 | F_INDIRECT_DESC
        self.interrupt = self.status = 0
        self._reset()

    def _reset(self) -> None:
        self.features_sel = self.accepted = self.accepted_sel = self.queue_sel = self.status = 0
        self._raise(0)
        for queue in self.queues:
            queue.reset()
        self.backend.reset()

    def _raise(self, bits: int) -> None:
        before, self.interrupt = self.interrupt, bits
        if bool(before) != bool(bits):
            self._line(bool(bits))

    # ------------------------------------------------------------ the bus

    def read(self, offset: int, size: int = 4) -> int:
        """A register, or bytes of the configuration space."""
        if offset >= CONFIG:
            config = self.backend.config()
            return int.from_bytes(config[offset - CONFIG : offset - CONFIG + size], "little")
        queue = self.queues[self.queue_sel] if self.queue_sel < len(self.queues) else None
        match offset:
            case Register.MAGIC:
                return MAGIC
            case Register.VERSION:
                return VERSION
            case Register.DEVICE:
                return self.backend.device_id
            case Register.VENDOR:
                return VENDOR
            case Register.FEATURES:
                return self._offered >> 32 * self.features_sel & _WORD if self.features_sel < 2 else 0
            case Register.NUM_MAX:
                return MOST if queue is not None else 0
            case Register.READY:
                return queue.ready if queue is not None else 0
            case Register.INTERRUPT:
                return self.interrupt
            case Register.STATUS:
                return self.status
            case _ if offset in _SHM:
                return _WORD  # there is no shared memory region (4.2.2)
        return 0

    def write(self, offset: int, value: int, size: int = 4) -> None:
        """A register. What cannot be written is not."""
        value &= _WORD
        match offset:
            case Register.FEATURES_SEL:
                self.features_sel = value
            case Register.ACCEPTED_SEL:
                self.accepted_sel = value
            case Register.ACCEPTED if self.accepted_sel < 2 and not self.status & FEATURES_OK:
                shift = 32 * self.accepted_sel
                self.accepted = self.accepted & ~(_WORD << shift) | value << shift
            case Register.QUEUE_SEL:
                self.queue_sel = value
            case Register.NOTIFY:
                self._notify(value)
            case Register.ACK:
                self._raise(self.interrupt & ~value)
            case Register.STATUS:
                self._set_status(value)
            case _ if self.queue_sel < len(self.queues):
                self._set_queue(self.queues[self.queue_sel], offset, value)

    def _set_status(self, value: int) -> None:
        if value == 0:
            self._reset()
            return
        value &= 0xFF
        if value & FEATURES_OK and (self.accepted & ~self._offered or not self.accepted & F_VERSION_1):
            value &= ~FEATURES_OK  # 2.2.2: the driver reads it back
        self.status = value | self.status & NEEDS_RESET

    def _set_queue(self, queue: Queue, offset: int, value: int) -> None:
        if offset == Register.READY:
            queue.ready = value & 1
        elif queue.ready:
            return  # 4.2.2.2: nothing else is written to a queue that is in use
        elif offset == Register.NUM:
            if 0 < value <= MOST and not value & value - 1:
                queue.size = value
        elif offset in _AREAS:
            name, shift = _AREAS[offset]
            setattr(queue, name, getattr(queue, name) & ~(_WORD << shift) | value << shift)

    def _notify(self, number: int) -> None:
        if number >= len(self.queues) or not self.status & DRIVER_OK or self.status & NEEDS_RESET:
            return
        queue, wanted = self.queues[number], False
        try:
            while (chain := queue.pop()) is not None:
                wanted |= queue.push(chain, self.backend.serve(chain))
        except BrokenQueue:
            self.status |= NEEDS_RESET
            self._raise(self.interrupt | CONFIG_CHANGED)
            return
        if wanted:
            self._raise(self.interrupt | USED)

    # ------------------------------------------------------------ snapshots

    def _registers(self) -> dict[str, object]:
        return {
            **{name: getattr(self, name) for name in REGISTERS},
            "queues": [queue.state() for queue in self.queues],
        }

    def state(self) -> dict[str, object]:
        """As plain data, for a snapshot."""
        return {**self._registers(), "backend": self.backend.state()}

    def hashed(self) -> dict[str, object]:
        """As plain data, for the hash of a state."""
        return {**self._registers(), "backend": self.backend.hashed()}

    def resume(self, state: Mapping[str, object]) -> None:
        """What `state` gave; the interrupt controller has its own."""
        for name in REGISTERS:
            setattr(self, name, state[name])
        for queue, saved in zip(self.queues, state["queues"], strict=True):  # type: ignore[call-overload]
            queue.resume(saved)
        self.backend.resume(state["backend"])  # type: ignore[arg-type]

    def check(self, where: str, state: object) -> None:
        """Senseless for what `state` cannot have given."""
        from vpmu.vmm.snapshot_kinds import U64, expect, items, table, within

        saved = table(where, state)
        for name in REGISTERS:
            within(f"{where}: {name}", saved[name], 0, U64 if name == "accepted" else _WORD)
        for queue in items(f"{where}: queues", saved["queues"], len(self.queues)):
            numbers = table(f"{where}: queue", queue)
            for name in FIELDS:
                limit = {"size": MOST, "ready": 1, "seen": 0xFFFF, "used": 0xFFFF}.get(name, U64)
                within(f"{where}: {name}", numbers[name], 0, limit)
            size = numbers["size"]
            expect(size and not size & size - 1, f"{where}: size", "a power of two", size)
        self.backend.check(where, saved["backend"])
