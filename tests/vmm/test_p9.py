"""The server of shared folders: what Linux's client does with it, and what nobody gets out of it."""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vpmu import Machine
from vpmu.errors import FileError, MachineError, UsageError
from vpmu.travel.travel import Traveller
from vpmu.vmm.p9 import fids, messages
from vpmu.vmm.p9.fids import MOST_FIDS, MOST_OPEN
from vpmu.vmm.p9.folder import DEEPEST, Share
from vpmu.vmm.p9.messages import NOFID, REQUESTS, TYPES

from .p9_client import NOW, Client
from .virtio_driver import Driver

SECRET = b"CANARY that nobody reads"
CREATE = 0o102


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to share, beside one that is not."""
    return shared_in(tmp_path)


def shared_in(tmp_path: Path) -> Path:
    """Both folders; the one to share."""
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "secret").write_bytes(SECRET)
    (outside / "deep" / "secret").write_bytes(SECRET)
    inside = tmp_path / "inside"
    inside.mkdir()
    fill(inside)
    return inside


def fill(inside: Path) -> None:
    """What is to be shared, links to what is not among it."""
    (inside / "sub" / "empty").mkdir(parents=True)
    (inside / "a").write_bytes(b"content of a")
    (inside / "sub" / "b").write_bytes(b"b" * 10000)
    (inside / "out").symlink_to("../outside")
    (inside / "away").symlink_to(inside.parent / "outside" / "secret")
    (inside / "sub" / "up").symlink_to("../../outside/deep")
    os.mkfifo(inside / "pipe")


def refused(*numbers: int) -> Any:
    """An error of one of these numbers."""
    return pytest.raises(OSError, check=lambda error: error.errno in numbers)


def tree(top: Path) -> dict[str, object]:
    """All that is there: kinds, modes, times and content."""
    found: dict[str, object] = {}
    for path in sorted([top, *top.rglob("*")]):
        status = path.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = path.readlink()
        found[str(path)] = (status.st_mode, status.st_nlink, status.st_mtime_ns, status.st_uid, content)
    return found


def test_files_are_read_and_written(folder: Path) -> None:
    client = Client(folder)
    assert client.read(client.open(b"a")) == b"content of a"
    fid = client.open(b"sub", b"b", flags=2)
    assert client.write(fid, b"XY", 9999) == 2
    assert client.read(fid, 9998) == b"bXY"
    assert client.read(fid, 1 << 40) == b""
    made = client.create(b"sub", b"new", mode=0o4711)
    assert client.write(made, b"hello") == 5
    assert (folder / "sub" / "new").read_bytes() == b"hello"
    assert stat.S_IMODE((folder / "sub" / "new").stat().st_mode) == 0o711  # nobody's set-uid program
    client.ask("lopen", client.walk(b"a"), 0o1000 | 1)
    assert (folder / "a").read_bytes() == b""


def test_names_come_in_order_and_in_parts(folder: Path) -> None:
    client = Client(folder)
    assert client.names() == [b".", b"..", b"a", b"away", b"out", b"pipe", b"sub"]
    for number in range(99):
        (folder / "sub" / f"{number:02}").touch()
    assert client.names(b"sub")[2:] == sorted(os.fsencode(p.name) for p in (folder / "sub").iterdir())
    with refused(errno.ENOTDIR):
        client.ask("readdir", client.open(b"a"), 0, 1000)
    with refused(errno.EINVAL):
        client.ask("readdir", client.open(), 0, 20)


@pytest.mark.parametrize(
    "name",
    [b"\n", b"a b", b"-rf", b"\\", b"\xff\xfe", "ä".encode(), b"*", b"...", b"~", b"$(id)", b"x" * 255],
)
def test_names_are_bytes(name: bytes, folder: Path) -> None:
    client = Client(folder)
    client.write(client.create(name), name)
    client.ask("mkdir", client.walk(b"sub"), name, 0o755, 0)
    client.ask("renameat", 0, name, client.walk(b"sub", name), name)
    assert client.names(b"sub", name) == [b".", b"..", name]
    assert (Path(os.fsdecode(os.fsencode(folder) + b"/sub/" + name + b"/" + name))).read_bytes() == name


def test_folders_and_links(folder: Path) -> None:
    client = Client(folder)
    client.ask("mkdir", 0, b"d", 0o750, 0)
    assert stat.S_IMODE((folder / "d").stat().st_mode) == 0o750
    client.ask("symlink", 0, b"l", b"/etc/passwd", 0)
    assert client.ask("readlink", client.walk(b"l"))[2:] == b"/etc/passwd"
    client.ask("link", client.walk(b"d"), client.walk(b"a"), b"hard")
    assert (folder / "d" / "hard").stat().st_nlink == 2
    open_one = client.open(b"d", b"hard")
    client.ask("renameat", 0, b"d", client.walk(b"sub"), b"e")
    assert client.read(open_one) == b"content of a"
    assert client.attributes(open_one)["links"] == 2
    with refused(errno.ENOTEMPTY):
        client.ask("unlinkat", client.walk(b"sub"), b"e", 0x200)
    with refused(errno.EISDIR, errno.EPERM):
        client.ask("unlinkat", client.walk(b"sub"), b"e", 0)
    client.ask("remove", client.walk(b"sub", b"e", b"hard"))
    client.ask("unlinkat", client.walk(b"sub"), b"e", 0x200)
    client.ask("rename", client.walk(b"a"), client.walk(b"sub"), b"A")
    assert not (folder / "sub" / "e").exists()
    assert (folder / "sub" / "A").read_bytes() == b"content of a"


def test_a_file_without_a_name_lives_on(folder: Path) -> None:
    client = Client(folder)
    fid = client.create(b"tmp")
    client.ask("unlinkat", 0, b"tmp", 0)
    client.write(fid, b"still there")
    client.ask("setattr", fid, 8, 0, 0, 0, 5, 0, 0, 0, 0)
    assert client.read(fid) == b"still"
    assert client.attributes(fid)["links"] == client.attributes(fid)["number"] == 0


def test_listings_are_read_again_when_there_are_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fids, "MOST_NAMES_KEPT", 20)
    client = Client(folder)
    numbers = [client.open() for _ in range(10)]
    first = {client.ask("readdir", fid, 0, 50) for fid in numbers}
    rest = {client.ask("readdir", fid, 2, 1000) for fid in numbers}
    assert len(first) == len(rest) == 1
    assert sum(len(fid.listing or ()) for fid in client.server.fids.table.values()) <= 27


def test_attributes_are_the_guests(folder: Path) -> None:
    os.utime(folder / "a", ns=(1, NOW - 3))
    os.utime(folder, ns=(1, 1))
    client = Client(folder)
    before = client.attributes(client.walk(b"a"))
    assert before["changed"] == NOW - 3
    assert (before["uid"], before["gid"], before["size"], before["blocks"]) == (0, 0, 12, 1)
    fid = client.open(b"a", flags=1)
    client.write(fid, b"C")
    assert client.attributes(fid)["changed"] == NOW  # not the host's clock
    client.write(fid, b"C")
    assert client.attributes(fid)["changed"] == NOW + 1
    client.ask("setattr", fid, 0x20 | 0x100, 0, 0, 0, 0, 0, 0, 77, 5)
    assert client.attributes(fid)["changed"] == 77 * 10**9 + 5 == (folder / "a").stat().st_mtime_ns
    client.ask("setattr", fid, 1, 0o100604, 0, 0, 0, 0, 0, 0, 0)
    assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o604
    with refused(errno.EPERM):
        client.ask("setattr", fid, 2, 0, 1000, 0, 0, 0, 0, 0, 0)
    client.ask("setattr", fid, 6, 0, 0, 0, 0, 0, 0, 0, 0)
    client.ask("setattr", fid, 8, 0, 0, 0, 3, 0, 0, 0, 0)
    assert (folder / "a").read_bytes() == b"Con"


def test_what_a_guest_makes_is_newer_than_what_it_made_it_of(folder: Path) -> None:
    """Also where its clock begins in 1970: for make."""
    client = Client(folder)
    source = client.attributes(client.walk(b"a"))["changed"]
    made = client.attributes(client.create(b"a.o"))["changed"]
    assert made > source > NOW


def test_what_is_seen_does_not_depend_on_the_host(folder: Path, tmp_path: Path) -> None:
    """Two copies of a folder, made in another order, give the same answers to the same requests."""
    for name in ("one", "two"):
        copy = tmp_path / name
        copy.mkdir()
        names = sorted(os.listdir(folder), reverse=name == "two")  # noqa: PTH208
        for entry in names:
            if (folder / entry).is_dir() and not (folder / entry).is_symlink():
                shutil.copytree(folder / entry, copy / entry, symlinks=True)
            elif not (folder / entry).is_fifo():
                shutil.copy2(folder / entry, copy / entry, follow_symlinks=False)
        (copy / "x").write_bytes(b"")
        os.utime(copy / "x", ns=(0, 0))
        os.utime(copy, ns=(0, 0))
    answers = []
    for name in ("one", "two"):
        client = Client(tmp_path / name)
        told: list[object] = [client.names(), client.names(b"sub"), client.ask("statfs", 0)]
        told += [client.attributes(client.walk(*names)) for names in ((), (b"sub",), (b"sub", b"b"), (b"x",))]
        client.create(b"new")
        client.ask("unlinkat", 0, b"new", 0)
        client.create(b"newer")
        told.append(client.attributes(client.walk(b"newer")))
        told.append(client.attributes(0))
        answers.append(told)
    assert answers[0] == answers[1]


def test_what_there_is_not(folder: Path) -> None:
    client = Client(folder)
    with refused(errno.EOPNOTSUPP):
        client.ask("xattrwalk", 0, 9, b"user.x")
    with refused(errno.EOPNOTSUPP):
        client.ask("xattrcreate", 0, b"user.x", 1, 0)
    with refused(errno.EOPNOTSUPP):
        client.ask("auth", 1, b"", b"", 0)
    for mode in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK):
        with refused(errno.EPERM):
            client.ask("mknod", 0, b"n", mode | 0o666, 1, 3, 0)
    with refused(errno.ENXIO):
        client.open(b"pipe")  # and does not wait for a writer
    with refused(errno.EBADF):
        client.ask("clunk", 99)
    assert client.ask("lock", client.open(b"a"), 1, 0, 0, 0, 1, b"me") == b"\0"
    assert client.ask("getlock", 0, 1, 5, 6, 7, b"me")[:1] == b"\2"
    assert client.ask("flush", 3) == b""


def test_a_read_only_share_stays_as_it_is(folder: Path) -> None:
    before = tree(folder)
    client = Client(folder, readonly=True)
    changes: list[tuple[str, tuple[messages.Field, ...]]] = [
        ("mkdir", (0, b"d", 0o755, 0)), ("symlink", (0, b"l", b"a", 0)), ("lcreate", (0, b"n", 2, 0o644, 0)),
        ("link", (0, 1, b"h")), ("renameat", (0, b"a", 0, b"b")), ("unlinkat", (0, b"a", 0)),
        *(("setattr", (1, valid, *[0] * 8)) for valid in (1, 2, 8, 0x10, 0x20, 0x120)),
        ("rename", (1, 0, b"z")),
        ("lopen", (1, 1)), ("lopen", (1, 2)), ("lopen", (1, 0o1000)),
        ("mknod", (0, b"n", 0o644, 0, 0, 0)), ("remove", (2,)),
    ]  # fmt: skip
    client.walk(b"a")
    client.walk(b"a")
    for name, values in changes:
        with refused(errno.EROFS, errno.EPERM):
            client.ask(name, *values)
    assert client.read(client.open(b"a")) == b"content of a"
    assert tree(folder) == before


@pytest.mark.parametrize(
    "names",
    [
        (b"..", b"outside", b"secret"), (b"sub", b"..", b"..", b"outside"), (b"out", b"secret"),
        (b"away", b"x"),
        (b"sub", b"up", b"secret"), (b"sub/../../outside",), (b"out", b"deep"), (b"/etc",), (b"",), (b".",),
        (b"a\0b",), (b"x" * 300,),
    ],
)  # fmt: skip
def test_no_way_out(names: tuple[bytes, ...], folder: Path) -> None:
    client = Client(folder)
    with refused(errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ENAMETOOLONG, errno.ELOOP):
        client.walk(*names)


def test_above_the_top_is_the_top(folder: Path) -> None:
    client = Client(folder)
    assert client.attributes(client.walk(b"..", b"..")) == client.attributes(0)


def test_links_are_not_followed(folder: Path) -> None:
    before = tree(folder.parent / "outside")
    client = Client(folder)
    link = client.walk(b"away")
    with refused(errno.ENXIO, errno.ELOOP):
        client.ask("lopen", link, 2)
    for valid in (1, 8):
        with refused(errno.ENXIO, errno.EOPNOTSUPP, errno.ELOOP):
            client.ask("setattr", link, valid, *[0] * 8)
    client.ask("setattr", link, 0x120, 0, 0, 0, 0, 0, 0, 5, 0)  # of the link itself
    with refused(errno.EEXIST):
        client.create(b"away", flags=1)
    client.ask("link", 0, link, b"again")  # the link, once more
    assert (folder / "again").is_symlink()
    with refused(errno.ENOTDIR, errno.EPERM):
        client.ask("link", client.walk(b"out"), client.walk(b"a"), b"in")
    for request in (("mkdir", b"d", 0o755, 0), ("unlinkat", b"secret", 0), ("lcreate", b"f", 2, 0o644, 0)):
        with refused(errno.ENOTDIR):
            client.ask(request[0], client.walk(b"out"), *request[1:])  # type: ignore[arg-type]
    assert tree(folder.parent / "outside") == before


def test_a_folder_that_becomes_a_link_leads_nowhere(folder: Path) -> None:
    """Behind the server's back, while a fid stands for what is below it."""
    client = Client(folder)
    fid, deep = client.open(b"sub", b"b"), client.walk(b"sub", b"empty")
    (folder / "sub").rename(folder / "moved")
    (folder / "sub").symlink_to("../outside/deep")
    (folder.parent / "outside" / "deep" / "empty").mkdir()
    assert client.read(fid, 0, 1) == b"b"  # what is open stays open
    with refused(errno.ENOTDIR):
        client.ask("mkdir", deep, b"d", 0o755, 0)
    with refused(errno.ENOTDIR):
        client.ask("unlinkat", deep, b"x", 0)
    with refused(errno.ENOTDIR):
        client.attributes(deep)


