"""Finds the command, runs it, and turns every outcome into one line and an exit status.

Exit status: 0 pass, 1 fail, 2 bad usage or bad input, 4 skip, 130 interrupted, 141 reader gone, 143 ended.
"""

from __future__ import annotations

import codecs
import gc
import io
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from .. import __version__
from ..errors import TimeOver, UnknownNameError, VpmuError
from .parser import Parser

PASS, FAIL, USAGE, SKIP, INTERRUPTED, READER_GONE, TERMINATED = 0, 1, 2, 4, 130, 141, 143

COMMANDS = {
    "run": "run a guest image",
    "stat": "run a guest image and count its events: the table of perf stat",
    "demo": "the three scenarios of a host that cannot give an event, before and after the fix",
    "explain": "which layer refuses an event, and with what code",
    "profiles": "the implementations that can be chosen, and the behaviours they are made of",
    "events": "the events that a guest can ask for, and what the host PMU has for them",
    "replay": "run recorded tables against the model and print the lines that disagree",
    "boot": "boot Linux: the fetched Debian, or a kernel and an initramfs of your own",
    "perf": "run the guest's own perf in the fetched Debian",
    "conform": "the conformance suite, against vpmu, real KVM, OpenSBI or a board",
    "identify": "which implementation answers: the fixes it has and lacks, the release that is nearest",
    "host": "a KVM host on vpmu's own hart, Debian's or your own build: what it is, which fixes it has",
    "costs": "what each call of a guest costs a real host, by function, against a table of before",
    "peers": "start real KVM, on this machine or on a Debian host, and say what it is",
    "faults": "faults to order: the sites, the catalogue of failure scenarios, checks of plans",
    "campaign": "many runs: faults by profiles by host PMUs by guests by seeds, and what became of them",
    "compare": "one guest under two profiles or on two real kernels: what changed, and why",
    "diverge": "where two runs of one guest part: the first call, count and instruction, and why",
    "record": "write a run's inputs and the hashes of its state as a small file",
    "verify": "do a recorded run again: was it the same, and where not",
    "report": "one page over a folder of results: runs, campaigns, conformance, comparisons",
    "travel": "walk through a run in both directions, to what happens on the way and back",
    "symbols": "write the symbols of an image as an ELF file, for gdb, addr2line and nm",
    "fetch": "bring a Debian riscv64 kernel, perf and busybox through APT",
    "new": "make a folder with a guest program that builds, runs and is tested",
    "completion": "print the completion of vpmu's command lines for a shell",
}
"""The commands and what they do. `vpmu NAME` is the module `vpmu.cli.NAME`: `add_parser(subparsers)` and
`run(args)`."""


LATER = ("inspect", "ipaddress")
"""Modules of the library that others import at their head for what vpmu never does: dataclasses for classes
without a docstring, urllib.parse (pathlib) for hosts in brackets. They, and what they import, are a
twentieth of a start."""


class Later(ModuleType):
    """Stands for a module until somebody looks into it."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or sys.modules.get(self.__name__) is not self:
            raise AttributeError(name)
        del sys.modules[self.__name__]
        vars(self).update(vars(import_module(self.__name__)))
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(name) from None


class Terminated(KeyboardInterrupt):
    """SIGTERM: as an interrupt, so that whatever is written is ended properly."""


def _terminate(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the second one ends at once
    raise Terminated


def _as_it_came(error: UnicodeError) -> tuple[str | bytes, int]:
    """What no encoding has: the byte of a file name that it stands for, or else its number."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def _prepare_process() -> None:
    """What a process needs beside its arguments: an end that closes files, streams that take every text (the
    names of files hold bytes that are none), and all three streams even where somebody has closed one.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error("vpmu.text", _as_it_came)
        sys.stdout.reconfigure(errors="vpmu.text")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: that of the process) and return the exit status. Never raises
    for bad input."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if argv is None:
        # What a run allocates is short-lived and free of cycles: look for them rarely.
        gc.set_threshold(100_000, 50, 100)
        for name in LATER:
            sys.modules.setdefault(name, Later(name))
        _prepare_process()
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()
        if argv is None:
            gc.freeze()  # the process ends, and everything with it: nothing is left to look for
        return status
    except VpmuError as error:
        _flush()
        _complain(f"error: {error}")
        return error.exit_status
    except KeyboardInterrupt as error:
        return _ended_by(error)
    except RuntimeError as error:
        # A signal may come while a module makes a class: Python 3.11 wraps what __set_name__ seems to raise.
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        return _ended_by(error.__cause__)
    except BrokenPipeError:
        _let_go_of_stdout()
        return READER_GONE
    except OSError as error:  # a full disk behind stdout, and the like
        _flush()
        _complain(f"error: file: {error.filename or 'output'}: {error.strerror or error}")
        return USAGE


def _dispatch(arguments: list[str]) -> int:
    parser = _parser(arguments[:1] == ["--version"])
    if not arguments or arguments[0].startswith("-"):
        parser.parse_args(arguments)
        parser.error("no command given (see vpmu --help)")
    name = arguments[0]
    if name not in COMMANDS:
        raise UnknownNameError("command", name, COMMANDS)
    module = import_module(f"{__package__}.{name}")
    module.add_parser(parser.add_subparsers(prog="vpmu", parser_class=Parser))
    status: int = module.run(parser.parse_args(arguments))
    return status


def _parser(told: bool = False) -> Parser:
    """`told`: the version will be asked for."""
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    parser = Parser(
        prog="vpmu",
        usage="vpmu [-h] [--version] COMMAND ...",
        description="RISC-V guests on a hypervisor whose virtual PMU counts exactly, and fails when told.",
        epilog=f"commands:\n{listing}\n\n'vpmu COMMAND --help' describes one.",
    )
    form = ""
    if told and "vpmu.compiled" in sys.modules:
        from ..compiled import form as form_of_rooms

        form = form_of_rooms()
    version = f"vpmu {__version__} ({form})" if form else f"vpmu {__version__}"
    parser.add_argument("--version", action="version", version=version)
    return parser


def _ended_by(signal_: KeyboardInterrupt) -> int:
    if isinstance(signal_, TimeOver):
        _flush()
        _complain(f"timed out: {signal_}")
        return FAIL
    terminated = isinstance(signal_, Terminated)
    _flush()
    _complain("terminated" if terminated else "interrupted")
    return TERMINATED if terminated else INTERRUPTED


def _complain(message: str) -> None:
    try:
        print(f"vpmu: {message}", file=sys.stderr, flush=True)
    except OSError:  # nobody reads it, or its disk is full: the exit status says it
        _let_go_of_stdout()


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _let_go_of_stdout()


def _let_go_of_stdout() -> None:
    """Point stdout at nothing, so that the flush at interpreter exit cannot fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
