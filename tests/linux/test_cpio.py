"""cpio newc: written as Linux and cpio(1) read it, read back whole, damage named."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmu.vmm.linux import cpio

NAMES = st.from_regex(r"[a-z]{1,3}(/[a-z]{1,8}){0,2}", fullmatch=True)


@given(st.dictionaries(NAMES, st.binary(max_size=600), max_size=8))
def test_what_is_written_is_read_back(files: dict[str, bytes]) -> None:
    entries = []
    for name, data in files.items():
        if not any(other.startswith(name + "/") for other in files):  # a file is not a folder too
            entries.append(cpio.file(name, data))
    archive = cpio.write(entries)
    assert len(archive) % 512 == 0
    back = cpio.read(archive)
    assert [entry for entry in back if stat.S_ISREG(entry.mode)] == sorted(entries, key=lambda e: e.name)
    names = [entry.name for entry in back]
    assert names == sorted(names), "parents come before what stands in them"
    for name in names:
        parent = name.rpartition("/")[0]
        assert not parent or parent in names[: names.index(name)]


def test_header_fields_are_those_of_the_format() -> None:
    archive = cpio.write([cpio.file("ab", b"xyz", 0o755)])
    # magic ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    fields = (1, 0o100755, 0, 0, 1, 0, 3, 0, 0, 0, 0, 3, 0)
    assert archive[:110].decode() == "070701" + "".join(f"{field:08X}" for field in fields)
    assert archive[110:124] == b"ab\0\0\0\0xyz\0" + b"0707"
    assert archive[110:116] == b"ab\0" + bytes(3), "header and name are padded to 4 together"


def test_order_of_entries_does_not_matter() -> None:
    entries = [cpio.file("b/c", b"1"), cpio.symlink("a", "b/c"), cpio.character_device("dev/null", 1, 3)]
    assert cpio.write(entries) == cpio.write(reversed(entries))


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio")
def test_cpio_unpacks_it(tmp_path: Path) -> None:
    archive = cpio.write([
        cpio.file("bin/tool", b"#!/bin/sh\n", 0o755),
        cpio.symlink("sh", "bin/tool"),
        cpio.file("empty", b""),
        cpio.directory("tmp", 0o1777),
    ])  # fmt: skip
    subprocess.run(["cpio", "-i", "--quiet"], input=archive, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "bin/tool").read_bytes() == b"#!/bin/sh\n"
    assert stat.S_IMODE((tmp_path / "bin/tool").stat().st_mode) == 0o755
    assert (tmp_path / "sh").readlink() == Path("bin/tool")
    assert stat.S_IMODE((tmp_path / "tmp").stat().st_mode) == 0o1777


def test_concatenated_archives_are_read_in_order() -> None:
    first, second = cpio.write([cpio.file("a", b"1")]), cpio.write([cpio.file("a", b"2")])
    joined = cpio.append(first + b"\0", second)
    assert joined.index(second[:110], 1) % 4 == 0, "the kernel finds a header only at a multiple of 4"
    assert [entry.data for entry in cpio.read(joined)] == [b"1", b"2"]


@pytest.mark.parametrize("name", ["", "/", "../etc/passwd", "a/../../b", "nul\0"])
def test_names_outside_the_archive_are_refused(name: str) -> None:
    with pytest.raises(cpio.CpioError, match="inside the archive"):
        cpio.file(name, b"")


def test_a_file_is_not_a_folder() -> None:
    with pytest.raises(cpio.CpioError, match="not a directory"):
        cpio.write([cpio.symlink("lib", "usr/lib"), cpio.file("lib/x", b"")])
    with pytest.raises(cpio.CpioError, match="two entries"):
        cpio.write([cpio.file("x", b"1"), cpio.file("x", b"2")])


def test_every_truncation_is_noticed() -> None:
    archive = cpio.write([cpio.file("dir/file", b"content"), cpio.symlink("link", "dir/file")])
    end = archive.index(b"TRAILER!!!") + len("TRAILER!!!\0") + 3  # padded to 4
    for length in range(end):
        with pytest.raises(cpio.CpioError, match="truncated"):
            cpio.read(archive[:length])
    assert len(cpio.read(archive[:end])) == 3


def test_other_formats_and_garbage_are_named() -> None:
    with pytest.raises(cpio.CpioError, match=r"expected 070701, got .*\\x1f"):
        cpio.read(b"\x1f\x8b\x08" + bytes(200))
    archive = cpio.write([cpio.file("a", b"1")])
    with pytest.raises(cpio.CpioError, match="not hexadecimal"):
        cpio.read(archive.replace(b"000081A4", b"0000zzzz"))
