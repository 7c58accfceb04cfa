"""How vpmu is built: a plain wheel, or one with the hot rooms compiled by mypyc beside their sources.

    pip install .                      plain Python, as ever
    VPMU_COMPILE=1 pip install .       a wheel for this platform; needs a C compiler
    python hatch_build.py              compile the rooms of this checkout (`make compiled`)
    python hatch_build.py --into DIR   compile them into another folder
    python hatch_build.py --remove     plain Python again

What is compiled lies in one folder (`vpmu.compiled.FOLDER`), with the digest of the sources that it was made
from: where that is not theirs any more, Python's own form runs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "src"
sys.path.insert(0, str(SOURCES))

from vpmu.compiled import FOLDER, digest_of, mark, marked_with  # noqa: E402

ROOMS = (
    "sbi", "kvm", "firmware", "see", "perf",
    "hart/pmu", "hart/published", "hart/standing",
)  # fmt: skip
"""Folders and modules of src/vpmu that are compiled: the way of a call and of an exit."""

PLAIN = {
    "kvm/errors": "exceptions, which cross processes",
    "perf/description": "it finds its tables beside itself, and a run does not ask it",
    "perf/event": "an exception and an enum that others test for, and protocols",
    "perf/injection": "an attribute of a class that is no constant, which mypyc leaves out",
    "see/exits": "named tuples, and a Counter, which is a class of Python's library",
    "perf/linux": "a ctypes.Structure, which mypyc cannot compile",
}
"""Modules of these folders that stay Python, and why."""

NEEDS = "mypy[mypyc]>=1.15"
BUILD = ROOT / "build" / "compiled"
"""Where mypyc and the C compiler write, and what they made last."""


def modules() -> list[str]:
    """The modules to compile, as paths in src/ without their ending."""
    found = []
    for room in ROOMS:
        folder = SOURCES / "vpmu" / room
        paths = sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
        found += [path.relative_to(SOURCES).with_suffix("").as_posix() for path in paths]
    plain = {f"vpmu/{name}" for name in PLAIN}
    return [name for name in found if name not in plain and not name.endswith("/__init__")]


def compile_rooms(out: Path = SOURCES / "vpmu" / FOLDER) -> Path:
    """Compile them into `out`. SystemExit with one line where that cannot be done; what is there stays."""
    try:
        import mypyc.build  # noqa: F401
        import setuptools  # noqa: F401
    except ImportError as error:
        sys.exit(f"vpmu: to compile the rooms, expected {NEEDS} beside this Python, got: {error}")
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        sys.exit(f"vpmu: to compile the rooms, expected a C compiler, got: no {compiler}")
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made, digest = BUILD / FOLDER, digest_of(SOURCES / "vpmu")
        if marked_with(made) != digest or not _has_all(made):
            _make(made)
            mark(made, digest)
        # A vpmu that starts meanwhile finds the old folder, none, or the new one, never a part of one.
        new = Path(tempfile.mkdtemp(dir=out.parent, prefix=f"{out.name}."))
        shutil.copytree(made, new, dirs_exist_ok=True)
        new.chmod(0o755)
        if out.exists():
            shutil.rmtree(out.rename(out.with_name(f"{new.name}.old")))
        new.rename(out)
    return out


def _has_all(made: Path) -> bool:
    """Every module of the tables above is there, and nothing else."""
    there = {path.name.partition(".cpython")[0] for path in made.glob("vpmu.*")}
    return there == {name.replace("/", ".") for name in modules()}


def _make(made: Path) -> None:
    shutil.rmtree(made, ignore_errors=True)
    library, log = BUILD / "lib", BUILD / "log"
    shutil.rmtree(library, ignore_errors=True)
    # In a process of its own: its working directory is how tracebacks name the sources.
    command = [sys.executable, str(ROOT / "hatch_build.py"), "--mypyc", str(library)]
    with log.open("w") as said:
        done = subprocess.run(command, cwd=SOURCES, stdout=said, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        wrong = [line for line in log.read_text(errors="replace").splitlines() if "error:" in line]
        why = wrong[0] if wrong else f"status {done.returncode}"
        sys.exit(f"vpmu: the rooms could not be compiled: {why} (all of it is in {log})")
    made.mkdir()
    for path in library.rglob("*.so"):  # flat, each under the whole name of its module
        shutil.copyfile(path, made / ".".join(path.relative_to(library).parts))


def run_mypyc(library: Path) -> None:
    """What `compile_rooms` starts, in src/."""
    from mypyc.build import mypycify
    from setuptools import setup

    folders = ["--build-lib", str(library), "--build-temp", str(BUILD / "temp")]
    sys.argv = ["setup.py", "--quiet", "build_ext", *folders]
    # Tables and types of the modules around them are read, too: mypy's settings are the project's.
    settings = ["--config-file", str(ROOT / "pyproject.toml")]
    paths = [f"{name}.py" for name in modules()]
    extensions = mypycify(
        [*settings, *paths], target_dir=str(BUILD / "c"), group_name="vpmu", debug_level="0"
    )
    setup(name="vpmu-rooms", packages=[], py_modules=[], ext_modules=extensions)


class Compiled(BuildHookInterface):  # type: ignore[type-arg]
    """Of the wheel: hatchling asks it before each build."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [NEEDS] if wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not wanted():
            return
        if version == "editable":
            compile_rooms()
            return
        out = compile_rooms(BUILD / "wheel")
        build_data["force_include"][str(out)] = f"vpmu/{FOLDER}"
        build_data["pure_python"], build_data["infer_tag"] = False, True


def wanted() -> bool:
    """VPMU_COMPILE is set, and not to 0."""
    return os.environ.get("VPMU_COMPILE", "0") not in ("", "0")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--mypyc"]:
        run_mypyc(Path(sys.argv[2]))
    elif sys.argv[1:] == ["--remove"]:
        shutil.rmtree(SOURCES / "vpmu" / FOLDER, ignore_errors=True)
    elif sys.argv[1:2] == ["--into"] and len(sys.argv) == 3:
        print(compile_rooms(Path(sys.argv[2])))
    elif sys.argv[1:]:
        sys.exit(f"usage: python {sys.argv[0]} [--into FOLDER | --remove]")
    else:
        print(compile_rooms())
