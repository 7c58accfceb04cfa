"""`vpmu diverge` with real kernels as sides: two hosts, and a model and a host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.peers.host_image import MODULE
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.cache import default_root

ROOT = default_root()


def _host(suite: str) -> None:
    if not (ROOT / f"kvm-host-{suite}" / "manifest.json").exists():
        pytest.skip(f"the KVM host of {suite} is not fetched (vpmu host kvm:{suite})")


@pytest.mark.slow
def test_a_model_and_a_real_kernel(capfd: pytest.CaptureFixture[str]) -> None:
    _host("trixie")
    assert main(["diverge", "kvm-6.9", "kvm:trixie", "counting", "--json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert found["count"] is not None
    assert found["parted_by"][0] == "kvm-6.9"
    assert "bbb622488749" in [one["commit"] for one in found["behaviours"]]
    assert main(["diverge", "kvm-6.9", "kvm:trixie", "counting"]) == 1
    text = capfd.readouterr().out
    assert "first count that differs: reading 1: " in text
    assert "explained by event-created-enabled of kvm-6.9, a model: bbb622488749" in text


@pytest.mark.slow
def test_two_real_kernels(capfd: pytest.CaptureFixture[str]) -> None:
    _host("trixie")
    _host("sid")
    assert main(["diverge", "kvm:trixie", "kvm:sid", "counting"]) == 0
    assert "the same: 67 calls, 4 counts, the end" in capfd.readouterr().out
    rule = "perf.create:event=cycles,errno=EBUSY"
    assert main(["diverge", "kvm-7.2", "kvm:sid", "counting", "--inject", rule, "--json"]) in (0, 1)
    assert json.loads(capfd.readouterr().out)["parted_by"][0] == "kvm-7.2"


@pytest.mark.slow
def test_a_build_of_ones_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The fetched kernel, given as a file: the same as itself."""
    _host("trixie")
    folder, module = ROOT / "kvm-host-trixie", tmp_path / "kvm.ko"
    entries = cpio.read((folder / "host.cpio").read_bytes())
    module.write_bytes(next(bytes(entry.data) for entry in entries if entry.name == MODULE))
    build = ["--host-kernel", str(folder / "Image"), "--kvm-module", str(module)]
    assert main(["diverge", "kvm:trixie", "counting", *build]) == 0
    assert "and Image (Linux " in (text := capfd.readouterr().out)
    assert "the same: 67 calls" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kvm:trixie", "kvm-7.2", "nobody"], "unknown image 'nobody'"),
        (["kvm:trixie", "kvm-9.9", "counting"], "no profile of KVM of Linux 9.9"),
        (["kvm:trixie@qemu", "kvm-7.2", "counting"], "expected a host on vpmu"),
        (["kvm:trixie", "kvm-7.2", "counting", "--smp", "2"], "--smp: expected profiles in A and B"),
        (["counting", "--host-kernel", "/no/such"], "diverge: expected two of PROFILE, kvm:SUITE and"),
        (["kvm-7.2", "counting", "--host-kernel", "/no/such"], "No such file or directory"),
        (["kvm-7.2"], "diverge: expected A, B and GUEST, or two records, got kvm-7.2"),
        (["kvm:trixie", "native", "counting"], "unknown profile 'native'"),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["diverge", *words]) == 2
    error = capfd.readouterr().err
    assert said in error
    assert error.count("\n") == 1
