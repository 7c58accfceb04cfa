"""Boot Linux: by default the Debian guest that `vpmu fetch debian` brings (fetched now if it is not there).

On a terminal it is a terminal: keys go to the guest, Ctrl-A X leaves. --exec runs one command in the guest,
prints exactly what it prints and ends with its exit status. --input FILE is typed into the guest's shell,
and then `exit`; without a terminal only that. Exit status: the command's; 0 when the guest powered off, 1
when it was lost (panic, KVM_RUN failed, hang, time over), 2 for what cannot be booted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..vmm.console import keep
from .check import Check, checking
from .debugger import add_debug_options, check_debug, debugged
from .ended import Ended, ended
from .guest_devices import add_device_options, has_devices, root_of, start_archives
from .guest_files import add_get_option, add_in_options, brought, fit_memory, getting, saved
from .levels import dumped
from .limits import limited
from .options import Subparsers, add_json, add_machine_options, build_machine, recording, watched
from .output import as_object, print_json
from .parser import in_file

if TYPE_CHECKING:
    from ..vmm.linux.boot import LinuxBoot, Outcome
    from ..vmm.loader import Buffer
    from ..vmm.machine import Machine


def add_guest_options(parser: argparse.ArgumentParser) -> None:
    """What boots, for how long."""
    parser.add_argument(
        "--kernel", metavar="FILE", type=in_file, help="a RISC-V kernel Image (default: the fetched Debian's)"
    )
    parser.add_argument(
        "--initrd", metavar="FILE", type=in_file, help="an initramfs (default: the fetched Debian's)"
    )
    parser.add_argument(
        "--suite", default="trixie", help="whose Debian is fetched: trixie, forky, sid (default: %(default)s)"
    )
    add_in_options(parser)
    add_device_options(parser)
    add_machine_options(parser)
    add_debug_options(parser)
    from ..vmm.linux.boot import DEFAULT_MEMORY

    parser.set_defaults(memory=DEFAULT_MEMORY)
    for action in parser._actions:
        if action.dest == "memory":
            action.help = f"guest memory (default {DEFAULT_MEMORY >> 20}M)"


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu boot`."""
    parser = subparsers.add_parser("boot", description=__doc__)
    add_guest_options(parser)
    parser.add_argument(
        "--exec", dest="command", metavar="COMMAND", help="run a shell command in the guest, then stop"
    )
    add_get_option(parser)
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Boot; the exit status."""
    interactive = args.command is None and not args.json and args.input is None and sys.stdin.isatty()
    streams = Streams(kept=args.json)
    check_debug(args)
    wanted = getting(args, streams.out)
    if wanted is None:
        boot = prepare(args, args.command, streams.out, errors=streams.err)
    else:
        boot = prepare(args, wanted.script(), wanted.out, wanted.command(args.command), streams.err)
    check = checking(args)
    with booting(args, boot, check) as machine:
        if dumped(args, machine):
            return 0
        machine.serial.hold()
        if not interactive and args.command is None and args.initrd is None and root_of(args) is None:
            machine.console_input(
                b"exit\n"
            )  # not Ctrl-D: a terminal forgets one that comes while a command runs
        outcome = boot_terminal(machine, boot, args) if interactive else run_alone(machine, boot, args)
    end_of_it = ended(machine, boot.loaded, outcome.result, args)
    complete = wanted is None or saved(wanted)
    if args.json:
        told = {**summary(outcome), **end_of_it.as_object(), **({} if check is None else check.as_object())}
        print_json(told if args.command is None else {**told, **streams.as_object()})
    status = finish(outcome, end_of_it, quiet=args.json, shown=args.command is None, check=check)
    return status or (0 if complete else 1)


def prepare(
    args: argparse.Namespace,
    command: str | None,
    output: Callable[[bytes], None] | None,
    files: Mapping[str, bytes | Path] | None = None,
    errors: Callable[[bytes], None] | None = None,
) -> LinuxBoot:
    """The guest that the options name; Debian is fetched if it is needed and not there."""
    from ..vmm.linux.boot import LinuxBoot, read_initrd, read_kernel
    from ..vmm.linux.execution import command_bytes

    kernel_path, initrd_path = args.kernel, args.initrd
    kernel: Buffer | None = None if kernel_path is None else read_kernel(kernel_path)
    initrd: Buffer | None = None if initrd_path is None else read_initrd(initrd_path)
    own = guest = None
    if initrd is not None and command is not None:
        from ..vmm.linux.own_initrd import check

        own = check(initrd_path, initrd)
    if kernel is None or initrd is None or has_devices(args):
        from ..vmm.linux.fetch import debian_guest

        guest = debian_guest(args.suite)
        if kernel is None:
            kernel_path, kernel = guest.kernel, guest.kernel_image()
        if initrd is None:
            initrd = guest.initramfs()
    archives = [*start_archives(args, guest, kernel), *brought(args)]
    if command is not None and root_of(args) is not None:
        from ..vmm.linux.start import COMMAND, in_disk

        files = {**(files or {}), COMMAND: command_bytes(command)}
        command = in_disk()
    if archives:
        sizes = [len(kernel), len(initrd), *map(len, archives)]
        fit_memory(
            args, sum(sizes) + sum(len(part) for part in (files or {}).values() if isinstance(part, bytes))
        )
    return LinuxBoot(
        kernel,
        initrd,
        command=command,
        files=files,
        archives=archives,
        own=own,
        start=bool(archives) and has_devices(args) and args.initrd is None,
        output=output,
        errors=errors,
        kernel_name=str(kernel_path),
    )


@contextmanager
def booting(args: argparse.Namespace, boot: LinuxBoot, check: Check | None = None) -> Iterator[Machine]:
    """The machine with the guest loaded; its trace is written until the end."""
    with recording(args.trace) as recorder:
        machine = build_machine(
            args, recorder=recorder, console_out=boot.sink, bootargs=boot.arguments(args.append), plic=True,
            second_serial=boot.has_command,
        )  # fmt: skip
        boot.load(machine)
        with (
            watched(machine, recorder, check, boot.loaded) as boot.ended,
            debugged(args, machine, boot.loaded),
        ):
            yield machine


def run_alone(machine: Machine, boot: LinuxBoot, args: argparse.Namespace) -> Outcome:
    """Run without anybody at the keyboard: a function of the options alone, but for --host-timeout."""
    with limited(args, machine) as limits:
        return boot.run(**limits)


def boot_terminal(machine: Machine, boot: LinuxBoot, args: argparse.Namespace) -> Outcome:
    """Run with the user's terminal as the guest's."""
    from ..vmm.linux.boot_terminal import Terminal, raw

    host = Terminal(machine, sys.stdin.fileno())
    with raw(sys.stdin.fileno()), limited(args, machine) as limits:
        outcome = boot.run(**limits, host=host)
    print(file=sys.stderr)
    return outcome


class Streams:
    """What a command in the guest writes: to our own standard output and standard error as it comes, or kept
    for `--json`.
    """

    def __init__(self, *, kept: bool) -> None:
        self._kept = (bytearray(), bytearray()) if kept else None

    def out(self, data: bytes) -> None:
        """Standard output of the guest's command, or a whole console."""
        if self._kept is not None:
            keep(self._kept[0], data)
            return
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def err(self, data: bytes) -> None:
        """Standard error of the guest's command."""
        if self._kept is not None:
            keep(self._kept[1], data)
            return
        sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()

    def as_object(self) -> dict[str, object]:
        """For `--json`."""
        out, err = self._kept or (b"", b"")
        return {"stdout": out.decode("utf-8", "replace"), "stderr": err.decode("utf-8", "replace")}


