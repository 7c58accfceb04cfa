"""The fixtures that boot something, in a pytest of its own: what docs/testing.md shows of them, and slips."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vpmu.vmm.linux.cache import suite_cache

from .test_plugin import run

DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"


@pytest.fixture(scope="module")
def debian() -> None:
    """Nothing here fetches anything."""
    for kind in ("debian", "kvm-host"):
        if suite_cache(kind, "trixie", None).current() is None:
            pytest.skip(f"no {kind}-trixie in the cache: vpmu fetch debian, vpmu host kvm:trixie")


def test_the_documented_example(tmp_path: Path, debian: None) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    done = run(tmp_path, tests=code)
    assert f"{code.count('def test_')} passed" in done.stdout, done.stdout[-3000:]


STATE = """
import pytest


def test_what_one_test_does(vpmu_linux, vpmu_host):
    assert vpmu_linux.run("echo here > /tmp/file; cat /tmp/file").text == "here\\n"
    vpmu_host.on("kvm_riscv_vcpu_pmu_num_ctrs", lambda call: call.answer(-5))
    with pytest.raises(Exception, match="errno 5"):
        vpmu_host.pmu_call(0)


def test_another_does_not_see(vpmu_linux, vpmu_host):
    assert vpmu_linux.run("test ! -e /tmp/file").ok
    assert vpmu_host.pmu_call(0)[0] == 0


def test_of_a_failure(vpmu_linux, vpmu_oracle):
    answer = vpmu_linux.run("perf stat true; exit 3")
    assert answer.ok


def test_of_a_slip(vpmu_host):
    vpmu_host.on("perf_event_create_kernel_counte", lambda call: None)


def test_of_a_fix_that_is_not_known(vpmu_host):
    vpmu_host.undo("123456789abc")
"""


def test_one_test_is_nothing_to_the_next(tmp_path: Path, debian: None) -> None:
    text = run(tmp_path, tests=STATE).stdout
    assert "PASSED test_driver.py::test_what_one_test_does" in text, text[-3000:]
    assert "PASSED test_driver.py::test_another_does_not_see" in text
    assert "FAILED test_driver.py::test_of_a_failure" in text
    assert "profile kvm-7.2, host PMU qemu-virt" in text
    assert "counter_config_matching.call(" in text
    assert "did you mean perf_event_create_kernel_counter?" in text
    assert "fix that can be undone" in text


def test_bad_options(tmp_path: Path) -> None:
    host = "def test_host(vpmu_host):\n    pass\n"
    text = run(tmp_path, "--vpmu-host", "xen", tests=host).stdout
    assert "--vpmu-host: expected kvm or kvm:SUITE, got xen" in text
    text = run(tmp_path, "--vpmu-host-kernel", "/no/such/Image", tests=host).stdout
    assert "/no/such/Image" in text
    assert "vpmu_host of test_driver.py::test_host" in text
    linux = "def test_linux(vpmu_linux):\n    pass\n"
    text = run(tmp_path, "--vpmu-profile", "kvm-6.1", tests=linux).stdout
    assert "expected kvm-6.3 to kvm-7.3" in text or "SKIPPED" in text
