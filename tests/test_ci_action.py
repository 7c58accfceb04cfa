"""The steps of action.yml, run as they stand; JUnit XML of what a CI reads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vpmu.cli.main import main
from vpmu.junit import Case, document

ROOT = Path(__file__).resolve().parent.parent
ACTION = ROOT / ".ci" / "action"


def step(name: str, folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "VPMU_VENV": str(folder / "venv"), "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"), "PYTHONPATH": str(ROOT / "src"), **inputs,
    }  # fmt: skip
    return subprocess.run(
        [ACTION, name], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what `install` leaves."""
    binaries = tmp_path / "venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "vpmu").write_text(f'#!/bin/sh\nexec {sys.executable} -m vpmu "$@"\n')
    (binaries / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for path in binaries.iterdir():
        path.chmod(0o755)
    return tmp_path


def test_the_action_calls_what_there_is() -> None:
    text = (ROOT / "action.yml").read_text()
    called = re.findall(r"\.ci/action\" (\w+)", text)
    assert called == ["install", "fetch", "run", "counts"]
    script = ACTION.read_text()
    assert all(f"\n{name})" in script for name in called)
    assert set(re.findall(r"VPMU_[A-Z]+", text)) <= set(re.findall(r"VPMU_[A-Z]+", script))


def test_install_finds_what_is_there(folder: Path) -> None:
    done = step("install", folder, GITHUB_PATH=str(folder / "path"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("vpmu ")
    assert (folder / "path").read_text() == f"{folder}/venv/bin\n"


def test_all_lines_run_and_the_first_failure_counts(folder: Path) -> None:
    done = step("run", folder, VPMU_RUN="vpmu run hello > said\n\nvpmu run nothing.elf\nfalse\ntouch last\n")
    assert done.returncode == 2
    assert "hello from S-mode" in (folder / "said").read_text()
    assert (folder / "last").exists()


def test_exact_differences_of_counts(folder: Path) -> None:
    line = "vpmu stat --json -e cycles,instructions counting > after.json"
    assert step("run", folder, VPMU_RUN=line).returncode == 0
    told = json.loads((folder / "after.json").read_text())
    (folder / "same.json").write_text(json.dumps(told))
    told["counters"][0]["value"] -= 64
    (folder / "before.json").write_text(json.dumps(told))
    done = step("counts", folder, VPMU_COUNTS="after.json", VPMU_BASE="before.json")
    assert done.returncode == 0
    assert "| +64 (+0.003%) |" in (folder / "summary").read_text()
    assert (folder / "output").read_text() == "changed=true\n"
    step("counts", folder, VPMU_COUNTS="after.json", VPMU_BASE="same.json")
    assert (folder / "output").read_text() == "changed=true\nchanged=false\n"
    (folder / "bad.json").write_text("[]")
    assert "expected what vpmu stat --json prints" in step("counts", folder, VPMU_COUNTS="bad.json").stderr


def test_an_unknown_step(folder: Path) -> None:
    assert step("dance", folder).returncode == 2


def test_junit_is_xml_whatever_it_holds() -> None:
    text = document([('a"<b>', [Case("g", "n\0", failure="\ud800 & <", text="\x1b[1m]]>"), Case("g", "m")])])
    root = ElementTree.fromstring(text.encode("utf-8", "strict"))
    assert [root.get("tests"), root.get("failures")] == ["2", "1"]


def test_junit_of_scenarios_and_campaigns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["faults", "run", "F10", "F11", "--junit", str(tmp_path / "f.xml")]) == 0
    scenarios = ElementTree.parse(tmp_path / "f.xml").getroot()
    assert scenarios.get("failures") == "0"
    assert {case.get("name") for case in scenarios.iter("testcase")} == {"F10", "F11"}
    plan = tmp_path / "p.toml"
    plan.write_text('name = "a"\nguests = ["hello"]\nprofiles = ["kvm-7.2"]\n')
    line = ["campaign", str(plan), "-q", "--junit", str(tmp_path / "c.xml"), "--fail-on", "as-specified"]
    status = main(line)
    cells = ElementTree.parse(tmp_path / "c.xml").getroot()
    assert (status, cells.get("failures")) == (1, "1"), capsys.readouterr().out
