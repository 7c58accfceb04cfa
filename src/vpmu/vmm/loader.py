"""Guest images: what a file is (ELF, RISC-V Linux Image, flat machine code) and where its bytes go.

Nothing is written here; the machine copies the segments into its RAM. Layout as of QEMU's ``virt``: RAM at
0x80000000, flat images and kernels 2 MiB above (where OpenSBI hands over), ELF files where they are linked.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from vpmu.brief import Brief
from vpmu.errors import FileError, ImageError
from vpmu.vmm import elf

if TYPE_CHECKING:  # see vpmu.errors
    from pathlib import Path

DEFAULT_MEMORY_BASE = 0x80000000
DEFAULT_MEMORY_SIZE = 128 << 20
FLAT_OFFSET = 0x200000
"""Where a flat image goes, from the start of RAM."""

MAX_FILE_SIZE = 2 << 30
"""No image is larger: what reads longer than this is /dev/zero, or a mistake."""

LINUX_MAGIC = b"RSC\x05"
LINUX_MAGIC_OFFSET = 0x38
_LINUX_HEADER = struct.Struct("<8xQQQI")
"""text_offset, image_size, flags, version (Linux: Documentation/arch/riscv/boot-image-header.rst)."""

_NOT_CODE = (
    (b"\x1f\x8b", "a gzip file (decompress it first)"),
    (b"\x28\xb5\x2f\xfd", "a zstd file (decompress it first)"),
    (b"\xfd7zXZ\x00", "an xz file (decompress it first)"),
    (b"BZh", "a bzip2 file (decompress it first)"),
    (b"PK\x03\x04", "a zip file"),
    (b"!<arch>", "an archive (ar)"),
    (b"#!", "a script"),
    (b"\xd0\x0d\xfe\xed", "a device tree blob"),
    (b"070701", "a cpio archive"),
    (b"vpmu-snapshot\r\n", "a snapshot of vpmu (from Python: Snapshot.load)"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O file"),
)


Buffer = bytes | memoryview


class ImageKind(StrEnum):
    """What a guest image is."""

    ELF = "ELF executable"
    LINUX = "RISC-V Linux Image"
    FLAT = "flat image"


@dataclass(frozen=True, slots=True, repr=False)
class LoadedImage(Brief):
    """An image that fits: bytes to copy as (gpa, data), ranges to clear as (gpa, size), and the entry's gpa.

    RAM of a new machine is zero, so `zeroes` matters only when an image is loaded into a used one.
    """

    name: str
    kind: ImageKind
    segments: list[tuple[int, Buffer]]
    entry: int
    zeroes: list[tuple[int, int]]
    data: Buffer

    @property
    def end(self) -> int:
        """The first gpa above everything that the image occupies."""
        return max(
            max(gpa + len(data) for gpa, data in self.segments),
            max((gpa + size for gpa, size in self.zeroes), default=0),
        )

    def physical(self, address: int) -> int:
        """Where a byte of an ELF image lies that is linked for an address; others lie where they run."""
        if self.kind is ImageKind.ELF:
            for segment in elf.parse(bytes(self.data)).segments:
                if segment.virtual <= address < segment.virtual + segment.memory_size:
                    return address - segment.virtual + segment.physical
        return address

    def symbols(self) -> dict[str, int]:
        """Symbols of an ELF image; empty for the other kinds.

        :raises ImageError: the symbol table cannot be read.
        """
        if self.kind is not ImageKind.ELF:
            return {}
        try:
            return elf.symbols(bytes(self.data))
        except elf.ElfError as error:
            raise ImageError(self.name, error.what) from None


def load_image(
    source: str | Path | Buffer,
    memory_base: int = DEFAULT_MEMORY_BASE,
    memory_size: int = DEFAULT_MEMORY_SIZE,
    *,
    kind: ImageKind | None = None,
    address: int | None = None,
    called: str = "image",
) -> LoadedImage:
    """Read a guest image and say what goes where; every byte of it lies inside the RAM given.

    :param source: a file, the name of a bundled payload, or the bytes themselves.
    :param kind: what it must be; None finds out, and refuses files that are known to be something else.
    :param called: what bytes are called in errors.
    :param address: gpa of a flat image, in place of `memory_base` + 2 MiB.
    :raises UnknownNameError: neither a file nor a payload.
    :raises FileError: the file cannot be read.
    :raises ImageError: it is not a guest image for RV64, is truncated, or does not fit.
    """
    name = called if isinstance(source, Buffer) else str(source)
    try:
        data = source if isinstance(source, Buffer) else read_file(source)
    except FileError as error:
        if error.errno != errno.ENOENT or not isinstance(source, str) or "/" in source or "." in source:
            raise
        from vpmu.payloads import find_image

        name = str(find_image(source))
        data = read_file(name)
    if not data:
        raise ImageError(name, "empty file")
    found = _identify(name, data) if kind is not ImageKind.FLAT else ImageKind.FLAT
    if kind is not None and kind is not found:
        raise ImageError(name, "wrong kind of image", expected=f"a {kind}", got=f"a {found}")
    match found:
        case ImageKind.ELF:
            image = _load_elf(name, data)
        case ImageKind.LINUX:
            image = _load_linux(name, data, memory_base)
        case _:
            start = memory_base + FLAT_OFFSET if address is None else address
            image = LoadedImage(name, found, [(start, data)], start, [], data)
    _check_fit(image, memory_base, memory_size)
    return image


def map_file(path: str | Path) -> memoryview:
    """A file's bytes where the kernel has them: nothing is read before it is used. Raises OSError.

    For files of our own that nobody shortens while they are mapped.
    """
    with open(path, "rb") as file:  # noqa: PTH123 (pathlib is not imported)
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_file(path: str | Path) -> bytes:
    """All bytes of a file.

    :raises FileError: it is absent, a directory, may not be read, or goes on for ever (a device).
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (pathlib is not imported)
            if stat.S_ISCHR(os.fstat(file.fileno()).st_mode):  # /dev/zero never ends
                raise FileError(path, "a device", expected="a file")
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise FileError.from_os_error(path, error) from None
    except ValueError:
        raise FileError(repr(str(path)), "not a file name") from None
    if len(data) > MAX_FILE_SIZE:
        raise FileError(path, "too large", expected=f"<= {_size(MAX_FILE_SIZE)}", got="more")
    return data


