"""Errors of vpmu itself (not of the guest, and not the SBI, perf or KVM errors that it models).

A message is one line: which layer, what went wrong, what was expected, what came. The command line prints it
as it is and ends with `exit_status`; nobody sees a traceback for bad input.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pathlib costs 9 ms of a start-up budget of 300, and everybody imports this module
    from pathlib import Path


_MANY = 16
"""Names that a message lists at most."""


HOST_LOST_STATUS = 5
"""Exit status of a command in which a guest brought the modelled host down."""


class TimeOver(KeyboardInterrupt):
    """The time that `--host-timeout` gives a command is over: as an interrupt, so that nobody takes it for an
    error of the guest, and whatever is written is ended properly.
    """


class VpmuError(Exception):
    """Base of every error of vpmu. Its text is ``layer: what: expected E, got G``, absent parts left out."""

    exit_status = 2
    """Exit status of a command that ends with this error: 2, as for any input that cannot be used."""
    layer = "vpmu"
    """Layer of the stack that refused; an instance may name another one."""

    def __init__(
        self, what: str, *, expected: object = None, got: object = None, layer: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.got = got
        if layer is not None:
            self.layer = layer

    def __str__(self) -> str:
        facts = [
            f"{word} {_one_line(value)}"
            for word, value in (("expected", self.expected), ("got", self.got))
            if value is not None
        ]
        head = f"{self.layer}: {_one_line(self.what)}"
        return f"{head}: {', '.join(facts)}" if facts else head


class UsageError(VpmuError):
    """The command line, or the arguments of a Python call, ask for something that does not exist."""

    layer = "usage"


class UnknownNameError(UsageError):
    """A name (of a profile, an event, a host PMU) is not known. The message gives the near names, or all."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, layer: str | None = None) -> None:
        import difflib  # only on this path: it costs more to import than a payload to start

        self.name = name
        self.known = sorted(known)
        few = len(self.known) <= _MANY
        near = difflib.get_close_matches(name, self.known, n=3, cutoff=0.5 if few else 0.3)
        likeness = [difflib.SequenceMatcher(None, other, name).ratio() for other in near]
        near = [other for other, how in zip(near, likeness, strict=True) if how > likeness[0] - 0.15]
        listed = (
            ", ".join(self.known)
            if few
            else f"{', '.join(self.known[:_MANY])}, ... ({len(self.known)} in all)"
        )
        choice = f"did you mean {' or '.join(near)}?" if near else f"known: {listed}"
        super().__init__(f"unknown {kind} {name!r}; {choice}", layer=layer)


class FileError(VpmuError):
    """A file cannot be used; `line` is given where the file is text. The message names ``FILE:LINE``."""

    layer = "file"
    errno: int | None = None
    """The system's reason, where it was the system that refused."""

    def __init__(
        self,
        path: str | Path,
        what: str,
        *,
        line: int | None = None,
        expected: object = None,
        got: object = None,
        layer: str | None = None,
    ) -> None:
        self.path = str(path)
        self.line = line
        place = self.path if line is None else f"{self.path}:{line}"
        super().__init__(f"{place}: {what}", expected=expected, got=got, layer=layer)

    @classmethod
    def from_os_error(cls, path: str | Path, error: OSError) -> FileError:
        """The same failure in our words: no such file, a directory, no permission."""
        made = cls(path, error.strerror or type(error).__name__)
        made.errno = error.errno
        return made


class ImageError(FileError):
    """A guest image (ELF, Linux Image, flat, initrd) cannot be loaded."""

    layer = "loader"


class MachineError(VpmuError):
    """A machine cannot be built as described (memory too small, no hart, a device that does not fit)."""

    layer = "machine"


class BootError(MachineError):
    """Linux did not come to its prompt: it was lost, hangs, or had not time enough. `outcome` is that of the
    boot (vmm.linux.boot.Outcome), `machine` what it ran on.
    """

    def __init__(
        self, what: str, *, got: object = None, outcome: object = None, machine: object = None
    ) -> None:
        super().__init__(what, got=got)
        self.outcome, self.machine = outcome, machine


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
