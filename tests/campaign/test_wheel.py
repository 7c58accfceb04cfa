"""A hundred recorded runs are the same after `pip install` of the built wheel in another folder."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from vpmu.campaign.recipe import Recipe
from vpmu.campaign.record import record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None or importlib.util.find_spec("pip") is None,
        reason="the wheel is built with hatchling and pip, which are not both installed",
    ),
]
GUESTS = ("overflow", "firmware-counter", "failing-event", "snapshot", "counting")
PROFILES = ("spec-3.0", "kvm-6.9", "kvm-6.12.107", "kvm-7.2", "opensbi-1.6")
FAULTS = ((), ("kvm.csr:add=3",), ("perf.create:event=cycles,errno=EBUSY",), ("perf.starve:counters=1",))


@pytest.fixture(scope="module")
def installed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the wheel in it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    for command in (
        [*pip, "wheel", *offline, "--no-build-isolation", "-w", str(folder), str(project)],
        [*pip, "install", *offline, "--target", str(folder / "site"), f"{folder}/vpmu-*.whl"],
    ):
        words = [*command[:-1], *(map(str, folder.glob("*.whl")) if "*" in command[-1] else command[-1:])]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "site"


def test_a_hundred_records_verify_by_the_wheel(installed: Path, project: Path, tmp_path: Path) -> None:
    for number, (guest, profile, faults) in enumerate(product(GUESTS, PROFILES, FAULTS)):
        record(Recipe(guest, profile, faults=faults, seed=number, limit=1500)).save(
            tmp_path / f"{number}.vpmu"
        )
    files = sorted(map(str, tmp_path.glob("*.vpmu")))
    assert len(files) == 100
    environment = {**os.environ, "PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    python = [sys.executable, "-P"]
    where = subprocess.run(
        [*python, "-c", "import vpmu; print(vpmu.__file__)"], env=environment, capture_output=True, text=True,
        check=True, cwd=tmp_path,
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(installed)
    for engine in ("native", "reference"):
        done = subprocess.run(
            [*python, "-m", "vpmu", "verify", *files, "--engine", engine, "--json"], env=environment,
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        runs = json.loads(done.stdout)["runs"]
        assert [run["file"] for run in runs if not run["same"]] == []
        assert len(runs) == 100
        assert done.returncode == 0