def finish(
    outcome: Outcome, end_of_it: Ended, *, quiet: bool = False, shown: bool = False,
    check: Check | None = None,
) -> int:  # fmt: skip
    """Say what went wrong, with the console that nobody has seen yet (`shown`: it has been); the exit
    status.
    """
    if outcome.failure is not None:
        if outcome.status is None and not quiet and not outcome.started and not shown:
            tail = last_lines(outcome.console)
            if tail:
                print(tail, file=sys.stderr)
        print(f"vpmu: {outcome.failure}", file=sys.stderr)
        if not quiet:
            end_of_it.show()
    if check is None:
        return outcome.exit_status
    if not quiet:
        check.show()
    return check.status(outcome.exit_status)


def last_lines(console: bytes, lines: int = 12) -> str:
    """The end of a console."""
    return "\n".join(console.decode("utf-8", "replace").replace("\r", "").rstrip("\n").split("\n")[-lines:])


def summary(outcome: Outcome) -> dict[str, object]:
    """What `--json` prints: that of `vpmu run`, and what is Linux's."""
    from ..spec.sbi import error_name
    from ..spec.sbi_functions import function
    from ..vmm.linux.execution import without_marks

    calls: dict[str, dict[str, int]] = {}
    for (eid, fid, error), times in outcome.result.sbi_calls.items():
        calls.setdefault(function(eid, fid).name, {})[error_name(error)] = times
    result = outcome.result
    return {
        **as_object(result, without_marks(outcome.console).decode("utf-8", "replace")),
        "status": outcome.status,
        "panic": outcome.panic,
        "failure": outcome.failure,
        "virtual_seconds": result.virtual_ns / 1e9,
        "seconds": round(result.seconds, 3),
        "sbi_calls": calls,
    }
