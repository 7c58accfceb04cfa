"""The server of shared folders: what nobody gets out of it, and clients that are not to be trusted."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpmu.vmm.p9 import messages
from vpmu.vmm.p9.fids import MOST_FIDS, MOST_OPEN
from vpmu.vmm.p9.folder import DEEPEST
from vpmu.vmm.p9.messages import NOFID, REQUESTS, TYPES

from .p9_client import Client
from .shared_folder import SECRET, fill, folder, refused, shared_in, tree

__all__ = ["folder"]


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
