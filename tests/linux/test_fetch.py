"""Fetching through the real APT from a small signed archive: whole or not at all, one clear line when not."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vpmu.cli import fetch as command
from vpmu.errors import VpmuError
from vpmu.vmm.linux import cpio, initramfs
from vpmu.vmm.linux import fetch as fetching
from vpmu.vmm.linux.cache import Cache, FetchError, default_root, storage_errors
from vpmu.vmm.linux.fetch import DebianGuest, fetch
from vpmu.vmm.linux.progress import Progress


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache root"


def get(archive: Any, root: Path, **more: Any) -> DebianGuest:
    return fetch(sources=[archive.source], root=root, progress=Progress(quiet=True), **more)


def refusal(archive: Any, root: Path, **more: Any) -> str:
    """The error's text: one line, with the way out, status 2."""
    with pytest.raises(FetchError) as caught:
        get(archive, root, **more)
    text = str(caught.value)
    assert "--kernel" in text
    assert "--initrd" in text
    assert "\n" not in text
    assert caught.value.exit_status == 2
    return text


def test_guest_is_fetched_once(archive: Any, root: Path) -> None:
    guest = get(archive, root)
    assert guest.fetched
    assert guest.release == "6.99.1+deb13-riscv64"
    assert guest.versions == {
        "linux-image-6.99.1+deb13-riscv64": "1:1.0-1", "linux-perf": "1:1.0-1", "busybox-static": "1:1.0-1",
    }  # fmt: skip
    assert guest.kernel.read_bytes()[0x38:0x3C] == b"RSC\x05"
    members = {entry.name: entry for entry in cpio.read(guest.initrd.read_bytes())}
    lib = "usr/lib/riscv64-linux-gnu"
    assert {name for name in members if ".so" in name} == {
        f"{lib}/libtop.so.2", f"{lib}/libdeep.so.1", f"{lib}/libc.so.6", "usr/lib/ld-test.so.1",
    }, "the closure of what perf needs, and nothing else"  # fmt: skip
    assert members["bin/sh"].data == members["bin/["].data == b"../usr/bin/busybox"
    assert "bin/tail" not in members, "the table of applets ends where its order does"
    assert members["init"].data.startswith(b"#!/bin/sh\n")
    tiny = {entry.name for entry in cpio.read(guest.tiny_initrd.read_bytes())}
    assert "usr/bin/busybox" in tiny
    assert "usr/bin/perf" not in tiny
    left = sorted(path.name for path in guest.kernel.parent.iterdir())
    assert left == ["Image", "lock", "manifest.json", "perf.cpio", "tiny.cpio"]

    (archive.folder / "dists/trixie/InRelease").unlink()  # whatever asks the archive now fails
    again = get(archive, root)
    assert not again.fetched
    assert (again.kernel, again.initrd, again.versions) == (guest.kernel, guest.initrd, guest.versions)


def zboot(payload: bytes, kind: bytes = b"gzip") -> bytes:
    """An EFI zboot image (drivers/firmware/efi/libstub/zboot-header.S), with its size behind the payload."""
    header = struct.pack("<2s2x4sII8x32s", b"MZ", b"zimg", 64, len(payload), kind)
    return header.ljust(64, b"\0") + payload + struct.pack("<I", 1234)


def split_kernel(archive: Any, image: bytes, release: str = "7.99.1+deb14-riscv64") -> None:
    """Debian's packages of Linux 7.2: the kernel lies in one of its own."""
    depends = f"linux-base-{release}, linux-binary-{release} (= 1:2.0-1), linux-modules-{release}"
    archive.add(
        "linux-image-riscv64", {}, version="1:2.0-1", section="kernel", depends=f"linux-image-{release}"
    )
    archive.add(f"linux-image-{release}", {}, version="1:2.0-1", section="kernel", depends=depends)
    files = {f"usr/lib/modules/{release}/vmlinuz": image}
    archive.add(f"linux-binary-{release}", files, version="1:2.0-1", section="kernel")
    archive.publish()


