"""A command in the booted Debian that is kept (vpmu.vmm.linux.kept): which options allow it, and its run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import BootError
from .options import build_machine, fault_plan

if TYPE_CHECKING:
    from ..vmm.linux.boot import Outcome
    from ..vmm.linux.fetch import DebianGuest
    from ..vmm.linux.session import LinuxSession
    from ..vmm.loader import LoadedImage
    from ..vmm.machine import Machine

MACHINE = (
    "suite", "profile", "with_", "without", "host_pmu", "memory", "smp", "refuse", "starve", "seed", "engine",
)  # fmt: skip
"""Options of machines of which one each is kept."""
COLD = (
    "cold", "kernel", "initrd", "files_in", "install", "disks", "shares", "modules", "append", "firmware",
    "isa", "dtb", "dumpdtb", "input", "max_instructions", "timeout", "host_timeout", "trace", "check", "gdb",
)  # fmt: skip
"""Options with which a guest is booted anew: another guest or hart, what sees the boot, and limits that it
counts towards.
"""
ASIDE = ("arguments", "perf", "inject", "pmp", "symbols", "freeze", "collapsed", "flame_graph", "json")
"""The others: what runs in the kept guest and where it goes, and what means nothing without one of COLD."""


def possible(args: argparse.Namespace, command: str) -> bool:
    """Whether the options describe a guest that can be kept: a fetched Debian on a modelled host."""
    from ..vmm.linux.execution import command_bytes
    from ..vmm.linux.session import LONGEST_COMMAND

    plain = not any(getattr(args, name) for name in COLD)
    short = len(command_bytes(command)) <= LONGEST_COMMAND and "\n" not in command
    return plain and short and args.perf == "model"


def run_warm(
    args: argparse.Namespace,
    command: str,
    output: Callable[[bytes], None] | None,
    errors: Callable[[bytes], None] | None,
) -> tuple[Outcome, Machine, LoadedImage]:
    """Run a shell command in the kept guest, which is booted and kept if it is not there: how it ended, what
    it ran on, and the kernel.
    """
    from ..vmm.linux.boot import Outcome
    from ..vmm.linux.fetch import debian_guest
    from ..vmm.loader import ImageKind, load_image

    guest = debian_guest(args.suite)
    kernel = load_image(guest.kernel_image(), kind=ImageKind.LINUX)
    try:
        session, fresh = _session(args, guest)
    except BootError as error:  # as it ends where no guest is kept
        if not isinstance(error.outcome, Outcome):
            raise
        return error.outcome, error.machine, kernel  # type: ignore[return-value]
    machine = session.machine
    machine.inject(fault_plan(args))
    answer = session.run(
        command, show=output, errors=errors, max_instructions=args.max_instructions, restore=fresh
    )
    outcome = Outcome(answer.result, answer.status, answer.panic, True, answer.failure, answer.result.console)
    return outcome, machine, kernel


def _session(args: argparse.Namespace, guest: DebianGuest) -> tuple[LinuxSession, bool]:
    from ..vmm.linux.kept import kept_session
    from ..vmm.linux.progress import Progress

    def build(sink: Callable[[bytes], None], bootargs: str) -> Machine:
        without_faults = argparse.Namespace(**{**vars(args), "inject": []})
        return build_machine(
            without_faults, console_out=sink, bootargs=bootargs, plic=True, second_serial=True
        )

    described = [(name, getattr(args, name)) for name in MACHINE]
    return kept_session(guest, described, build, Progress(quiet=args.json or not sys.stderr.isatty()))
