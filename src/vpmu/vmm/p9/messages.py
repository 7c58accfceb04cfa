"""The messages of 9P2000.L as data: types, and what each one holds (Linux include/net/9p/9p.h and
Documentation of diod, protocol.md).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

HEADER = struct.Struct("<IBH")
"""size, type, tag."""
QID = struct.Struct("<BIQ")
"""kind, version, path."""
NOFID, NOTAG = 0xFFFFFFFF, 0xFFFF
RLERROR = 7
MOST_NAMES = 16
"""Steps of one walk (P9_MAXWELEM)."""

REQUESTS: dict[int, tuple[str, str]] = {
    8: ("statfs", "w"),
    12: ("lopen", "ww"),
    14: ("lcreate", "wswww"),
    16: ("symlink", "wssw"),
    18: ("mknod", "wswwww"),
    20: ("rename", "wws"),
    22: ("readlink", "w"),
    24: ("getattr", "wd"),
    26: ("setattr", "wwwwwddddd"),
    30: ("xattrwalk", "wws"),
    32: ("xattrcreate", "wsdw"),
    40: ("readdir", "wdw"),
    50: ("fsync", "ww"),
    52: ("lock", "wbwddws"),
    54: ("getlock", "wbddws"),
    70: ("link", "wws"),
    72: ("mkdir", "wsww"),
    74: ("renameat", "wsws"),
    76: ("unlinkat", "wsw"),
    100: ("version", "ws"),
    102: ("auth", "wssw"),
    104: ("attach", "wwssw"),
    108: ("flush", "h"),
    110: ("walk", "wwn"),
    116: ("read", "wdw"),
    118: ("write", "wdD"),
    120: ("clunk", "w"),
    122: ("remove", "w"),
}
"""Type of a request -> its name, and its fields: b, h, w, d are numbers of 1, 2, 4, 8 bytes, s is a string, n
are strings behind their number, D is data behind its length. The answer's type is one more.
"""
TYPES = {name: number for number, (name, _) in REQUESTS.items()}
_NUMBERS = {
    letter: struct.Struct(code) for letter, code in zip("bhwd", ("<B", "<H", "<I", "<Q"), strict=True)
}

Field = int | bytes | list[bytes]


class Malformed(Exception):
    """No message that this protocol has."""


def unpack(fields: str, body: bytes) -> list[Field]:
    """The fields of a message behind its header. Malformed: too short, or too long."""
    at = 0

    def number(letter: str) -> int:
        nonlocal at
        form = _NUMBERS[letter]
        if at + form.size > len(body):
            raise Malformed("too short")
        (value,) = form.unpack_from(body, at)
        at += form.size
        return int(value)

    def data(size: int) -> bytes:
        nonlocal at
        if at + size > len(body):
            raise Malformed("too short")
        at += size
        return body[at - size : at]

    found: list[Field] = []
    for field in fields:
        if field in _NUMBERS:
            found.append(number(field))
        elif field == "s":
            found.append(data(number("h")))
        elif field == "D":
            found.append(data(number("w")))
        else:
            count = number("h")
            if count > MOST_NAMES:
                raise Malformed("too many names")
            found.append([data(number("h")) for _ in range(count)])
    if at != len(body):
        raise Malformed("too long")
    return found


def pack(fields: str, values: Sequence[Field]) -> bytes:
    """The inverse of `unpack`."""
    parts = []
    for field, value in zip(fields, values, strict=True):
        if isinstance(value, int):
            parts.append(_NUMBERS[field].pack(value))
        elif isinstance(value, bytes):
            parts.append(_NUMBERS["h" if field == "s" else "w"].pack(len(value)) + value)
        else:
            parts.append(_NUMBERS["h"].pack(len(value)))
            parts += [_NUMBERS["h"].pack(len(one)) + one for one in value]
    return b"".join(parts)


def message(kind: int, tag: int, body: bytes) -> bytes:
    """A whole message."""
    return HEADER.pack(HEADER.size + len(body), kind, tag) + body


def string(value: bytes) -> bytes:
    """A string behind its length."""
    return struct.pack("<H", len(value)) + value
