"""The server of 9P2000.L: a request in, its answer out. The client is a guest and not trusted.

What Linux's own client asks for is here (fs/9p, net/9p). Extended attributes, devices and authentication are
not: EOPNOTSUPP. Locks are the guest's own affair: it is the only client.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vpmu.vmm.p9 import messages
from vpmu.vmm.p9.fids import Fid, Fids
from vpmu.vmm.p9.folder import Attributes, Path, check_name
from vpmu.vmm.p9.messages import HEADER, NOFID, QID, REQUESTS, RLERROR, Malformed, string

if TYPE_CHECKING:
    from vpmu.vmm.p9.fids import Fid, Fids
from vpmu.vmm.p9.folder import Folder

DIALECT = b"9P2000.L"
LEAST_SIZE, MOST_SIZE = 4096, 512 << 10
"""Of a message (msize): smaller holds no answer, larger is of no use."""
MAGIC = 0x01021997
"""V9FS_MAGIC of linux/magic.h."""
BLOCKS, BLOCK, LONGEST_NAME = 1 << 28, 4096, 255
"""What statfs says: 1 TiB, all of it free, whatever the host has."""
_DIRECTORY, _LINK, _FILE = 0x80, 0x02, 0x00
_BASIC = 0x7FF
"""P9_STATS_BASIC."""
_MODE, _UID, _GID, _SIZE, _ATIME, _MTIME, _CTIME, _ATIME_SET, _MTIME_SET = (1 << bit for bit in range(9))
"""Bits of setattr's `valid`."""
_REMOVE_FOLDER = 0x200
"""AT_REMOVEDIR."""
_UNLOCKED = 2
_ACCESS, _TRUNCATE = 3, 0o1000
_ATTRIBUTES = struct.Struct("<IIIQQQQQ")
_STATFS = struct.Struct("<IIQQQQQQI")
U64 = (1 << 64) - 1


