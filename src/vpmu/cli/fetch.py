"""`vpmu fetch debian`: bring the Linux guest into the cache folder; `vpmu fetch opensbi`: firmware."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from .options import add_archive_options, archive_sources

if TYPE_CHECKING:
    from vpmu.vmm.linux.fetch import DebianGuest
    from vpmu.vmm.linux.progress import Progress


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the command; `run` executes it."""
    parser = subparsers.add_parser(
        "fetch",
        help="bring a Debian riscv64 kernel, perf and busybox through APT",
        description="Bring a stock Debian riscv64 kernel and an initramfs with busybox and perf into the "
        "cache folder (XDG_CACHE_HOME/vpmu), through this machine's APT. A second call does nothing.",
    )
    parser.add_argument("guest", choices=["debian", "opensbi"], help="what")
    parser.add_argument("--suite", default="trixie", help="Debian suite (default: %(default)s)")
    add_archive_options(parser, "guest")
    parser.add_argument("--json", action="store_true", help="print paths and versions as JSON")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Fetch and print what is there; 0, or a VpmuError."""
    from vpmu.vmm.linux.fetch import fetch
    from vpmu.vmm.linux.progress import Progress

    progress = Progress(quiet=args.quiet)
    if args.guest == "opensbi":
        return _opensbi(args, progress)
    guest = fetch(args.suite, refresh=args.refresh, sources=archive_sources(args), progress=progress)
    if args.json:
        print(json.dumps(_summary(guest), indent=2))
    else:
        names = {"kernel": guest.kernel, "initrd": guest.initrd, "tiny initrd": guest.tiny_initrd}
        for name, path in names.items():
            print(f"{name + ':':<13}{path}  ({path.stat().st_size / 1e6:.1f} MB)")
        print("versions:    " + ", ".join(f"{name} {version}" for name, version in guest.versions.items()))
    return 0


def _opensbi(args: argparse.Namespace, progress: Progress) -> int:
    from vpmu.vmm.linux.opensbi import opensbi

    found = opensbi(args.suite, refresh=args.refresh, sources=archive_sources(args), progress=progress)
    if args.json:
        print(json.dumps({"firmware": str(found.path), "version": found.version}, indent=2))
    else:
        print(f"firmware:    {found.path}  ({found.path.stat().st_size / 1e6:.1f} MB)")
        print(f"version:     {found.version}")
    return 0


def _summary(guest: DebianGuest) -> dict[str, Any]:
    return {
        "kernel": str(guest.kernel),
        "initrd": str(guest.initrd),
        "tiny_initrd": str(guest.tiny_initrd),
        "release": guest.release,
        "versions": guest.versions,
        "fetched": guest.fetched,
    }
