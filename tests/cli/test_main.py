"""The command line's frame: every bad input is one line and the right exit status."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import vpmu
from vpmu import Machine
from vpmu.cli import main as cli
from vpmu.cli import run as run_module
from vpmu.payloads import path


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of one command line."""
    try:
        status = cli.main(argv)
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 0
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "no command given"),
        (("--frobnicate",), "unrecognized arguments: --frobnicate"),
        (("rnu",), "unknown command 'rnu'; did you mean run"),
        (("run",), "the following arguments are required: IMAGE"),
        (("run", "--memory", "12Q", "x"), "expected a size such as 128M or 1G, got '12Q'"),
        (("run", "--max-instructions", "0", "x"), "expected a number above zero"),
        (("run", "--refuse", "cycles", "x"), "expected EVENT=ERRNO"),
        (("run", "--refuse", "cycles=ENOTENT", "x"), "unknown errno 'ENOTENT'; did you mean ENOENT"),
        (("run", "--engine", "quick", "x"), "invalid choice: 'quick'"),
        (("stat", "-e", "cycels", "x"), "unknown event 'cycels'; did you mean cycles"),
        (("stat", "-e", "cycles:z", "x"), "event 'cycles:z'"),
        (("stat", "-e", "fw:set_timer", "x"), "event 'fw:set_timer'"),
        (("stat", "-e", "", "x"), "-e names no event"),
        (("events", "cycels"), "unknown event 'cycels'"),
        (("events", "--host-pmu", "qemu-vitr"), "unknown host PMU 'qemu-vitr'; did you mean qemu-virt"),
        (("profiles", "kvm-six"), "unknown profile 'kvm-six'"),
        (("replay", "/nonexistent/table.txt"), "/nonexistent/table.txt: No such file or directory"),
        (("run", "nosuchpayload"), "unknown image 'nosuchpayload'"),
        (("run", "-S", "hello"), "-S: expected -s or --gdb ADDRESS beside it, got none"),
        (("run", "--gdb", "here:there", "hello"), "address for gdb: expected PORT, :PORT or HOST:PORT"),
        (("run", "-s", "--check", "hello"), "--check with --gdb: expected one of them, got both"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], argv: Sequence[str], message: str
) -> None:
    status, out, err = call(capsys, *argv)
    assert (status, out) == (2, "")
    assert err.startswith("vpmu: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version") == (0, f"vpmu {vpmu.__version__}\n", "")
    status, out, _ = call(capsys, "--help")
    assert status == 0
    assert all(f"  {name} " in out for name in cli.COMMANDS)


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name != "fetch"])
def test_every_command_describes_itself_and_takes_json(capsys: pytest.CaptureFixture[str], name: str) -> None:
    status, out, _ = call(capsys, name, "--help")
    assert status == 0
    assert out.startswith(f"usage: vpmu {name} ")
    assert "--json" in out


def test_interrupt_is_one_line_and_status_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(args: Any) -> int:
        print("console so far")
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "run", interrupted)
    assert call(capsys, "run", "x") == (130, "console so far\n", "vpmu: interrupted\n")


def test_a_reader_that_leaves_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "vpmu", "events"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_name_that_is_no_text_is_printed_as_it_came(tmp_path: Path) -> None:
    image, page = os.fsencode(tmp_path / "a") + b"\xff.elf", tmp_path / "page.html"
    Path(os.fsdecode(image)).write_bytes(path("hello").read_bytes())
    for arguments in (
        [b"compare", b"kvm-7.2", b"kvm-7.2", image, b"--html", os.fsencode(page)],
        [b"run", image],
    ):
        done = subprocess.run([sys.executable, "-m", "vpmu", *arguments], capture_output=True, check=False)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
        assert b"\xff" in done.stdout or arguments[0] == b"run"
    assert "a\\udcff.elf" in page.read_text()


