"""Files into and out of the guest, and packages by name."""

from __future__ import annotations

import io
import stat
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmu.errors import FileError, UsageError, VpmuError
from vpmu.vmm.linux import cpio, guest_files
from vpmu.vmm.linux.cache import Cache, FetchError, default_root
from vpmu.vmm.linux.guest_files import FileIn, FileOut, Getting, in_guest, unpack
from vpmu.vmm.linux.packages import packages, parse, placed
from vpmu.vmm.linux.progress import Progress


@pytest.mark.parametrize(
    ("text", "guest"),
    [
        ("prog", "/root/prog"),
        ("prog:x", "/root/x"),
        ("prog:/bin/", "/bin/prog"),
        ("prog:/usr/bin/y", "/usr/bin/y"),
    ],
)
def test_where_a_file_lies(text: str, guest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prog").write_bytes(b"x")
    file = FileIn.parse(text)
    assert (file.host, str(file.guest)) == (Path("prog"), guest)


def test_a_host_name_may_have_colons(tmp_path: Path) -> None:
    name = tmp_path / "a:b"
    name.write_bytes(b"x")
    assert FileIn.parse(f"{name}").guest == PurePosixPath("/root/a:b")
    assert FileIn.parse(f"{name}:c").guest == PurePosixPath("/root/c")


@given(st.text())
def test_no_path_leads_above_the_guests_root(text: str) -> None:
    try:
        path = in_guest(text)
    except UsageError:
        return
    assert path.is_absolute()
    assert ".." not in path.parts


def test_a_folder_goes_in_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "top" / "inner").mkdir(parents=True)
    (tmp_path / "top" / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "top" / "run.sh").chmod(0o750)
    (tmp_path / "top" / "link").symlink_to("inner/none")
    entries = {e.name: e for e in cpio.read(guest_files.archive([FileIn.parse(f"{tmp_path}/top:/opt/t")]))}
    assert stat.S_IMODE(entries["opt/t/run.sh"].mode) == 0o750
    assert stat.S_ISLNK(entries["opt/t/link"].mode)
    assert entries["opt/t/link"].data == b"inner/none"
    assert stat.S_ISDIR(entries["opt/t/inner"].mode)


def test_what_cannot_go_in_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected a file or a folder"):
        guest_files.archive([FileIn.parse("/dev/null")])
    with pytest.raises(FileError, match="No such file"):
        guest_files.archive([FileIn.parse(str(tmp_path / "none"))])
    other = tmp_path / "x86"
    other.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + b"\x3e\0" + bytes(50))
    other.chmod(0o755)
    with pytest.raises(FileError, match="another machine"):
        guest_files.archive([FileIn.parse(str(other))])


def _tar(*members: tuple[str, bytes, str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, target, data in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size, member.mode = kind, target, len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


REG, SYM, LNK, DIR, FIFO = (
    tarfile.REGTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)
HOSTILE = [
    _tar(("out/../../evil", REG, "", b"x")),
    _tar(("../evil", REG, "", b"x")),
    _tar(("/evil", REG, "", b"x")),
    _tar(("out", DIR, "", b""), ("out/l", SYM, "..", b""), ("out/l/evil", REG, "", b"x")),
    _tar(("out", SYM, "../evil", b"")),
    _tar(("out", DIR, "", b""), ("out/l", SYM, "/evil", b"")),
    _tar(("out", DIR, "", b""), ("out/h", LNK, "../evil", b"")),
    _tar(("out", FIFO, "", b"")),
    b"no tar",
    _tar(("out", REG, "", b"x" * 4000))[:1500],
]


@pytest.mark.parametrize("data", HOSTILE)
def test_a_hostile_guest_writes_nothing_outside(data: bytes, tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.mkdir()
    with pytest.raises(VpmuError):
        unpack(data, FileOut(PurePosixPath("/root/out"), box / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["box"]


def test_a_folder_comes_out_as_it_is(tmp_path: Path) -> None:
    data = _tar(("out", DIR, "", b""), ("out/a", REG, "", b"1"), ("out/b", SYM, "a", b""))
    unpack(data, FileOut(PurePosixPath("/root/out"), tmp_path / "here"))
    assert (tmp_path / "here" / "b").read_bytes() == b"1"
    assert (tmp_path / "here" / "b").is_symlink()


def test_names_in_the_script_are_quoted() -> None:
    script = Getting([FileOut.parse("a b; rm -rf /:x")]).script()
    assert "'a b; rm -rf /'" not in script.replace("'/root/a b; rm -rf '", "")
    assert "; rm -rf /root" not in script


@pytest.mark.parametrize("text", ["", "x:", "/", "..:x", ":x"])
def test_what_cannot_come_out(text: str) -> None:
    with pytest.raises(UsageError):
        FileOut.parse(text)


def test_packages_by_name() -> None:
    assert parse("strace, trace-cmd,strace") == ("strace", "trace-cmd")
    with pytest.raises(UsageError, match="a name such as"):
        parse("A,b")
    assert [placed(name) for name in ("./lib/x", "./usr/sbin/y", "./")] == ["usr/lib/x", "usr/bin/y", ""]


def test_packages_come_with_what_they_need_and_once(archive: Any, tmp_path: Path) -> None:
    archive.add(
        "tool", {"usr/sbin/tool": b"#!", "usr/share/doc/tool/x": b"no"}, depends="libtop2", section="utils"
    )
    archive.publish()
    here = {"sources": [archive.source], "root": tmp_path / "root", "progress": Progress(quiet=True)}
    made = packages(["tool"], **here)
    assert {"tool", "libtop2", "libdeep1", "libc6"} <= set(made.versions)
    names = {entry.name: entry for entry in cpio.read(made.archive.read_bytes())}
    assert names["usr/bin/tool"].data == b"#!"
    assert not any("share/doc" in name for name in names)
    assert stat.S_ISLNK(names["usr/lib/riscv64-linux-gnu/libtop.so.2"].mode)
    before = made.archive.stat().st_mtime_ns
    assert packages(["tool"], **{**here, "sources": []}).archive.stat().st_mtime_ns == before
    with pytest.raises(FetchError, match="no riscv64 package none-such"):
        packages(["none-such"], **here)


def test_files_in_and_out_of_debian(tmp_path: Path) -> None:
    if Cache(default_root() / "debian-trixie").current() is None:
        pytest.skip("no Debian guest in the cache: vpmu fetch debian")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a b").write_bytes(bytes(range(256)))
    command = "cp -r in out; echo said; mkdir out/more; exit 7"
    line = ["boot", "--file", "in", "--exec", command, "--get", "out", "--get", "none"]
    done = subprocess.run(
        [sys.executable, "-m", "vpmu", *line], cwd=tmp_path, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (7, "said\n"), done.stderr
    assert "/root/none did not come out" in done.stderr
    assert (tmp_path / "out" / "a b").read_bytes() == bytes(range(256))
    assert (tmp_path / "out" / "more").is_dir()
