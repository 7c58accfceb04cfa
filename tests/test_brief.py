"""What the API returns is shown in a line, however much it holds."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

import vpmu
from vpmu import Machine
from vpmu.brief import Brief, brief

LARGE = re.compile(r"\b(bytes|bytearray|memoryview|Buffer|Record|Finding)\b")
EXEMPT = {
    "vpmu.conform.frames.Frame": "at most 64 KiB, and private to the link",
    "vpmu.hart.hot_cache.CachedRegion": "does not leave the engine",
    "vpmu.hart.object_file.Piece": "does not leave the engine",
    "vpmu.hart.stencils.table.Row": "does not leave the engine",
    "vpmu.see.exits.MmioExit": "8 bytes at most",
}
"""Dataclasses that need no short form, and why."""


def dataclasses_with_much() -> dict[str, type]:
    found = {}
    root = Path(vpmu.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.name.startswith("__"):
            continue
        name = ".".join(("vpmu", *path.relative_to(root).with_suffix("").parts))
        try:
            loaded = importlib.import_module(name)
        except ImportError:  # an extra that is not installed
            continue
        for value in vars(loaded).values():
            public = isinstance(value, type) and not value.__name__.startswith("_")
            if public and dataclasses.is_dataclass(value) and value.__module__ == name:
                fields = dataclasses.fields(value)
                if any(field.repr and LARGE.search(str(field.type)) for field in fields):
                    found[f"{name}.{value.__name__}"] = value
    return found


def test_a_public_dataclass_that_holds_much_is_brief() -> None:
    found = dataclasses_with_much()
    assert "vpmu.vmm.loader.LoadedImage" in found
    assert "vpmu.vmm.run_result.RunResult" in found
    long = {name for name, one in found.items() if not issubclass(one, Brief)}
    assert long - set(EXEMPT) == set()


def test_what_a_machine_returns_is_short() -> None:
    machine = Machine(memory=16 << 20)
    kernel = bytes(0x38) + b"RSC\x05" + bytes((8 << 20) + 4)
    values = [machine.load(kernel), machine.load("hello"), machine.run(), machine.snapshot()]
    assert "8,388,672 bytes" in repr(values[0])
    for value in values:
        assert len(repr(value)) < 2_000, type(value)
        assert "\n" not in repr(value)


def test_what_is_small_is_shown_as_it_is() -> None:
    assert brief({"a": b"12", "b": (1, 2)}) == "{'a': b'12', 'b': [1, 2]}"
    assert brief(bytes(33)) == "<33 bytes>"
    assert brief(list(range(5))) == "<5 items>"
    assert brief(dict.fromkeys(range(9), 0)) == "<9 entries>"
    assert brief("x" * 300) == "<300 characters>"
