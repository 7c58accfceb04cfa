"""The booted Debian that is kept: a command in it starts from its prompt, without the boot.

The snapshot lies in the cache folder, one for each description of a machine, the last few of them. It is
only an
answer that comes sooner: where it does not fit any more it is made anew.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BootError, VpmuError
from .guest_devices import has_devices
from .options import build_machine, fault_plan

if TYPE_CHECKING:
    from ..vmm.linux.boot import Outcome
    from ..vmm.linux.fetch import DebianGuest
    from ..vmm.linux.session import LinuxSession
    from ..vmm.loader import LoadedImage
    from ..vmm.machine import Machine

KEPT = 4
"""Snapshots in the cache."""


def possible(args: argparse.Namespace, command: str) -> bool:
    """Whether the options describe a guest that can be kept: the fetched Debian, a modelled host, nothing
    recorded, and no limit that the boot would count towards.
    """
    from ..vmm.linux.execution import command_bytes
    from ..vmm.linux.session import LONGEST_COMMAND

    given = (args.kernel, args.initrd, args.trace, args.input)
    plain = (*given, args.max_instructions, args.timeout, args.host_timeout) == (None,) * 7
    short = len(command_bytes(command)) <= LONGEST_COMMAND and "\n" not in command
    plain = plain and not args.check and not has_devices(args)
    return plain and short and not args.append and args.perf == "model" and not args.cold


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
    from ..vmm.linux.debian import debian_guest
    from ..vmm.loader import ImageKind, load_image

    guest = debian_guest()
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
    from ..vmm.linux.cache import default_root
    from ..vmm.linux.progress import Progress
    from ..vmm.linux.session import LinuxSession
    from ..vmm.snapshot import Snapshot

    folder = default_root() / "sessions"
    path = folder / f"{_key(args, guest)}.snapshot"
    if path.exists():
        try:
            return LinuxSession.from_snapshot(Snapshot.load(path), once=True), False
        except VpmuError:
            path.unlink(missing_ok=True)

    def build(sink: Callable[[bytes], None], bootargs: str) -> Machine:
        without_faults = argparse.Namespace(**{**vars(args), "inject": []})
        return build_machine(
            without_faults, console_out=sink, bootargs=bootargs, plic=True, second_serial=True
        )

    shown = Progress(quiet=args.json or not sys.stderr.isatty())
    shown.step("booting the guest, once: the next command goes on from here")
    session = LinuxSession.boot(build, guest.kernel_image(), guest.initramfs())
    _keep(session, folder, path)
    shown.finish()
    return session, True


def _keep(session: LinuxSession, folder: Path, path: Path) -> None:
    """Save the snapshot, and let go of the oldest ones. A cache that cannot be written is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        session.snapshot.save(path)
        kept = sorted(folder.glob("*.snapshot"), key=lambda file: file.stat().st_mtime)
        for old in kept[:-KEPT]:
            old.unlink(missing_ok=True)
    except (OSError, VpmuError):
        return


def _key(args: argparse.Namespace, guest: DebianGuest) -> str:
    from ..vmm.linux.session import WAIT

    files = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in (guest.kernel, guest.initrd)
    ]
    machine = [
        (name, getattr(args, name))
        for name in (
            "profile",
            "with_",
            "without",
            "host_pmu",
            "memory",
            "smp",
            "refuse",
            "starve",
            "seed",
            "engine",
        )
    ]
    return hashlib.sha256(repr((files, machine, WAIT)).encode()).hexdigest()[:20]
