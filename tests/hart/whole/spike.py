"""Spike, the ISA's own simulator, as an oracle: the same image, the same results."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from .elf import elf

BASE = 0x80000000
LETTERS = "rv64imafdch"
ALWAYS = ("zicntr", "zihpm", "zicclsm")  # the last: misaligned accesses are done, not trapped


@functools.cache
def path() -> str | None:
    """Where spike is: beside the interpreter, or on the way of commands."""
    beside = Path(sys.executable).parent / "spike"
    return str(beside) if beside.exists() else shutil.which("spike")


needed = pytest.mark.skipif(path() is None, reason="no spike here (pip install spike)")


def run(
    image: bytes,
    *,
    isa: Iterable[str],
    signature: tuple[int, int],
    tohost: int,
    options: Iterable[str] = (),
    log: Path | None = None,
    megabytes: int = 64,
    timeout: float = 120,
) -> bytes:
    """The bytes of [signature) when the program has written `tohost`."""
    spike = path()
    assert spike is not None
    symbols = {
        "tohost": tohost,
        "fromhost": tohost + 8,
        "begin_signature": signature[0],
        "end_signature": signature[1],
    }
    with tempfile.TemporaryDirectory() as folder:
        program, result = Path(folder, "program.elf"), Path(folder, "signature")
        program.write_bytes(elf(image, BASE, symbols))
        command = [spike, "--isa=" + "_".join((LETTERS, *ALWAYS, *isa)), f"-m{megabytes}"]
        command += ["-l", "--log-commits", f"--log={log}"] if log else []
        command += [*options, f"+signature={result}", "+signature-granularity=8", str(program)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
        return b"".join(int(line, 16).to_bytes(8, "little") for line in result.read_text().split())
