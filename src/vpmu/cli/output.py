"""How commands print: JSON objects, aligned tables, the guest's console, and the one line that sums up a
run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING

from ..errors import HOST_LOST_STATUS

if TYPE_CHECKING:
    from ..vmm.machine import RunResult


def print_json(value: object) -> None:
    """One JSON object on stdout."""
    import json

    from ..trace.views import plain

    print(json.dumps(plain(value), indent=2))


def columns() -> int | None:
    """Columns of the terminal behind standard output; None where it is none."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns


def say(line: str) -> None:
    """Print a line; on a terminal what is too long goes on below its second column."""
    width = columns()
    print(line if width is None else filled(line, width - 1))


def filled(line: str, width: int) -> str:
    """A line of two columns (two blanks between them) whose second column is filled below itself."""
    import textwrap

    if len(line) <= width:
        return line
    head, _, text = line.strip().partition("  ")
    at = line.find(text.lstrip()) if text else len(line) - len(line.lstrip()) + 4
    if not 0 < at < width - 20:
        at = 6
    return textwrap.fill(
        text.strip() or head, width, subsequent_indent=" " * at,
        initial_indent=line[:at] if text else line[: at - 4], break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


def table(
    heads: Sequence[str], rows: Sequence[Sequence[object]], *, right: frozenset[int] = frozenset()
) -> str:
    """Rows under heads in aligned columns, no wider than the terminal; the columns in `right` are flushed
    right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(head), *(len(row[i]) for row in cells), 0) for i, head in enumerate(heads)]
    whole = columns()
    if whole is not None and sum(widths) + 2 * (len(widths) - 1) >= whole:
        narrow(widths, whole - 1 - 2 * (len(widths) - 1), right)
    out = []
    for line in [list(heads), ["-" * width for width in widths], *cells]:
        broken = [broken_at(cell, width) for cell, width in zip(line, widths, strict=True)]
        for number in range(max(map(len, broken))):
            parts = []
            for i, (words, width) in enumerate(zip(broken, widths, strict=True)):
                cell = words[number] if number < len(words) else ""
                parts.append(f"{cell:>{width}}" if i in right else f"{cell:<{width}}")
            out.append("  ".join(parts).rstrip())
    return "\n".join(out)


def narrow(widths: list[int], room: int, right: frozenset[int]) -> None:
    """Take from the widest columns until all fit; numbers stay whole as long as there is another column."""
    while sum(widths) > room:
        words = [i for i in range(len(widths)) if i not in right and widths[i] > 8]
        widest = max(words or range(len(widths)), key=lambda i: widths[i])
        if widths[widest] <= 1:
            return
        widths[widest] -= 1


def broken_at(cell: str, width: int) -> list[str]:
    """A cell as lines of a width."""
    if len(cell) <= width:
        return [cell]
    import textwrap

    return textwrap.wrap(cell, width, break_on_hyphens=False) or [""]


class Console:
    """Passes the guest's console to a stream, line by line, and keeps the end of what it passed."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._stream = stream
        self.data = bytearray()

    def __call__(self, data: bytes) -> None:
        from ..vmm.console import keep

        keep(self.data, data)
        if self._stream is not None:
            self._stream.write(data)
            if b"\n" in data:
                self._stream.flush()

    @classmethod
    def on_stdout(cls) -> Console:
        """The console that the user sees."""
        return cls(sys.stdout.buffer)

    def close(self) -> None:
        """Let what is still buffered out."""
        if self._stream is not None:
            self._stream.flush()

    @property
    def text(self) -> str:
        """What is kept, for JSON."""
        return self.data.decode("utf-8", "replace")


def errno_name(number: int | None) -> str | None:
    """The kernel's name of an errno, `ENOENT` for 2; None for none."""
    import errno

    # Two names have the number 95, and Python knows it by the one that the kernel does not use.
    return (
        None if number is None else {95: "EOPNOTSUPP"}.get(number) or errno.errorcode.get(number, str(number))
    )


def exit_status(result: RunResult) -> int:
    """0 for a run that ended well, HOST_LOST_STATUS where the guest brought the host down, else 1."""
    return HOST_LOST_STATUS if result.fixed_by is not None else 0 if result.ok else 1


def sum_up(result: RunResult) -> str:
    """The line after a run: why it stopped, instructions retired, exits to user space."""
    why = result.stop
    if result.kvm_run_errno is not None:
        why = f"KVM_RUN failed with {errno_name(result.kvm_run_errno)}"
    if result.reason:
        why += f" ({result.reason})"
    return f"{why}; {result.instructions:,} instructions, {result.exits:,} exits to user space"


def as_object(result: RunResult, console: str) -> Mapping[str, object]:
    """The result of a run as `--json` prints it. Instructions are those retired by all harts; seconds are
    virtual."""
    return {
        "stop": result.stop,
        "reason": result.reason,
        "fixed_by": result.fixed_by,
        "kvm_run_errno": result.kvm_run_errno,
        "kvm_run_errno_name": errno_name(result.kvm_run_errno),
        "instructions": result.instructions,
        "exits": result.exits,
        "exit_counts": dict(sorted(result.exit_counts.items())),
        "console": console,
    }
