"""Compiled regions of the hot tier, kept between processes: by engine, then by the contents of the page of
code.

A file holds what has been compiled of one page: for each region its entries, the offsets of its
instructions and the machine code. What a page's code does depends on its bytes alone, so an equal page may
use the regions at once.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import NamedTuple

from vpmu.hart import code_cache

MAX_PAGES = 4096  # files; beyond that, the oldest half goes
_PAGE_NAME = re.compile("[0-9a-f]{40}")  # the digest of a page's bytes
_HEAD = struct.Struct("<IHH")  # bytes of code, number of entries, number of instructions


class CachedRegion(NamedTuple):
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

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def load(self, key: str) -> list[CachedRegion]:
        """What is known of a page; nothing for a damaged file, which is then forgotten."""
        if key in self._known:
            data = code_cache.load(self._folder / key)
            if data is not None:
                return _unpack(data)
            self._known.discard(key)
        return []

    def add(self, key: str, region: CachedRegion) -> None:
        """Keep one more region of a page."""
        regions = [*self.load(key), region]
        if len(self._known) >= MAX_PAGES:
            self._shrink()
        code_cache.store(self._folder / key, _pack(regions))
        self._known.add(key)

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
