"""Files out of a Linux guest, on its console: compressed and in letters, between two marks."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable

from vpmu.errors import VpmuError

_BEGIN, _END = b"\n@vpmu-file ", b"@vpmu-file-end@\n"


def sent(name: str) -> str:
    """The end of a shell pipeline of the guest: its input comes out as the file `name`."""
    return f"{{ echo; echo '@vpmu-file {name}@'; gzip -c | base64; echo @vpmu-file-end@; }}"


class FilesOut:
    """Passes a command's output on, but for the files between their marks, which it keeps by name."""

    def __init__(self, output: Callable[[bytes], None] | None) -> None:
        self._output = output
        self._held = b""
        self._inside = False
        self._files: dict[str, bytes] = {}

    def __call__(self, data: bytes) -> None:
        """Take output of the command."""
        self._held += data
        while self._step():
            continue

    def _step(self) -> bool:
        if self._inside:
            if _END not in self._held:
                return False
            sent, _, self._held = self._held.partition(_END)
            head, _, body = sent.partition(b"@\n")
            self._files[head.decode("utf-8", "replace")] = body
            self._inside = False
            return True
        at = self._held.find(_BEGIN)
        if at < 0:  # what may be the beginning of a mark waits
            lengths = range(min(len(_BEGIN), len(self._held)), 0, -1)
            keep = next((n for n in lengths if _BEGIN.startswith(self._held[-n:])), 0)
            self._pass(self._held[: len(self._held) - keep])
            self._held = self._held[len(self._held) - keep :]
            return False
        self._pass(self._held[:at])
        self._held, self._inside = self._held[at + len(_BEGIN) :], True
        return True

    def close(self) -> None:
        """Pass on what waits."""
        if not self._inside:
            self._pass(self._held)
        self._held = b""

    def file(self, name: str) -> bytes | None:
        """A file that came; None for none. VpmuError where it came damaged."""
        sent = self._files.get(name)
        if sent is None:
            return None
        try:
            return gzip.decompress(base64.b64decode(sent))
        except (ValueError, OSError, EOFError, zlib.error) as error:
            raise VpmuError(f"{name} came damaged out of the guest: {error}", layer="guest") from None

    def _pass(self, data: bytes) -> None:
        if data and self._output is not None:
            self._output(data)
