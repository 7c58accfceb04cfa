"""What docs/findings.md says of the guest's driver and of KVM, its commands show on stock Debian kernels."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.vmm.linux.cache import Cache, default_root

PAGE = (Path(__file__).parents[2] / "docs/findings.md").read_text()
COMMANDS = [shlex.split(line) for line in re.findall(r"^    (vpmu .*)$", PAGE, re.MULTILINE)]
STOPPED, RIGHT, SPURIOUS, ALONE, RESTARTED, BELOW_KVM, IN_KVM = range(7)
NEVER_WRITTEN = "9223372036854775808"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if Cache(default_root() / "debian-trixie").current() is None:
        pytest.skip("no Debian guest in the cache: vpmu fetch debian")
    monkeypatch.chdir(tmp_path)  # perf record writes its graph where it stands


def shown(number: int, capfd: pytest.CaptureFixture[str]) -> str:
    program, *arguments = COMMANDS[number]
    assert program == "vpmu"
    assert main(arguments) == 0
    return "".join(capfd.readouterr())


def samples(text: str) -> int:
    match = re.search(r"(\d+) samples", text)
    assert match is not None, text
    return int(match[1])


def test_snapshot_page_after_hotplug(capfd: pytest.CaptureFixture[str]) -> None:
    assert NEVER_WRITTEN in shown(STOPPED, capfd)
    right = re.search(r"(\d+) +instructions", shown(RIGHT, capfd))
    assert right is not None
    assert 100_000 < int(right[1]) < 10_000_000


def test_spurious_interrupt_and_restart(capfd: pytest.CaptureFixture[str]) -> None:
    alone = samples(shown(ALONE, capfd))
    assert alone > 100
    assert samples(shown(SPURIOUS, capfd)) < alone / 20
    assert samples(shown(RESTARTED, capfd)) < alone / 20


def test_kvm_lies_on_the_real_kernel(capfd: pytest.CaptureFixture[str]) -> None:
    """All of the table are in test_hooks.py, against the model; here is the one that the page shows."""
    if Cache(default_root() / "kvm-host-trixie").current() is None:
        pytest.skip("no Debian KVM host in the cache: vpmu host kvm:trixie")
    assert "1 of 1 scenarios on the real kernel: 1 lies" in shown(IN_KVM, capfd)


def test_a_linux_guest_of_real_kvm_gets_few_samples(capfd: pytest.CaptureFixture[str]) -> None:
    if Cache(default_root() / "kvm-host-trixie").current() is None:
        pytest.skip("no Debian KVM host in the cache: vpmu host kvm:trixie")
    captured = re.search(r"\((\d+) samples\)", shown(BELOW_KVM, capfd))
    assert captured is not None
    assert 0 < int(captured[1]) < 20  # of some 450 periods


def test_every_command_is_run() -> None:
    assert len(COMMANDS) == 7
