"""The examples of --help that boot Debian, as they stand."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vpmu.cli.examples import DEBIAN, EXAMPLES
from vpmu.vmm.linux.cache import Cache, default_root

LINES = [
    line
    for command, rows in EXAMPLES.items()
    for line, _, needs in rows
    if needs == DEBIAN and command in ("boot", "perf")  # `compare` boots often, `fetch` needs a net
]


@pytest.mark.parametrize("line", LINES)
def test_an_example_in_debian_runs(line: str, tmp_path: Path) -> None:
    if Cache(default_root() / "debian-trixie").current() is None:
        pytest.skip("no Debian guest in the cache: vpmu fetch debian")
    (tmp_path / "README.md").write_text("a b c\n")
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(line)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=tmp_path, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr
    written = {path.name for path in tmp_path.iterdir()} - {"README.md"}
    expected = {"perf.folded", "perf.svg"} if " record " in line else {"n"} if "--get n" in line else set()
    assert written == expected
