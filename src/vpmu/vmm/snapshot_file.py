"""Snapshots in files: a header in JSON, then the stored pages, both checksummed.

    magic (16 bytes) | version (u32) | length of the header (u32) | CRC-32 of the header (u32) | header
    pages, as the header's `runs` say | CRC-32 of the pages (u32)

Numbers are little-endian. A file that is damaged, of another version, or of an engine with another state
layout is
refused with a reason; nothing of it is used.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import zlib
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..errors import FileError, MachineError, VpmuError
from ..files import written
from ..hart import huge_pages
from ..hart import state as layout
from ..hart.memory import MAX_REGIONS, PAGE, HostMemory
from ..perf.description import HostPmuDescription, load_host_pmu
from ..profiles.profiles import FIRMWARE, Profile, changed, get_profile
from .snapshot import Snapshot
from .snapshot_pages import Slot, runs

MAGIC = b"vpmu-snapshot\r\n\0"
VERSION = 2
_HEAD = struct.Struct("<16sIII")
_CRC = struct.Struct("<I")
MAX_HEADER, MAX_MEMORY, MAX_DEPTH = 64 << 20, 8 << 30, 60
_KINDS: dict[str, type] = {
    "tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque, "Counter": Counter, "dict": dict,
}  # fmt: skip


class _Damaged(Exception):
    """The content makes no sense although the checksum holds."""


def layout_name() -> str:
    """Changes when the words of a hart's state do."""
    words = repr((layout.STATE, layout.CONTEXT, layout.CONTEXT_SIZE, layout.CONTEXTS, layout.MODEL_DTLB_READ))
    return hashlib.sha256(words.encode()).hexdigest()[:16]


MAX_WRITTEN = 32 << 20
"""Bytes on top of disks that a file holds: they are in the header."""


def save(snapshot: Snapshot, path: str | Path) -> None:
    """Write a snapshot; the file is there completely or not at all. Raises FileError, or MachineError for a
    machine whose state is not its own.
    """
    if snapshot.arguments.get("shares"):
        raise MachineError("snapshot in a file", expected="a machine without shares: these are this host's",
                           got="one with them")  # fmt: skip
    check_written(snapshot.devices)
    header = json.dumps(_header(snapshot), separators=(",", ":")).encode()
    header += b" " * (-(_HEAD.size + len(header)) % PAGE)  # so that pages can be mapped
    with written(path) as stream:
        stream.write(_HEAD.pack(MAGIC, VERSION, len(header), zlib.crc32(header)))
        stream.write(header)
        crc = 0
        for image, mask in zip(snapshot.images, snapshot.stored, strict=True):
            for first, last in runs(mask):
                part = image.view[first * PAGE : last * PAGE]
                crc = zlib.crc32(part, crc)
                stream.write(part)
        stream.write(_CRC.pack(crc))


def load(path: str | Path, *, ours: bool = False) -> Snapshot:
    """Read a snapshot, check all of it, and only then answer. `ours`: a file that nobody changes, only puts
    another in its place; its pages are not copied where they can be mapped. Raises FileError.
    """
    try:
        with Path(path).open("rb") as stream:
            return _load(stream, path, ours)
    except OSError as error:
        raise FileError.from_os_error(path, error) from None
    except ValueError as error:
        raise FileError(repr(str(path)), str(error)) from None


