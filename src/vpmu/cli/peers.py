"""Start a real implementation and say what it is: `kvm` is this machine's KVM where it is a riscv64 host,
else that of a Debian kernel on vpmu's own hart (with --on qemu: in QEMU), or of your own build.

What is missing is brought through this machine's APT. `vpmu conform --target kvm` runs the suite on it. Exit
status 0 where it answers, 1 where it is lost, 2 where it does not come up, 4 where it cannot be had on this
machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import UnknownNameError, UsageError
from ..files import write_file
from .options import (
    Subparsers,
    add_archive_options,
    add_host_options,
    add_json,
    archive_sources,
    host_options,
)
from .output import print_json
from .parser import out_file

if TYPE_CHECKING:
    from ..conform.kvm import HostTarget, KvmTarget

PEERS = ("kvm",)


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu peers`."""
    parser = subparsers.add_parser("peers", description=__doc__)
    parser.add_argument("peer", metavar="PEER", help=f"which one: {', '.join(PEERS)}")
    parser.add_argument("--suite", metavar="SUITE", help="Debian suite of the host (default trixie)")
    parser.add_argument("--console", metavar="FILE", type=out_file, help="write what the host printed")
    add_host_options(parser)
    add_archive_options(parser, "host")
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Start the peer, ask it what it is, print that; 0."""
    from dataclasses import replace

    from ..conform.kvm import kvm_target
    from ..vmm.linux.progress import Progress

    if args.peer not in PEERS:
        raise UnknownNameError("peer", args.peer, PEERS)
    if args.suite is not None and args.host_kernel is not None:
        raise UsageError("--host-kernel", expected="no --suite beside it", got=args.suite)
    options = replace(
        host_options(args),
        suite=args.suite, refresh=args.refresh, sources=archive_sources(args),
        progress=Progress(quiet=args.quiet),
    )  # fmt: skip
    target = kvm_target(options=options)
    return tell(args, target, lambda: describe(target), lines)


def tell(
    args: argparse.Namespace,
    target: KvmTarget | HostTarget,
    describe: Callable[[], dict[str, object]],
    lines: Callable[[dict[str, object]], list[str]],
) -> int:
    """Ask a host what it is, print that, keep its console where --console names a file; 0. One that is lost
    meanwhile is exit status 1.
    """
    from ..conform.target import TargetLost

    try:
        described = describe()
        if args.console is not None:
            write_file(args.console, target.console())
    except TargetLost as lost:
        lost.exit_status = 1
        raise
    finally:
        target.close()
    if args.json:
        print_json(described)
    else:
        print("\n".join(lines(described)))
    return 0


def describe(target: KvmTarget) -> dict[str, object]:
    """What the host and its KVM say about themselves. Raises TargetError and TargetLost."""
    from ..conform.target import probe

    facts, numbers = target.facts, probe(target).numbers
    return {
        "peer": target.name,
        "kernel": facts.kernel,
        "isa": facts.isa,
        "versions": target.versions,
        "kvm": str(target.identity),
        "profile": target.profile.name,
        "counters": {"total": numbers["N"], "programmable": numbers["NPROG"], "firmware": numbers["NFW"]},
        "log": facts.log,
    }


def lines(described: dict[str, object]) -> list[str]:
    """The same as text."""
    versions, counters, log = described["versions"], described["counters"], described["log"]
    assert isinstance(versions, dict)
    assert isinstance(counters, dict)
    assert isinstance(log, list)
    return [
        f"host kernel:  {described['kernel']}",
        f"host ISA:     {described['isa']}",
        *([f"runs on:      QEMU {versions['QEMU']}, {versions['firmware']}"] if "QEMU" in versions else []),
        f"the guest's:  {described['kvm']}; profile {described['profile']}",
        f"counters:     {counters['total']}, {counters['programmable']} of them programmable, "
        f"{counters['firmware']} firmware counters",
        *(f"host log:     {line}" for line in log),
    ]
