"""The compiled form of the hot rooms (hatch_build.py, compiled.py) does what Python's own does."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from vpmu.cli.main import INTERRUPTED
from vpmu.compiled import BELOW, FOLDER

ESSENTIAL = (
    "tests/kvm", "tests/sbi", "tests/perf", "tests/faults", "tests/trace", "tests/firmware",
    "tests/vmm/test_cut_runs.py", "tests/vmm/test_counter_reads.py", "tests/vmm/test_levels.py",
    "tests/vmm/test_standing.py", "tests/replay", "tests/campaign/test_campaign.py",
    "tests/conform/test_opensbi_profile.py",
)  # fmt: skip
"""Tests that run on it, in a process of their own."""
EXCHANGE = ("test_answers_of_the_engine_change_nothing", "test_who_wants_to_stop_it_can")
"""Not these: they exchange methods, which a compiled class does not allow."""

FORMS = ("compiled", "pure")
PLAIN_CLASSES = ("machine.run", "machine.restore", "machine.snapshot", "machine.console_input")
"""Methods that are exchanged, of a class that is not compiled."""


def absent() -> str:
    """What is not there to compile with; empty: nothing."""
    for module in ("mypyc", "setuptools", "hatchling"):
        if find_spec(module) is None:
            return f"{module} is not installed"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"no C compiler ({compiler}) is installed"
    header = Path(sysconfig.get_path("include"), "Python.h")
    return "" if header.exists() else f"{header} is not there (Debian: python3-dev)"


pytestmark = pytest.mark.slow
Run = Callable[..., subprocess.CompletedProcess[str]]


def methods_of(path: Path) -> set[str]:
    """Methods of the classes of a module, properties not among them: those are there to be set."""
    classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    found = [part for one in classes for part in one.body if isinstance(part, ast.FunctionDef)]
    return {one.name for one in found if not any(_of_a_property(by) for by in one.decorator_list)}


def _of_a_property(decorator: ast.expr) -> bool:
    return ast.unparse(decorator) == "property" or ast.unparse(decorator).endswith(".setter")


def compiled_modules(project: Path) -> list[Path]:
    """Those of the table in hatch_build.py."""
    tree = ast.parse((project / "hatch_build.py").read_text())
    tables = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("ROOMS", "PLAIN")
    }
    package = project / "src" / "vpmu"
    for name in tables["PLAIN"]:
        assert (package / f"{name}.py").exists(), name
    found = []
    for room in tables["ROOMS"]:
        inside = sorted((package / room).glob("[a-z]*.py")) or [package / f"{room}.py"]
        found += [path for path in inside if str(path.relative_to(package))[:-3] not in tables["PLAIN"]]
    return found


def test_nobody_exchanges_a_method_of_a_compiled_class(project: Path) -> None:
    """It would be exchanged in vain: compiled code does not look for it in the object. There are seams."""
    sources = project / "src" / "vpmu"
    trees = {path.relative_to(sources): ast.parse(path.read_text()) for path in sources.rglob("*.py")}
    nodes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree)]
    set_ = [
        (path, target)
        for path, node in nodes
        if isinstance(node, ast.Assign)
        for part in node.targets
        for target in ast.walk(part)
        if isinstance(target, ast.Attribute)
    ]
    data = {target.attr for _, target in set_ if ast.unparse(target.value) == "self"}
    data |= {
        ast.unparse(node.target).removeprefix("self.") for _, node in nodes if isinstance(node, ast.AnnAssign)
    }
    methods = set().union(*map(methods_of, compiled_modules(project))) - data
    assert {"read_csr_counter", "counter_start", "sbi_call", "enable"} & methods >= {
        "read_csr_counter",
        "enable",
    }
    exchanged = [f"{path}: {ast.unparse(target)}" for path, target in set_ if target.attr in methods]
    assert [what for what in exchanged if not what.endswith(PLAIN_CLASSES)] == []


@pytest.fixture(scope="module")
def rooms(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Them, compiled from the sources of this checkout; skips where that cannot be done."""
    if absent():
        pytest.skip(absent())
    out = tmp_path_factory.mktemp("rooms") / FOLDER
    command = [sys.executable, "hatch_build.py", "--into", str(out)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def tree(project: Path, rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with compiled rooms in it."""
    copy = tmp_path_factory.mktemp("tree") / "src"
    shutil.copytree(project / "src", copy, ignore=shutil.ignore_patterns("__pycache__", FOLDER))
    shutil.copytree(rooms, copy / "vpmu" / FOLDER)
    return copy


@pytest.fixture
def run(tree: Path, tmp_path: Path) -> Run:
    """``run("compiled" or "pure", arguments of Python)``."""

    def start(form: str, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
        command, environment = [sys.executable, "-P", *arguments], environment_of(tree, form)
        return subprocess.run(
            command,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            **more,  # type: ignore[call-overload]
        )

    return start


def environment_of(tree: Path, form: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "VPMU_PURE": "1" if form == "pure" else ""}


def test_without_a_compiler_it_says_so_and_leaves_nothing(project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "hatch_build.py", "--into", str(tmp_path / "rooms")]
    done = subprocess.run(
        command, cwd=project, env={**os.environ, "CC": "/no/compiler"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0].startswith("vpmu: to compile the rooms, expected ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "rooms").exists()


def test_it_is_what_runs_and_brings_nothing_along(run: Run) -> None:
    script = """
import sys
from vpmu import Machine
machine = Machine(memory=1 << 20)
machine.vcpu(0).ecall(0x10, 0)
print(type(machine.vcpu(0)).__module__, sys.modules["vpmu.kvm.vcpu"].__file__)
tools = ("mypy", "mypyc", "mypy_extensions", "librt")
print([name for name in sys.modules if name.partition(".")[0] in tools])
"""
    for form, ending in (("compiled", (".so",)), ("pure", (".py",))):
        done = run(form, "-c", script)
        assert done.returncode == 0, done.stderr
        where, brought = done.stdout.splitlines()
        assert where.endswith(ending)
        assert brought == "[]"


def test_the_version_says_so(run: Run) -> None:
    told = {form: run(form, "-m", "vpmu", "--version").stdout for form in FORMS}
    assert told["compiled"] == told["pure"].rstrip() + " (with compiled rooms)\n"


@pytest.fixture
def changed(tree: Path) -> Iterator[Callable[[str], None]]:
    """``changed(path)``: append a line to a source."""
    before: dict[Path, bytes] = {}

    def change(name: str) -> None:
        path = tree / "vpmu" / name
        before[path] = path.read_bytes()
        path.write_bytes(before[path] + b"# changed\n")

    yield change
    for path, content in before.items():
        path.write_bytes(content)


@pytest.mark.parametrize("folder", BELOW)
def test_a_changed_source_runs(folder: str, tree: Path, run: Run, changed: Callable[[str], None]) -> None:
    """Of every folder, even where only constants of it are in the compiled code."""
    source = sorted((tree / "vpmu" / folder).glob("[a-z]*.py"))[-1]
    changed(f"{folder}/{source.name}")
    assert "of other sources" in run("compiled", "-m", "vpmu", "--version").stdout
    done = run("compiled", "-c", "import vpmu.kvm.pmu as room; print(room.__file__)")
    assert done.stdout.strip() == str(tree / "vpmu" / "kvm" / "pmu.py"), done.stderr


def test_a_source_that_is_new_or_gone_counts_as_changed(tree: Path, run: Run) -> None:
    new = tree / "vpmu" / "sbi" / "new.py"
    new.touch()
    try:
        assert "of other sources" in run("compiled", "-m", "vpmu", "--version").stdout
    finally:
        new.unlink()
    assert "with compiled rooms" in run("compiled", "-m", "vpmu", "--version").stdout


RUNS = """
import sys
from itertools import product
from vpmu.cli.main import main

for number, (guest, profile, faults) in enumerate(product(
    ("overflow", "firmware-counter", "failing-event", "snapshot", "counting"),
    ("spec-3.0", "kvm-6.9", "kvm-6.12.117", "kvm-7.2", "opensbi-1.6"),
    ([], ["--inject", "perf.create:event=cycles,errno=EBUSY"], ["--inject", "hart.overflow:duplicate"]),
)):
    trace = f"{sys.argv[1]}/{number}.jsonl"
    print(main(["run", guest, "--profile", profile, *faults, "--check", "--trace", trace, "--json"]))
"""
STATES = """
import sys
from vpmu import Machine
from vpmu.vmm.snapshot_file import load
from vpmu.vmm.state_hash import state_hash

for profile in ("kvm-6.9", "kvm-7.2", "spec-3.0", "opensbi-1.6"):
    machine = Machine(profile=profile, memory=64 << 20)
    machine.load("counting")
    if sys.argv[1] == "save":
        machine.run(max_instructions=5_000)
        print(profile, state_hash(machine), file=sys.stderr)
        machine.snapshot().save(f"{profile}.snapshot")
    else:
        machine.restore(load(f"{profile}.snapshot"))
        print(profile, state_hash(machine), file=sys.stderr)
    machine.run(max_instructions=2_000)
    print(profile, state_hash(machine))
"""


def test_runs_are_the_same_to_the_byte(run: Run, tmp_path: Path) -> None:
    """What is printed, statistics among it, and the trace, of payloads with faults and without."""
    said, traces = {}, {}
    for form in FORMS:
        (tmp_path / form).mkdir()
        done = run(form, "-c", RUNS, form)
        assert done.returncode == 0, done.stderr
        said[form] = done.stdout, done.stderr
        traces[form] = {path.name: path.read_bytes() for path in (tmp_path / form).iterdir()}
    assert said["compiled"] == said["pure"]
    assert traces["compiled"] == traces["pure"]
    assert len(traces["pure"]) == 75


@pytest.mark.parametrize("first", FORMS)
def test_a_snapshot_of_one_form_goes_on_in_the_other(first: str, run: Run) -> None:
    (second,) = set(FORMS) - {first}
    saved, loaded = run(first, "-c", STATES, "save"), run(second, "-c", STATES, "load")
    assert saved.returncode == loaded.returncode == 0, saved.stderr + loaded.stderr
    assert saved.stdout.splitlines() == loaded.stdout.splitlines()
    assert saved.stderr == loaded.stderr
    assert len(set(saved.stdout.split() + saved.stderr.split())) == 12


def wait_until_busy(process: subprocess.Popen[str]) -> None:
    """Until it has used a second of a processor: by then the guest runs, however slow the machine is."""
    stat, deadline = Path(f"/proc/{process.pid}/stat"), time.monotonic() + 120
    if not stat.exists():
        time.sleep(10)
        return
    while time.monotonic() < deadline:
        assert process.poll() is None
        used = sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")
        if used > 1:
            return
        time.sleep(0.1)


def test_an_endless_guest_can_be_interrupted(tree: Path, tmp_path: Path) -> None:
    """Compiled code does not look for signals: what it calls does."""
    image = tmp_path / "calls.bin"
    # li a7, 0x10; li a6, 99; ecall; j back to the ecall: every other instruction an exit to compiled code
    words = (0x01000893, 0x06300813, 0x00000073, 0xFFDFF06F)
    image.write_bytes(b"".join(word.to_bytes(4, "little") for word in words))
    command = [sys.executable, "-P", "-m", "vpmu", "run", str(image)]
    process = subprocess.Popen(
        command,
        env=environment_of(tree, "compiled"),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        wait_until_busy(process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in said


def test_the_essential_tests_pass_on_it(project: Path, tree: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", "-x", *ESSENTIAL]
    command += ["-k", " and ".join(f"not {name}" for name in EXCHANGE)]
    done = subprocess.run(
        command,
        cwd=project,
        env=environment_of(tree, "compiled"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout.splitlines()[-1]


def test_a_wheel_for_this_platform(project: Path, rooms: Path, tmp_path: Path) -> None:
    """VPMU_COMPILE=1 builds one with the rooms in it, and none of it without."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-index"]
    for wanted in ("1", "0"):
        folder = tmp_path / wanted
        done = subprocess.run(
            [*pip, "--no-build-isolation", "-w", str(folder), str(project)],
            env={**os.environ, "VPMU_COMPILE": wanted}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (wheel,) = folder.glob("*.whl")
        shutil.unpack_archive(wheel, folder / "site", "zip")
        within = folder / "site" / "vpmu" / FOLDER
        if wanted == "0":
            assert wheel.name.endswith("-py3-none-any.whl")
            assert not within.exists()
            continue
        assert "linux" in wheel.name
        assert {path.name for path in within.iterdir()} == {path.name for path in rooms.iterdir()}
        command = [sys.executable, "-P", "-m", "vpmu", "--version"]
        environment = environment_of(folder / "site", "compiled")
        told = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert told.stdout.endswith("(with compiled rooms)\n")
