"""Stock gdb in batch mode: commands in, what each of them prints out."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

GDB = shutil.which("gdb-multiarch")
needs_gdb = pytest.mark.skipif(GDB is None, reason="gdb-multiarch is not installed")

_SCRIPT = """
import json
import os
import pty
import select
said = []
for command in json.loads({commands!r}):
    try:
        said.append(gdb.execute(command, to_string=True))
    except gdb.error as error:
        said.append("%s\\n" % error)
    with open({answers!r}, "w") as file:
        json.dump(said, file)
"""


def gdb(
    commands: Sequence[str], folder: Path, symbols: str | Path | None = None, seconds: float = 120
) -> list[str]:
    """What each command printed, of those that came to their end."""
    assert GDB is not None
    script, answers = folder / "script.py", folder / "answers.json"
    answers.unlink(missing_ok=True)
    quiet = ["set pagination off", "set confirm off", "set width 0"]
    script.write_text(_SCRIPT.format(commands=json.dumps([*quiet, *commands]), answers=str(answers)))
    files = [] if symbols is None else [str(symbols)]
    subprocess.run(
        [GDB, "-q", "-nx", "-batch", "-x", str(script), *files],
        timeout=seconds, capture_output=True, check=False,
    )  # fmt: skip
    return json.loads(answers.read_text())[len(quiet) :]


class Typed:
    """gdb with somebody at its prompt."""

    def __init__(self, symbols: str | Path) -> None:
        assert GDB is not None
        self._out, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [GDB, "-q", "-nx", str(symbols)], stdin=subprocess.PIPE, stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "dumb"},
        )  # fmt: skip
        os.close(theirs)
        self.answer()
        for setting in ("pagination off", "confirm off", "width 0"):
            self.type(f"set {setting}")

    def type(self, command: str) -> str:
        """A line; what gdb prints until its next prompt."""
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self, seconds: float = 60) -> str:
        """What comes until a prompt."""
        said = b""
        while not said.endswith(b"(gdb) "):
            ready = select.select([self._out], [], [], seconds)[0]
            assert ready, f"gdb says nothing after {said!r}"
            said += os.read(self._out, 1 << 16)
        return said.decode().replace("\r", "").removesuffix("(gdb) ")

    def close(self) -> None:
        """Leave it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        os.close(self._out)
