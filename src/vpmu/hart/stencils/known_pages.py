"""What is kept between processes of which records of a page were in lines of stencils (known.py). It follows
from nothing but the contents of pages, so all engines share it.
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from functools import lru_cache
from pathlib import Path

from vpmu.hart import code_cache, native
from vpmu.hart.memory import HostMemory
from vpmu.hart.stencils import holes

WORTH_KEEPING = 32  # pages that a run has learned: the file is not written for fewer,
NEWS = 4  # nor where they are less than one in so many: most of what a boot stitches for others is in vain
MAX_PAGES = 4096  # a megabyte, which takes 2 ms to read; a boot of Linux learns a quarter of that
_HEAD = struct.Struct("<QQ")  # rows, slots of the index


def path() -> Path:
    """The file."""
    return native.cache_directory() / "pages.known"


class KnownPages:
    """Rows in memory, and an index of them by hash: numbers from 1 on, 0 for none."""

    def __init__(self, data: bytes) -> None:
        _, slots = _HEAD.unpack_from(data)
        self._data = data  # nobody writes to it, and it stays where it is
        address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
        assert address is not None
        self.index = address + _HEAD.size
        self.mask, self.rows = slots - 1, self.index + 4 * slots


@lru_cache(maxsize=1)
def known_pages() -> KnownPages | None:
    """What earlier processes have kept."""
    data = code_cache.load(path())
    return KnownPages(data) if data else None


def _rows(data: bytes) -> dict[bytes, int]:
    """Hash of a page -> bits of its records; a run may have stitched it more than once."""
    found: dict[bytes, int] = {}
    for at in range(0, len(data), holes.KNOWN_ROW):
        key = data[at : at + 8]
        found[key] = found.get(key, 0) | int.from_bytes(data[at + 8 : at + holes.KNOWN_ROW], "little")
    return found


def packed(rows: dict[bytes, int]) -> bytes:
    """The file of some rows."""
    slots = 1 << (2 * len(rows)).bit_length()
    index = array("I", bytes(4 * slots))
    for number, key in enumerate(rows, 1):
        slot = int.from_bytes(key, "little") >> 1 & slots - 1
        while index[slot]:
            slot = slot + 1 & slots - 1
        index[slot] = number
    each = (key + bits.to_bytes(holes.KNOWN_ROW - 8, "little") for key, bits in rows.items())
    return _HEAD.pack(len(rows), slots) + index.tobytes() + b"".join(each)


def unpacked(data: bytes) -> dict[bytes, int]:
    """The rows of a file."""
    _, slots = _HEAD.unpack_from(data)
    return _rows(data[_HEAD.size + 4 * slots :])


def keep(learned: HostMemory, count: int, of: int) -> None:
    """Add rows that a run has learned, of so many times that it has stitched a page, to what is kept. What
    later runs do in a page that is known is their own: stitched for all, it would cost a boot 4 %.
    """
    if count < WORTH_KEEPING or count * NEWS < of:
        return
    rows = _rows(bytes(learned.view[: count * holes.KNOWN_ROW]))
    kept = unpacked(code_cache.load(path()) or packed({}))
    if len(kept) + len(rows) <= MAX_PAGES:
        rows |= kept  # of two runs at once, too, the first one counts
    code_cache.store(path(), packed(rows))
