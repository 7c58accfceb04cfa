"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

TESTS = """
import pytest
from vpmu.payloads import path
from vpmu.spec.sbi import Eid, PmuFid

CALL = (Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 3, 1, 2, 10, 0)


def test_plain(vpmu_machine, vpmu_oracle):
    vpmu_machine.load(str(path("counting")))
    assert vpmu_machine.run(max_instructions=10_000_000).ok
    assert vpmu_oracle.findings == []


@pytest.mark.vpmu(profile="kvm-6.12", host_pmu="full", inject="perf.create:errno=EBUSY,times=1")
def test_marked(vpmu_machine):
    assert vpmu_machine.profile.name == "kvm-6.12"
    assert vpmu_machine.vcpu(0).ecall(*CALL) == (-2, 0)
    assert vpmu_machine.vcpu(0).ecall(*CALL) == (0, 3)


@pytest.mark.vpmu(host_pmu="full", inject=["perf.enable:state=error"])
def test_wrong(vpmu_machine, vpmu_oracle):
    vpmu_machine.load(str(path("counting")))
    vpmu_machine.run(max_instructions=10_000_000)
    assert vpmu_oracle.findings == []


@pytest.mark.vpmu(profil="x")
def test_slip(vpmu_machine):
    pass
"""


def run(folder: Path, *options: str, tests: str = TESTS) -> subprocess.CompletedProcess[str]:
    (folder / "test_driver.py").write_text(tests)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # An installed vpmu registers the plugin by its entry point; a second registration is an error of pytest.
    installed = entry_points(group="pytest11", name="vpmu")
    plugin = () if installed else ("-p", "vpmu.testing.plugin")
    command = [
        sys.executable,
        "-m",
        "pytest",
        *plugin,
        "-p",
        "no:cacheprovider",
        "-q",
        "-rA",
        *options,
        "test_driver.py",
    ]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_the_plugin(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, "--vpmu-trace", str(tmp_path / "traces"), *options)
    text = done.stdout
    assert "PASSED test_driver.py::test_plain" in text
    assert "PASSED test_driver.py::test_marked" in text
    assert "FAILED test_driver.py::test_wrong" in text
    assert "wrong count: counter 0 (cycles): the guest read 0" in text
    assert "fault perf.enable:state=error: happened" in text
    assert "counter_config_matching.call(" in text
    assert "never scheduled, 2 times: cycles, instructions: no counter of the host" in text
    assert "frozen" not in text  # that is what never scheduled means: told once
    assert "ERROR test_driver.py::test_slip" in text
    assert "profil; known: profile" in text
    assert [file.name for file in (tmp_path / "traces").iterdir()] == ["test_wrong.jsonl"]


def test_options_stand_for_marks(tmp_path: Path) -> None:
    done = run(tmp_path, "--vpmu-profile", "kvm-6.9", "--vpmu-host-pmu", "full", "-k", "plain")
    assert "FAILED test_driver.py::test_plain" in done.stdout  # it counts from the binding on
    assert "profile kvm-6.9, host PMU full" in done.stdout
    done = run(tmp_path, "--vpmu-profile", "kvm-6.1", "-k", "plain")
    assert "expected kvm-6.3 to kvm-7.3" in done.stdout


def test_the_documented_example(tmp_path: Path) -> None:
    """What docs/faults.md says of its tests is what happens."""
    text = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
    _, _, section = text.partition("\n## pytest\n")
    code, shown = re.findall(r"```(?:python)?\n(.*?)```", section, re.DOTALL)
    done = run(tmp_path, tests=code)
    assert "3 passed" in done.stdout
    assert "1 failed" in done.stdout
    assert "FAILED test_driver.py::test_it_notices_a_counter_that_never_runs" in done.stdout
    assert shown in done.stdout
