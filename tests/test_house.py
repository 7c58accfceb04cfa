"""The house: folders of src/vpmu are floors, imports go down only, and a module is read in one sitting."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src" / "vpmu"

FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(floor.split())
    for floor in (
        "__main__",
        "testing cli",
        "report",
        "campaign",
        "conform",
        "peers",
        "gdb",
        "debug",
        "travel",
        "vmm",
        "compiled",
        "sbi",
        "kvm firmware",
        "see",
        "perf",
        "hart",
        "faults",
        "trace",
        "profiles payloads",
        "spec files",
        "brief",
        "rows",
        "errors junit",
        "__init__",  # the package's door: its name and version
    )
)
"""From the roof to the ground. A folder, or a module of the package itself, imports what is below it, so that
there are no circles.
"""

LIMIT = 400
LIMITED = ("gdb", "hart", "kvm", "vmm", "firmware", "sbi", "see", "perf")

MODULES = {path.relative_to(SOURCES).as_posix(): path for path in sorted(SOURCES.rglob("*.py"))}


def floor_of(room: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if room in floor)


def room_of(dotted: tuple[str, ...]) -> str:
    """The room of a module, of which `dotted` are the names behind `vpmu`."""
    if not dotted:
        return "__init__"
    known = (SOURCES / dotted[0]).exists() or (SOURCES / f"{dotted[0]}.py").exists()
    return dotted[0] if known else "__init__"  # a name that the package itself has


def imports(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, names behind `vpmu`) of everything of ours that a module imports, wherever it does so."""
    here = ("vpmu", *path.relative_to(SOURCES).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[tuple[str, ...]] = []
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = here[: -node.level] if node.level else ()
            base = (*parent, *(node.module.split(".") if node.module else ()))
            names = [(*base, alias.name) for alias in node.names]
        for name in names:
            if name[0] == "vpmu":
                yield node.lineno, name[1:]


def test_the_way_down_is_seen() -> None:
    """The reader of imports finds what is there: relative, absolute, in functions, for types only."""
    seen = {room_of(name) for _, name in imports(SOURCES / "vmm" / "machine.py")}
    assert {"kvm", "perf", "hart", "trace", "faults", "vmm", "errors"} <= seen
    assert {room_of(name) for _, name in imports(SOURCES / "sbi" / "dispatch.py")} >= {"kvm", "spec", "sbi"}


def test_every_room_has_its_floor() -> None:
    rooms = {name.split("/")[0].removesuffix(".py") for name in MODULES}
    assert rooms <= set().union(*FLOORS)
    assert sum(map(len, FLOORS)) == len(set().union(*FLOORS))


def test_imports_go_down_only() -> None:
    upwards = []
    for name, path in MODULES.items():
        room = room_of(tuple(name.removesuffix(".py").split("/")))
        for line, target in imports(path) if name != "__init__.py" else ():
            other = room_of(target)
            if other != room and floor_of(other) <= floor_of(room):
                upwards.append(f"src/vpmu/{name}:{line}: {room} imports {other}, which is not below it")
    assert not upwards


def test_the_door_loads_nothing() -> None:
    """The package names what is above it for type checkers only; at run time it loads on demand."""
    tree = ast.parse((SOURCES / "__init__.py").read_text())
    loaded = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {getattr(node, "module", None) for node in loaded} == {"__future__", "typing"}


def test_a_module_is_read_in_one_sitting() -> None:
    limited = {name: path for name, path in MODULES.items() if name.split("/")[0] in LIMITED}
    long = {name for name, path in limited.items() if len(path.read_text().splitlines()) > LIMIT}
    assert long == set()


def test_the_design_names_every_folder() -> None:
    page = (ROOT / "docs" / "design.md").read_text()
    folders = {name.split("/")[0] for name in MODULES if "/" in name}
    assert folders <= set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE))