class Server:
    """One client's view of a folder. `handle` never raises for anything that a client can send."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.size = MOST_SIZE
        self.fids = Fids(folder)

    def __del__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The client is gone."""
        self.fids.clear()

    def handle(self, request: bytes) -> bytes:
        """The answer to a request; Rlerror for what cannot be done."""
        if len(request) < HEADER.size:
            return messages.message(RLERROR, messages.NOTAG, struct.pack("<I", errno.EINVAL))
        length, kind, tag = HEADER.unpack_from(request)
        try:
            if not HEADER.size <= length <= min(len(request), self.size):
                raise Malformed("no such length")
            name, fields = REQUESTS.get(kind, ("", ""))
            if not name:
                raise OSError(errno.EOPNOTSUPP, "no such request")
            values = messages.unpack(fields, request[HEADER.size : length])
            operation: Callable[..., bytes] = getattr(self, f"_{name}")
            answer = operation(*values)
        except Malformed:
            return messages.message(RLERROR, tag, struct.pack("<I", errno.EINVAL))
        except OSError as error:
            return messages.message(RLERROR, tag, struct.pack("<I", error.errno or errno.EIO))
        return messages.message(kind + 1, tag, answer)

    # ------------------------------------------------------------ sessions and fids

    def _version(self, size: int, version: bytes) -> bytes:
        if size < LEAST_SIZE:
            raise OSError(errno.EMSGSIZE, "messages too small")
        self.reset()
        self.size = min(size, MOST_SIZE)
        return struct.pack("<I", self.size) + string(DIALECT if version == DIALECT else b"unknown")

    def _auth(self, *_: object) -> bytes:
        raise OSError(errno.EOPNOTSUPP, "no authentication")

    def _attach(self, number: int, afid: int, _user: bytes, _name: bytes, _uid: int) -> bytes:
        if afid != NOFID:
            raise OSError(errno.EOPNOTSUPP, "no authentication")
        self.fids.add(number, Fid(()))
        return self._qid(())

    def _qid(self, path: Path) -> bytes:
        return _qid(self.folder.look(path))

    def _flush(self, _tag: int) -> bytes:
        return b""  # every request is answered before the next one is looked at

    def _walk(self, number: int, new: int, names: list[bytes]) -> bytes:
        fid = self.fids.get(number)
        if fid.flags >= 0:
            raise OSError(errno.EINVAL, "a walk from what is open")
        path, qids = fid.path, []
        for name in names:
            below = path[:-1] if name == b".." else (*path, check_name(name))
            try:
                qids.append(self._qid(below))
            except OSError:
                if not qids:
                    raise
                break
            path = below
        if len(qids) == len(names):
            if new == number:
                fid.path = path
            else:
                self.fids.add(new, Fid(path))
        return struct.pack("<H", len(qids)) + b"".join(qids)

    def _clunk(self, number: int) -> bytes:
        self.fids.drop(number)
        return b""

    def _remove(self, number: int) -> bytes:
        path = self.fids.get(number).path
        self._clunk(number)  # also where it is not removed
        self.folder.remove(path, folder=stat.S_ISDIR(self.folder.look(path).mode))
        return b""

    # ------------------------------------------------------------ reading and writing

    def _lopen(self, number: int, flags: int) -> bytes:
        fid = self.fids.get_closed(number)
        seen = self.folder.look(fid.path)
        if stat.S_ISDIR(seen.mode):
            if flags & (_ACCESS | _TRUNCATE):
                raise OSError(errno.EISDIR, "a folder")
            fid.flags = os.O_RDONLY
        else:
            self.fids.check_room()
            host = host_flags(flags)
            self.fids.keep(fid, self.folder.open(fid.path, host), host & ~os.O_TRUNC)
            if host & os.O_TRUNC:
                self.folder.touched(os.fstat(fid.fd))
        return _qid(seen) + struct.pack("<I", 0)

    def _lcreate(self, number: int, name: bytes, flags: int, mode: int, _gid: int) -> bytes:
        fid = self.fids.get_closed(number)
        self.fids.check_room()
        host = host_flags(flags) & ~os.O_TRUNC
        path = (*fid.path, check_name(name))
        self.fids.keep(fid, self.folder.create(path, host, mode), host)
        fid.path = path
        return self._qid(path) + struct.pack("<I", 0)

    def _read(self, number: int, offset: int, count: int) -> bytes:
        fid = self.fids.get_open(number)
        if fid.flags & _ACCESS == os.O_WRONLY:
            raise OSError(errno.EBADF, "not open for reading")
        data = os.pread(self.fids.descriptor(fid), min(count, self.size - 11), _offset(offset))
        return struct.pack("<I", len(data)) + data

    def _write(self, number: int, offset: int, data: bytes) -> bytes:
        fid = self.fids.get_open(number)
        fd = self.fids.descriptor(fid)
        done = os.pwrite(fd, data, _offset(offset))
        self.folder.touched(os.fstat(fd))
        return struct.pack("<I", done)

    def _fsync(self, number: int, _data_only: int) -> bytes:
        fid = self.fids.get(number)
        if fid.fd >= 0:
            os.fsync(fid.fd)
        return b""

    def _readdir(self, number: int, offset: int, count: int) -> bytes:
        fid = self.fids.get_open(number)
        names = fid.listing
        if offset == 0 or names is None:
            names = self.fids.list_names(fid)
        out = bytearray()
        room = min(count, self.size - 11)
        for at in range(min(offset, len(names)), len(names)):
            name = names[at]
            path = fid.path if name == b"." else fid.path[:-1] if name == b".." else (*fid.path, name)
            try:
                seen = self.folder.look(path)
            except OSError:  # gone since
                continue
            entry = _qid(seen) + struct.pack("<QB", at + 1, stat.S_IFMT(seen.mode) >> 12) + string(name)
            if len(out) + len(entry) > room:
                if not out:  # no entry would be the end of the folder
                    raise OSError(errno.EINVAL, "no room for a name")
                break
            out += entry
        return struct.pack("<I", len(out)) + bytes(out)

    # ------------------------------------------------------------ attributes

    def _getattr(self, number: int, _mask: int) -> bytes:
        fid = self.fids.get(number)
        seen = self.folder.look(fid.path) if fid.fd < 0 else self.folder.seen(os.fstat(fid.fd))
        seconds, rest = divmod(seen.changed & U64, 10**9)
        numbers = _ATTRIBUTES.pack(seen.mode, 0, 0, seen.links, 0, seen.size, BLOCK, -(-seen.size // 512))
        times = struct.pack("<QQ", seconds, rest)
        return struct.pack("<Q", _BASIC) + _qid(seen) + numbers + 3 * times + bytes(32)

    def _setattr(
        self, number: int, valid: int, mode: int, uid: int, gid: int, size: int, *times: int
    ) -> bytes:  # fmt: skip
        fid = self.fids.get(number)
        path = fid.path
        _, _, seconds, rest = times
        if (valid & _UID and uid) or (valid & _GID and gid):
            raise OSError(errno.EPERM, "everything in a share is root's")
        if valid & _MODE:
            self.folder.set_mode(path, mode)
        if valid & _SIZE:
            writes = fid.flags >= 0 and fid.flags & _ACCESS != os.O_RDONLY
            self.folder.set_size(path, _offset(size), fid.fd if writes else -1)
        if valid & _MTIME:
            self.folder.set_time(path, _offset(seconds * 10**9 + rest) if valid & _MTIME_SET else None)
        elif valid & (_ATIME | _CTIME | _UID | _GID):
            self.folder.check_writable()
        return b""

    def _statfs(self, number: int) -> bytes:
        self.fids.get(number)
        return _STATFS.pack(MAGIC, BLOCK, BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, 0, LONGEST_NAME)

    def _lock(self, number: int, *_: object) -> bytes:
        self.fids.get(number)
        return b"\0"

    def _getlock(self, number: int, _kind: int, start: int, length: int, process: int, who: bytes) -> bytes:
        self.fids.get(number)
        return messages.pack("bddws", (_UNLOCKED, start, length, process, who))

    def _xattrwalk(self, number: int, *_: object) -> bytes:
        self.fids.get(number)
        raise OSError(errno.EOPNOTSUPP, "no extended attributes")

    _xattrcreate = _xattrwalk

    # ------------------------------------------------------------ names

    def _below(self, number: int, name: bytes) -> Path:
        return (*self.fids.get(number).path, check_name(name))

    def _mkdir(self, number: int, name: bytes, mode: int, _gid: int) -> bytes:
        path = self._below(number, name)
        self.folder.make_folder(path, mode)
        return self._qid(path)

    def _symlink(self, number: int, name: bytes, target: bytes, _gid: int) -> bytes:
        path = self._below(number, name)
        if not target or b"\0" in target:
            raise OSError(errno.ENOENT, "a link to nothing")
        self.folder.make_link(path, target)
        return self._qid(path)

    def _readlink(self, number: int) -> bytes:
        return string(self.folder.target(self.fids.get(number).path))

    def _mknod(self, number: int, *_: object) -> bytes:
        self.fids.get(number)
        raise OSError(errno.EPERM, "no devices, pipes or sockets")

    def _link(self, folder: int, number: int, name: bytes) -> bytes:
        self.folder.link(self.fids.get(number).path, self._below(folder, name))
        return b""

    def _rename(self, number: int, folder: int, name: bytes) -> bytes:
        return self._move(self.fids.get(number).path, self._below(folder, name))

    def _renameat(self, old_folder: int, old: bytes, folder: int, name: bytes) -> bytes:
        return self._move(self._below(old_folder, old), self._below(folder, name))

    def _move(self, old: Path, new: Path) -> bytes:
        self.folder.rename(old, new)
        self.fids.move(old, new)
        return b""

    def _unlinkat(self, number: int, name: bytes, flags: int) -> bytes:
        self.folder.remove(self._below(number, name), folder=bool(flags & _REMOVE_FOLDER))
        return b""

    # ------------------------------------------------------------ snapshots

    def state(self) -> dict[str, Any]:
        """As plain data."""
        return {"size": self.size, "fids": self.fids.state()}

    def resume(self, state: Mapping[str, Any]) -> None:
        """What `state` gave."""
        self.size = state["size"]
        self.fids.resume(state["fids"])


def host_flags(flags: int) -> int:
    """The host's flags for a file that is opened with those of the protocol, which are Linux's."""
    access = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, -1)[flags & _ACCESS]
    if access < 0:
        raise OSError(errno.EINVAL, "neither to read nor to write")
    return access | (os.O_TRUNC if flags & _TRUNCATE else 0)


def _qid(seen: Attributes) -> bytes:
    kind = _DIRECTORY if stat.S_ISDIR(seen.mode) else _LINK if stat.S_ISLNK(seen.mode) else _FILE
    return QID.pack(kind, 0, seen.number)


def _offset(value: int) -> int:
    if value >= 1 << 63:
        raise OSError(errno.EINVAL, "an offset that no file has")
    return value
