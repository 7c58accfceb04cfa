"""Where a trace goes, record by record: a file that can be read whenever its writer ends."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import IO

from ..errors import FileError


class Stream:
    """Text to the file `path`, which is new. `head` is there at once, whatever happens then. FileError for
    what the operating system refuses; BrokenPipeError where the reader has gone.
    """

    def __init__(self, path: Path, head: str) -> None:
        self._path = path
        self._file: IO[str] | None = None
        try:
            self._file = path.open("w", encoding="utf-8", errors="replace", newline="\n")
            self._file.write(head)
            self._file.flush()
        except (OSError, ValueError) as error:
            raise self._refused(error) from None

    def write(self, text: str) -> None:
        """Add a piece."""
        if self._file is None:
            raise ValueError(f"trace {self._path}: a record came while the file was not open")
        try:
            self._file.write(text)
        except OSError as error:
            raise self._refused(error) from None

    def close(self, tail: str, *, failed: bool) -> None:
        """End it with `tail`; `failed`: an error is on its way already, and it says enough."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            with file:
                file.write(tail)
        except OSError as error:
            if not failed:
                raise self._refused(error) from None

    def _refused(self, error: OSError | ValueError) -> Exception:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what could not be written cannot be written now
                file.close()
        if isinstance(error, BrokenPipeError):
            return error
        if isinstance(error, OSError):
            return FileError.from_os_error(self._path, error)
        return FileError(repr(str(self._path)), str(error))  # a NUL in the name
