"""`vpmu record`, `verify` and `diverge` of Linux: profiles, kernels, a flipped bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.vmm.linux.cache import default_root

COMMAND = "linux: perf stat -e cycles true"
ROOT = default_root()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / "debian-trixie" / "manifest.json").exists(),
        reason="the Debian guest is not fetched (vpmu fetch debian)",
    ),
]


def test_a_recorded_boot_is_the_same_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "linux.vpmu"
    assert main(["record", COMMAND, "-o", str(file)]) == 0
    assert file.stat().st_size < 64 << 10
    assert main(["verify", str(file)]) == 0
    assert "the same: " in capfd.readouterr().out
    other = tmp_path / "other.vpmu"
    assert main(["record", "linux: true", "-o", str(other), "--max-instructions", "300M"]) == 0
    capfd.readouterr()
    assert main(["diverge", str(file), str(other)]) == 1
    assert "part between instruction 0 and " in capfd.readouterr().out


def test_two_releases_that_the_guest_cannot_tell_apart(capfd: pytest.CaptureFixture[str]) -> None:
    """KVM holds another value behind counter_stop; the fix is named."""
    assert main(["diverge", "kvm-6.12.107", "kvm-6.12.117", COMMAND, "--json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert found["first_call"]["what"] == "get_impl_version"
    assert found["pmu"]["what"] == "counter_stop"
    assert any("pmu_sbi_ctr_stop" in line for line in found["pmu"]["sides"][0]["where"])
    assert [one["commit"] for one in found["behaviours"]] == ["c7e2cc38c561"]
    assert found["changed"][0]["name"] == "x11"


def test_a_bit_of_memory_is_found_in_a_boot(capfd: pytest.CaptureFixture[str]) -> None:
    rule = "guest.memory:address=0x88000000,xor=0x10000,times=1,after=300000000"
    assert main(["diverge", "kvm-7.2", f"kvm-7.2+{rule}", "linux: true", "--json",
                 "--max-instructions", "310M"]) == 1  # fmt: skip
    found = json.loads(capfd.readouterr().out)
    (changed,) = found["changed"]
    assert (changed["part"], changed["name"]) == ("memory", "0x88000000")
    assert changed["first"] ^ changed["second"] == 0x10000


@pytest.mark.skipif(
    not (ROOT / "debian-sid" / "manifest.json").exists(),
    reason="a second kernel is not fetched (--suite sid)",
)
def test_two_kernels(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from vpmu.vmm.linux.fetch import fetch

    other = tmp_path / "Image"
    other.symlink_to(fetch("sid").kernel)
    assert main(["diverge", "kvm-7.2", f"kvm-7.2+{other}", "linux: true", "--json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert found["unlike"] == ["memory"]
    assert all("next: " in side["where"][0] for side in found["first_call"]["sides"])
    assert found["instruction"] < 100
    assert main(["diverge", "kvm-7.2", f"kvm-7.2+{tmp_path}/none", "linux: true"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