def test_importing_the_package_and_the_frame_costs_no_machine() -> None:
    code = "import sys, vpmu.cli.main; print(*[m for m in sys.modules if m.startswith(HEAVY)])"
    code = code.replace("HEAVY", "('vpmu.vmm', 'vpmu.hart', 'llvmlite')")
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == []


def test_public_names_are_listed() -> None:
    assert set(vpmu.__all__) <= set(dir(vpmu))
    with pytest.raises(AttributeError, match="nonsense"):
        vpmu.nonsense  # noqa: B018


def test_console_passes_lines_on_and_keeps_them() -> None:
    from vpmu.cli.output import Console

    stream = io.BytesIO()
    console = Console(stream)
    console(b"hel")
    console(b"lo\n\xff")
    console.close()
    assert stream.getvalue() == b"hello\n\xff"
    assert console.text == "hello\n\N{REPLACEMENT CHARACTER}"


def test_an_initrd_lies_where_the_device_tree_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kvm-unit-tests and others pass their environment that way: -initrd of QEMU."""
    (tmp_path / "environment").write_bytes(b"A=1\nB=2\n")
    machines: list[Machine] = []
    build = run_module.build_machine
    monkeypatch.setattr(
        run_module, "build_machine", lambda *a, **k: machines.append(build(*a, **k)) or machines[-1]
    )
    status, _, _ = call(capsys, "run", "--initrd", str(tmp_path / "environment"), "hello")
    (machine,) = machines
    tree = machine.device_tree
    assert status == 0
    assert tree is not None
    start, end = (_property(tree, f"linux,initrd-{edge}") for edge in ("start", "end"))
    assert machine.vcpu(0).read(start, end - start) == b"A=1\nB=2\n"
    assert call(capsys, "run", "--initrd", "/nonexistent", "hello")[::2] == (
        2, "vpmu: error: file: /nonexistent: No such file or directory\n",
    )  # fmt: skip


def _property(tree: bytes, name: str) -> int:
    """A property of 8 bytes, found by the offset of its name in the block of strings."""
    strings = int.from_bytes(tree[12:16], "big")
    offset = tree.index(name.encode() + b"\0", strings) - strings
    at = tree.index((3).to_bytes(4, "big") + (8).to_bytes(4, "big") + offset.to_bytes(4, "big"))
    return int.from_bytes(tree[at + 12 : at + 20], "big")


@pytest.mark.parametrize(
    ("signal_", "status"), [(KeyboardInterrupt, cli.INTERRUPTED), (cli.Terminated, cli.TERMINATED)]
)
def test_a_signal_while_a_class_is_made(
    signal_: type[KeyboardInterrupt], status: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Imports make classes, and a signal may come then: no traceback."""

    class Interrupting:
        def __set_name__(self, owner: type, name: str) -> None:
            raise signal_

    def dispatch(arguments: list[str]) -> int:
        type("Made", (), {"member": Interrupting()})
        return 0

    monkeypatch.setattr(cli, "_dispatch", dispatch)
    assert cli.main(["run"]) == status
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr(cli, "_dispatch", lambda arguments: {}["no"])
    with pytest.raises(KeyError):
        cli.main(["run"])


def test_a_module_that_is_for_later_is_itself_once_it_is_asked() -> None:
    code = """
import sys
from vpmu.cli.main import LATER, Later
for name in LATER:
    assert name not in sys.modules
    sys.modules[name] = Later(name)
import dataclasses, inspect, pathlib
assert "ast" not in sys.modules and "dis" not in sys.modules
@dataclasses.dataclass
class Bare:
    number: int
assert Bare.__doc__ == "Bare(number: int)" and "dis" in sys.modules
from inspect import signature
assert signature(Bare) and inspect.isclass(Bare) and not hasattr(inspect, "nothing")
from urllib.parse import urlsplit
assert urlsplit("http://[::1]:80/").hostname == "::1"
import ipaddress
assert sys.modules["ipaddress"].ip_address("::1").is_loopback
"""
    subprocess.run([sys.executable, "-c", code], check=True)
