"""Run a guest image (ELF or flat): its console on stdout, one line about the run on stderr.

Exit status 0 when the guest powered the machine off or reset it without reporting a failure, 1 when it
reported one, KVM_RUN failed, or it did not end within a limit; 2 for what cannot be run;
3 with --check when a count that it got was wrong; 5 when it brought the host down.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .check import checking
from .debugger import add_debug_options, check_debug, debugged
from .ended import ended, kernel_trouble
from .levels import HTIF_MEMORY, NO_FIRMWARE, DefaultSize, dumped, has_htif, is_bare
from .limits import limited
from .options import Subparsers, add_json, add_machine_options, build_machine, recording, watched
from .output import Console, as_object, exit_status, print_json, sum_up
from .parser import in_file

if TYPE_CHECKING:
    from ..trace.recorder import Recorder
    from ..vmm.machine import Machine


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu run`."""
    parser = subparsers.add_parser("run", description=__doc__)
    parser.add_argument(
        "image", metavar="IMAGE", type=in_file, help="ELF or flat image, or the name of a bundled payload"
    )
    add_machine_options(parser)
    add_debug_options(parser)
    parser.add_argument(
        "--initrd", metavar="FILE", type=in_file,
        help="put this into memory; /chosen of the device tree says where",
    )  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="do not print the line about the run")
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the image; the exit status."""
    from ..vmm.loader import read_file
    from .images import find_image

    check = checking(args)
    check_debug(args)
    image = find_image(args.image)
    initrd = () if args.initrd is None else (read_file(args.initrd),)
    if args.firmware in (None, NO_FIRMWARE) and has_htif(image):
        args.firmware = NO_FIRMWARE
        if isinstance(args.memory, DefaultSize):
            args.memory = HTIF_MEMORY
    loads = None if is_bare(args) else image
    console = Console(None) if args.json else Console.on_stdout()
    with recording(args.trace) as recorder:
        machine = build_machine(args, recorder=recorder, console_out=console, image=image)
        loaded = machine.load(loads, initrd=initrd)
        if dumped(args, machine):
            return 0
        with watched(machine, recorder, check, loaded) as end:
            try:
                with debugged(args, machine, loaded), limited(args, machine) as limits:
                    result = machine.run(**limits)
            finally:
                console.close()
            end(result)

    def build(recorder: Recorder) -> Machine:
        machine = build_machine(args, recorder=recorder, image=image)
        machine.load(loads, initrd=initrd)
        return machine

    repeats = args.input != "-" and args.perf == "model"
    end_of_it = ended(machine, loaded, result, args, build if repeats else None)
    said = kernel_trouble(loaded, console.data)
    if args.json:
        told = {**as_object(result, console.text), **end_of_it.as_object()}
        told |= {} if check is None else check.as_object()
        print_json(told if said is None else {**told, said.kind: said.words})
    elif not args.quiet:
        if console.data and not console.data.endswith(b"\n"):
            print(file=sys.stderr)
        print(f"vpmu: {sum_up(result)}", file=sys.stderr)
        if said is not None:
            print(f"vpmu: guest: {said.text}: {said.words}", file=sys.stderr)
        end_of_it.show()
        if check is not None:
            check.show()
    status = exit_status(result) or int(said is not None)
    if is_bare(args) and result.stop == "shutdown" and result.reset_reason:
        status = min(result.reset_reason, 255)  # a bare-metal test's own status
    return status if check is None else check.status(status)
