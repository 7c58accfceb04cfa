"""Builds the symbol table of a kernel as Linux's scripts/kallsyms.c does, in its three forms, into bytes that
look like an Image."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence

BASE = 0xFFFFFFFF80000000
FORMS = ("base behind", "self-relative", "base before")


def tokens_of(names: Sequence[str]) -> list[bytes]:
    """256 tokens: letters stand for themselves, numbers that no name uses for the most frequent pairs."""
    used = {byte for name in names for byte in name.encode()} | set(b"0123456789")
    pairs = Counter(name[i : i + 2] for name in names for i in range(len(name) - 1))
    frequent = [pair.encode() for pair, _ in pairs.most_common(256)]
    tokens = []
    for number in range(256):
        tokens.append(bytes((number,)) if number in used else frequent.pop(0) if frequent else b"")
    return tokens


def compress(text: str, tokens: list[bytes]) -> bytes:
    """The shortest first way through the tokens, with the length in front."""
    data, out = text.encode(), bytearray()
    pairs = {token: number for number, token in enumerate(tokens) if len(token) == 2}
    while data:
        pair = pairs.get(data[:2])
        out.append(data[0] if pair is None else pair)
        data = data[1 if pair is None else 2 :]
    length = len(out)
    head = bytes((length,)) if length < 128 else bytes((length & 127 | 128, length >> 7))
    return head + bytes(out)


def image(symbols: Sequence[tuple[int, str]], form: str, code: int = 4096) -> bytes:
    """An image with a table of (address, kind and name), sorted by address."""
    align = 4 if form == "self-relative" else 8
    out = bytearray(b"\x13\0\0\0" * (code // 4))

    def pad() -> None:
        out.extend(bytes(-len(out) % align))

    addresses = [address for address, _ in symbols]
    offsets = struct.pack(f"<{len(symbols)}I", *(address - BASE for address in addresses))
    if form == "base before":
        out += offsets
        pad()
        out += struct.pack("<Q", BASE)
    out += struct.pack("<I", len(symbols))
    pad()
    tokens = tokens_of([name for _, name in symbols])
    names, markers = bytearray(), []
    for index, (_, name) in enumerate(symbols):
        if index % 256 == 0:
            markers.append(len(names))
        names += compress(name, tokens)
    out += names
    pad()
    out += struct.pack(f"<{len(markers)}I", *markers)
    pad()
    starts, table = [], bytearray()
    for token in tokens:
        starts.append(len(table))
        table += token + b"\0"
    out += table
    pad()
    out += struct.pack("<256H", *starts)
    pad()
    if form == "base behind":
        out += offsets
        pad()
        out += struct.pack("<Q", BASE)
    elif form == "self-relative":
        for address in addresses:
            out += struct.pack("<i", address - (BASE + len(out)))
    return bytes(out) + bytes(range(1, 200)) * 8  # seqs_of_names, and the rest of the kernel
