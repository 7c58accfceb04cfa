"""virtio-9p (virtio 1.2, section 5.9): a folder of the host that a guest mounts by its tag."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping
from typing import ClassVar

from vpmu.vmm.p9.folder import Folder, Share
from vpmu.vmm.p9.messages import HEADER, RLERROR, message
from vpmu.vmm.p9.server import Server
from vpmu.vmm.virtio.queue import BrokenQueue, Chain

F_MOUNT_TAG = 1
LEAST_ANSWER = HEADER.size + 4
"""An Rlerror."""


class Shared:
    """What is behind the transport of a share."""

    device_id: ClassVar[int] = 9
    queues: ClassVar[int] = 1
    features = F_MOUNT_TAG

    def __init__(self, share: Share, clock: Callable[[], int]) -> None:
        self.share = share
        self.server = Server(Folder(share.folder, clock, readonly=share.readonly))

    def config(self) -> bytes:
        """The tag behind its length (5.9.4)."""
        tag = self.share.tag.encode()
        return struct.pack("<H", len(tag)) + tag

    def reset(self) -> None:
        """A driver that begins anew knows of no fid."""
        self.server.reset()

    def serve(self, chain: Chain) -> int:
        """One message, and its answer."""
        request, room = chain.read(), chain.room
        if room < LEAST_ANSWER:
            raise BrokenQueue("no room for an answer")
        answer = self.server.handle(request)
        if len(answer) > room:
            tag = HEADER.unpack_from(answer)[2]
            answer = message(RLERROR, tag, struct.pack("<I", errno.EMSGSIZE))
        chain.write(answer)
        return len(answer)

    def hashed(self) -> dict[str, object]:
        """What the guest has open. The folder itself is not the machine's."""
        folder = self.server.folder
        return {**self.server.state(), "times": dict(folder.times), "newest": folder.newest}

    def state(self) -> dict[str, object]:
        """The server, and how it numbers the files that it has seen."""
        folder = self.server.folder
        return {**self.server.state(), "numbers": dict(folder.numbers), "last": folder.last,
                "times": dict(folder.times), "newest": folder.newest}  # fmt: skip

    def resume(self, state: Mapping[str, object]) -> None:
        """What `state` gave; the folder is as it is."""
        folder = self.server.folder
        self.server.resume(state)
        folder.numbers, folder.times = dict(state["numbers"]), dict(state["times"])  # type: ignore[call-overload]
        folder.last, folder.newest = state["last"], state["newest"]  # type: ignore[assignment]

    def check(self, where: str, state: object) -> None:
        """No file holds one (snapshot_file)."""
        from vpmu.vmm.snapshot_kinds import expect

        expect(False, where, "no share", "one")
