"""Say what a KVM host on vpmu's own hart is: its kernel, what its KVM offers a guest, its PMU, and which
fixes it has in short.

HOST is `kvm:SUITE` (default kvm:trixie) or, with --host-kernel, your own build. `vpmu identify` tells more of
the fixes, `vpmu conform --target kvm` runs the suite. With --run or --exec a guest runs in a VM of it, and
each count that it reads is held against what the hart did; then the exit status is the guest's, 5 where the
host goes down. Else it is 0 where the host answers, 1 where it is lost, 2 where it does not come up, 4 where
it cannot be had on this machine.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..files import write_file
from .debugger import add_debug_options, check_debug, debugging
from .host_guest import add_guest_options, run_guest, wanted
from .limits import within
from .options import Subparsers, add_host_options, add_json, host_options
from .parser import in_file, out_file
from .peers import lines as peer
from .peers import tell

if TYPE_CHECKING:
    from ..conform.hooked import HookedHost
    from ..conform.identify.found import Found
    from ..conform.kvm import HostTarget


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu host`."""
    parser = subparsers.add_parser("host", description=__doc__)
    parser.add_argument(
        "host", nargs="?", default="kvm", metavar="HOST", help="which one (default kvm:trixie)"
    )
    add_host_options(parser, on=False)
    parser.add_argument("--console", metavar="FILE", type=out_file, help="write what the host printed")
    parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)  # scripts may have it
    add_guest_options(parser)
    add_debug_options(parser)
    parser.add_argument(
        "--symbols", metavar="FILE", type=in_file, help="with --gdb: names for `monitor where`: an ELF file"
    )
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Boot it or restore it, ask it, print; the exit status."""
    with within(args.host_timeout):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from ..conform.targets import host_options as named
    from ..vmm.linux.progress import Progress

    check(args.host)
    check_debug(args)
    options = replace(named(args.host, host_options(args)), progress=Progress(quiet=args.json))
    if wanted(args):
        return run_guest(args, options)
    from ..conform.identify.fit import identify
    from ..conform.kvm import host_target
    from ..conform.target import HostDown

    with debugging(args) as opened:
        try:
            target = host_target(None, replace(options, opened=opened))
        except HostDown as down:
            if args.console is not None:
                write_file(args.console, down.console)
            raise
        if args.compile:
            print("vpmu: host: --compile does nothing any more: what it made is no faster", file=sys.stderr)
        return tell(args, target, lambda: describe(target, identify(target, "qemu-virt")), lines)


def check(name: str) -> None:
    """UsageError for what is no host on vpmu."""
    from ..conform.targets import is_kvm

    if not is_kvm(name) or name.endswith("@qemu"):
        raise UsageError("host", expected="kvm or kvm:SUITE", got=name)


def hooked_host(args: argparse.Namespace, *, quiet: bool = False, firmware: str | None = None) -> HookedHost:
    """The host that a command line names, with its kernel's functions. Raises UsageError, PeerAbsent,
    HostDown, FileError.
    """
    from dataclasses import replace

    from ..conform.hooked import HookedHost
    from ..conform.kvm import VPMU
    from ..conform.targets import host_options as named
    from ..vmm.linux.progress import Progress

    check(args.host)
    options = named(args.host, host_options(args))
    below = None if firmware is None else _firmware(firmware)
    return HookedHost(replace(options, on=VPMU, progress=Progress(quiet=quiet), firmware=below))


def _firmware(name: str) -> Path:
    """A file of firmware, or `opensbi`, the fetched one. Raises PeerAbsent."""
    from ..conform.target import PeerAbsent
    from ..vmm.linux.cache import FetchError
    from ..vmm.linux.opensbi import fetched_opensbi

    if name != "opensbi":
        return Path(name)
    try:
        return fetched_opensbi()
    except FetchError as error:
        raise PeerAbsent(error.what, expected=error.expected, got=error.got) from None


def describe(target: HostTarget, found: Found) -> dict[str, object]:
    """What the host, its KVM and its fixes are."""
    from ..conform.kvm_registers import extensions
    from .peers import describe as peer

    fixes, near = found.fixes, "; ".join(found.fit.releases)
    return {
        **peer(target),
        "extensions": extensions(target.link.exchange(b"K")),
        "identified": {
            "implementation": str(found.identity), "release": near,
            "nearest": found.fit.nearest.name, "fixes": [fix.commit for fix in fixes if fix.there],
            "lacks": [fix.commit for fix in fixes if fix.there is False],
            "fit no release": [one.behaviour.name for one in found.unfit],
        },
    }  # fmt: skip


def lines(described: dict[str, object]) -> list[str]:
    """The same as text."""
    import textwrap

    offered, told = described["extensions"], described["identified"]
    assert isinstance(offered, dict)
    assert isinstance(told, dict)
    rows = [
        ("guest's ISA", " ".join(offered["isa"])),
        ("guest's SBI", " ".join(offered["sbi"])),
        ("off", " ".join(offered["sbi off"]) or "nothing"),
        ("release", told["release"] or f"none fits; nearest {told['nearest']}"),
        ("nearest", told["nearest"]),
        ("fixes", f"has {len(told['fixes'])}, lacks {len(told['lacks'])} (vpmu identify has the subjects)"),
        ("lacks", ", ".join(told["lacks"]) or "none that is known"),
    ]
    if told["fit no release"]:
        rows.append(("no release", ", ".join(told["fit no release"])))
    out = peer(described)
    for name, text in rows:
        out += textwrap.wrap(text, 100, initial_indent=f"{name + ':':14}", subsequent_indent=" " * 14)
    return out
