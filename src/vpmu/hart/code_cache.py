"""Files of compiled code that are kept between processes, and run only if nobody but us can have made them.

A file is used when it and its folder are ours and nobody else may write them, and when it is whole and what
its place says: it begins with a digest of its folder's name, its own name (which stand for the engine, the
host's CPU and the page of code) and its contents. Anything else is said in a line, and built again. A cache
that cannot be read or written costs time and nothing else.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

from vpmu.hart.digest import digest

_MAGIC = b"vpmu-code-2\n"
_HEAD = len(_MAGIC) + 32  # and a digest
_ASIDE = ".new-"  # files that are being written, by the process that writes them
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
# no link is followed, no FIFO waited for
_FLAGS = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_BINARY"))


def load(path: Path) -> bytes | None:
    """What was stored there; None where there is nothing that may run."""
    data = _read(path)
    if data is None:
        return None
    if data[:_HEAD] == _MAGIC + _digest(path, data[_HEAD:]):
        return data[_HEAD:]
    _say(path.parent, path.name, "damaged, or of another engine; built again")
    return None


def _read(path: Path) -> bytes | None:
    """A file that is ours; None where there is none."""
    if folder_trouble(path.parent):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    except OSError:
        return None
    try:
        trouble = _strange(os.fstat(descriptor))
        if not trouble:
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                return stream.read()
    except OSError as error:
        trouble = f"{error.strerror}; built again"
    finally:
        os.close(descriptor)
    _say(path.parent, path.name, trouble)
    return None


def store(path: Path, data: bytes) -> None:
    """Keep `data` there: whole or not at all, also after a crash. A folder that is not ours is left alone."""
    aside = path.parent / f"{_ASIDE}{os.getpid()}-{threading.get_ident()}-{path.name}"
    try:
        make_folder(path.parent)
        if folder_trouble(path.parent):
            return
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(_MAGIC + _digest(path, data) + data)
                stream.flush()
                os.fsync(descriptor)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError:
        return


def make_folder(folder: Path) -> None:
    """Create a folder of the cache, with those above it. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def folder_trouble(folder: Path) -> str:
    """Why what lies in a folder must not run, said once; empty for one of ours. What processes that were
    killed have left there is removed.
    """
    try:
        trouble = _strange(folder.lstat(), is_folder=True)
        if not trouble and folder not in _tidied:
            _tidied.add(folder)
            _tidy(folder)
    except OSError:
        return ""  # nothing there yet
    if trouble:
        _say(folder.parent, folder.name, trouble)
    return trouble


def _digest(path: Path, data: bytes) -> bytes:
    return digest(f"{path.parent.name}/{path.name}\n".encode(), data)


def _strange(status: os.stat_result, *, is_folder: bool = False) -> str:
    """Why somebody else may have made this; empty where nobody can have."""
    if not (stat.S_ISDIR if is_folder else stat.S_ISREG)(status.st_mode):
        return f"not a {'folder' if is_folder else 'file'}; not used"
    if not hasattr(os, "geteuid"):
        return ""
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}; not used"
    if status.st_mode & _OTHERS:
        return f"others may write it (mode {stat.S_IMODE(status.st_mode):o}); not used"
    return ""


def _tidy(folder: Path) -> None:
    """Remove files that a process which is gone was writing."""
    for entry in os.scandir(folder):
        writer = entry.name.removeprefix(_ASIDE).partition("-")[0]
        if entry.name.startswith(_ASIDE) and not (writer.isdigit() and _is_alive(int(writer))):
            Path(entry.path).unlink(missing_ok=True)


def is_aside(name: str) -> bool:
    """Whether a file of that name is being written."""
    return name.startswith(_ASIDE)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


_said: set[tuple[Path, str]] = set()
_tidied: set[Path] = set()


def _say(folder: Path, name: str, trouble: str) -> None:
    """One line on standard error for each kind of trouble in a folder."""
    if (folder, trouble) not in _said:
        _said.add((folder, trouble))
        print(f"vpmu: cache of compiled code: {folder / name}: {trouble}", file=sys.stderr)