WHOLE = b"MZ" + bytes(0x36) + b"RSC\x05" + b"the newer kernel" * 100


@pytest.mark.parametrize("image", [
    WHOLE, gzip.compress(WHOLE, mtime=0), zboot(gzip.compress(WHOLE)),
    zboot(gzip.compress(WHOLE, mtime=0)[:-4]),  # the payload's size is gzip's own
], ids=["plain", "gzip", "zboot", "zboot, size cut off"])  # fmt: skip
def test_kernel_in_a_package_of_its_own(archive: Any, root: Path, image: bytes) -> None:
    split_kernel(archive, image)
    guest = get(archive, root)
    assert guest.release == "7.99.1+deb14-riscv64"
    assert guest.kernel.read_bytes() == WHOLE
    assert guest.versions["linux-image-7.99.1+deb14-riscv64"] == "1:2.0-1"


@pytest.mark.parametrize(("image", "words"), [
    (zboot(b"", b"lz4"), "EFI zboot image: its compression: expected gzip, xz, lzma, bzip2, zstd, got lz4"),
    (gzip.compress(WHOLE, mtime=0)[:20] + b"damaged" * 9, "cannot be uncompressed"),
    (zboot(gzip.compress(WHOLE, mtime=0))[:40], "is not a RISC-V Image"),
    (b"MZ", "is not a RISC-V Image"),
])  # fmt: skip
def test_kernel_that_is_none_is_refused(archive: Any, root: Path, image: bytes, words: str) -> None:
    split_kernel(archive, image)
    text = refusal(archive, root)
    assert words in text
    assert "linux-binary-7.99.1+deb14-riscv64" in text


def test_kernel_package_without_a_kernel(archive: Any, root: Path) -> None:
    archive.add(
        "linux-image-6.99.1+deb13-riscv64", {"boot/System.map": b""}, version="1:1.1-1", section="kernel"
    )
    archive.publish()
    assert "no kernel in linux-image-6.99.1+deb13-riscv64" in refusal(archive, root)


def tear(archive: Any, name: str = "trixie") -> None:
    """What a mirror serves that is being synchronised: the new index's signature, the old index."""
    for index in (archive.folder / "dists" / name / "main/binary-riscv64").iterdir():
        index.write_bytes(index.read_bytes()[:-7])


def test_torn_mirror_is_read_under_the_suites_other_name(archive: Any, root: Path) -> None:
    archive.publish("stable")
    tear(archive)
    assert get(archive, root).release == "6.99.1+deb13-riscv64"


def test_torn_mirror_is_not_another_release(archive: Any, root: Path) -> None:
    archive.publish("stable", codename="forky")
    tear(archive)
    assert "do not match its index" in refusal(archive, root)


def test_same_packages_give_the_same_bytes(archive: Any, tmp_path: Path) -> None:
    one, two = get(archive, tmp_path / "one"), get(archive, tmp_path / "two")
    assert one.initrd.read_bytes() == two.initrd.read_bytes()


def test_refresh_takes_newer_versions_only(archive: Any, root: Path) -> None:
    get(archive, root)
    assert not get(archive, root, refresh=True).fetched
    newer_files = {"usr/bin/busybox": b"new" + _busybox()}
    archive.add("busybox-static", newer_files, version="1:1.1-1", section="shells")
    archive.publish()
    assert not get(archive, root).fetched
    newer = get(archive, root, refresh=True)
    assert newer.fetched
    assert newer.versions["busybox-static"] == "1:1.1-1"


def _busybox() -> bytes:
    return b"\x01[\0[[\0" + b"\0".join(name.encode() for name in sorted(initramfs.NEEDED_APPLETS)) + b"\0"


