"""The KVM host: what its root holds, how it is started, what it says when it does not come up."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vpmu.cli.main import main
from vpmu.conform import kvm as kvm_module
from vpmu.conform.identify.fit import identify
from vpmu.conform.kvm import HostOptions, KvmLink, PeerAbsent, kvm_target, parse_facts
from vpmu.conform.suite import load_suite
from vpmu.conform.target import TargetError
from vpmu.conform.verdict import Verdict, run_suite
from vpmu.payloads import path
from vpmu.peers import host_image, kvm_host
from vpmu.peers.host_image import HostImage, is_kernel_file, is_python_file
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.cache import FetchError

PANIC = "[    1.0] Kernel panic - not syncing: Fatal exception"
BUSYBOX = (
    b"\x7fELF\x02\x01 \xae [\0[[\0"
    + b"\0".join(b"ash cat cttyhack dmesg insmod ls mount poweroff setsid sh sleep stty".split())
    + b"\0"
)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("usr/bin/python3.13", True),
        ("usr/lib/python3.13/os.py", True),
        ("usr/lib/python3.13/ctypes/__init__.py", True),
        ("usr/lib/python3.13/lib-dynload/_ctypes.cpython-313-riscv64-linux-gnu.so", True),
        ("usr/lib/python3.13/lib-dynload/_ssl.cpython-313-riscv64-linux-gnu.so", False),
        ("usr/lib/python3.13/lib-dynload", False),
        ("usr/lib/python3.13/asyncio/base_events.py", False),
        ("usr/bin/pydoc3.13", False),
    ],
)
def test_which_files_of_python_the_monitor_needs(name: str, wanted: bool) -> None:
    assert is_python_file(name) is wanted


def test_which_files_of_the_kernel_the_host_needs() -> None:
    assert is_kernel_file("boot/vmlinux-6.12.1-riscv64")
    assert is_kernel_file("usr/lib/modules/6.12.1/kernel/arch/riscv/kvm/kvm.ko.xz")
    assert not is_kernel_file("usr/lib/modules/6.12.1/kernel/virt/lib/irqbypass.ko.xz")


def test_the_root_holds_the_monitor_the_agent_and_a_first_process(tmp_path: Path) -> None:
    base = tmp_path / "host.cpio"
    base.write_bytes(host_image.build({"usr/bin/busybox": BUSYBOX, host_image.MODULE: b"module"}))
    root = kvm_host.prepare(HostImage(tmp_path / "Image", base, "6.12", {}), tmp_path)
    files = {entry.name: entry for entry in cpio.read(root.read_bytes())}
    assert files["vpmu/monitor.py"].data == kvm_host.monitor_path().read_bytes()
    assert files["vpmu/agent.bin"].data == path("agent-kvm").read_bytes()
    assert files["vpmu/kvm.ko"].data == b"module"
    assert files["bin/sh"].data == b"../usr/bin/busybox"
    assert files["vpmu/init"].mode & 0o111
    for command in (b"insmod /vpmu/kvm.ko", b"/vpmu/monitor.py /vpmu/agent.bin /dev/vport0p1"):
        assert command in files["vpmu/init"].data


def test_the_line_that_says_what_went_wrong() -> None:
    assert kvm_host.trouble(f"a\n{PANIC}\n[    1.1] after") == PANIC
    assert kvm_host.trouble("one\n\ntwo\n") == "two"
    assert kvm_host.trouble("") == ""
    assert kvm_host.firmware("\nOpenSBI v1.6\n  ____") == "OpenSBI v1.6"


def test_facts_are_read_from_the_monitors_lines() -> None:
    facts = parse_facts("kernel: Linux 6.12\nisa: rv64\nlog: SBI a: b\nlog: c\nunknown: d\nrubbish")
    assert (facts.kernel, facts.isa, facts.log) == ("Linux 6.12", "rv64", ["SBI a: b", "c"])


def test_a_monitor_that_ends_is_no_kvm() -> None:
    with pytest.raises(TargetError, match=r"no KVM.*monitor: /dev/kvm: No such device"):
        KvmLink([sys.executable, "-c", "import sys; sys.exit('monitor: /dev/kvm: No such device')"])


def test_a_machine_with_its_own_kvm_uses_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(kvm_module, "DEVICE", device)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    seen: list[list[str]] = []

    def link(command: list[str]) -> Any:
        seen.append(command)
        raise TargetError("enough")

    monkeypatch.setattr(kvm_module, "KvmLink", link)
    with pytest.raises(TargetError, match="enough"):
        kvm_target()
    assert seen == [[sys.executable, "-I", str(kvm_host.monitor_path()), str(path("agent-kvm"))]]


def test_without_qemu_it_skips(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(kvm_module, "find_program", lambda name: None)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert main(["peers", "kvm", "--on", "qemu"]) == 4
    assert capsys.readouterr().err.splitlines() == [
        "vpmu: error: peers: qemu-system-riscv64 is not installed: "
        "expected the package qemu-system-misc, with opensbi"
    ]


def test_without_packages_it_skips(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise FetchError("fetching Debian needs APT, which is not on this machine")

    monkeypatch.setattr(kvm_module, "find_program", lambda name: name)
    monkeypatch.setattr(kvm_module, "version", lambda name: "QEMU 9")
    monkeypatch.setattr(kvm_module, "host_image", refuse)
    assert main(["conform", "--target", "kvm:trixie"]) == 4
    error = capsys.readouterr().err
    assert error == "vpmu: error: peers: fetching Debian needs APT, which is not on this machine\n"


@pytest.mark.parametrize(
    "arguments",
    [["peers", "kwm"], ["peers", "kvm", "--suite", "a b"], ["peers", "kvm", "--sources", "/nonexistent"],
     ["conform", "--target", "kvm:B@D"]],
)  # fmt: skip
def test_bad_input_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.qemu
@pytest.mark.slow
def test_real_kvm(tmp_path: Path) -> None:
    """Real KVM in QEMU, whichever Debian has today: it is identified, the whole suite has nothing unexpected
    with the profile that was found, and the confirmed divergences are there.
    """
    if shutil.which(kvm_module.PROGRAM) is None:
        pytest.skip(f"{kvm_module.PROGRAM} is not installed")
    try:
        target = kvm_target(options=HostOptions("trixie", on="qemu"))
    except PeerAbsent as absent:
        pytest.skip(str(absent))
    try:
        found = identify(target)
        if target.identity.known:
            assert found.fit.nearest.name == f"kvm-{target.identity.release}"
            assert found.unfit == ()
        told = {one.behaviour.name for one in found.told if one.sure}
        assert told >= {
            "read-accumulates", "snapshot-reset-loses-delta", "hart-status-loses-error", "fw-stop-keeps-base",
            "snapshot-write-ignored", "shmem-copy-leaked", "lcofi-lost-over-one-reg",
        }  # fmt: skip
        outcomes = run_suite(target, load_suite())
    finally:
        target.close()
    bad = [
        (outcome.test.id, outcome.reason)
        for outcome in outcomes
        if outcome.verdict in (Verdict.UNEXPECTED, Verdict.LOST)
    ]
    assert not bad
    assert sum(outcome.verdict is Verdict.PASS for outcome in outcomes) >= 300
    found = {name for outcome in outcomes for name in outcome.behaviours}
    assert found >= {
        "started-survives-reset", "auto-start-untracked", "fixed-counter-ignores-set",
        "skip-match-needs-configured", "snapshot-ends-at-error", "shmem-unaligned", "fw-read-accepts-hw",
        "info-beyond-last", "reserved-flags-ignored", "no-event-counts-cycles", "fw-state-per-code",
    }  # fmt: skip


@pytest.mark.qemu
@pytest.mark.slow
def test_the_command_on_real_kvm(tmp_path: Path) -> None:
    if shutil.which(kvm_module.PROGRAM) is None:
        pytest.skip(f"{kvm_module.PROGRAM} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "vpmu", "peers", "kvm", "--suite", "trixie", "--on", "qemu", "-q", "--json",
         "--console=log"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    if done.returncode == 4:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["kernel"].startswith("Linux 6.12")
    assert said["counters"] == {"total": 41, "programmable": 16, "firmware": 22}
    assert any("SBI PMU extension is available" in line for line in said["log"])
    assert "Linux version 6.12" in (tmp_path / "log").read_text()