def _identify(name: str, data: Buffer) -> ImageKind:
    head = bytes(data[:512])
    if head.startswith(elf.MAGIC):
        return ImageKind.ELF
    if data[LINUX_MAGIC_OFFSET : LINUX_MAGIC_OFFSET + 4] == LINUX_MAGIC:
        return ImageKind.LINUX
    expected = "ELF, RISC-V Linux Image or flat machine code"
    for magic, what in _NOT_CODE:
        if head.startswith(magic):
            raise ImageError(name, "not a guest image", expected=expected, got=what)
    if data[4:8] == b"zimg":
        raise ImageError(name, "not a guest image", expected=expected, got="a compressed kernel (zboot)")
    if head.startswith(b"MZ"):
        raise ImageError(
            name, "not a guest image", expected=expected, got="a PE file without the RISC-V Image header"
        )
    if all(byte in b"\t\n\r\f" or 0x20 <= byte < 0x7F for byte in head):
        # No sequence of RISC-V instructions that does anything is plain text.
        raise ImageError(name, "not a guest image", expected=expected, got="a text file")
    return ImageKind.FLAT


def _load_elf(name: str, data: Buffer) -> LoadedImage:
    try:
        file = elf.parse(bytes(data))
    except elf.ElfError as error:
        raise ImageError(name, error.what, expected=error.expected, got=error.got) from None
    segments: list[tuple[int, Buffer]] = []
    zeroes = []
    for segment in file.segments:
        if segment.file_size:
            segments.append((segment.physical, data[segment.offset : segment.offset + segment.file_size]))
        if rest := segment.memory_size - segment.file_size:
            zeroes.append((segment.physical + segment.file_size, rest))
    if not segments:
        raise ImageError(name, "nothing to load", expected="a segment with bytes", got="only zeros")
    return LoadedImage(name, ImageKind.ELF, segments, file.entry, zeroes, data)


def _load_linux(name: str, data: Buffer, memory_base: int) -> LoadedImage:
    if len(data) < 0x40:
        raise ImageError(name, "truncated Linux Image header", expected="64 bytes", got=len(data))
    text_offset, image_size, flags, _version = _LINUX_HEADER.unpack_from(data)
    if flags & 1:
        raise ImageError(name, "wrong byte order of the kernel", expected="little-endian", got="big-endian")
    if (needed := _pe_size(data)) > len(data):
        raise ImageError(name, "truncated kernel", expected=f"{needed} bytes", got=len(data))
    start = memory_base + text_offset
    zeroes = [(start + len(data), image_size - len(data))] if image_size > len(data) else []
    return LoadedImage(name, ImageKind.LINUX, [(start, data)], start, zeroes, data)


def _pe_size(data: Buffer) -> int:
    """Bytes that the section table of an EFI-stub kernel accounts for; 0 if it has none.

    The Image header gives only the size in memory, which a whole file does not reach: the difference is .bss.
    """
    pe: int
    sections: int
    optional: int
    (pe,) = struct.unpack_from("<I", data, 0x3C)
    if data[:2] != b"MZ" or data[pe : pe + 4] != b"PE\0\0" or pe + 24 > len(data):
        return 0
    sections, optional = struct.unpack_from("<6xH12xH", data, pe)
    table = pe + 24 + optional
    if table + 40 * sections > len(data):
        return table + 40 * sections
    ends = [0]
    for section in range(table, table + 40 * sections, 40):
        raw_size, raw_offset = struct.unpack_from("<16xII", data, section)
        ends.append(raw_offset + raw_size)
    return max(ends)


def _check_fit(image: LoadedImage, memory_base: int, memory_size: int) -> None:
    end = memory_base + memory_size
    ram = f"inside {memory_base:#x}..{end - 1:#x} ({_size(memory_size)} of RAM)"
    ranges = [(gpa, len(data)) for gpa, data in image.segments] + image.zeroes
    for gpa, size in ranges:
        if gpa < memory_base or gpa + size > end:
            what = "segment outside RAM" if image.kind is ImageKind.ELF else "image does not fit"
            raise ImageError(image.name, what, expected=ram, got=f"{gpa:#x}..{gpa + size - 1:#x}")
    if not memory_base <= image.entry < end:
        raise ImageError(image.name, "entry outside RAM", expected=ram, got=f"{image.entry:#x}")


def _size(size: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift and size % (1 << shift) == 0:
            return f"{size >> shift} {unit}"
    return f"{size} bytes"
