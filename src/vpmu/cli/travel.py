"""Walk through a run in both directions: to an instruction, to what happens on the way, and back again.

GUEST is an image, the name of a bundled payload, 'linux: COMMAND' (Debian; without a command its prompt), or
kvm:SUITE: a KVM host on vpmu's own hart, whose guest asks for the event of --event, starts it, works, reads
and stops it. Steps are done in their order, and after each is told where the walk stands. A WHERE is an
instruction (12,345 or 10M), start, end, something to catch (overflow, overflow:3, refusal, sbi:PMU,
csr:cycle, fault), a function or another symbol (pmu_sbi_ctr_start, main+0x10), an address (0x80200000), bytes
that are watched (watch:jiffies,8,rw), or a text that the guest prints (console:login). Without steps they
come from standard input, one a line: `to overflow`, `back 1000`. Exit status 0 when every step arrived, 1
when what it went to is not there, 2 for what cannot be walked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from ..errors import UsageError, VpmuError
from .guest_devices import add_device_options
from .guest_files import add_in_options
from .limits import add_host_timeout, add_timeout, count, nanoseconds, within
from .options import (
    Subparsers,
    add_hardware_options,
    add_host_options,
    add_json,
    build_machine,
    host_options,
    memory_size,
)
from .output import print_json
from .parser import in_file

if TYPE_CHECKING:
    from ..debug.names import Names
    from ..travel.travel import Traveller
    from ..vmm.linux.progress import Progress
    from ..vmm.machine import Machine

LINUX = "linux:"
TO, BACK = "to", "back"
WORK = 500
"""Turns of the loop that a host's guest counts."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu travel`."""
    parser = subparsers.add_parser("travel", description=__doc__)
    parser.add_argument("guest", metavar="GUEST", help="an image, a payload, 'linux: COMMAND', kvm:SUITE")
    for name, what in ((TO, "go on to it"), (BACK, "go back to it, or so many instructions back")):
        parser.add_argument(
            f"--{name}", dest="steps", action="append", default=[], metavar="WHERE",
            type=partial(_step, name), help=f"{what}; may be repeated",
        )  # fmt: skip
    parser.add_argument(
        "--memory-budget", type=memory_size, metavar="SIZE",
        help="for what is kept to go back (default 512M)",
    )  # fmt: skip
    parser.add_argument("--kernel", metavar="FILE", type=in_file, help="another kernel for 'linux: COMMAND'")
    parser.add_argument("--initrd", metavar="FILE", type=in_file, help="another initramfs for it")
    parser.add_argument("--suite", default="trixie", help="whose Debian it is (default %(default)s)")
    parser.add_argument("--event", default="cycles", metavar="NAME",
                        help="what the guest of kvm:SUITE asks for (default %(default)s)")  # fmt: skip
    parser.add_argument(
        "--max-instructions", type=count, metavar="N", help="end every walk forwards there, at the latest"
    )
    add_timeout(parser)
    add_host_timeout(parser)
    add_in_options(parser)
    add_device_options(parser)
    add_hardware_options(parser)
    add_host_options(parser, on=False)
    add_json(parser)
    return parser


def _step(verb: str, place: str) -> tuple[str, str]:
    return verb, place


def run(args: argparse.Namespace) -> int:
    """Walk; the exit status."""
    with within(args.host_timeout):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from ..debug.journey import Journey
    from ..travel.travel import BUDGET, travel
    from ..vmm.linux.progress import Progress

    progress = Progress(quiet=args.json or not sys.stderr.isatty())
    machine, names = _opened(args, progress)
    if args.timeout is not None:
        machine.turns.ends_ns = machine.time + (nanoseconds(args.timeout) or 0)
    traveller = travel(machine, args.memory_budget or BUDGET, anew=True)
    journey = Journey(traveller, names, args.max_instructions)
    _show_progress(traveller, progress)
    steps = iter(args.steps) if args.steps else _typed(args)
    arrived, told = True, []
    for verb, place in steps:
        try:
            arrival = (journey.to if verb == TO else journey.back)(place)
        except VpmuError as error:
            if args.steps:
                raise
            print(f"vpmu: error: {error}", file=sys.stderr)
            continue
        finally:
            progress.finish()
        here = journey.here()
        arrived &= journey.arrived
        if args.json:
            told.append({"step": f"{verb} {place}", "why": arrival.why, **here.as_object()})
        else:
            print("\n".join([f"{verb} {place}", *(f"  {line}" for line in here.lines())]), flush=True)
    if args.json:
        print_json({"guest": args.guest, "steps": told})
    return 0 if arrived else 1


