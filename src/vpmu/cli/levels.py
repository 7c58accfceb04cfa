"""Options for what is software on the hart and what Python plays: firmware, ISA, device tree."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FileError, UsageError
from ..files import write_file
from .parser import in_file, out_file

if TYPE_CHECKING:
    from ..vmm.machine import Machine


class Default(str):
    """The value of an option that nobody has typed."""


class DefaultSize(int):
    """The same for a number of bytes."""


HTIF_MEMORY = 2 << 30
"""What Spike gives the programs of the public suites; pages that nobody touches cost nothing."""
NO_FIRMWARE = "none"
FETCHED = "opensbi"


def add_level_options(parser: argparse.ArgumentParser) -> None:
    """What is at which level."""
    parser.add_argument(
        "--firmware", metavar="FILE", type=in_file,
        help="M-mode firmware that starts the guest (fw_dynamic.bin of OpenSBI); 'opensbi', 'opensbi:SUITE': "
        "the fetched one; 'none': the image itself has M mode",
    )  # fmt: skip
    parser.add_argument(
        "--isa", "--cpu", metavar="STRING",
        help="what the harts have: rv64imafdch_sstc_sscofpmf, or QEMU's words, rv64,h=true,sstc=false",
    )  # fmt: skip
    parser.add_argument(
        "--pmp", type=int, default=16, metavar="N",
        help="entries of physical memory protection, 0 to 64, where there is firmware (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--dtb", metavar="FILE", type=in_file, help="a device tree blob for the machine's own"
    )
    parser.add_argument(
        "--dumpdtb", metavar="FILE", type=out_file, help="write the device tree, and run nothing"
    )


def level_arguments(args: argparse.Namespace, *, sscofpmf: bool) -> dict[str, Any]:
    """What the options say, as arguments of Machine; the profile too, where nothing but firmware fits.

    Raises VpmuError for what contradicts itself.
    """
    from ..vmm import isa

    firmware = getattr(args, "firmware", None)
    text = getattr(args, "isa", None)
    if not 0 <= getattr(args, "pmp", 16) <= 64:
        raise UsageError("--pmp", expected="0 to 64", got=args.pmp)
    found: dict[str, Any] = {}
    unsaid = isinstance(args.profile, Default)
    if firmware is not None and not unsaid:
        raise UsageError("--profile", expected="no profile beside --firmware: it answers itself",
                         got=args.profile)  # fmt: skip
    if text is not None or firmware is not None:
        kvm = firmware is None and not unsaid and str(args.profile).startswith("kvm")
        begin_with = isa.DEFAULT_ISA if kvm else isa.FIRMWARE_ISA
        names = frozenset(isa.FIRMWARE_ISA) if text is None else isa.parse(text, begin_with)
        if text is None and not sscofpmf:
            names -= {"sscofpmf"}
        if firmware is None and "h" in names and unsaid:
            found["profile"] = newest_firmware()
        answered = firmware is None and str(found.get("profile", args.profile)).startswith("kvm")
        isa.check(names, has_sscofpmf=sscofpmf, answered_by_kvm=answered)
        found["isa"] = names
    if firmware is not None:
        found["firmware"] = read_firmware(firmware)
        found["pmp"] = args.pmp
    if getattr(args, "dtb", None) is not None:
        found["tree"] = read_tree(args.dtb)
    return found


def newest_firmware() -> str:
    """The profile for an HS-mode image where none is named."""
    return "opensbi-1.6"


def read_firmware(name: str) -> bytes | None:
    """The bytes of firmware; None: the image is in M mode itself."""
    from ..vmm.loader import read_file

    if name == NO_FIRMWARE:
        return None
    fetched, colon, suite = name.partition(":")
    if fetched == FETCHED and (suite or not colon):
        from ..vmm.linux.fetch import DEFAULT_SUITE
        from ..vmm.linux.opensbi import fetched_opensbi

        return fetched_opensbi(suite or DEFAULT_SUITE).read_bytes()
    return read_file(name)


def read_tree(path: str) -> bytes:
    """A device tree blob. Raises FileError."""
    from ..vmm.loader import read_file

    data = read_file(path)
    if data[:4] != b"\xd0\x0d\xfe\xed":
        got = data[:4].hex() or "nothing"
        raise FileError(path, "not a device tree blob", expected="d00dfeed first", got=got)
    size = int.from_bytes(data[4:8], "big")
    if size != len(data):
        raise FileError(path, "truncated device tree blob", expected=f"{size} bytes", got=str(len(data)))
    return data


def has_htif(path: str | Path) -> bool:
    """Whether an image is a bare-metal program for M mode, by its symbol `tohost`."""
    from ..vmm.loader import load_image, read_file

    data = read_file(path)
    return data[:4] == b"\x7fELF" and b"tohost\0" in data and "tohost" in load_image(data).symbols()


def is_bare(args: argparse.Namespace) -> bool:
    """The image itself is in M mode."""
    return getattr(args, "firmware", None) == NO_FIRMWARE


def dumped(args: argparse.Namespace, machine: Machine) -> bool:
    """--dumpdtb: write the tree of a loaded machine; True where that is all that was asked for."""
    path = getattr(args, "dumpdtb", None)
    if path is None:
        return False
    write_file(path, machine.device_tree or b"")
    return True
