"""The parser of every command: its errors are one line, what is given twice either adds up or is refused, no
output lands on another file of the same command line, and its help fits the terminal.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from ..errors import FileError, UsageError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
    """What argparse gives to add commands to."""
else:
    Subparsers = object

WIDEST = 100
"""Columns of help on a terminal that has more: longer lines are hard to read."""


class FileName(str):
    """The name of a file on the command line."""

    __slots__ = ()


class OutputName(FileName):
    """The name of a file that is written."""

    __slots__ = ()


class FolderName(OutputName):
    """The name of a folder that is made and written."""

    __slots__ = ()


class PerfettoName(OutputName):
    """The name of a trace that Perfetto shall open, whatever its ending is."""

    __slots__ = ()


def in_file(text: str) -> FileName:
    """A file that is read."""
    return FileName(_name(text, "standard input is not read here"))


def in_file_or_stdin(text: str) -> str:
    """A file that is read, or `-`."""
    return text if text == "-" else in_file(text)


def out_file(text: str) -> OutputName:
    """A file that is written."""
    return OutputName(_name(text, "/dev/stdout is standard output"))


def out_folder(text: str) -> FolderName:
    """A folder that is written."""
    return FolderName(_name(text, "a folder has a name"))


def perfetto_file(text: str) -> PerfettoName:
    """A trace for Perfetto that is written."""
    return PerfettoName(out_file(text))


def _name(text: str, hint: str) -> str:
    if text == "-":
        raise argparse.ArgumentTypeError(f"expected the name of a file, got '-' ({hint})")
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"expected the name of a file, got {text!r}")
    return text


class Once(argparse.Action):
    """Stores a value, and refuses a second one: nobody can tell which of two was meant."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Store; UsageError for the second time."""
        if self.option_strings and isinstance(parser, Parser):
            if self in parser.given:
                raise UsageError(f"{'/'.join(self.option_strings)} is given twice", expected="it once")
            parser.given.add(self)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are VpmuErrors: one line, printed in one place, exit status 2."""

    def __init__(self, **settings: object) -> None:
        self.given: set[argparse.Action] = set()
        super().__init__(
            formatter_class=Help,
            allow_abbrev=False,
            **settings,  # type: ignore[arg-type]
        )
        for name in (None, "store"):
            self.register("action", name, Once)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing the usage."""
        raise UsageError(message)

    def parse_known_args(  # type: ignore[override]  # typeshed has two overloads of one
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, and look at the files that were named."""
        self.given.clear()
        found, rest = super().parse_known_args(args, namespace)
        check_files(found, self.get_default)
        return found, rest

    def format_help(self) -> str:
        """The help, with examples."""
        from .examples import as_text

        if self.epilog is None:
            self.epilog = as_text(self.prog.rpartition(" ")[2])
        return super().format_help()


def check_files(args: argparse.Namespace, given: Callable[[str], object]) -> None:
    """Refuse a file that is written and named once more, and before the work begins one that cannot be
    written. Devices and pipes are no such files. `given(dest)`: the default, which need not be used.
    """
    seen: dict[str, FileName] = {}
    for dest, value in vars(args).items():
        for name in value if isinstance(value, list) else [value]:
            if not isinstance(name, FileName):
                continue
            if isinstance(name, OutputName) and value != given(dest):
                check_output(name)
            if os.path.exists(name) and not os.path.isfile(name):  # noqa: PTH110, PTH113 (pathlib is not imported)
                continue
            path = os.path.realpath(name)
            other = seen.setdefault(path, name)
            if other is not name and (isinstance(name, OutputName) or isinstance(other, OutputName)):
                raise UsageError(f"{name} is named twice", expected="a file of its own for what is written")


def check_output(name: OutputName) -> None:
    """FileError for a file that cannot be written: it would be lost after minutes of work."""
    if isinstance(name, FolderName):
        return  # made with all that is above it
    folder = os.path.dirname(name) or "."  # noqa: PTH120
    if os.path.isdir(name):  # noqa: PTH112
        number = errno.EISDIR
    elif not os.path.isdir(folder):  # noqa: PTH112
        number = errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT  # noqa: PTH110
    elif not os.access(name if os.path.exists(name) else folder, os.W_OK):  # noqa: PTH110
        number = errno.EACCES
    else:
        return
    raise FileError(name, os.strerror(number))


def _columns() -> int:
    """Of the terminal, as shutil.get_terminal_size has it. argparse makes a formatter for each option of each
    start, to look at its metavar: so none of them imports shutil, and all the packers that it knows.
    """
    try:
        columns = int(os.environ["COLUMNS"])
    except (KeyError, ValueError):
        columns = 0
    if columns <= 0 and sys.__stdout__ is not None:
        try:
            columns = os.get_terminal_size(sys.__stdout__.fileno()).columns
        except (ValueError, OSError):
            columns = 0
    return columns if columns > 0 else 80


class Help(argparse.HelpFormatter):
    """Fills paragraphs to the terminal's width, and leaves indented lines as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=min(_columns(), WIDEST + 2) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        import textwrap

        from .output import filled

        parts = []
        for part in text.strip("\n").split("\n\n"):
            first, *lines = part.splitlines() or [""]
            if first.startswith(" ") or any(line.startswith("  ") for line in lines):
                parts.append("\n".join(filled(line, width) for line in (first, *lines)))
            else:
                parts.append(textwrap.fill(" ".join(part.split()), width))
        return "\n\n".join(parts)
