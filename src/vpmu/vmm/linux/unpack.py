"""Files as kernels and their modules are packed: gzip, xz, lzma, bzip2, zstd, and an EFI zboot around one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from vpmu.vmm.linux.cache import FetchError

MAGICS = {
    b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2",
    b"\x5d\0\0": "lzma", b"\x89LZO": "lzo", b"\x02\x21\x4c\x18": "lz4", b"\x04\x22\x4d\x18": "lz4",
}  # fmt: skip
KNOWN = "gzip, xz, lzma, bzip2, zstd"
_MZ, _ZBOOT = b"MZ", b"zimg"
_SIZE = 4


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def packing(data: bytes) -> str | None:
    """How a file is packed, by its first bytes; None for one that is not."""
    return next((kind for magic, kind in MAGICS.items() if data.startswith(magic)), None)


def unpacked(data: bytes, kind: str, name: str, *, lenient: bool = False) -> bytes:
    """The content; what lies behind it is left out. `lenient`: its end may be missing. Raises FetchError."""
    import bz2
    import lzma
    import zlib

    if kind.startswith("zstd"):  # `zstd22`
        return _zstd(data, name)
    makers: dict[str, Callable[[], _Decompressor]] = {
        "gzip": lambda: zlib.decompressobj(wbits=31), "bzip2": bz2.BZ2Decompressor,
        "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
        "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE),
    }  # fmt: skip
    maker = makers.get("xz" if kind == "xzkern" else kind)
    if maker is None:
        raise FetchError(f"{name}: its compression", expected=KNOWN, got=kind)
    decompressor = maker()
    try:
        content = bytes(decompressor.decompress(data))
    except (lzma.LZMAError, zlib.error, OSError, EOFError) as error:
        raise FetchError(f"{name} cannot be uncompressed: {error}") from None
    if not decompressor.eof and not lenient:
        raise FetchError(f"{name} cannot be uncompressed: it ends too early")
    return content


def _zstd(data: bytes, name: str) -> bytes:
    """By the program that comes with every system that has such files: Python reads zstd from 3.14 on."""
    import shutil
    import subprocess

    program = shutil.which("zstd")
    if program is None:
        raise FetchError(f"{name} is a zstd file", expected="the program zstd", got="none on PATH")
    done = subprocess.run([program, "-dcq"], input=data, capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip() or f"zstd says {done.returncode}"
        raise FetchError(f"{name} cannot be uncompressed: {said}")
    return done.stdout


def without_zboot(image: bytes, name: str) -> bytes:
    """What an EFI zboot image boots, unpacked; another file as it is. Raises FetchError.

    drivers/firmware/efi/libstub/zboot-header.S: where the payload is, and how it is compressed. All but gzip
    have the size of the content behind it.
    """
    if image[:2] != _MZ or image[4:8] != _ZBOOT or len(image) < 56:
        return image
    start, size = struct.unpack_from("<II", image, 8)
    kind = image[24:56].split(b"\0", 1)[0].decode("ascii", "replace")
    payload = image[start : start + size]
    if len(payload) < size:
        raise FetchError(f"{name}: its EFI zboot image", expected=f"{size} bytes", got=f"{len(payload)}")
    end = -_SIZE if kind.startswith("zstd") else None
    return unpacked(payload[:end], kind, f"{name}: its EFI zboot image", lenient=kind == "gzip")
