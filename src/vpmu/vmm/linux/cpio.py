"""Writer and reader of cpio `newc` archives, the format of an initramfs.

Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst and init/initramfs.c. The writer is
deterministic: times are 0, owners are root, inode numbers follow the sorted names.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from vpmu.brief import Brief
from vpmu.errors import VpmuError

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
HEADER_SIZE = 110
ALIGNMENT = 4
BLOCK = 512
MAX_FILE_SIZE = 0xFFFF_FFFF


class CpioError(VpmuError):
    """An archive that cannot be written, or is damaged."""

    layer = "cpio"


@dataclass(frozen=True, slots=True, repr=False)
class Entry(Brief):
    """One member; no leading slash in `name`, `data` is content or link target, `device` (major, minor)."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str, permissions: int = 0o755) -> Entry:
    """A directory entry."""
    return Entry(_clean(name), stat.S_IFDIR | permissions)


def file(name: str, data: bytes, permissions: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(_clean(name), stat.S_IFREG | permissions, data)


def symlink(name: str, target: str) -> Entry:
    """A symbolic link to `target`, written as given."""
    return Entry(_clean(name), stat.S_IFLNK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    """A character device node."""
    return Entry(_clean(name), stat.S_IFCHR | permissions, device=(major, minor))


def _clean(name: str) -> str:
    path = PurePosixPath(name.lstrip("/"))
    if not path.parts or ".." in path.parts or "\0" in name:
        raise CpioError("bad member name", expected="a path inside the archive", got=repr(name))
    return str(path)


def with_parents(entries: Iterable[Entry]) -> list[Entry]:
    """The entries, sorted by name, with the directories they stand in; a name given twice is an error."""
    by_name: dict[str, Entry] = {}
    for entry in entries:
        if entry.name in by_name:
            raise CpioError(f"two entries are named {entry.name!r}")
        by_name[entry.name] = entry
    for name in list(by_name):
        for parent in PurePosixPath(name).parents:
            if str(parent) != ".":
                found = by_name.setdefault(str(parent), directory(str(parent)))
                if not stat.S_ISDIR(found.mode):
                    raise CpioError(f"{name!r} stands in {str(parent)!r}, which is not a directory")
    return [by_name[name] for name in sorted(by_name)]


def _padding(length: int, alignment: int = ALIGNMENT) -> bytes:
    return b"\0" * (-length % alignment)


def _member(inode: int, entry: Entry) -> Iterator[bytes]:
    if len(entry.data) > MAX_FILE_SIZE:
        raise CpioError(f"{entry.name!r} has {len(entry.data)} bytes, newc holds at most {MAX_FILE_SIZE}")
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    yield MAGIC + b"".join(b"%08X" % field for field in fields) + name + _padding(HEADER_SIZE + len(name))
    yield entry.data
    yield _padding(len(entry.data))


def write(entries: Iterable[Entry]) -> bytes:
    """A complete archive of the entries and their parent directories, padded to 512 bytes."""
    parts: list[bytes] = []
    for inode, entry in enumerate(with_parents(entries), start=1):
        parts.extend(_member(inode, entry))
    parts.extend(_member(0, Entry(TRAILER, 0)))
    parts.append(_padding(sum(map(len, parts)), BLOCK))
    return b"".join(parts)


def append(archive: bytes, more: bytes) -> bytes:
    """Both archives in one: Linux unpacks them in order, a later file replaces an earlier one of its name."""
    return archive + behind(len(archive), more)


def behind(size: int, more: bytes) -> bytes:
    """`more`, so that it can stand behind an archive of `size` bytes."""
    return _padding(size) + more


def read(archive: bytes) -> list[Entry]:
    """The entries of an uncompressed archive, or of several concatenated ones; CpioError when damaged."""
    entries: list[Entry] = []
    at, inside, size = 0, False, len(archive)
    while at < size:
        if not inside and archive[at] == 0:  # between archives the kernel skips zeros
            at += 1
            continue
        header = archive[at : at + HEADER_SIZE]
        if not header.startswith(MAGIC) and len(header) >= len(MAGIC):
            raise CpioError(f"no header at offset {at}", expected=MAGIC.decode(), got=repr(header[:6]))
        if len(header) < HEADER_SIZE:
            raise CpioError(_truncated(at, size))
        try:
            fields = [int(header[6 + 8 * i : 14 + 8 * i], 16) for i in range(13)]
        except ValueError as error:
            raise CpioError(f"the header at offset {at} has a field that is not hexadecimal") from error
        mode, length, name_size = fields[1], fields[6], fields[11]
        name_at = at + HEADER_SIZE
        data_at = name_at + name_size + (-(HEADER_SIZE + name_size) % ALIGNMENT)
        if data_at + length > size or name_size == 0:
            raise CpioError(_truncated(at, size))
        name = archive[name_at : name_at + name_size - 1].decode(errors="surrogateescape")
        at = data_at + length + (-length % ALIGNMENT)
        inside = name != TRAILER
        if inside:
            entries.append(Entry(name, mode, archive[data_at : data_at + length], (fields[9], fields[10])))
    if inside or not size:
        raise CpioError(_truncated(at, size))
    return entries


def _truncated(at: int, size: int) -> str:
    return f"the archive is truncated: it ends at {size} bytes inside the entry at offset {min(at, size)}"
