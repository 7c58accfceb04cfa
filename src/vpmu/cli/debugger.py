"""`--gdb`, `-s` and `-S`: a run that a debugger stops, looks at and walks in both directions."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..trace.recorder import Recorder
    from ..vmm.loader import LoadedImage
    from ..vmm.machine import Machine


def add_debug_options(parser: argparse.ArgumentParser) -> None:
    """What opens a run to gdb."""
    parser.add_argument(
        "--gdb", metavar="ADDRESS",
        help="let gdb or lldb debug the guest, forwards and back: PORT, :PORT or HOST:PORT; without HOST on "
        "this machine alone",
    )  # fmt: skip
    parser.add_argument("-s", dest="gdb", action="store_const", const=":1234", help="the same as --gdb :1234")
    parser.add_argument(
        "-S", "--freeze", action="store_true", help="with --gdb: wait for it before the first instruction"
    )


def check_debug(args: argparse.Namespace) -> None:
    """UsageError for what does not go together with a debugger."""
    if args.gdb is None:
        if args.freeze:
            raise UsageError("-S", expected="-s or --gdb ADDRESS beside it", got="none")
        return
    from ..gdb.listener import parse_address

    parse_address(args.gdb)
    for name in ("check", "trace"):
        if getattr(args, name, None):
            raise UsageError(f"--{name} with --gdb", expected="one of them", got="both")


def new_recorder(args: argparse.Namespace, recorder: Recorder) -> Recorder:
    """What records the run: with a debugger one that it can switch on."""
    from ..trace.recorder import NULL
    from ..trace.recorder import Recorder as New

    if getattr(args, "gdb", None) is None or recorder is not NULL:
        return recorder

    return New(enabled=False)


@contextmanager
def debugged(args: argparse.Namespace, machine: Machine, loaded: LoadedImage | None) -> Iterator[None]:
    """While a machine runs inside this, a debugger can come, where one is asked for."""
    with debugging(args) as opened:
        if opened is not None:
            opened(machine, loaded)
        yield


@contextmanager
def debugging(args: argparse.Namespace) -> Iterator[Callable[..., None] | None]:
    """What shall be told of the machine before it runs, where a debugger can come; else None."""
    if args.gdb is None:
        yield None
        return
    from ..debug.names import names_of
    from ..gdb.debugged import Debugged
    from ..gdb.listener import parse_address

    servers: list[Debugged] = []

    def opened(machine: Machine, loaded: LoadedImage | None = None) -> None:
        names = names_of(loaded, args.symbols)
        servers.append(Debugged(machine, parse_address(args.gdb), names, waits=args.freeze))

    try:
        yield opened
    finally:
        for server in servers:
            server.close()