def test_limits(folder: Path) -> None:
    client = Client(folder)
    for number in range(MOST_OPEN):
        client.ask("walk", 0, 100 + number, [b"a"])
        client.ask("lopen", 100 + number, 0)
    with refused(errno.ENFILE):
        client.open(b"a")
    with refused(errno.ENFILE):
        client.create(b"more")
    assert not (folder / "more").exists()
    client.ask("version", 65536, b"9P2000.L")  # lets go of all
    client.ask("attach", 0, NOFID, b"", b"", 0)
    client.open(b"a")
    for number in range(MOST_FIDS - len(client.server.fids.table)):
        client.ask("walk", 0, 1000 + number, [])
    with refused(errno.ENFILE):
        client.ask("walk", 0, 999, [])
    client.ask("walk", 0, 0, [b"sub"])  # a fid that is there moves
    with refused(errno.EMSGSIZE):
        client.ask("version", 100, b"9P2000.L")
    assert client.ask("version", 1 << 31, b"9P2000")[4:] == b"\7\0unknown"
    deep = Client(folder)
    deep.ask("walk", 0, 1, [])
    with refused(errno.ENAMETOOLONG):
        for _ in range(2 * DEEPEST):
            deep.ask("mkdir", 1, b"d", 0o755, 0)
            deep.ask("walk", 1, 1, [b"d"])
    assert sum(1 for _ in folder.rglob("d")) < DEEPEST + 3


