"""An initramfs of the user's own that is to run a command: what it must have, looked at before the boot.

Our init (the file `init` beside this one) is a shell script: it needs /bin/sh, and mount, stty and poweroff
in /bin or /usr/bin. Directories to mount on, and /dev/console, come with the command where they are missing.
"""

from __future__ import annotations

import stat
import zlib
from pathlib import Path, PurePosixPath

from vpmu.errors import ImageError
from vpmu.vmm.linux import cpio, elf
from vpmu.vmm.loader import Buffer

NEEDED = ("mount", "stty", "poweroff")
FOLDERS = ("usr/bin", "bin")
"""Our init's PATH."""
DIRECTORIES = ("dev", "proc", "root", "sys", "tmp")
_MOST_LINKS = 16


class OwnInitrd:
    """The files of an initramfs; `known` is False where it is packed in a way that cannot be read here (zstd,
    lz4, lzo).
    """

    def __init__(self, data: Buffer) -> None:
        content = unpacked(bytes(data))
        entries = [] if content is None else cpio.read(content)
        self.known = content is not None
        self._entries = {entry.name.strip("/").removeprefix("./"): entry for entry in entries}

    def find(self, path: str) -> cpio.Entry | None:
        """The file that a path leads to, symbolic links followed."""
        parts, done, links = list(PurePosixPath(path.lstrip("/")).parts), PurePosixPath(), 0
        while parts:
            part = parts.pop(0)
            done = done.parent if part == ".." else done / part
            entry = self._entries.get(str(done))
            if entry is not None and stat.S_ISLNK(entry.mode):
                links += 1
                if links > _MOST_LINKS:
                    return None
                target = PurePosixPath(entry.data.decode("utf-8", "replace"))
                done = PurePosixPath() if target.is_absolute() else done.parent
                parts = [part for part in target.parts if part != "/"] + parts
        return self._entries.get(str(done))

    def missing(self) -> list[str]:
        """What our init needs and does not find."""
        absent = [] if self.find("bin/sh") is not None else ["/bin/sh"]
        return absent + [
            name for name in NEEDED if all(self.find(f"{folder}/{name}") is None for folder in FOLDERS)
        ]

    def unfit_shell(self) -> str | None:
        """Why /bin/sh cannot run, in words; None where it can as far as is seen."""
        entry = self.find("bin/sh")
        if entry is None or not stat.S_ISREG(entry.mode) or not entry.data.startswith(b"\x7fELF"):
            return None
        program = elf.dynamic(entry.data)
        if program is None:
            return "/bin/sh is not a program for 64-bit RISC-V"
        if program.interpreter is not None and self.find(program.interpreter) is None:
            return f"/bin/sh needs {program.interpreter}, which is not there"
        return None

    def additions(self) -> list[cpio.Entry]:
        """Directories and the console that our init needs, as far as they are missing."""
        found = [cpio.directory(name) for name in DIRECTORIES if self.find(name) is None]
        if self.find("dev/console") is None:
            found.append(cpio.character_device("dev/console", 5, 1))
        return found


def check(path: str | Path, data: Buffer) -> OwnInitrd:
    """An initramfs that can run a command. ImageError says in one line what it lacks."""
    try:
        initrd = OwnInitrd(data)
    except cpio.CpioError as error:
        raise ImageError(path, error.what, expected=error.expected, got=error.got) from None
    if initrd.known:
        missing, unfit = initrd.missing(), initrd.unfit_shell()
        if missing or unfit:
            needed = f"/bin/sh, and {', '.join(NEEDED)} in /bin or /usr/bin"
            raise ImageError(path, "this initramfs cannot run a command", expected=needed,
                             got=unfit or f"no {', no '.join(missing)}")  # fmt: skip
    return initrd


def unpacked(data: bytes) -> bytes | None:
    """The archive itself of an initramfs, which may be in parts that are packed or not; None where a part
    cannot be unpacked here.
    """
    from lzma import LZMAError

    out = bytearray()
    while data:
        if data.startswith((cpio.MAGIC, b"\0")):
            end = _end_of_plain(data)
            out += data[:end] + bytes(-len(data[:end]) % cpio.ALIGNMENT)
            data = data[end:]
            continue
        try:
            part, data = _unpack(data)
        except (OSError, EOFError, LZMAError, zlib.error, ValueError):
            return None
        if part is None:
            return None
        out += part + bytes(-len(part) % cpio.ALIGNMENT)
        data = data.lstrip(b"\0")
    return bytes(out)


def _end_of_plain(data: bytes) -> int:
    """Where the plain archives at the beginning end: at the first byte behind a trailer that is neither zero
    nor another archive.
    """
    at = 0
    while True:
        trailer = data.find(cpio.TRAILER.encode() + b"\0", at)
        if trailer < 0:
            return len(data)
        at = trailer + len(cpio.TRAILER) + 1
        while at < len(data) and data[at] == 0:
            at += 1
        if not data.startswith(cpio.MAGIC, at):
            return at


def _unpack(data: bytes) -> tuple[bytes | None, bytes]:
    if data.startswith(b"\x1f\x8b"):
        gzip = zlib.decompressobj(31)
        return gzip.decompress(data), gzip.unused_data
    if data.startswith(b"BZh"):
        import bz2

        packed = bz2.BZ2Decompressor()
        return packed.decompress(data), packed.unused_data
    if data.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        import lzma

        other = lzma.LZMADecompressor()
        return other.decompress(data), other.unused_data
    return None, b""
