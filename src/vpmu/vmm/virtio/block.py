"""virtio-blk (virtio 1.2, section 5.2): a disk image as the guest's /dev/vda."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

from vpmu.vmm.virtio.image import BLOCK, SECTOR, Image, total_of
from vpmu.vmm.virtio.queue import BrokenQueue, Chain

F_SEG_MAX, F_RO, F_BLK_SIZE, F_FLUSH = 1 << 2, 1 << 5, 1 << 6, 1 << 9
OK, IOERR, UNSUPP = 0, 1, 2
SEG_MAX = 254
"""Buffers of data in a request: a queue's descriptors without header and status."""
ID = b"vpmu"


class Request(IntEnum):
    """Types of requests that are known (5.2.6)."""

    IN, OUT, FLUSH, GET_ID = 0, 1, 4, 8


_HEADER = struct.Struct("<IIQ")


class Block:
    """What is behind the transport of a disk."""

    device_id: ClassVar[int] = 2
    queues: ClassVar[int] = 1

    def __init__(self, image: Image) -> None:
        self.image = image
        self.features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | (F_RO if image.mode == "ro" else 0)

    def config(self) -> bytes:
        """capacity, size_max, seg_max, geometry, blk_size (5.2.4)."""
        return struct.pack("<QII4xI", self.image.sectors, 0, SEG_MAX, SECTOR).ljust(0x40, b"\0")

    def reset(self) -> None:
        """The disk stays what it is."""

    def serve(self, chain: Chain) -> int:
        """One request of the driver; its last byte is the status."""
        request, room = chain.read(), chain.room
        if len(request) < _HEADER.size or room < 1:
            raise BrokenQueue("a request without header or status")
        kind, _, sector = _HEADER.unpack_from(request)
        status, answer = OK, b""
        try:
            match kind:
                case Request.IN:
                    status, answer = self._read(sector, room - 1)
                case Request.OUT:
                    status = self._write(sector, request[_HEADER.size :])
                case Request.FLUSH:
                    self.image.flush()
                case Request.GET_ID:
                    answer = ID.ljust(20, b"\0")[: room - 1]
                case _:
                    status = UNSUPP
        except OSError:
            status, answer = IOERR, b""
        if answer:
            chain.write(answer)
        chain.write(bytes((status,)), room - 1)
        return room if status == OK else 1

    def _there(self, sector: int, size: int) -> bool:
        return not size % SECTOR and sector + size // SECTOR <= self.image.sectors

    def _read(self, sector: int, size: int) -> tuple[int, bytes]:
        return (OK, self.image.read(sector * SECTOR, size)) if self._there(sector, size) else (IOERR, b"")

    def _write(self, sector: int, data: bytes) -> int:
        if self.image.mode == "ro" or not self._there(sector, len(data)):
            return IOERR
        self.image.write(sector * SECTOR, data)
        return OK

    def hashed(self) -> dict[str, object]:
        """The hash of the image below, and the sum of what lies on top."""
        return {"content": "" if self.image.mode == "write" else self.image.digest(), "sum": self.image.sum}

    def state(self) -> dict[str, object]:
        """What lies on top of the image."""
        return {"written": dict(self.image.written), "sum": self.image.sum}

    def resume(self, state: Mapping[str, object]) -> None:
        """What `state` gave."""
        self.image.put_back(state["written"], state["sum"])  # type: ignore[arg-type]

    def check(self, where: str, state: object) -> None:
        """Senseless for what cannot lie on top of this image."""
        from vpmu.vmm.snapshot_kinds import expect, table, within

        saved = table(where, state)
        written = table(f"{where}: blocks", saved["written"])
        for number, block in written.items():
            within(f"{where}: block", number, 0, (self.image.size - 1) // BLOCK)
            expect(
                isinstance(block, bytes) and len(block) == BLOCK, f"{where}: block", f"{BLOCK} bytes", block
            )
        expect(not written or self.image.mode == "copy", f"{where}: blocks", "none", len(written))
        expect(saved["sum"] == total_of(written), f"{where}: sum", "that of the blocks", saved["sum"])
