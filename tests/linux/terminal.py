"""A process of vpmu on a terminal of its own, and what stands on it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

PATIENCE = 90.0
"""Seconds until a text that does not come is given up."""


class Terminal:
    """`vpmu` with these arguments; `screen` is what it has said, `theirs` the side that it reads from."""

    def __init__(self, *arguments: str) -> None:
        self.ours, self.theirs = pty.openpty()
        self.screen = b""
        self.arguments = arguments

    def __enter__(self) -> Terminal:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vpmu", *self.arguments],
            stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, start_new_session=True,
        )  # fmt: skip
        return self

    def __exit__(self, *failure: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)

    def type(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def wait_for(self, text: bytes) -> bytes:
        """Wait until it stands on the screen; the screen."""
        end = time.monotonic() + PATIENCE
        while text not in self.screen:
            assert select.select([self.ours], [], [], max(end - time.monotonic(), 0))[0], self.screen[-500:]
            self.screen += os.read(self.ours, 65536)
        return self.screen
