"""The server of shared folders: what Linux's client does with it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from pathlib import Path

import pytest

from vpmu import Machine
from vpmu.errors import FileError, MachineError, UsageError
from vpmu.travel.travel import Traveller
from vpmu.vmm.p9 import fids, messages
from vpmu.vmm.p9.folder import Share
from vpmu.vmm.p9.messages import NOFID

from .p9_client import NOW, Client
from .shared_folder import folder, refused, tree
from .virtio_driver import Driver

__all__ = ["folder"]


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