def _load(stream: IO[bytes], path: str | Path, ours: bool) -> Snapshot:
    size = os.fstat(stream.fileno()).st_size
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size or not head.startswith(MAGIC):
        raise FileError(path, "not a snapshot of vpmu", layer="snapshot")
    _, version, length, checksum = _HEAD.unpack(head)
    if version != VERSION:
        raise FileError(
            path, "snapshot of another vpmu", expected=f"version {VERSION}", got=f"version {version}",
            layer="snapshot",
        )  # fmt: skip
    if length > MAX_HEADER or _HEAD.size + length + _CRC.size > size:
        raise FileError(path, "truncated snapshot", got=f"{size} bytes", layer="snapshot")
    raw = stream.read(length)
    if zlib.crc32(raw) != checksum:
        raise FileError(path, "damaged snapshot: the checksum of the header is wrong", layer="snapshot")
    try:
        header = json.loads(raw)
        if header["layout"] != layout_name():
            raise FileError(
                path, "snapshot of another engine", expected=f"state layout {layout_name()}",
                got=f"{header['layout']} (vpmu {header['vpmu']})", layer="snapshot",
            )  # fmt: skip
        snapshot, expected = _parts(header)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError, OverflowError,
            MemoryError, zlib.error, OSError, _Damaged) as error:  # fmt: skip
        what = f"damaged snapshot: {type(error).__name__}: {error}"
        raise FileError(path, what[:120], layer="snapshot") from None
    except VpmuError as error:
        raise FileError(path, f"snapshot that does not fit: {error}", layer="snapshot") from None
    if _HEAD.size + length + expected + _CRC.size != size:
        raise FileError(
            path, "truncated snapshot", expected=f"{expected >> 10} KiB of pages", layer="snapshot"
        )
    filled = [
        (image, first * PAGE, (last - first) * PAGE)
        for image, mask in zip(snapshot.images, snapshot.stored, strict=True)
        for first, last in runs(mask)
    ]
    mapped = ours and _are_mapped(stream, filled)
    if not mapped:
        huge_pages.take(filled)
    crc = 0
    for image, at, size in filled:
        part = image.view[at : at + size]
        if mapped:
            stream.seek(size, os.SEEK_CUR)
        elif stream.readinto(part) != size:  # type: ignore[attr-defined]
            raise FileError(path, "truncated snapshot", layer="snapshot")
        crc = zlib.crc32(part, crc)
    if stream.read(_CRC.size) != _CRC.pack(crc):
        raise FileError(path, "damaged snapshot: the checksum of the pages is wrong", layer="snapshot")
    snapshot.file = str(path)
    return snapshot


def _are_mapped(stream: IO[bytes], filled: list[tuple[HostMemory, int, int]]) -> bool:
    """Put the pages of a file, which come next, where they belong, if that can be done without reading."""
    offset = stream.tell()
    for image, at, size in filled:
        if not image.map_file(stream.fileno(), at, size, offset):
            return False
        offset += size
    return True


def _header(snapshot: Snapshot) -> dict[str, object]:
    arguments = dict(snapshot.arguments)
    profile, host_pmu = arguments.pop("profile"), arguments.pop("host_pmu")
    assert isinstance(profile, Profile)
    assert isinstance(host_pmu, HostPmuDescription)
    return {
        "vpmu": __version__,
        "layout": layout_name(),
        "profile": _profile(profile),
        "host_pmu": [host_pmu.name, repr(host_pmu)],
        "arguments": encode(arguments),
        "fingerprint": encode(snapshot.fingerprint),
        "vcpus": encode(snapshot.vcpus),
        "devices": encode(snapshot.devices),
        "slots": [[getattr(slot, name) for name in Slot.__slots__] for slot in snapshot.slots],
        "runs": [[len(mask), *map(list, runs(mask))] for mask in snapshot.stored],
        "flags": encode(zlib.compress(snapshot.flags, 1)),
        "wanted": encode(snapshot.wanted),
    }


def check_written(devices: Mapping[str, Any]) -> None:
    """MachineError where more lies on top of disks than a file holds."""
    size = sum(
        len(block) for one in devices.get("virtio", ()) for block in one["backend"]["written"].values()
    )
    if size > MAX_WRITTEN:
        raise MachineError("snapshot in a file", expected=f"at most {MAX_WRITTEN >> 20} MiB written to disks",
                           got=f"{-(-size >> 20)} MiB")  # fmt: skip


def _profile(profile: Profile) -> list[object]:
    """The profile that it comes from, what was switched on and off, what it is called and says of itself."""
    before = _base(profile.base).behaviours
    added = sorted(behaviour.name for behaviour in profile.behaviours - before)
    removed = sorted(behaviour.name for behaviour in before - profile.behaviours)
    return [
        profile.base,
        added,
        removed,
        profile.name,
        profile.summary,
        profile.release,
        profile.impl_version,
    ]


def _base(name: str) -> Profile:
    return FIRMWARE if name == FIRMWARE.name else get_profile(name)


