"""`vpmu new guest`: the folder builds, runs, and its tests pass. `vpmu completion`: the shells take it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from vpmu.cli.completion import bash, fish
from vpmu.cli.main import COMMANDS, main

COMPILERS = ("riscv64-linux-gnu-gcc", "riscv64-unknown-elf-gcc", "riscv64-unknown-linux-gnu-gcc")


def test_a_new_guest_builds_runs_and_is_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not any(map(shutil.which, COMPILERS)) and importlib.util.find_spec("ziglang") is None:
        pytest.skip("no RISC-V compiler: gcc-riscv64-linux-gnu, or pip install ziglang")
    monkeypatch.chdir(tmp_path)
    assert main(["new", "guest", "my-driver"]) == 0
    python = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{python}:{os.environ['PATH']}"}

    def done(*command: str) -> str:
        found = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    done("make", "-C", "my-driver")
    assert "instructions\n" in done(sys.executable, "-m", "vpmu", "run", "my-driver/my-driver.elf")
    assert "2 passed" in done(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "my-driver")


@pytest.mark.parametrize("name", ["", "a b", "..", "/", "1x", "x" * 80])
def test_bad_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "guest", name]) == 2
    assert not list(tmp_path.iterdir())


def test_what_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "main.c").write_text("mine")
    assert main(["new", "guest", str(tmp_path / "mine")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "mine" / "main.c").read_text() == "mine"


def test_bash_completes(tmp_path: Path) -> None:
    (tmp_path / "c").write_text(bash())

    def completed(*words: str) -> set[str]:
        script = (
            f"source {tmp_path}/c; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _vpmu; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", script, "x"], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    assert completed("vpmu", "con") == {"conform"}
    assert completed("vpmu", "run", "--prof") == {"--profile"}
    assert completed("vpmu", "run", "--profile", "kvm-7") == {"kvm-7.2", "kvm-7.3"}
    assert completed("vpmu", "fetch", "op") == {"opensbi"}


def test_every_command_is_completed() -> None:
    for text in (bash(), fish()):
        assert all(name in text for name in COMMANDS)
        assert "%(default)s" not in text


def test_a_shell_that_is_not_known() -> None:
    assert main(["completion", "csh"]) == 2


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_no_half_of_a_guest(
    there: bool, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    """So that the same command can be given again."""
    folder = tmp_path / "guest"
    if there:
        folder.mkdir()
    for size in (0, 100, 1000):
        with full_disk(size):
            assert main(["new", "guest", str(folder)]) == 2
        assert folder.exists() == there
        assert not there or not list(folder.iterdir())
    assert main(["new", "guest", str(folder)]) == 0
