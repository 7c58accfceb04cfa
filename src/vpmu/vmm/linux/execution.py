"""One command in the guest: the archive that carries it in, and the marker lines that bring its end out.

The protocol with the guest's first process (the file `init` beside this one): `/vpmu/exec` is a shell script,
`/vpmu/id` names the run. On the console `@vpmu-begin ID@` and a newline stand before the command's output,
`@vpmu-exit ID STATUS@` after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from vpmu.errors import UsageError
from vpmu.hart.digest import sha256
from vpmu.vmm.console import keep
from vpmu.vmm.linux import cpio

EXEC_INIT = "/vpmu/init"
"""Path of init in an exec archive: `rdinit=` of it runs a command on any initramfs that has a shell."""

_MARK = re.compile(rb"@vpmu-(begin|exit) ([0-9a-f]{16})(?: (\d{1,3}))?@")
_OURS = re.compile(
    rb"(?:\n@vpmu-file [^@\r\n]*@\r?\n.*?@vpmu-file-end@\r?\n)"
    rb"|(?:@vpmu-(?:begin|exit|ready|failed)(?: [^@\r\n]*)?@\r?\n?)",
    re.DOTALL,
)
_STAMP = re.compile(rb"^\[ *\d+\.\d{6}\] ", re.MULTILINE)
_LONGEST_MARK = len("@vpmu-begin 0123456789abcdef 255@\r\n")
_LONGEST_LINE = 1 << 16  # without an end, in which a mark is still looked for


def init_script() -> bytes:
    """The guest's first process."""
    return Path(__file__).with_name("init").read_bytes()


def command_bytes(command: str) -> bytes:
    """A command as the guest's shell gets it: bytes of a command line that are no UTF-8 stay as they are.
    UsageError for what no command line can have held.
    """
    try:
        return command.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise UsageError("command", expected="text", got=ascii(command)[:80]) from None


def build_exec_archive(
    command: str, files: Mapping[str, bytes | Path] | None = None, more: Iterable[cpio.Entry] = ()
) -> bytes:
    """A cpio archive to append to the initramfs (cpio.append): a shell command, executables by guest path,
    and `more` entries.

    The same command and files give the same bytes.
    """
    script = command_bytes(command) + b"\n"
    extra = {
        name: data.read_bytes() if isinstance(data, Path) else data for name, data in (files or {}).items()
    }
    digest = sha256(script)
    for name in sorted(extra):
        digest.update(name.encode() + b"\0" + sha256(extra[name]).digest())
    return cpio.write([
        cpio.file("vpmu/exec", script),
        cpio.file("vpmu/id", digest.hexdigest()[:16].encode() + b"\n"),
        cpio.file(EXEC_INIT, init_script(), 0o755),
        *(cpio.file(name, data, 0o755) for name, data in extra.items()),
        *more,
    ])  # fmt: skip


def parse_exit_marker(line: str) -> int | None:
    """The command's exit status if the console line holds the exit marker (after anything), else None."""
    match = _MARK.search(line.encode(errors="replace"))
    return int(match[3]) if match and match[1] == b"exit" and match[3] else None


def without_marks(console: bytes) -> bytes:
    """A console as a person would have it: the marker lines are ours, and so are the files between marks."""
    return _OURS.sub(b"", console)


class ExecStream:
    """Cuts the command's own output out of the console's byte stream.

    `console` is the end of what came, `started` says that the command runs, `status` is its exit status.
    On a machine without a serial port the output comes as kernel log lines; their time stamps are taken off.
    """

    def __init__(self) -> None:
        self.console = bytearray()
        self.started = False
        self.status: int | None = None
        self._held = b""
        self._logged = False
        self._id = b""

    def resume(self, run_id: bytes) -> None:
        """The command of this run has begun before anything comes."""
        self.started, self._id = True, run_id

    def feed(self, data: bytes) -> bytes:
        """Take console bytes; returns those that the command wrote, late by a marker's length or a line."""
        keep(self.console, data)
        if self.started and not self._held and not self._logged and self.status is None and b"@" not in data:
            return data
        self._held += data
        output = b""
        while self.status is None and (match := _MARK.search(self._held)):
            before, rest = self._held[: match.start()], self._held[match.end() :]
            if match[1] == b"begin" and not self.started:
                if b"\n" not in rest:
                    return b""  # the marker's own line end is still to come
                self.started, self._id = True, match[2]
                self._logged = _STAMP.search(before[before.rfind(b"\n") + 1 :]) is not None
                self._held = rest[rest.index(b"\n") + 1 :]
            elif match[1] == b"exit" and match[3] and match[2] == self._id:
                self.status = int(match[3])
                return output + self._clean(before)
            elif self.started:  # the command printed something like a marker
                output += self._clean(self._held[: match.end()])
                self._held = rest
            else:
                self._held = rest
        if self.status is not None:
            return b""
        if self._logged or not self.started:
            held = self._held.rfind(b"\n") + 1
        else:  # what may be the beginning of a marker waits
            at = self._held.rfind(b"@", max(0, len(self._held) - _LONGEST_MARK))
            held = len(self._held) if at < 0 else at
        if len(self._held) - held > _LONGEST_LINE:
            held = len(self._held) - _LONGEST_MARK
        if self.started:
            output += self._clean(self._held[:held])
        self._held = self._held[held:]
        return output

    def _clean(self, output: bytes) -> bytes:
        return _STAMP.sub(b"", output).replace(b"\r\n", b"\n") if self._logged else output
