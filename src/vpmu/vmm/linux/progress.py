"""Progress on standard error: a bar that redraws itself on a terminal, one line per step elsewhere."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

BAR = 24


class Progress:
    """Steps of a long job. `quiet` prints nothing; a terminal gets a bar; anything else one line per step."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.quiet = quiet
        self.bar = not quiet and self.stream.isatty()
        self._text = ""
        self._shown = ""
        self._noted = False

    def step(self, text: str) -> None:
        """Begin a step; the one before it is over."""
        self.finish()
        self._text = text
        if self.bar:
            self.update(0.0)
        elif not self.quiet:
            print(text, file=self.stream, flush=True)

    def update(self, fraction: float) -> None:
        """How much of the step is done, 0 to 1."""
        if not self.bar or not self._text:
            return
        filled = round(BAR * min(max(fraction, 0.0), 1.0))
        columns = shutil.get_terminal_size().columns - 1
        line = f"[{'#' * filled}{'.' * (BAR - filled)}] {fraction:4.0%} {self._text}"[:columns]
        if line != self._shown:
            self.stream.write(f"\r\x1b[K{line}")
            self.stream.flush()
            self._shown = line

    def note(self, text: str) -> None:
        """Say how far a step is whose end nobody knows; only on a terminal."""
        if self.bar:
            columns = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r\x1b[K{text}"[: columns + 4])
            self.stream.flush()
            self._noted = True

    def finish(self, complete: bool = True) -> None:
        """The step is over; on a terminal its bar stays as a full line, or as it was when it failed."""
        if self.bar and self._text:
            if complete:
                self.update(1.0)
            self.stream.write("\n")
            self.stream.flush()
        elif self._noted:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
        self._text = self._shown = ""
        self._noted = False
