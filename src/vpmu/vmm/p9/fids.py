"""What the numbers of a client stand for: its fids, and how many of them hold something of the host."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vpmu.brief import Brief
from vpmu.vmm.p9.messages import NOFID

if TYPE_CHECKING:
    from vpmu.vmm.p9.folder import Folder, Path

MOST_FIDS, MOST_OPEN, MOST_NAMES_KEPT = 1 << 16, 512, 1 << 18


@dataclass(slots=True, repr=False)
class Fid(Brief):
    """A path, and how it is open (flags of the host, -1: it is not). `listing`: the names of a folder that is
    read. `fd` is the host's, there when it has been used.
    """

    path: Path
    flags: int = -1
    listing: list[bytes] | None = None
    fd: int = -1

    def close(self) -> None:
        """Let go of the host's file."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


class Fids:
    """The fids of one client. Methods raise OSError for a number that is none, and for one too many."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.table: dict[int, Fid] = {}
        self._open = 0  # of them: with a file of the host
        self._names = 0  # in their listings, at most

    def clear(self) -> None:
        """The client is gone."""
        for fid in self.table.values():
            fid.close()
        self.table.clear()
        self._open = 0

    def add(self, number: int, fid: Fid) -> None:
        """A new one."""
        if number in self.table or number == NOFID:
            raise OSError(errno.EBADF, "a fid that is in use")
        if len(self.table) >= MOST_FIDS:
            raise OSError(errno.ENFILE, "too many fids")
        self.table[number] = fid

    def get(self, number: int) -> Fid:
        """The one with this number."""
        if number not in self.table:
            raise OSError(errno.EBADF, "no such fid")
        return self.table[number]

    def get_open(self, number: int) -> Fid:
        """One that is open."""
        fid = self.get(number)
        if fid.flags < 0:
            raise OSError(errno.EBADF, "not open")
        return fid

    def get_closed(self, number: int) -> Fid:
        """One that is to be opened."""
        fid = self.get(number)
        if fid.flags >= 0:
            raise OSError(errno.EBADF, "open already")
        return fid

    def drop(self, number: int) -> None:
        """It stands for nothing any more."""
        fid = self.get(number)
        del self.table[number]
        self._open -= fid.fd >= 0
        fid.close()

    def check_room(self) -> None:
        """One more file of the host may be opened."""
        if self._open >= MOST_OPEN:
            raise OSError(errno.ENFILE, "too many open files")

    def keep(self, fid: Fid, fd: int, flags: int) -> None:
        """A file of the host that was opened for it."""
        fid.fd, fid.flags = fd, flags
        self._open += 1

    def descriptor(self, fid: Fid) -> int:
        """The host's file of one that is open; after a restore it is opened again, by its path."""
        if fid.fd < 0:
            self.check_room()
            self.keep(fid, self._folder.open(fid.path, fid.flags), fid.flags)
        return fid.fd

    def list_names(self, fid: Fid) -> list[bytes]:
        """Read the names in a folder, to be gone through. Those that are kept for other fids are let go when
        they become many: they are read again.
        """
        found = [b".", b"..", *self._folder.names(fid.path)]
        self._names += len(found)
        if self._names > MOST_NAMES_KEPT:
            for other in self.table.values():
                other.listing = None
            self._names = len(found)
        fid.listing = found
        return found

    def move(self, old: Path, new: Path) -> None:
        """What stood for a path, or for something below it, follows it."""
        for fid in self.table.values():
            if fid.path[: len(old)] == old:
                fid.path = (*new, *fid.path[len(old) :])

    def state(self) -> dict[int, object]:
        """As plain data."""
        return {number: [list(fid.path), fid.flags, fid.listing] for number, fid in self.table.items()}

    def resume(self, state: Mapping[int, Any]) -> None:
        """What `state` gave. Files are opened again when they are used."""
        self.clear()
        for number, (path, flags, listing) in state.items():
            self.table[number] = Fid(tuple(path), flags, None if listing is None else list(listing))
