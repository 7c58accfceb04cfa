"""Stock gdb against the server: the page's session as it is typed, and what a debugger of guests needs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpmu.payloads import path
from vpmu.vmm.machine import Machine

from .client import Served
from .multiarch import Typed, gdb, needs_gdb

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "time-travel.md"
pytestmark = needs_gdb


def _session() -> Iterator[tuple[str, list[str]]]:
    """(what is typed, lines that are shown of its answer) of the page."""
    block = re.search(r"^```gdb\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert block is not None
    for part in block[1].split("(gdb) ")[1:]:
        command, *lines = part.splitlines()
        yield command, lines


def test_the_session_of_the_page_as_it_is_typed(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "vpmu"]
    subprocess.run([*run, "symbols", "overflow", "-o", tmp_path / "overflow.sym"], check=True)
    server = subprocess.Popen(
        [*run, "run", "overflow", "--host-pmu", "sampling", "--gdb", ":0", "-S"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stderr is not None
    listening = re.search(r"listening on 127\.0\.0\.1:(\d+);", server.stderr.readline())
    assert listening is not None
    debugger = Typed(tmp_path / "overflow.sym")
    session = list(_session())
    assert len(session) > 15
    try:
        for command, shown in session:
            said = debugger.type(command.replace("1234", listening[1])).splitlines()
            for line in shown:
                assert line in said, f"(gdb) {command}: {said}"
                del said[: said.index(line) + 1]
    finally:
        debugger.close()
        if session[-1][0] != command:
            server.kill()
        told = server.communicate(timeout=30)[1]
    assert "vpmu: killed (the debugger killed it); 1,000 instructions" in told
    assert server.returncode == 1


@pytest.fixture
def served() -> Iterator[Served]:
    machine = Machine(host_pmu="sampling")
    machine.load("overflow")
    served = Served(machine)
    served.start()
    yield served
    served.wait()


def test_gdb_knows_every_register_of_the_description(served: Served, tmp_path: Path) -> None:
    answers = gdb(
        [f"target remote {served.server.address}", "info registers all", "p $a0", "set $t3 = 0x55", "p/x $t3",
         "p $fa0", "set $fa0.double = 1.5", "p $fa0.double", "p $fcsr", "p/x $sstatus", "p $virt", "kill"],
        tmp_path, path("overflow"),
    )  # fmt: skip
    table = {line.split()[0] for line in answers[1].splitlines() if line.strip()}
    assert {"zero", "t6", "pc", "ft0", "fa0", "sstatus", "satp", "cycle", "hpmcounter31", "priv"} <= table
    assert "0x55" in answers[4]
    assert "1.5" in answers[7]
    assert "= 1" in answers[10]


def test_reverse_over_functions(served: Served, tmp_path: Path) -> None:
    """Into a function, out of it, and back into it."""
    answers = gdb(
        [f"target remote {served.server.address}", "break put_number", "continue", "p/x $pc", "p/x $ra",
         "delete", "reverse-stepi", "p/x $pc", "stepi", "p/x $pc", "tbreak *$ra", "continue", "p/x $pc",
         "break put_number", "reverse-continue", "p/x $pc", "kill"],
        tmp_path, path("overflow"),
    )  # fmt: skip
    at, ra = answers[3].split()[-1], answers[4].split()[-1]
    assert answers[7].split()[-1] != at
    assert answers[9].split()[-1] == at
    assert answers[12].split()[-1] == ra
    assert answers[15].split()[-1] == at


def test_detach_lets_the_guest_go_on(served: Served, tmp_path: Path) -> None:
    gdb([f"target remote {served.server.address}", "stepi", "detach"], tmp_path, path("overflow"))
    assert served.wait().stop == "shutdown"
