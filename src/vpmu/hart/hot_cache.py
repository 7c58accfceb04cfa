"""Compiled regions of the hot tier, kept between processes: by engine, then by the contents of the page of
code.

A file holds what has been compiled of one page: for each region its entries, the offsets of its
instructions and the machine code. What a page's code does depends on its bytes alone, so an equal page may
use the regions at once. A boot of Linux uses 500 pages: `pack` puts what is there into one file, in which a
page costs a fifth of a file of its own.
"""

from __future__ import annotations

import marshal
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from vpmu.hart import code_cache
from vpmu.hart.digest import digest

MAX_PAGES = 4096  # files; beyond that, the oldest half goes
PACK = "pack"  # a file: the index's length and digest, the index (page -> where, size, digest), the pages
_PACK_HEAD = struct.Struct("<I32s")
_PAGE_NAME = re.compile("[0-9a-f]{40}")  # the digest of a page's bytes
_HEAD = struct.Struct("<IHH")  # bytes of code, number of entries, number of instructions


@dataclass(frozen=True, slots=True)
class CachedRegion:
    """A compiled region: offsets in the page of its entries and of all its instructions, and machine code.
    Without code: no region can begin at these offsets.
    """

    entries: tuple[int, ...]
    offsets: tuple[int, ...]
    code: bytes


class RegionCache:
    """The regions of one engine. A folder that cannot be read or written only makes runs slower."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            usable = not code_cache.folder_trouble(folder)
            names = (entry.name for entry in os.scandir(folder))
            self._known = {name for name in names if usable and not code_cache.is_aside(name)}
        except OSError:
            self._known = set()
        self._pages = memoryview(b"")
        self._packed: dict[str, tuple[int, int, bytes]] = {}
        if PACK in self._known:
            self._open_pack()

    def _open_pack(self) -> None:
        """Read the index of the pack."""
        self._known.discard(PACK)
        data = code_cache.load_mapped(self._folder / PACK)
        if data is None:
            return
        try:
            size, expected = _PACK_HEAD.unpack_from(data)
            index = bytes(data[_PACK_HEAD.size : _PACK_HEAD.size + size])
            if self._digest(PACK, index) != expected:
                code_cache.damaged(self._folder / PACK)
                return
        except struct.error:
            code_cache.damaged(self._folder / PACK)
            return
        self._packed, self._pages = marshal.loads(index), data[_PACK_HEAD.size + size :]

    def _digest(self, name: str, data: bytes) -> bytes:
        return digest(f"{self._folder.name}/{name}\n".encode(), data)

    def __len__(self) -> int:
        return len(self._known) + len(self._packed)

    def __contains__(self, key: str) -> bool:
        return key in self._known or key in self._packed

    def load(self, key: str) -> list[CachedRegion]:
        """What is known of a page; nothing for a damaged file, which is then forgotten. A file of its own is
        newer than the pack.
        """
        return _unpack(self._load(key))

    def _load(self, key: str) -> bytes:
        if key in self._known:
            data = code_cache.load(self._folder / key)
            if data is not None:
                return data
            self._known.discard(key)
        if key in self._packed:
            start, size, expected = self._packed[key]
            data = bytes(self._pages[start : start + size])
            if self._digest(key, data) == expected:
                return data
            del self._packed[key]
            code_cache.damaged(self._folder / PACK)
        return b""

    def add(self, key: str, region: CachedRegion) -> None:
        """Keep one more region of a page."""
        regions = [*self.load(key), region]
        if len(self._known) >= MAX_PAGES:
            self._shrink()
        code_cache.store(self._folder / key, _pack(regions))
        self._known.add(key)

    def pack(self) -> None:
        """Put the pages that have files of their own into the pack, which then takes their place."""
        names = {name for name in self._known if _PAGE_NAME.fullmatch(name)}
        wanted = [*sorted(names), *(key for key in self._packed if key not in names)][:MAX_PAGES]
        pages, index, at = [], {}, 0
        for name in wanted:
            data = self._load(name)
            if data:
                index[name] = at, len(data), self._digest(name, data)
                pages.append(data)
                at += len(data)
        table = marshal.dumps(index)
        code_cache.store(
            self._folder / PACK,
            b"".join((_PACK_HEAD.pack(len(table), self._digest(PACK, table)), table, *pages)),
        )
        self._known.add(PACK)
        self._open_pack()
        if self._packed.keys() >= index.keys():  # it has been written
            for name in names:
                (self._folder / name).unlink(missing_ok=True)
            self._known -= names

    def _shrink(self) -> None:
        try:
            pages = (entry for entry in os.scandir(self._folder) if _PAGE_NAME.fullmatch(entry.name))
            oldest = sorted(pages, key=lambda entry: entry.stat().st_mtime)[: MAX_PAGES // 2]
            for entry in oldest:
                Path(entry.path).unlink()
                self._known.discard(entry.name)
        except OSError:
            return  # somebody else is tidying up


def _pack(regions: list[CachedRegion]) -> bytes:
    parts = []
    for region in regions:
        parts.append(_HEAD.pack(len(region.code), len(region.entries), len(region.offsets)))
        parts.append(
            struct.pack(f"<{len(region.entries) + len(region.offsets)}H", *region.entries, *region.offsets)
        )
        parts.append(region.code)
    return b"".join(parts)


def _unpack(data: bytes) -> list[CachedRegion]:
    regions, at = [], 0
    while at < len(data):
        size, entries, offsets = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        numbers = struct.unpack_from(f"<{entries + offsets}H", data, at)
        at += 2 * len(numbers)
        regions.append(CachedRegion(numbers[:entries], numbers[entries:], data[at : at + size]))
        at += size
    return regions
