"""Limits that end a guest which does not end by itself, as options of every command that runs one."""

from __future__ import annotations

import argparse
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import TimeOver

if TYPE_CHECKING:
    from ..vmm.machine import Machine
    from ..vmm.run_result import Limits

AGAIN = 1.0
"""Seconds after which a limit of real time that went unheard is said again."""
_TIMES = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "m": 60.0, "min": 60.0, "h": 3600.0}


def count(text: str) -> int:
    """A positive number, `_` or `,` allowed between digits, K, M or G (powers of ten) after them."""
    match = re.fullmatch(r"(\d[\d_,]*)([kKMG]?)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a number such as 1000000 or 10M, got {text!r}")
    value = int(match.group(1).replace("_", "").replace(",", ""))
    value *= {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[match.group(2).upper()]
    if value <= 0:
        raise argparse.ArgumentTypeError(f"expected a number above zero, got {text!r}")
    return value


def seconds(text: str) -> float:
    """Seconds from `30`, `30s`, `500ms`, `2m`."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)", text.strip())
    if match is None or match[2] not in _TIMES or not float(match[1]):
        raise argparse.ArgumentTypeError(f"expected a time such as 30s or 500ms, got {text!r}")
    return float(match[1]) * _TIMES[match[2]]


def add_limits(parser: argparse.ArgumentParser) -> None:
    """What ends a guest that does not end by itself."""
    parser.add_argument(
        "--max-instructions", type=count, metavar="N", help="stop after N retired instructions of all harts"
    )
    parser.add_argument(
        "--timeout", type=seconds, metavar="TIME", help="give up after this much virtual time (30s, 500ms)"
    )
    add_host_timeout(parser)


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Virtual time, for commands that do a run in pieces: `ends_ns` of its machine (vpmu.vmm.turns)."""
    parser.add_argument(
        "--timeout", type=seconds, metavar="TIME", help="end the run at this virtual time (30s, 500ms)"
    )


def nanoseconds(given: float | None) -> int | None:
    """Of a time that was given; at least one."""
    return None if given is None else max(round(given * 1e9), 1)


def add_host_timeout(parser: argparse.ArgumentParser) -> None:
    """The limit that every command has which runs a guest of the user's."""
    parser.add_argument(
        "--host-timeout", type=seconds, metavar="TIME", help="give up after this much real time"
    )


@contextmanager
def limited(args: argparse.Namespace, machine: Machine) -> Iterator[Limits]:
    """The limits of `add_limits` for a run of the machine inside this."""
    limits: Limits = {"max_instructions": args.max_instructions, "timeout_ns": nanoseconds(args.timeout)}
    if args.host_timeout is None:
        yield limits
        return
    from ..vmm.host_timeout import host_timeout

    with host_timeout(machine, args.host_timeout):
        yield limits


@contextmanager
def within(given: float | None) -> Iterator[None]:
    """What is inside ends with TimeOver after so many seconds of real time: commands of which half a result
    is none (a record, a walk, a comparison). None: without such a limit.
    """
    if given is None:
        yield
        return

    rang = False
    over = TimeOver(f"{given:g} seconds of real time are over")

    def ring(number: int, frame: object) -> None:
        nonlocal rang
        rang = True
        raise over

    before = signal.signal(signal.SIGALRM, ring)
    # Python drops what is raised inside a finalizer or a callback of its collector: so it is raised again
    signal.setitimer(signal.ITIMER_REAL, given, AGAIN)
    try:
        yield
        if rang:
            raise over
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
