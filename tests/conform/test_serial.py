"""The serial target, with a pseudo-terminal for the line and our machine for the board."""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Iterator

import pytest

from vpmu.conform.machine_link import MachineLink
from vpmu.conform.serial_link import serial_target
from vpmu.conform.suite import load_suite
from vpmu.conform.target import TargetError
from vpmu.conform.verdict import Verdict, run_suite


@pytest.fixture
def board() -> Iterator[str]:
    """A device with a machine behind it on which the agent runs."""
    master, slave = os.openpty()
    tty.setraw(slave)
    link = MachineLink("spec-3.0", "qemu-virt")

    def serve() -> None:
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:
                return
            if not data or data == b"\0\0stop":
                return
            link.send(data)
            while answer := link.receive(1):
                os.write(master, answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield os.ttyname(slave)
    os.write(slave, b"\0\0stop")
    thread.join(timeout=10)
    os.close(slave)
    os.close(master)
    assert not thread.is_alive()


def test_a_board_on_a_serial_line(board: str) -> None:
    target = serial_target(f"serial:{board}", "spec-3.0")
    tests = [test for test in load_suite() if test.id.startswith(("NUM", "FWREAD", "VALUE"))]
    outcomes = run_suite(target, tests)
    target.close()
    assert {outcome.verdict for outcome in outcomes} <= {Verdict.PASS, Verdict.SKIPPED}
    assert sum(outcome.verdict is Verdict.PASS for outcome in outcomes) > 40


@pytest.mark.parametrize(
    "name", ["serial:/nonexistent", "serial:/dev/null", "serial:/dev/tty@fast", "serial:/dev/null@7"]
)
def test_no_line_no_target(name: str) -> None:
    with pytest.raises(TargetError):
        serial_target(name)
