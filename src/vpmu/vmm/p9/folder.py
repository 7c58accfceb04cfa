"""A folder of the host, and no way out of it: every step of a path is opened from the one before, none of
them is a link, and `..` stays inside. Links are for the guest to follow, on its side.

What a guest can see is what is in the folder, and nothing of the host's own: owners, clock, order of entries,
free space and numbers of files are the same wherever the folder lies.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path as HostPath
from typing import NamedTuple

from vpmu.errors import FileError, UsageError

LAYER = "share"
Path = tuple[bytes, ...]
"""From the folder down; () is the folder itself."""
_STEP = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_THING = os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK)
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
PERMISSIONS = 0o777
"""Of a mode that a guest sets: it makes nobody's program run as somebody else on the host."""
FOLDER_SIZE = 4096
DEEPEST = 256
"""Folders inside one another: the host has to be able to clean up."""


class Share(NamedTuple):
    """A shared folder of a machine: `tag` is what a guest mounts, `readonly` whether it may write."""

    folder: str
    tag: str
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a guest sees of a file: its number, mode, links, size, and when it was changed (ns)."""

    number: int
    mode: int
    links: int
    size: int
    changed: int


class Folder:
    """The files below a folder. `clock` is the guest's (ns): what it changes bears its time. Methods raise
    OSError; of those that change something EROFS where the folder is read-only.
    """

    _top = -1

    def __init__(self, folder: str, clock: Callable[[], int], *, readonly: bool = False) -> None:
        self._clock, self.readonly = clock, readonly
        self.numbers: dict[tuple[int, int], int] = {}
        """(device, inode) of the host -> number of the guest, in the order in which it saw them."""
        self.last = 0
        self.times: dict[int, int] = {}
        """Number -> the guest's time, of what it has changed."""
        self.newest = 0
        """The last of all times that it has seen."""
        try:
            self._top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            made = FileError.from_os_error(folder, error)
            made.layer = LAYER
            raise made from None
        except ValueError as error:
            raise UsageError("--share", expected="a folder", got=repr(str(error)), layer=LAYER) from None

    def __del__(self) -> None:
        if self._top >= 0:
            os.close(self._top)

    # ------------------------------------------------------------ the way down

    @contextmanager
    def _folder(self, path: Path) -> Iterator[int]:
        """A descriptor of the folder at a path; every step of it is a folder and no link."""
        fd = self._top
        if len(path) > DEEPEST:
            raise OSError(errno.ENAMETOOLONG, "too deep")
        try:
            for name in path:
                below = os.open(check_name(name), _STEP, dir_fd=fd)
                if fd != self._top:
                    os.close(fd)
                fd = below
            yield fd
        finally:
            if fd != self._top:
                os.close(fd)

    @contextmanager
    def _thing(self, path: Path) -> Iterator[int]:
        """A descriptor that names what is at a path, a link itself where it is one."""
        if not path:
            yield self._top
            return
        with self._folder(path[:-1]) as above:
            fd = os.open(check_name(path[-1]), _THING, dir_fd=above)
            try:
                yield fd
            finally:
                os.close(fd)

    def _status(self, path: Path) -> os.stat_result:
        if not path:
            return os.fstat(self._top)
        with self._folder(path[:-1]) as above:
            return os.stat(check_name(path[-1]), dir_fd=above, follow_symlinks=False)

    # ------------------------------------------------------------ looking

    def _number(self, status: os.stat_result) -> int:
        if not status.st_nlink:
            return 0  # open, without a name: the host may soon give its number to another one
        key = status.st_dev, status.st_ino
        if key not in self.numbers:
            self.last += 1
            self.numbers[key] = self.last
        return self.numbers[key]

    def look(self, path: Path) -> Attributes:
        """What is there."""
        return self.seen(self._status(path))

    def seen(self, status: os.stat_result) -> Attributes:
        """What a guest sees of it."""
        number = self._number(status)
        folder = stat.S_ISDIR(status.st_mode)
        changed = self.times.get(number, status.st_mtime_ns if number else self.newest)
        self.newest = max(self.newest, changed)
        return Attributes(
            number,
            status.st_mode,
            1 if folder else status.st_nlink,
            FOLDER_SIZE if folder else status.st_size,
            changed,
        )

    def names(self, path: Path) -> list[bytes]:
        """What is in a folder, in order of the names."""
        with self._folder(path) as above:
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
            try:
                return sorted(map(os.fsencode, os.listdir(fd)))  # noqa: PTH208  # by a descriptor
            finally:
                os.close(fd)

    def target(self, path: Path) -> bytes:
        """Where a link points, as it stands."""
        with self._folder(path[:-1]) as above:
            return os.readlink(check_name(path[-1] if path else b""), dir_fd=above)

    def open(self, path: Path, flags: int) -> int:
        """A descriptor of a regular file: nothing else is opened, so that nothing waits or has effects."""
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
            self.check_writable()
        mode = self._status(path).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.ENXIO, "not a regular file")
        with self._folder(path[:-1]) as above:
            return self._regular(os.open(path[-1], flags | _SAFE, dir_fd=above))

    def _regular(self, fd: int) -> int:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        raise OSError(errno.ENXIO, "not a regular file")

    # ------------------------------------------------------------ changing

    def check_writable(self) -> None:
        """OSError where nothing may be changed."""
        if self.readonly:
            raise OSError(errno.EROFS, "the share is read-only")

    def touched(self, status: os.stat_result) -> None:
        """It has changed now: by the guest's clock, or just behind all that it has seen, so that what it
        makes of a file is newer than the file.
        """
        self.newest = max(self._clock(), self.newest + 1)
        self.times[self._number(status)] = self.newest

    @contextmanager
    def _changing(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """The folder that a path is in, and the name in it, to change what is there."""
        self.check_writable()
        if not path:
            raise OSError(errno.EBUSY, "the shared folder itself")
        with self._folder(path[:-1]) as above:
            yield above, check_name(path[-1])
            self.touched(os.fstat(above))

    def _new(self, name: bytes, above: int) -> None:
        self.touched(os.stat(name, dir_fd=above, follow_symlinks=False))

    def create(self, path: Path, flags: int, mode: int) -> int:
        """A new regular file, or one that is there, opened."""
        with self._changing(path) as (above, name):
            fd = os.open(name, flags | os.O_CREAT | os.O_EXCL | _SAFE, mode & PERMISSIONS, dir_fd=above)
            os.fchmod(fd, mode & PERMISSIONS)  # whatever the host's umask is
            self.touched(os.fstat(fd))
            return fd

    def make_folder(self, path: Path, mode: int) -> None:
        """A new folder."""
        with self._changing(path) as (above, name):
            os.mkdir(name, mode & PERMISSIONS, dir_fd=above)
            with self._thing(path) as fd:
                _change_mode(fd, mode & PERMISSIONS)
            self._new(name, above)

    def make_link(self, path: Path, target: bytes) -> None:
        """A symbolic link, with whatever the guest wants in it: nobody here follows it."""
        with self._changing(path) as (above, name):
            os.symlink(target, name, dir_fd=above)
            self._new(name, above)

    def link(self, old: Path, new: Path) -> None:
        """Another name of a file."""
        with self._changing(new) as (above, name), self._folder(old[:-1]) as before:
            if not old:
                raise OSError(errno.EPERM, "the shared folder itself")
            os.link(check_name(old[-1]), name, src_dir_fd=before, dst_dir_fd=above, follow_symlinks=False)
            self._new(name, above)

    def rename(self, old: Path, new: Path) -> None:
        """Another name and place."""
        with self._changing(old) as (before, source), self._changing(new) as (above, name):
            moved = os.stat(source, dir_fd=before, follow_symlinks=False)
            try:
                replaced = os.stat(name, dir_fd=above, follow_symlinks=False)
            except FileNotFoundError:
                replaced = moved
            os.rename(source, name, src_dir_fd=before, dst_dir_fd=above)
            if not os.path.samestat(moved, replaced):
                self._gone(replaced)

    def remove(self, path: Path, *, folder: bool) -> None:
        """Take a name away; `folder`: of an empty folder."""
        with self._changing(path) as (above, name):
            status = os.stat(name, dir_fd=above, follow_symlinks=False)
            if folder:
                os.rmdir(name, dir_fd=above)
            else:
                os.unlink(name, dir_fd=above)
            self._gone(status)

    def _gone(self, status: os.stat_result) -> None:
        """The host may give a file's number to another one, the guest's does not come again."""
        if stat.S_ISDIR(status.st_mode) or status.st_nlink < 2:
            number = self.numbers.pop((status.st_dev, status.st_ino), None)
            if number is not None:
                self.times.pop(number, None)

    def set_mode(self, path: Path, mode: int) -> None:
        """Its permissions."""
        self.check_writable()
        with self._thing(path) as fd:
            _change_mode(fd, mode & PERMISSIONS)

    def set_size(self, path: Path, size: int, fd: int = -1) -> None:
        """Cut or lengthen a regular file; `fd`: that is open already."""
        there = fd if fd >= 0 else self.open(path, os.O_WRONLY)
        try:
            os.ftruncate(there, size)
            self.touched(os.fstat(there))
        finally:
            if fd < 0:
                os.close(there)

    def set_time(self, path: Path, changed: int | None) -> None:
        """When it was changed last (ns); None: now."""
        self.check_writable()
        status = self._status(path)
        if changed is None:
            self.touched(status)
            return
        if path:
            with self._folder(path[:-1]) as above:
                os.utime(path[-1], ns=(changed, changed), dir_fd=above, follow_symlinks=False)
        self.times[self._number(status)] = changed
        self.newest = max(self.newest, changed)


def _change_mode(fd: int, mode: int) -> None:
    """chmod of exactly what a descriptor names, which may be one that only names."""
    if stat.S_ISLNK(os.fstat(fd).st_mode):
        raise OSError(errno.EOPNOTSUPP, "the mode of a link")
    if hasattr(os, "O_PATH"):
        HostPath(f"/proc/self/fd/{fd}").chmod(mode)
    else:
        os.fchmod(fd, mode)


def check_name(name: bytes) -> bytes:
    """A name that is one step down and nothing else. OSError."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise OSError(errno.EINVAL, "not a name")
    return name
