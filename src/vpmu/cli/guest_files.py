"""--file, --install and --get: what goes into the Debian guest with the command, and what comes out of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..vmm.linux.guest_files import Getting

ROOM = 96 << 20
"""Bytes of guest memory beside kernel and initramfs: device tree, page structures, the guest's own work."""
GRAIN = 64 << 20


def add_in_options(parser: argparse.ArgumentParser) -> None:
    """What is brought into the guest."""
    parser.add_argument(
        "--file", metavar="HOST[:GUEST]", action="append", default=[], dest="files_in",
        help="bring a file or folder into the guest (default: into /root, where a command runs); may be "
        "given often",
    )  # fmt: skip
    parser.add_argument(
        "--install", metavar="PACKAGES", action="append", default=[],
        help="Debian packages by name, separated by commas, with what they depend on (fetched once)",
    )  # fmt: skip


def add_get_option(parser: argparse.ArgumentParser) -> None:
    """What is brought out of it."""
    parser.add_argument(
        "--get", metavar="GUEST[:HOST]", action="append", default=[], dest="files_out",
        help="with --exec: bring a file or folder out when the command has ended; may be given often",
    )  # fmt: skip


def brought(args: argparse.Namespace) -> list[bytes]:
    """The archives of --install and --file, in that order. FileError, FetchError or UsageError."""
    archives = []
    if args.install:
        from ..vmm.linux.packages import packages, parse

        names = [name for text in args.install for name in parse(text)]
        archives.append(packages(names, args.suite).archive.read_bytes())
    if args.files_in:
        from ..vmm.linux.guest_files import FileIn, archive

        archives.append(archive([FileIn.parse(text) for text in args.files_in]))
    return [archive for archive in archives if archive]


def fit_memory(args: argparse.Namespace, size: int) -> None:
    """Give the guest the memory that kernel and initramfs of `size` bytes in all need, unless the user says
    how much; then refuse what does not fit. UsageError.
    """
    from ..vmm.linux.boot import DEFAULT_MEMORY

    needed = 2 * size + ROOM  # the kernel unpacks an initramfs while it still lies in memory
    needed += -needed % GRAIN
    if args.memory == DEFAULT_MEMORY:
        args.memory = max(DEFAULT_MEMORY, needed)
    elif args.memory < needed:
        raise UsageError("the guest's memory does not hold its files", expected=f"--memory {needed >> 20}M",
                         got=f"{args.memory >> 20}M")  # fmt: skip


def getting(args: argparse.Namespace, output: Callable[[bytes], None]) -> Getting | None:
    """What is to come out beside the command's `output`; None for nothing. UsageError where there is no
    command whose end says when.
    """
    if not args.files_out:
        return None
    if args.command is None:
        raise UsageError("--get needs a command", expected="--exec COMMAND", got="none")
    from ..vmm.linux.guest_files import FileOut, Getting

    return Getting([FileOut.parse(text) for text in args.files_out], output)


def saved(getting: Getting) -> bool:
    """Write what came out and say what did not; whether all came."""
    missing = getting.save()
    for line in missing:
        print(f"vpmu: {line}", file=sys.stderr)
    return not missing