@pytest.mark.parametrize("body", [b"", b"\0", b"\0" * 100, b"\xff" * 64])
def test_messages_that_are_none(body: bytes, folder: Path) -> None:
    client = Client(folder)
    for kind in range(256):
        client.raw(kind, body)
    client.server.handle(body)
    client.server.handle(b"\x08\0\0\0" + body)


# ------------------------------------------------------------ a client that is not to be trusted

NAMES = (
    b"a", b"b", b"c", b"sub", b"empty", b"out", b"away", b"up", b"pipe", b"l0", b"l1", b"d0", b"d1", b"..",
    b".", b"", b"/", b"../outside", b"outside", b"secret", b"deep", b"a\0", b"x" * 256, b"\xff\xfe", b"sub/b",
    b"out/secret",
)  # fmt: skip
GOOD = 13
"""Names that a file may have here."""
TARGETS = (b"../outside", b"../outside/secret", b"..", b"/", b"a", b"sub", b"l0", b"", b"\0", b"x" * 5000)


def a_request(rng: random.Random, outside: bytes, fids: list[int]) -> bytes:
    """Mostly well formed, with what a hostile guest would try."""
    if rng.random() < 0.03:
        body = rng.randbytes(rng.randrange(40))
        return body if rng.random() < 0.5 else messages.message(rng.choice((*REQUESTS, 0, 6, 255)), 1, body)
    weights = {
        "version": 0.02, "attach": 0.2, "flush": 0.2, "fsync": 0.05, "walk": 9, "lopen": 2, "clunk": 4,
    }  # fmt: skip
    names = [name for name, _ in REQUESTS.values()]
    name = rng.choices(names, [weights.get(one, 1) for one in names])[0]
    values: list[messages.Field] = []
    for at, field in enumerate(REQUESTS[TYPES[name]][1]):
        if field == "n":
            pool = NAMES[:GOOD] if rng.random() < 0.6 else NAMES
            values.append([rng.choice(pool) for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 3)))])
        elif field == "s":
            target = name == "symlink" and at == 2
            values.append(
                rng.choice((*TARGETS, outside)) if target else rng.choice(NAMES[: rng.choice((GOOD, 99))])
            )
        elif field == "D":
            values.append(rng.randbytes(rng.choice((0, 1, 10, 3000))))
        elif field == "d":
            values.append(rng.choice((0, 0, 1, 5, 4096, rng.getrandbits(20), (1 << 63) - 1, (1 << 64) - 1)))
        elif field == "w" and (at == 0 or name in ("walk", "link", "rename", "renameat", "attach")):
            values.append(rng.choice((rng.choice(fids), rng.choice(fids), 0, rng.randrange(30), NOFID)))
        else:
            most = 1 << {"b": 8, "h": 16, "w": 32}[field]
            values.append(
                rng.choice((0, 0, 1, 2, 0o1000, 0o100644, 0o40755, 0x200, 0x1FF, 4096, most - 1)) % most
            )
    if name == "version":
        values = [rng.choice((8192, 65536, 1 << 32 - 1)), b"9P2000.L"]
    if name == "walk" and rng.random() < 0.8:
        values[1] = rng.randrange(30)
    if name == "setattr" and values[1] in (8, 0x1FF):  # not all of the host's disk
        values[5] = rng.choice((0, 5, 100_000))
    return messages.message(TYPES[name], rng.getrandbits(16), messages.pack(REQUESTS[TYPES[name]][1], values))


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: the fuzzer makes and removes thousands of files."""
    place = Path("/dev/shm")  # a folder below it
    with tempfile.TemporaryDirectory(dir=place if place.is_dir() else tmp_path) as top:
        yield shared_in(Path(top))


@pytest.mark.parametrize("seed", range(4))
def test_a_hostile_client(seed: int, quick_folder: Path) -> None:
    """25,000 requests each: no traceback, no hang, nothing outside changed, and nothing of it read."""
    folder = quick_folder
    outside, rng = folder.parent / "outside", random.Random(seed)
    before, done = tree(outside), dict.fromkeys(REQUESTS, 0)
    client = Client(folder)
    for _ in range(25_000):
        if 0 not in client.server.fids.table or rng.random() < 0.01:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            fill(folder)
            client.server.handle(messages.message(100, 1, messages.pack("ws", (65536, b"9P2000.L"))))
            client.server.handle(messages.message(104, 1, messages.pack("wwssw", (0, NOFID, b"", b"", 0))))
        request = a_request(rng, os.fsencode(outside), sorted(client.server.fids.table) or [0])
        answer = client.server.handle(request)
        assert SECRET[:6] not in answer
        length, kind, _ = messages.HEADER.unpack_from(answer)
        assert length == len(answer) <= max(client.server.size, 11)
        if kind != messages.RLERROR:
            done[kind - 1] += 1
    assert tree(outside) == before
    assert sum(done.values()) > 5000
    never = {name for kind, (name, _) in REQUESTS.items() if not done[kind]}
    assert never == {"auth", "mknod", "xattrwalk", "xattrcreate"}  # all else did something, too
    for path in folder.rglob("*"):
        assert not path.is_file() or path.is_symlink() or SECRET not in path.read_bytes()


def test_the_canary_would_be_heard(folder: Path) -> None:
    """The test above can fail: the server finds the secret where it is inside."""
    (folder / "secret").write_bytes(SECRET)
    client = Client(folder)
    assert SECRET[:6] in client.read(client.open(b"secret"))


# ------------------------------------------------------------ as a device


def test_a_share_on_a_machine(folder: Path) -> None:
    machine = Machine(memory=1 << 20, shares=[Share(str(folder), "tag0")])
    driver = Driver(machine)
    assert driver.read(0x08) == 9
    assert [driver.read(0x100 + at, 1) for at in range(6)] == [4, 0, *b"tag0"]
    version = messages.message(100, 1, messages.pack("ws", (8192, b"9P2000.L")))
    written, answer = driver.ask(version, 100) or (0, b"")
    assert (written, answer[:written]) == (
        21,
        messages.message(101, 1, messages.pack("ws", (8192, b"9P2000.L"))),
    )
    attach = messages.message(104, 1, messages.pack("wwssw", (0, NOFID, b"", b"", 0)))
    written, answer = driver.ask(attach, 12) or (0, b"")  # no room for the qid
    assert answer[:written] == messages.message(7, 1, errno.EMSGSIZE.to_bytes(4, "little"))
    digest, snapshot = machine.state_hash(), machine.snapshot()
    driver.ask(messages.message(110, 1, messages.pack("wwn", (0, 5, [b"a"]))), 100)
    assert machine.state_hash() != digest
    machine.restore(snapshot)
    assert machine.state_hash() == digest
    again = Driver(machine)
    assert again.ask(version, 10) is None  # no room for any answer: the device asks for a reset
    assert again.read(0x70) & 0x40


def test_after_a_restore_files_are_opened_again(folder: Path) -> None:
    client = Client(folder)
    fid, gone = client.open(b"a", flags=2), client.create(b"gone")
    state = client.server.state()
    client.server.resume(state)
    assert client.read(fid) == b"content of a"
    client.write(fid, b"x")
    (folder / "gone").unlink()
    with refused(errno.ENOENT):
        client.read(gone)


def test_shares_and_time_travel(folder: Path, tmp_path: Path) -> None:
    machine = Machine(memory=1 << 20, shares=[Share(str(folder), "tag0")])
    with pytest.raises(MachineError, match="without shares"):
        Traveller(machine)
    with pytest.raises(MachineError, match="without shares"):
        machine.snapshot().save(tmp_path / "s")


def test_what_cannot_be_shared(folder: Path) -> None:
    for path in (str(folder / "a"), str(folder / "none"), "a\0b"):
        with pytest.raises((FileError, UsageError), match=re.compile("^share: ")):
            Machine(memory=1 << 20, shares=[Share(path, "t")])
    for tags in (("", "a"), ("a", "a"), ("a b",), ("x" * 32,), ("ä",)):
        with pytest.raises(UsageError, match="tags of shares"):
            Machine(memory=1 << 20, shares=[Share(str(folder), tag) for tag in tags])
