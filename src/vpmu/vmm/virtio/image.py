"""Disk images: raw files, read where they lie. What a guest writes lies on top and never reaches the file,
unless that is asked for.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from vpmu.errors import FileError, UsageError

LAYER = "disk"
SECTOR, BLOCK = 512, 4096
MODES = {
    "copy": "writes lie on top, and are gone after the run",
    "ro": "read only",
    "write": "writes go to the file",
}
_FORMATS = {
    b"QFI\xfb": "qcow2", b"KDMV": "VMDK", b"<<< ": "VDI", b"conectix": "VHD", b"vhdxfile": "VHDX",
    b"\x1f\x8b": "gzip", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"PK\3\4": "zip",
    b"\x7fELF": "ELF", b"!<arch>": "Debian package", b"070701": "cpio",
}  # fmt: skip
"""What is no raw image, by its first bytes."""
_CHUNK = 1 << 20


class Disk(NamedTuple):
    """A disk of a machine: the file of a raw image, and what becomes of what is written (see MODES)."""

    path: str
    mode: str = "copy"

    @classmethod
    def parse(cls, text: str) -> Disk:
        """`IMAGE[,ro|,write]` as on the command line. UsageError."""
        path, comma, mode = text.rpartition(",")
        if not comma or mode not in MODES:
            path, mode = text, "copy"
        if not path or "\0" in path:
            raise UsageError("--disk", expected="IMAGE[,ro] or IMAGE,write", got=repr(text), layer=LAYER)
        return cls(path, mode)


class Image:
    """An open image. FileError for what is none, or what somebody else writes to."""

    _fd = -1

    def __init__(self, disk: Disk) -> None:
        if disk.mode not in MODES:
            raise UsageError("mode of a disk", expected=", ".join(MODES), got=repr(disk.mode), layer=LAYER)
        self.disk = disk
        self.path, self.mode = disk
        flags = os.O_CLOEXEC | os.O_NONBLOCK | (os.O_RDWR if self.mode == "write" else os.O_RDONLY)
        try:
            self._fd = os.open(self.path, flags)
        except OSError as error:
            raise FileError.from_os_error(self.path, error) from None
        except ValueError as error:
            raise FileError(repr(self.path), str(error), layer=LAYER) from None
        self.size = self._examine()
        self.written: dict[int, bytes] = {}
        """What lies on top: blocks of BLOCK bytes by number."""
        self.sum = 0
        """Of the hashes of these, so that a hash of the state need not look at all of them again."""
        self._digest: str | None = None

    def _examine(self) -> int:
        fd = self._fd
        kind = os.fstat(fd).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISBLK(kind):
            raise FileError(
                self.path, "not a disk image", expected="a file", got="something else", layer=LAYER
            )
        if not self._lock() and not (
            gc.collect() and self._lock()
        ):  # a machine that is gone may have held it
            raise FileError(self.path, "the image is in use: somebody writes to it, or would see it change",
                            layer=LAYER)  # fmt: skip
        start, size = os.pread(fd, 16, 0), os.lseek(fd, 0, os.SEEK_END)
        for magic, name in _FORMATS.items():
            if start.startswith(magic):
                hint = (
                    " (qemu-img convert -O raw makes one)" if magic[0] not in b"\x1f\xfd\x28B!0\x7fP" else ""
                )
                raise FileError(
                    self.path, f"not a raw disk image{hint}", expected="raw", got=name, layer=LAYER
                )
        if not size or size % SECTOR:
            raise FileError(self.path, "not a disk image", expected=f"1 or more times {SECTOR} bytes",
                            got=f"{size} bytes", layer=LAYER)  # fmt: skip
        return size

    def _lock(self) -> bool:
        """One may write, or many read."""
        kind = fcntl.LOCK_EX if self.mode == "write" else fcntl.LOCK_SH
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return True

    @property
    def sectors(self) -> int:
        """Its size in sectors of 512 bytes."""
        return self.size // SECTOR

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the disk, as the guest has left it. OSError where the file does not give them."""
        data = os.pread(self._fd, size, offset)
        if len(data) < size:
            raise OSError(f"{self.path} has become shorter")
        if not self.written:
            return data
        first, last = offset // BLOCK, (offset + size - 1) // BLOCK
        found = [number for number in range(first, last + 1) if number in self.written]
        if not found:
            return data
        merged = bytearray(data)
        for number in found:
            at = number * BLOCK - offset
            block = self.written[number]
            merged[max(at, 0) : min(at + BLOCK, size)] = block[max(-at, 0) : min(BLOCK, size - at)]
        return bytes(merged)

    def write(self, offset: int, data: bytes) -> None:
        """Write on top, or to the file. OSError."""
        if self.mode == "write":
            view, fd = memoryview(data), self._fd
            while view:
                done = os.pwrite(fd, view, offset)
                view, offset = view[done:], offset + done
            return
        at = 0
        while at < len(data):
            number, start = divmod(offset + at, BLOCK)
            part = data[at : at + BLOCK - start]
            if len(part) < BLOCK:
                length = min(BLOCK, self.size - number * BLOCK)
                old = self.read(number * BLOCK, length)
                part = (old[:start] + part + old[start + len(part) :]).ljust(BLOCK, b"\0")
            self._put(number, part)
            at += BLOCK - start

    def _put(self, number: int, block: bytes) -> None:
        self.sum += _hash(number, block) - (
            _hash(number, self.written[number]) if number in self.written else 0
        )
        self.written[number] = block

    def flush(self) -> None:
        """What was written to the file is on the host's disk afterwards. OSError."""
        if self.mode == "write":
            os.fsync(self._fd)

    def put_back(self, written: dict[int, bytes], total: int) -> None:
        """What lies on top, as it was."""
        self.written, self.sum = dict(written), total

    def digest(self) -> str:
        """Of what the file holds; read once. Two images with the same bytes have the same one."""
        if self._digest is None:
            made = hashlib.blake2b(digest_size=16)
            for at, chunk in self._chunks():
                if chunk.strip(b"\0"):
                    made.update(at.to_bytes(8, "little") + hashlib.blake2b(chunk, digest_size=16).digest())
            self._digest = made.hexdigest()
        return self._digest

    def _chunks(self) -> Iterator[tuple[int, bytes]]:
        """Every chunk that may hold anything but zeros."""
        fd, at = self._fd, 0
        while at < self.size:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA) // _CHUNK * _CHUNK
            except OSError:  # no more data
                return
            yield at, os.pread(fd, _CHUNK, at)
            at += _CHUNK

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def total_of(written: dict[int, bytes]) -> int:
    """What `sum` is for these blocks."""
    return sum(_hash(number, block) for number, block in written.items())


def _hash(number: int, block: bytes) -> int:
    key = number.to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(block, digest_size=16, key=key).digest(), "little")
