"""The compiled form of the hot rooms, where there is one: mypyc has made it of the same sources.

It lies in a folder of its own (`hatch_build.py` makes it), so that no file of it stands before a source by
itself: modules are taken from there only as long as the digest of all that they were made from is the one
that the folder is marked with. Else, and where VPMU_PURE is set, Python's own form runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "_compiled"
BELOW = "sbi kvm firmware see perf hart faults trace profiles spec".split()  # noqa: SIM905
"""Folders that compiled code was made from, down to the ground: it knows their constants and types."""

_HERE = os.path.dirname(__file__)  # noqa: PTH120 - at every start


def mark(folder: str | Path, digest: str) -> None:
    """What is in the folder was made of these sources."""
    with open(f"{folder}/digest", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(digest)


def marked_with(folder: str | Path) -> str:
    """The digest of what a folder was made of; empty where nobody has said so."""
    try:
        with open(f"{folder}/digest", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def digest_of(package: Path | str) -> str:
    """A digest of the sources in these folders, of this Python, and of the names of both."""
    from vpmu.hart.digest import blake2b

    state = blake2b(EXTENSION_SUFFIXES[0].encode(), digest_size=16)
    for folder in BELOW:
        for name in sorted(os.listdir(f"{package}/{folder}")):  # noqa: PTH208
            if name.endswith(".py"):
                with open(f"{package}/{folder}/{name}", "rb", buffering=0) as file:  # noqa: PTH123
                    state.update(f"{folder}/{name}\0".encode() + file.read())
    return state.hexdigest()


class Rooms:
    """A finder of modules (sys.meta_path): those in the folder."""

    def __init__(self) -> None:
        self.folder = f"{_HERE}/{FOLDER}"
        suffix = EXTENSION_SUFFIXES[0]
        held = os.listdir(self.folder)  # noqa: PTH208
        self._names = {name.removesuffix(suffix) for name in held if name.endswith(suffix)}
        self._suffix = suffix
        self._current: bool | None = None

    @property
    def current(self) -> bool:
        """It was made of the sources that are there."""
        if self._current is None:
            self._current = bool(self._names) and marked_with(self.folder) == digest_of(_HERE)
        return self._current

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module of the rooms is to be taken from."""
        if name not in self._names or os.environ.get("VPMU_PURE") or not self.current:
            return None
        where = f"{self.folder}/{name}{self._suffix}"
        return spec_from_file_location(name, where, loader=ExtensionFileLoader(name, where))


def take() -> None:
    """From now on modules that are imported are compiled, where they can be."""
    sys.meta_path.insert(0, Rooms())


def form() -> str:
    """Which form of the rooms runs, for `--version`; empty where nobody compiled any, or VPMU_PURE is set."""
    if os.environ.get("VPMU_PURE"):
        return ""
    rooms = next(finder for finder in sys.meta_path if isinstance(finder, Rooms))
    return "with compiled rooms" if rooms.current else "compiled rooms are there, but of other sources"
