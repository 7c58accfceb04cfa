"""What commands print fits a terminal of 80 columns: on a real one, not by an environment variable."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmu.cli import output
from vpmu.cli.output import table

LINES = [
    "demo",
    "events",
    "events --host-pmu full",
    "profiles",
    "profiles kvm-7.2",
    "explain cycles cache-misses",
    "faults",
    "faults list",
    "faults run F1 F2 F10",
    "conform --list",
    "stat -e cycles,instructions --host-pmu full counting",
    "campaign plan.toml -q --no-cases",
]


def on_terminal(arguments: list[str], folder: Path, columns: int) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "vpmu", *arguments]
    done = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, cwd=folder,
                            env={**environment, "TERM": "xterm"})  # fmt: skip
    os.close(theirs)
    told = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not data:
            break
        told += data
    os.close(ours)
    assert done.wait(60) == ("cache-misses" in arguments)
    return re.sub(r"\x1b\[[0-9;]*m", "", told.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("line", LINES)
def test_a_terminal_of_80_columns_is_wide_enough(line: str, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(
        'name = "width"\nguests = ["failing-event"]\nhost_pmus = ["full"]\n'
        'profiles = ["kvm-6.9", "kvm-6.10", "kvm-6.12", "kvm-7.2", "spec-3.0"]\n'
        '[[fault]]\nname = "perf has no counter for anybody"\ninject = ["perf.enable:state=error"]\n'
    )
    told = on_terminal(shlex.split(line), tmp_path, 80)
    assert len(told.splitlines()) > 3
    assert [text for text in told.splitlines() if len(text.rstrip()) > 80] == []


@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(st.lists(st.text("ab -", max_size=40), min_size=n, max_size=n), min_size=1)
    ),
    st.integers(40, 120),
)
def test_a_table_fits_and_loses_nothing(rows: list[list[str]], columns: int) -> None:
    heads = [f"column {number}" for number in range(len(rows[0]))]
    whole = table(heads, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "columns", lambda: columns)
        told = table(heads, rows, right=frozenset({0}))
    assert max(map(len, told.splitlines())) < columns
    letters = sorted(whole.replace(" ", "").replace("\n", "").replace("-", ""))
    assert sorted(told.replace(" ", "").replace("\n", "").replace("-", "")) == letters
