"""Files that are written whole: beside the old one, synced, then renamed over it. The only way in which vpmu
writes a file that somebody reads afterwards; what is written as it comes (traces, journals) is not.

A reader sees the old file or the new one. A full disk leaves the old one. What a killed writer leaves is
removed by the next one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import FileError

PART = ".part"
"""Ending of a file that is being written."""


def write_file(path: str | Path, content: str | bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file, whole or not at all; text as UTF-8, what UTF-8 has not as `?`. FileError."""
    if isinstance(content, str):
        content = content.encode("utf-8", "replace")
    with written(path) as stream:
        for part in (content,) if isinstance(content, bytes) else content:
            stream.write(part)


@contextmanager
def written(path: str | Path) -> Iterator[IO[bytes]]:
    """As `replacing`; FileError for what the operating system refuses."""
    try:
        with replacing(Path(path)) as stream:
            yield stream
    except OSError as error:
        raise FileError.from_os_error(path, error) from None
    except ValueError as error:  # a NUL in the name
        raise FileError(repr(str(path)), str(error)) from None


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose content becomes the file `path` when the block ends well, and nothing otherwise.
    A link goes on pointing at the file; a device or a pipe is written to as it is. OSError.
    """
    target = path.resolve()
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        with target.open("wb") as device:
            yield device
        return
    _sweep(target)
    stream, part = _claim(target)
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _claim(target: Path) -> tuple[IO[bytes], Path]:
    """A new file beside `target`, held by a lock that ends with its writer."""
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666
    number = 0
    while True:
        part = target.with_name(f".{target.name[:200]}.{os.getpid()}-{number}{PART}")
        number += 1
        try:
            stream = os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode), "wb")
        except FileExistsError:
            continue
        with suppress(OSError):  # a file system without locks
            fcntl.flock(stream, fcntl.LOCK_EX)
        if os.fstat(stream.fileno()).st_nlink:  # nobody took it for a leftover before it was locked
            return stream, part
        stream.close()


def _sweep(target: Path) -> None:
    """Remove what writers of `target` left that were killed."""
    head = f".{target.name[:200]}."
    for path in list(target.parent.iterdir()):
        if path.name.startswith(head) and path.name.endswith(PART):
            with suppress(OSError), path.open("rb") as stream:  # a writer holds it, or it is not ours
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):  # file systems that cannot
            raise
    finally:
        os.close(handle)
