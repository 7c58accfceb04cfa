"""Write the symbols of an image as an ELF file, for gdb, addr2line, nm and readelf.

IMAGE is a kernel Image (its own table, kallsyms, is read: no debug package is needed; also gzip'd, EFI zboot,
vmlinux), another ELF file, a System.map, a bundled payload, a module (kvm.ko, also .xz, .zst, .gz) with --at;
or by name the kernel of a fetched Debian (trixie), or a KVM host that runs on vpmu's own hart, with its KVM
module, where they lie now (kvm:trixie). Exit status 0, or 2 for what has no symbols.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImageError, UsageError
from ..files import write_file
from .options import Subparsers, add_host_options, add_json, host_options
from .output import print_json
from .parser import out_file

if TYPE_CHECKING:
    from ..vmm.symbols import Symbol


def address(text: str) -> int:
    """An address, hexadecimal or decimal."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"expected an address such as 0xffffffff80000000, got {text!r}")
    return value


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu symbols`."""
    parser = subparsers.add_parser("symbols", description=__doc__)
    parser.add_argument("image", metavar="IMAGE", help="a file, a payload, a suite, or kvm:SUITE")
    parser.add_argument("-o", "--output", metavar="FILE", type=out_file, default="vmlinux.sym",
                        help="the ELF file (default %(default)s)")  # fmt: skip
    parser.add_argument(
        "--at", metavar="ADDRESS", type=address,
        help="where it runs: a kernel's _start, a module's .text, an ELF file's lowest address (default:"
        " where it is linked)",
    )  # fmt: skip
    add_host_options(parser, on=False)
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Read, write; the exit status."""
    from ..debug.symbol_file import symbol_file

    symbols, base = _symbols(args)
    if not symbols:
        raise ImageError(args.image, "no symbols", expected="an image that has some", got="none")
    slide = 0 if args.at is None or base is None else args.at - base
    content = symbol_file(symbols, slide)
    write_file(args.output, content)
    lowest = min(symbols, key=lambda symbol: symbol.address)
    told = {"file": args.output, "symbols": len(symbols), "bytes": len(content),
            "first": f"{lowest.address + slide & (1 << 64) - 1:#x}"}  # fmt: skip
    if args.json:
        print_json(told)
    else:
        print(f"vpmu: {len(symbols):,} symbols to {args.output}", file=sys.stderr)
    return 0


def _symbols(args: argparse.Namespace) -> tuple[list[Symbol], int | None]:
    """The symbols, and which of their addresses `--at` gives."""
    from ..conform.targets import is_kvm

    if is_kvm(args.image):
        if args.at is not None:
            raise UsageError("--at", expected="an image: a host says itself where it runs", got=args.image)
        return _of_host(args), None
    if args.host_kernel is not None:
        raise UsageError("--host-kernel", expected="kvm as IMAGE", got=args.image)
    path = _file(args.image)
    data = _unpacked(path)
    if data[0x38:0x3C] == b"RSC\x05" and not data.startswith(b"\x7fELF"):
        from ..vmm.kallsyms import KERNEL_LINK_ADDRESS, Kallsyms

        return list(Kallsyms(data, args.image)), KERNEL_LINK_ADDRESS
    if data.startswith(b"\x7fELF"):
        return _of_elf(data, args)
    from ..debug.names import read_symbols

    found = list(read_symbols(path))
    return found, min(symbol.address for symbol in found)


def _file(name: str) -> Path:
    """The file that IMAGE means: it, a payload, or the kernel of a fetched suite."""
    from ..payloads import find_image
    from ..vmm.linux.sources import DEBIAN_SUITES

    if name in DEBIAN_SUITES and not Path(name).exists():
        from ..vmm.linux.fetch import fetch

        return fetch(name).kernel
    return find_image(name)


def _unpacked(path: Path) -> bytes:
    """What a file holds, out of its compression."""
    from ..peers.host_source import decompressed
    from ..vmm.linux.initramfs import uncompressed_image
    from ..vmm.loader import read_file

    data = decompressed(path, read_file(path))
    return uncompressed_image(data, str(path)) if data[4:8] == b"zimg" else data


def _of_elf(data: bytes, args: argparse.Namespace) -> tuple[list[Symbol], int]:
    from ..debug.elf_symbols import elf_symbols, is_relocatable

    found = elf_symbols(data, args.image)
    if is_relocatable(data):
        if args.at is None:
            raise UsageError(
                f"{args.image} has no addresses of its own", expected="--at ADDRESS, where its .text runs"
            )
        return found, 0
    placed = [symbol.address for symbol in found if symbol.kind not in "aA"]
    return found, min(placed, default=0)


def _of_host(args: argparse.Namespace) -> list[Symbol]:
    """Of a host with real KVM: its kernel's and its modules', where they lie now."""
    from ..conform.hooked import HookedHost
    from ..conform.targets import host_options as named

    kernel = HookedHost(named(args.image, host_options(args))).kernel
    return list(kernel.symbols())
