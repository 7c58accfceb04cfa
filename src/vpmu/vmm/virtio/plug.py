"""What is plugged into a machine's virtio slots, in the order in which Linux names it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from vpmu.errors import MachineError, UsageError
from vpmu.vmm.p9.folder import Share
from vpmu.vmm.virtio.block import Block
from vpmu.vmm.virtio.image import Disk, Image

if TYPE_CHECKING:
    from vpmu.vmm.board import Board

DiskLike = Disk | tuple[str, str] | str
ShareLike = Share | tuple[str, str, bool]


def add_disks(board: Board, disks: Sequence[DiskLike]) -> tuple[Disk, ...]:
    """Put each disk into a slot; what they are. FileError for a file that is no image."""
    found = tuple(Disk(disk) if isinstance(disk, str) else Disk(*disk) for disk in disks)
    for disk in found:
        board.add_virtio(Block(Image(disk)))
    return found


def add_shares(board: Board, shares: Sequence[ShareLike], clock: Callable[[], int]) -> tuple[Share, ...]:
    """Put each share into a slot; what they are. FileError for what is no folder, UsageError for a tag."""
    from vpmu.vmm.virtio.share import Shared

    found = tuple(Share(*share) for share in shares)
    tags = [share.tag for share in found]
    if len(set(tags)) != len(tags) or not all(re.fullmatch(r"[\w.-]{1,31}", tag, re.ASCII) for tag in tags):
        raise UsageError("tags of shares", expected="letters and digits, each once", got=", ".join(tags),
                         layer="share")  # fmt: skip
    for share in found:
        board.add_virtio(Shared(share, clock))
    return found


def images(board: Board) -> Iterator[Image]:
    """The images of all disks."""
    return (device.backend.image for device in board.virtio if isinstance(device.backend, Block))


def identity(board: Board) -> list[str]:
    """What snapshots have in common with a machine: each disk's size, mode and content."""
    disks = [f"{image.size} bytes, {image.mode}, {image.digest()}" for image in images(board)]
    return [*disks, *("share" for _ in range(len(board.virtio) - len(disks)))]


def check_snapshot(board: Board, what: str = "snapshot") -> None:
    """MachineError where a state cannot be gone back to: what a guest wrote to a file stays written."""
    for image in images(board):
        if image.mode == "write":
            raise MachineError(what, expected="disks with their writes on top", got=f"{image.path},write")
    if what != "snapshot" and len(board.virtio) > len(list(images(board))):
        raise MachineError(
            what, expected="a machine without shares: the host's files do not go back", got="one"
        )
