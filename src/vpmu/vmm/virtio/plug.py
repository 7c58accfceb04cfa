"""What is plugged into a machine's virtio slots, in the order in which Linux names it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vpmu.errors import MachineError
from vpmu.vmm.virtio.block import Block
from vpmu.vmm.virtio.image import Disk, Image

if TYPE_CHECKING:
    from vpmu.vmm.board import Board

DiskLike = Disk | tuple[str, str] | str


def add_disks(board: Board, disks: Sequence[DiskLike]) -> tuple[Disk, ...]:
    """Put each disk into a slot; what they are. FileError for a file that is no image."""
    found = tuple(Disk(disk) if isinstance(disk, str) else Disk(*disk) for disk in disks)
    for disk in found:
        board.add_virtio(Block(Image(disk)))
    return found


def images(board: Board) -> Iterator[Image]:
    """The images of all disks."""
    return (device.backend.image for device in board.virtio if isinstance(device.backend, Block))


def identity(board: Board) -> list[str]:
    """What snapshots have in common with a machine: each disk's size, mode and content."""
    return [f"{image.size} bytes, {image.mode}, {image.digest()}" for image in images(board)]


def check_snapshot(board: Board, what: str = "snapshot") -> None:
    """MachineError where a state cannot be gone back to: what a guest wrote to a file stays written."""
    for image in images(board):
        if image.mode == "write":
            raise MachineError(what, expected="disks with their writes on top", got=f"{image.path},write")