def _typed(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Steps from standard input; UsageError for a line that is none, which a person may type again."""
    person = sys.stdin.isatty()
    while True:
        if person:
            print("(vpmu) ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        words = line.strip().split(maxsplit=1)
        if not line or words[:1] in (["quit"], ["exit"]):
            return
        if not words:
            continue
        if len(words) == 2 and words[0] in (TO, BACK):
            yield words[0], words[1]
            continue
        error = UsageError("step", expected="to WHERE, back WHERE or quit", got=line.strip())
        if not person:
            raise error
        print(f"vpmu: error: {error}", file=sys.stderr)


def _show_progress(traveller: Traveller, progress: Progress) -> None:
    """On a terminal, where a long walk is by now."""

    def asked() -> bool:
        progress.note(f"at instruction {traveller.position:,}")
        return False

    traveller.asked = asked


# ------------------------------------------------------------ guests


def _opened(args: argparse.Namespace, progress: Progress) -> tuple[Machine, Names]:
    """The machine of GUEST before its first instruction, and what its addresses are called. VpmuError."""
    from ..conform.targets import is_kvm

    if is_kvm(args.guest):
        return _host(args, progress)
    if args.host_kernel is not None:
        raise UsageError("--host-kernel", expected="kvm as GUEST", got=args.guest)
    return _linux(args) if args.guest.startswith(LINUX) else _image(args)


def _image(args: argparse.Namespace) -> tuple[Machine, Names]:
    from ..debug.names import names_of
    from .images import find_image
    from .levels import HTIF_MEMORY, NO_FIRMWARE, DefaultSize, has_htif, is_bare

    image = find_image(args.guest)
    if args.firmware in (None, NO_FIRMWARE) and has_htif(image):
        args.firmware = NO_FIRMWARE
        if isinstance(args.memory, DefaultSize):
            args.memory = HTIF_MEMORY
    machine = build_machine(args, image=image)
    return machine, names_of(machine.load(None if is_bare(args) else image), args.symbols)


def _linux(args: argparse.Namespace) -> tuple[Machine, Names]:
    from ..debug.names import names_of
    from ..vmm.linux.boot import DEFAULT_MEMORY
    from .boot import prepare
    from .levels import DefaultSize

    command = args.guest[len(LINUX) :].strip() or None
    if isinstance(args.memory, DefaultSize):
        args.memory = DEFAULT_MEMORY
    boot = prepare(args, command, None)
    machine = build_machine(
        args, console_out=boot.sink, bootargs=boot.arguments(args.append), plic=True,
        second_serial=boot.has_command,
    )  # fmt: skip
    boot.load(machine)
    machine.serial.hold()
    return machine, names_of(boot.loaded, args.symbols)


def _host(args: argparse.Namespace, progress: Progress) -> tuple[Machine, Names]:
    """A host with a fresh VM, whose guest has its work before it."""
    from dataclasses import replace

    from ..conform.agent import packed_batch
    from ..conform.hooked import HookedHost
    from ..conform.real_path import counting
    from ..conform.targets import host_options as named
    from ..spec.sbi_events import event_by_name

    event = event_by_name(args.event)
    host = HookedHost(replace(named(args.guest, host_options(args)), progress=progress))
    host.fresh()
    host.target.link.host.ask(packed_batch(b"R", counting(event.event_idx, event.event_data, WORK)))
    return host.machine, host.kernel.names()
