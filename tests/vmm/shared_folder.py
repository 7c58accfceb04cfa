"""A folder to share, beside one that is not."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

SECRET = b"CANARY that nobody reads"


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