@pytest.mark.parametrize("name", ["Image", "perf.cpio", "tiny.cpio", "manifest.json"])
@pytest.mark.parametrize("damage", ["remove", "truncate", "change"])
def test_damaged_results_are_repaired(archive: Any, root: Path, name: str, damage: str) -> None:
    whole = get(archive, root)
    path = whole.kernel.parent / name
    content = path.read_bytes()
    match damage:
        case "remove":
            path.unlink()
        case "truncate":
            path.write_bytes(content[:-5])
        case _:
            path.write_bytes(b"!" + content[1:])
    assert get(archive, root).fetched
    if name != "manifest.json":
        assert path.read_bytes() == content


def test_restored_copy_with_new_times_is_good(archive: Any, root: Path) -> None:
    guest = get(archive, root)
    for path in guest.kernel.parent.iterdir():
        os.utime(path, ns=(1, 1))
    assert not get(archive, root).fetched


def test_new_init_rebuilds_without_the_archive(
    archive: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = get(archive, root).initrd.read_bytes()
    (archive.folder / "dists/trixie/InRelease").unlink()
    monkeypatch.setattr(initramfs, "init_script", lambda: b"#!/bin/sh\n# another\n")
    guest = get(archive, root)
    assert guest.fetched
    before, after = ({e.name: e.data for e in cpio.read(data)} for data in (old, guest.initrd.read_bytes()))
    assert after.pop("init") == b"#!/bin/sh\n# another\n"
    assert before.pop("init").startswith(b"#!/bin/sh\n# First process")
    assert before == after
    assert not get(archive, root).fetched


SLOW_FETCH = """
import sys, time
from pathlib import Path
from vpmu.vmm.linux import apt, cache, fetch, progress, sources
stop = sys.argv[4]
def slow(function):
    def wrapper(*args, **kwargs):
        print("here", flush=True)
        time.sleep(60)
        return function(*args, **kwargs)
    return wrapper
if stop == "write":
    real = cache.Cache.write
    cache.Cache.write = lambda self, name, data: (slow(real) if name == "perf.cpio" else real)(
        self, name, data)
elif stop == "commit":
    cache.Cache.commit = slow(cache.Cache.commit)
elif stop == "unpack":
    fetch.initramfs.kernel_image = slow(fetch.initramfs.kernel_image)
else:
    apt.PrivateApt.download = slow(apt.PrivateApt.download)
source = sources.AptSource(sys.argv[1], "trixie", ("main",), sys.argv[2])
fetch.fetch(sources=[source], root=Path(sys.argv[3]), progress=progress.Progress(quiet=True))
"""


@pytest.mark.parametrize("stop", ["download", "unpack", "write", "commit"])
def test_killed_fetch_is_repaired(archive: Any, root: Path, stop: str) -> None:
    source = archive.source
    arguments = [sys.executable, "-c", SLOW_FETCH, source.uri, str(source.signed_by), str(root), stop]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=_environment())
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
    assert Cache(root / "debian-trixie").current() is None
    guest = get(archive, root)
    assert guest.fetched
    assert len(cpio.read(guest.initrd.read_bytes())) > 20
    assert not (guest.kernel.parent / "work").exists()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_two_fetches_at_once_do_the_work_once(archive: Any, root: Path) -> None:
    guests: list[DebianGuest] = []
    steps = io.StringIO()

    def second() -> None:
        guests.append(fetch(sources=[archive.source], root=root, progress=Progress(steps)))

    cache = Cache(root / "debian-trixie")
    thread = threading.Thread(target=second)
    with cache.lock(lambda: pytest.fail("nobody else has it")) as lock:
        thread.start()
        deadline = time.monotonic() + 20
        while "waiting" not in steps.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        fetching._fetch(cache, lock, "trixie", False, [archive.source], Progress(quiet=True))
    thread.join()
    assert [guest.fetched for guest in guests] == [False]
    assert "waiting for another fetch" in steps.getvalue()


def test_unknown_key_is_refused(archive: Any, root: Path, tmp_path: Path) -> None:
    (tmp_path / "other.gpg").write_bytes(b"")
    archive.keyring = tmp_path / "other.gpg"
    assert "signature" in refusal(archive, root)