def _parts(header: Mapping[str, object]) -> tuple[Snapshot, int]:
    """The snapshot without the content of its pages, and how many bytes these are."""
    base, added, removed, *told = header["profile"]  # type: ignore[misc]
    name, description = header["host_pmu"]  # type: ignore[misc]
    host_pmu = load_host_pmu(name)  # type: ignore[has-type]
    if repr(host_pmu) != description:  # type: ignore[has-type]
        raise _Damaged(f"the host PMU {host_pmu.name} is not described as it was then")
    names, budget = ("arguments", "fingerprint", "vcpus", "devices", "wanted", "flags"), [MAX_HEADER]
    arguments, fingerprint, vcpus, devices, wanted, packed = (decode(header[n], budget=budget) for n in names)
    if not (
        isinstance(arguments, dict) and isinstance(fingerprint, dict) and isinstance(vcpus, list)
        and isinstance(devices, dict) and isinstance(wanted, dict) and isinstance(packed, bytes)
    ):  # fmt: skip
        raise _Damaged("a part has the wrong type")
    disks = arguments.get("disks", ())
    if arguments.get("shares") or any(disk[1] not in ("copy", "ro") for disk in disks):
        raise _Damaged("a machine that would change files of this host")
    profile = changed(_base(base), added, removed)  # type: ignore[has-type]
    kinds = {"name": str, "summary": str, "release": str, "impl_version": int}
    if len(told) != len(kinds) or not all(map(isinstance, told, kinds.values())):  # type: ignore[has-type]
        raise _Damaged("the profile is not described")
    arguments["profile"] = replace(profile, **dict(zip(kinds, told, strict=True)))  # type: ignore[has-type]
    arguments["host_pmu"] = host_pmu
    slots = tuple(Slot(*row) for row in header["slots"])  # type: ignore[attr-defined]
    images: list[HostMemory] = []
    stored, total, room = [], 0, MAX_MEMORY // PAGE
    for pages, *spans in header["runs"]:  # type: ignore[attr-defined]
        if not 0 < pages <= room or len(images) >= MAX_REGIONS:
            raise _Damaged(f"{pages} pages in a slot")
        room -= pages
        mask, end = bytearray(pages), 0
        for first, last in spans:
            if not end <= first < last <= pages:
                raise _Damaged("runs of pages that are not in order")
            mask[first:last] = b"\1" * (last - first)
            total += (last - first) * PAGE
            end = last
        images.append(HostMemory(pages * PAGE))
        stored.append(bytes(mask))
    flags = zlib.decompressobj().decompress(packed, MAX_MEMORY // PAGE)
    found = Snapshot(arguments, fingerprint, vcpus, devices, slots, images, stored, flags, wanted)
    return found, total


def encode(value: object) -> object:
    """Plain data as JSON has it; what JSON has not is a list that begins with its kind."""
    if value is None or isinstance(value, bool | str):
        return value if not isinstance(value, str) else str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value
    if isinstance(value, bytes | bytearray):
        kind = "bytes" if isinstance(value, bytes) else "bytearray"
        return [kind, base64.b64encode(zlib.compress(value, 1)).decode(), len(value)]
    if isinstance(value, dict):
        pairs = [[encode(key), encode(item)] for key, item in value.items()]
        return ["Counter" if isinstance(value, Counter) else "dict", pairs]
    if isinstance(value, set | frozenset):
        return [type(value).__name__, sorted(map(encode, value), key=repr)]
    if isinstance(value, deque):
        return ["deque", [encode(item) for item in value]]
    if isinstance(value, tuple):
        return ["tuple", [encode(item) for item in value]]
    if isinstance(value, list):
        return ["list", [encode(item) for item in value]]
    raise TypeError(f"no plain data: {type(value).__name__}")


def decode(value: object, depth: int = 0, budget: list[int] | None = None) -> object:
    """What `encode` gave; `budget` holds how many bytes may still come out. Raises TypeError, ValueError or
    IndexError for what it cannot have given.
    """
    budget = [MAX_HEADER] if budget is None else budget
    if not isinstance(value, list):
        if isinstance(value, dict):
            raise TypeError("a table where none can be")
        return value
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    kind, content = value[0], value[1]
    if kind in ("bytes", "bytearray"):
        size = value[2]
        if not isinstance(size, int) or not 0 <= size <= budget[0]:
            raise ValueError("bytes of no size")
        budget[0] -= size
        try:
            data = zlib.decompressobj().decompress(base64.b64decode(content, validate=True), size + 1)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if len(data) != size:
            raise ValueError("bytes of another size")
        return data if kind == "bytes" else bytearray(data)
    if kind in ("dict", "Counter"):
        return _KINDS[kind](
            {decode(key, depth + 1, budget): decode(item, depth + 1, budget) for key, item in content}
        )
    items = [decode(item, depth + 1, budget) for item in content]
    return items if kind == "list" else _KINDS[kind](items)
