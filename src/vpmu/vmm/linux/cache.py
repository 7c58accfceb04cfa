"""The cache folder of one fetched guest: results, a manifest written last, and a lock.

Results are written under another name and renamed; only a manifest that agrees with the files makes them
count. So whatever kills a fetch, the next one sees either a whole guest or none.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vpmu.errors import FileError, VpmuError
from vpmu.files import read_json, replacing
from vpmu.hart.digest import sha256

if TYPE_CHECKING:
    from vpmu.vmm.linux.progress import Progress

HINT = "; or pass your own guest with --kernel IMAGE and --initrd ARCHIVE"
FORMAT = 1
MANIFEST = "manifest.json"


class FetchError(VpmuError):
    """The guest cannot be fetched; the message says why and what to pass instead."""

    layer = "fetch"

    def __str__(self) -> str:
        return super().__str__() + HINT


class Result(NamedTuple):
    """A result file as it was when the fetch ended; `size` in bytes."""

    size: int
    mtime_ns: int
    sha256: str


class Manifest(NamedTuple):
    """What a complete fetch left: `recipe` names the initramfs's build rules, `versions` are by package."""

    recipe: str
    release: str
    versions: dict[str, str]
    files: dict[str, Result]


def default_root() -> Path:
    """XDG_CACHE_HOME/vpmu, by default ~/.cache/vpmu (XDG Base Directory: a relative path does not count)."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "vpmu"


def suite_cache(kind: str, suite: str, root: Path | None) -> Cache:
    """The cache of a guest or host of a Debian suite. FetchError for what cannot be the name of one."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", suite):
        raise FetchError("bad suite", expected="a Debian suite such as trixie", got=repr(suite))
    return Cache((root if root is not None else default_root()) / f"{kind}-{suite}")


class Cache:
    """One folder under the cache root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def current(self) -> Manifest | None:
        """The manifest, when every file it names is there unchanged; None when a fetch has to be done."""
        try:
            raw = read_json(self.folder / MANIFEST)
            if raw.pop("format") != FORMAT:
                return None
            files = {name: Result(**result) for name, result in raw.pop("files").items()}
            manifest = Manifest(files=files, **raw)
        except (FileError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return manifest if all(self._unchanged(name, result) for name, result in files.items()) else None

    def _unchanged(self, name: str, result: Result) -> bool:
        try:
            status = (self.folder / name).stat()
            if status.st_size != result.size:
                return False
            # A copied or restored cache has new times; its content decides then.
            return status.st_mtime_ns == result.mtime_ns or _sha256(self.folder / name) == result.sha256
        except OSError:
            return False

    def write(self, name: str, data: bytes) -> Result:
        """Put a result file in place, whole or not at all."""
        with replacing(self.folder / name) as stream:
            stream.write(data)
        status = (self.folder / name).stat()
        return Result(status.st_size, status.st_mtime_ns, sha256(data).hexdigest())

    def commit(self, manifest: Manifest) -> None:
        """Declare the files complete: the last step of a fetch."""
        files = {name: result._asdict() for name, result in manifest.files.items()}
        text = json.dumps({"format": FORMAT, **manifest._asdict(), "files": files}, indent=2) + "\n"
        self.write(MANIFEST, text.encode())

    def free_bytes(self) -> int:
        """Bytes that may still be written to the folder's disk."""
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    @contextmanager
    def lock(self, waiting: Callable[[], None]) -> Iterator[int]:
        """One fetch per folder at a time; `waiting` is called if another runs. Gives its descriptor."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield stream.fileno()


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals of the folder into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FetchError(f"the cache folder's disk is full: {folder}") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise FetchError(f"the cache folder cannot be written: {folder} ({error.strerror})") from error
        raise FetchError(f"the cache folder cannot be used: {folder} ({error.strerror or error})") from error


@contextmanager
def fetching(cache: Cache, progress: Progress | None) -> Iterator[tuple[int, Progress]]:
    """One fetch into the cache's folder: the descriptor of its lock, and who hears how far it is, the
    terminal by default. Refusals of the disk are FetchErrors.
    """
    if progress is None:
        from vpmu.vmm.linux.progress import Progress

        progress = Progress()
    waiting = f"waiting for another fetch into {cache.folder}"
    with storage_errors(cache.folder):
        try:
            with cache.lock(lambda: progress.step(waiting)) as lock:
                yield lock, progress
        except BaseException:
            progress.finish(complete=False)
            raise


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