def test_index_changed_after_signing_is_refused(archive: Any, root: Path) -> None:
    for index in (archive.folder / "dists/trixie/main/binary-riscv64").iterdir():
        index.write_bytes(index.read_bytes()[::-1])
    assert "index" in refusal(archive, root)


def test_package_changed_after_signing_is_refused(archive: Any, root: Path) -> None:
    deb = next((archive.folder / "pool").glob("linux-perf_*"))
    data = bytearray(deb.read_bytes())
    data[-1] ^= 1
    deb.write_bytes(data)
    assert "index" in refusal(archive, root)
    assert Cache(root / "debian-trixie").current() is None


def test_missing_archive_package_or_suite(archive: Any, root: Path) -> None:
    assert "refused the download" in refusal(archive, root, suite="forky")
    assert "suite" in refusal(archive, root, suite="../x")
    next((archive.folder / "pool").glob("libdeep1_*")).unlink()
    assert "refused the download" in refusal(archive, root)


def test_library_that_no_package_has_is_named(archive: Any, root: Path) -> None:
    archive.add("libdeep1", {"usr/share/doc/x": b""}, version="1:2.0-1")
    archive.publish()
    assert "libdeep.so.1" in refusal(archive, root)


def test_next_source_is_tried(archive: Any, root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    other = type(archive.source)(f"file:{tmp_path / 'empty'}", "trixie", ("main",), archive.source.signed_by)
    assert fetch(sources=[other, archive.source], root=root, progress=Progress(quiet=True)).fetched


def test_no_debian_source(root: Path) -> None:
    with pytest.raises(FetchError, match="no Debian archive"):
        fetch(sources=[], root=root, progress=Progress(quiet=True))


def test_no_apt(archive: Any, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "APT" in refusal(archive, root)
    with pytest.raises(FetchError, match="needs APT"):
        fetch(root=root, progress=Progress(quiet=True))


def test_offline(archive: Any, root: Path) -> None:
    closed = type(archive.source)("http://127.0.0.1:9/debian", "trixie", ("main",), archive.source.signed_by)
    with pytest.raises(FetchError, match="no connection"):
        fetch(sources=[closed], root=root, progress=Progress(quiet=True))


def test_no_room(archive: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cache, "free_bytes", lambda self: 1 << 20)
    text = refusal(archive, root)
    assert "not enough room" in text
    assert "got 1 MB" in text


def test_folder_that_cannot_be_used(archive: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be used" in refusal(archive, tmp_path / "file")


@pytest.mark.parametrize(
    ("number", "words"), [(28, "disk is full"), (30, "cannot be written"), (13, "cannot be written")]
)
def test_refusals_of_the_file_system(number: int, words: str) -> None:
    with pytest.raises(FetchError, match=words), storage_errors(Path("/cache")):
        raise OSError(number, os.strerror(number))


def test_cache_root_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "vpmu"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_root() == tmp_path / "home/.cache/vpmu"


def test_command_prints_json_and_steps(
    archive: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import argparse

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sources = tmp_path / "machine.list"
    sources.write_text(f"deb [signed-by={archive.keyring}] file:{archive.folder} trixie main\n")
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    assert command.run(parser.parse_args(["fetch", "debian", "--json", "--sources", str(sources)])) == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert Path(summary["kernel"]).is_file()
    assert summary["fetched"]
    assert [line.split()[0] for line in printed.err.splitlines()] == [
        "reading", "choosing", "downloading", "unpacking", "building",
    ]  # fmt: skip
    assert command.run(parser.parse_args(["fetch", "debian"])) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "versions:" in printed.out
    with pytest.raises(VpmuError, match="No such file"):
        command.run(parser.parse_args(["fetch", "debian", "--sources", str(tmp_path / "absent")]))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_on_a_terminal() -> None:
    stream = Terminal()
    progress = Progress(stream)
    progress.step("downloading")
    progress.update(0.5)
    progress.step("unpacking")
    progress.finish()
    text = stream.getvalue()
    assert "[############............]  50% downloading" in text
    assert text.endswith("100% unpacking\n")
    assert text.count("\n") == 2
