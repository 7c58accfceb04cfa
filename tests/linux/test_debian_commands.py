"""`vpmu boot` and `vpmu perf` with the guest that `vpmu fetch debian` brings: what they give, print and end
with.
"""

from __future__ import annotations

import json
import termios
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.fetch import DebianGuest

from .terminal import Terminal

pytestmark = pytest.mark.slow


def test_vpmu_perf_record_brings_a_flame_graph_out(
    debian: DebianGuest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folded, graph = tmp_path / "a.folded", tmp_path / "a.svg"
    arguments = [
        "perf",
        "--collapsed",
        str(folded),
        "--flame-graph",
        str(graph),
        "record",
        "-c",
        "200000",
        "sh",
        "-c",
    ]
    assert main([*arguments, "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done"]) == 0
    assert "samples," in capsys.readouterr().err
    assert any(line.startswith("sh;") for line in folded.read_text(encoding="utf-8").splitlines())
    assert graph.read_text(encoding="utf-8").startswith("<svg")


def test_boot_exec_gives_the_commands_status_and_a_summary(
    debian: DebianGuest, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["boot", "--json", "--initrd", str(debian.tiny_initrd), "--exec", "echo out; exit 7"]) == 7
    told = json.loads(capsys.readouterr().out)
    assert (told["stop"], told["status"], told["failure"]) == ("exited", 7, None)
    assert told["sbi_calls"]["counter_config_matching"]["NOT_SUPPORTED"] == 47
    assert told["exit_counts"]["ECALL"] > 100


def test_standard_output_and_standard_error_stay_apart(
    debian: DebianGuest, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny = ["boot", "--initrd", str(debian.tiny_initrd), "--exec"]
    command = "echo one; echo two >&2; printf '%3000d' 3; echo four >&2; exit 5"
    assert main([*tiny, command]) == 5
    out, err = capfd.readouterr()
    assert (out, err) == ("one\n" + f"{3:3000}", "two\nfour\n")
    assert main([*tiny, command, "--json"]) == 5
    told = json.loads(capfd.readouterr().out)
    assert (told["stdout"], told["stderr"]) == (out, err)
    assert "@vpmu" not in json.dumps(told)
    assert told["console"].endswith("one\ntwo\n" + f"{3:3000}" + "four\n")


def test_perfs_data_comes_out_and_goes_in_again(
    debian: DebianGuest, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = ["perf", "record", "-o", "my.data", "-c", "100000", "-e", "cycles,instructions", "sh", "-c"]
    assert main([*record, "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done"]) == 0
    assert (tmp_path / "my.data").read_bytes().startswith(b"PERFILE2")
    weights = {}
    for event in ("cycles", "instructions"):
        lines = (tmp_path / f"perf.{event}.folded").read_text().splitlines()
        weights[event] = sum(int(line.rpartition(" ")[2]) for line in lines)
        assert (tmp_path / f"perf.{event}.svg").exists()
    assert (
        0.9 < weights["cycles"] / weights["instructions"] < 1.1
    )  # apart: each has its own, not both the sum
    capfd.readouterr()
    assert main(["perf", "report", "-i", "my.data"]) == 0
    report = capfd.readouterr().out
    assert "of event 'cycles'" in report
    assert "of event 'instructions'" in report


@pytest.mark.parametrize("panic", ["panic=-1", "panic=1", ""])
def test_a_panic_is_never_exit_status_0(
    debian: DebianGuest, panic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny = ["boot", "--initrd", str(debian.tiny_initrd)]
    assert main([*tiny, "--append", f"rdinit=/nosuch {panic}"]) == 1
    assert "vpmu: guest: kernel panic: VFS: Unable to mount root fs" in capfd.readouterr().err
    crash = "echo c > /proc/sysrq-trigger; sleep 1; echo survived"
    assert main([*tiny, "--append", panic, "--exec", crash]) == 1
    err = capfd.readouterr().err
    assert "vpmu: guest: kernel panic while the command ran: sysrq triggered crash" in err


def test_the_exit_status_does_not_depend_on_a_kept_guest(
    debian: DebianGuest, capfd: pytest.CaptureFixture[str]
) -> None:
    told = []
    for cold in ([], [], ["--cold"]):
        assert main(["perf", "--profile", "kvm-6.9", *cold, "stat", "true"]) == 1
        told.append(capfd.readouterr().err.splitlines())
    said = [[line for line in lines if line.startswith("vpmu: kvm: KVM_RUN failed")] for lines in told]
    assert said[0] == said[1] == said[2]
    assert "(__sbi_ecall+" in "".join(told[0])
    assert "called from pmu_sbi_check_event+" in "".join(told[0])


def bare_initrd(debian: DebianGuest, *more: cpio.Entry) -> bytes:
    """A busybox and four links: no directory, no device, no init."""
    [busybox] = [e for e in cpio.read(debian.tiny_initrd.read_bytes()) if e.name == "usr/bin/busybox"]
    names = {"sh", "mount", "stty", "poweroff", "sleep"} - {entry.name.rpartition("/")[2] for entry in more}
    links = [cpio.symlink(f"bin/{name}", "/usr/bin/busybox") for name in sorted(names)]
    return cpio.write([busybox, *links, *more])


def test_a_command_in_an_initramfs_of_ones_own(
    debian: DebianGuest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.cpio"
    mine.write_bytes(bare_initrd(debian))
    assert main(["boot", "--initrd", str(mine), "--exec", "pwd; echo err >&2; exit 3"]) == 3
    assert capfd.readouterr() == ("/root\n", "err\n")


def test_a_command_that_never_begins_ends_the_run(
    debian: DebianGuest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.cpio"
    waits = cpio.file("bin/mount", b"#!/bin/sh\necho I wait; while :; do sleep 1; done\n", 0o755)
    mine.write_bytes(bare_initrd(debian, waits))
    assert main(["boot", "--initrd", str(mine), "--exec", "true"]) == 1
    said = capfd.readouterr().err
    assert "timed out before the command began: the command did not begin within 60 s of virtual time" in said
    assert "the console's last line: I wait" in said


# ---------------------------------------------------------------- a terminal


def test_on_a_terminal_keys_reach_the_shell_and_ctrl_a_x_leaves_it_as_it_was(debian: DebianGuest) -> None:
    terminal = Terminal("boot", "-m", "128M", "--initrd", str(debian.tiny_initrd))
    before = termios.tcgetattr(terminal.theirs)
    with terminal:
        terminal.wait_for(b"~ # ")
        assert not termios.tcgetattr(terminal.theirs)[3] & termios.ICANON
        terminal.screen = b""
        terminal.type(b"echo $((6*7))-typed\r")
        terminal.wait_for(b"42-typed")
        terminal.type(b"\x01x")
        assert terminal.process.wait(30) == 0
        assert termios.tcgetattr(terminal.theirs) == before
