"""Files that are written whole: whatever happens in the middle, a reader finds the old content or the new."""

from __future__ import annotations

import datetime
import marshal
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from vpmu import files
from vpmu.errors import FileError
from vpmu.files import PART, write_file, written

Disk = Callable[[int], AbstractContextManager[None]]
ROUNDS = int(os.environ.get("VPMU_FUZZ", "400")) // 40
"""Writers that are killed."""
WRITER = """
import sys
from vpmu.files import write_file
print("ready", flush=True)
number = 0
while True:
    number += 1
    write_file(sys.argv[1], (b"%08d" % number,) * 40_000)
"""


def test_it_is_there_as_it_was_given(tmp_path: Path) -> None:
    write_file(tmp_path / "text", "a\udce9é\n")
    assert (tmp_path / "text").read_bytes() == "a\\udce9é\n".encode()
    write_file(tmp_path / "parts", [b"a", memoryview(b"bc")])
    assert (tmp_path / "parts").read_bytes() == b"abc"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "text"]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 100_000])
def test_a_full_disk_leaves_the_old_content(size: int, tmp_path: Path, full_disk: Disk) -> None:
    path = tmp_path / "file"
    for old in (None, b"old"):
        if old is not None:
            path.write_bytes(old)
        with full_disk(size), pytest.raises(FileError, match=r"^file: .*/file: ") as caught:
            write_file(path, bytes(100_001))
        assert "\n" not in str(caught.value)
        assert [each.read_bytes() for each in tmp_path.iterdir()] == ([] if old is None else [old])


def test_a_writer_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with written(path) as stream:
            stream.write(b"new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_killed_writers(tmp_path: Path) -> None:
    path = tmp_path / "file"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for number in range(max(ROUNDS, 3)):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], env=environment, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(random.Random(number).random() / 20)
            writer.send_signal(signal.SIGKILL)
        if path.exists():
            content = path.read_bytes()
            assert content == content[:8] * 40_000
        assert len(list(tmp_path.iterdir())) <= 2  # the next writer removes what a killed one left
    write_file(path, "last")
    assert list(tmp_path.iterdir()) == [path]


def test_nobody_takes_the_file_of_a_writer_that_lives(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with written(path) as first:
        first.write(b"first")
        write_file(path, "second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    (tmp_path / f".file.1-0{PART}").write_text("left by a killed one")
    write_file(path, "third")
    assert list(tmp_path.iterdir()) == [path]


def test_links_modes_and_devices_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_file(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    write_file("/dev/null", "gone")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("name", "words"),
    [("absent/file", "No such file"), (".", "directory"), ("a\0b", "null"), ("x" * 300, "too long")],
)
def test_names_that_cannot_be_written(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=words):
        write_file(tmp_path / name, "")


def test_a_toml_file_of_our_own_is_kept_as_it_was_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_PACKAGE", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    file = tmp_path / "some.toml"
    file.write_text("a = [1, 2]\n[b]\nc = 'text'\n")
    content = {"a": [1, 2], "b": {"c": "text"}}
    assert files.read_toml(file) == (content, file.read_text())
    (kept,) = (tmp_path / "__pycache__").iterdir()

    def never(*_: object) -> None:
        raise AssertionError("parsed again")

    with monkeypatch.context() as patch:
        patch.setattr(files, "parse_toml", never)
        assert files.read_toml(file)[0] == content
    for damage in (b"", b"nonsense", kept.read_bytes()[:-3], marshal.dumps(("other", {})), marshal.dumps(7)):
        kept.write_bytes(damage)
        assert files.read_toml(file)[0] == content
    file.write_text("a = 3\n")  # of which nothing is kept
    assert files.read_toml(file)[0] == {"a": 3}
    file.write_text("when = 2026-11-26\n")  # which cannot be kept
    assert files.read_toml(file)[0] == {"when": datetime.date(2026, 11, 26)}
    file.write_text("a = \n")
    with pytest.raises(FileError, match=r"some\.toml:1"):
        files.read_toml(file)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_others_files_are_parsed_each_time(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text("a = 1\n")
    assert files.read_toml(file)[0] == {"a": 1}
    assert list(tmp_path.iterdir()) == [file]
