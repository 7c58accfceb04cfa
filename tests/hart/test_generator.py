"""The generator: its page shows what it makes, and no module of it is missing from the engine's cache key."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vpmu.hart import native, program
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.operations import NUMBER, OPERATIONS
from vpmu.hart.generator.templates import handler_ir

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ROOT / "src" / "vpmu"
PAGE = (ROOT / "docs" / "generator.md").read_text()
BLOCKS = re.findall(r"^```(python|llvm)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_page_shows_the_ir_of_a_handler() -> None:
    shown = [block for language, block in BLOCKS if language == "llvm"]
    assert len(shown) == 1
    code = "".join(line for line in shown[0].splitlines(keepends=True) if not line.startswith(";"))
    made = handler_ir(OPERATIONS[NUMBER["addi"]], 4, program.constants(), Counting.NOTHING)
    assert code.strip() == made
    assert made in native.engine_ir(Counting.NOTHING)


def test_the_page_shows_the_sources() -> None:
    sources = [path.read_text() for path in (SOURCES / "hart").rglob("*.py")]
    shown = [block for language, block in BLOCKS if language == "python"]
    assert len(shown) == 2
    assert all(any(block in source for source in sources) for block in shown)


def test_the_page_names_every_module() -> None:
    for path in (SOURCES / "hart" / "generator").iterdir():
        if path.stem not in ("__init__", "__pycache__"):
            name = path.name + ("/" if path.is_dir() else "")
            assert f"| `generator/{name}` |" in PAGE, name


# --- the cache key

WITHOUT_CODE = {
    *("vpmu", "vpmu.errors", "vpmu.spec", "vpmu.hart"),  # of the packages only their names are used
    *("vpmu.hart.code_cache", "vpmu.hart.digest", "vpmu.hart.machine_code"),  # keep and place what was made
    "vpmu.hart.softfloat",  # the reference engine's, behind the same table
}
"""Modules that making an engine loads and that have no part in its code."""

LOADED = """
import sys
from vpmu.hart import native, program
from vpmu.hart.codegen_flags import Counting
native.engine_ir(Counting.WHOLE)
names = {name: module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "vpmu"}
if sys.argv[1] == "regions":
    from vpmu.hart.regions import function
    names = {name: module.__file__ for name, module in sys.modules.items() if ".regions" in name}
for name, file in names.items():
    print(name, file)
"""


def loaded(what: str) -> dict[str, Path]:
    """Modules of ours that are loaded to generate an engine (of them: the regions)."""
    done = subprocess.run([sys.executable, "-c", LOADED, what], capture_output=True, text=True, check=True)
    return {name: Path(file) for name, file in (line.split() for line in done.stdout.splitlines())}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sources, to be changed; `native` digests these."""
    for room in ("hart", "spec"):
        shutil.copytree(SOURCES / room, tmp_path / room)
    monkeypatch.setattr(native, "_HERE", tmp_path / "hart")
    return tmp_path


def test_every_module_that_makes_the_engine_is_in_its_key(copied: Path) -> None:
    modules = {name: path for name, path in loaded("engine").items() if name not in WITHOUT_CODE}
    assert {"vpmu.hart.generator.module", "vpmu.hart.semantics", "vpmu.hart.isa.table"} <= modules.keys()
    functions = (SOURCES / "hart" / "privileged").rglob("*.py")  # read as text, not loaded
    for path in sorted({*modules.values(), *functions}):
        before = native.cache_key(Counting.NOTHING)
        with (copied / path.relative_to(SOURCES)).open("a") as source:
            source.write("# changed\n")
        assert native.cache_key(Counting.NOTHING) != before, path


def forget() -> None:
    """What `native` has read of its sources."""
    native._key.cache_clear()
    native.region_folder.cache_clear()


def test_every_module_that_makes_regions_is_in_the_name_of_their_folder(copied: Path) -> None:
    modules = loaded("regions")
    assert len(modules) > 3
    for path in (*modules.values(), SOURCES / "hart" / "generator" / "emitter.py"):
        forget()
        before = native.region_folder(Counting.NOTHING)
        with (copied / path.relative_to(SOURCES)).open("a") as source:
            source.write("# changed\n")
        forget()
        assert native.region_folder(Counting.NOTHING) != before, path
    forget()


def test_regions_are_no_part_of_the_engine(copied: Path) -> None:
    """A change to them need not build the engine again."""
    before = native.cache_key(Counting.NOTHING)
    for path in (copied / "hart" / "regions").glob("*.py"):
        path.write_text("changed")
    assert native.cache_key(Counting.NOTHING) == before
    assert not [name for name in loaded("engine") if name.startswith("vpmu.hart.regions")]
