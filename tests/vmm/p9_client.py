"""A client of 9P2000.L in a few lines."""

from __future__ import annotations

import struct
from pathlib import Path

from vpmu.vmm.p9 import messages
from vpmu.vmm.p9.folder import Folder
from vpmu.vmm.p9.messages import HEADER, NOFID, REQUESTS, RLERROR, TYPES, Field
from vpmu.vmm.p9.server import Server

NOW = 5_000_000_007


class Client:
    """A session whose fid 0 is the folder."""

    def __init__(self, folder: Path, *, readonly: bool = False, size: int = 65536) -> None:
        self.server = Server(Folder(str(folder), lambda: NOW, readonly=readonly))
        self.ask("version", size, b"9P2000.L")
        self.ask("attach", 0, NOFID, b"root", b"", 0)
        self.next = 1

    def raw(self, kind: int, body: bytes, tag: int = 7) -> tuple[int, bytes]:
        """Type and body of the answer."""
        answer = self.server.handle(messages.message(kind, tag, body))
        length, got, back = HEADER.unpack_from(answer)
        assert (length, back) == (len(answer), tag)
        return got, answer[HEADER.size :]

    def ask(self, name: str, *values: Field) -> bytes:
        """The answer's body. OSError with the number that came."""
        kind = TYPES[name]
        got, body = self.raw(kind, messages.pack(REQUESTS[kind][1], values))
        if got == RLERROR:
            raise OSError(struct.unpack("<I", body)[0], name)
        assert got == kind + 1
        return body

    def walk(self, *names: bytes) -> int:
        """A new fid."""
        fid, self.next = self.next, self.next + 1
        found = self.ask("walk", 0, fid, list(names))
        if found[0] < len(names):
            raise FileNotFoundError(2, "walk", names[found[0]])
        return fid

    def open(self, *names: bytes, flags: int = 0) -> int:
        fid = self.walk(*names)
        self.ask("lopen", fid, flags)
        return fid

    def create(self, *names: bytes, flags: int = 2, mode: int = 0o644) -> int:
        fid = self.walk(*names[:-1])
        self.ask("lcreate", fid, names[-1], flags, mode, 0)
        return fid

    def read(self, fid: int, offset: int = 0, count: int = 4096) -> bytes:
        return self.ask("read", fid, offset, count)[4:]

    def write(self, fid: int, data: bytes, offset: int = 0) -> int:
        return int(struct.unpack("<I", self.ask("write", fid, offset, data))[0])

    def names(self, *names: bytes) -> list[bytes]:
        """What is in a folder."""
        fid, found, offset = self.open(*names), [], 0
        while data := self.ask("readdir", fid, offset, 300)[4:]:
            while data:
                offset, _, length = struct.unpack_from("<QBH", data, 13)
                found.append(data[24 : 24 + length])
                data = data[24 + length :]
        return found

    def attributes(self, fid: int) -> dict[str, int]:
        body = self.ask("getattr", fid, 0x7FF)
        mode, uid, gid, links, _, size, _, blocks = struct.unpack_from("<IIIQQQQQ", body, 21)
        seconds, rest = struct.unpack_from("<QQ", body, 21 + 52 + 16)
        number = struct.unpack_from("<Q", body, 8 + 5)[0]
        return {"mode": mode, "uid": uid, "gid": gid, "links": links, "size": size, "blocks": blocks,
                "changed": seconds * 10**9 + rest, "number": number}  # fmt: skip
