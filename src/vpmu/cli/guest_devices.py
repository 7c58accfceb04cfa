"""--disk, --share and --modules: what else a guest has, and what its kernel needs for it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..vmm.linux.fetch import DebianGuest
    from ..vmm.linux.guest_files import SharedFolder
    from ..vmm.linux.start import Root
    from ..vmm.loader import Buffer
    from ..vmm.p9.folder import Share
    from ..vmm.virtio.image import Disk


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Disks, and modules."""
    parser.add_argument(
        "--disk", metavar="IMAGE[,ro]", action="append", default=[], dest="disks",
        help="a raw disk image, /dev/vda in the guest: what it writes is gone after the run, but with "
        "IMAGE,write; may be given often",
    )  # fmt: skip
    parser.add_argument(
        "--share", metavar="FOLDER[:GUEST][,ro]", action="append", default=[], dest="shares",
        help="a folder of the host that the guest sees while it runs (default: in /root); may be given often",
    )  # fmt: skip
    parser.add_argument(
        "--modules", metavar="NAMES", action="append", default=[],
        help="modules of the fetched kernel, separated by commas, with what they need (--disk and --share "
        "bring theirs)",
    )  # fmt: skip


def disks_of(args: argparse.Namespace) -> tuple[Disk, ...]:
    """The disks of a machine that these options describe. UsageError."""
    texts: Sequence[str] = getattr(args, "disks", ())
    if not texts:
        return ()
    from ..vmm.virtio.image import Disk

    return tuple(map(Disk.parse, texts))


def mounts_of(args: argparse.Namespace) -> list[SharedFolder]:
    """The shares: where they are on both sides. UsageError."""
    texts: Sequence[str] = getattr(args, "shares", ())
    if not texts:
        return []
    from ..vmm.linux.guest_files import SharedFolder

    return [SharedFolder.parse(text) for text in texts]


def shares_of(args: argparse.Namespace) -> tuple[Share, ...]:
    """The shares of a machine that these options describe. UsageError."""
    mounts = mounts_of(args)
    if not mounts:
        return ()
    from ..vmm.linux.start import tag
    from ..vmm.p9.folder import Share

    return tuple(Share(str(one.host), tag(number), one.readonly) for number, one in enumerate(mounts))


def has_devices(args: argparse.Namespace) -> bool:
    """Whether the guest starts with a script of ours before its init, or has anything on virtio."""
    return bool(args.disks or args.shares or args.modules)


def root_of(args: argparse.Namespace) -> Root | None:
    """The root on one of the disks; None where it is the initramfs."""
    if not args.disks or args.initrd is not None:
        return None
    from ..vmm.linux.start import Root

    root = Root.of(args.append)
    if root is not None and (args.files_in or args.install or getattr(args, "files_out", ())):
        raise UsageError("--file, --get and --install with a root on a disk",
                         expected="--share, or the files on the disk", got=f"root={root.device}")  # fmt: skip
    return root


def start_archives(args: argparse.Namespace, guest: DebianGuest | None, kernel: Buffer) -> list[bytes]:
    """What goes behind the fetched initramfs: modules, and the script that loads them; nothing where the
    initramfs is the user's own. UsageError, FetchError.
    """
    if not has_devices(args):
        return []
    if guest is None or args.initrd is not None:
        if args.modules:
            raise UsageError("--modules", expected="the fetched initramfs, which loads them", got="--initrd")
        return []
    from ..vmm.linux import start

    root = root_of(args)
    mounts = [
        start.Mount(start.tag(number), str(one.guest), one.readonly)
        for number, one in enumerate(mounts_of(args))
    ]
    return [*_modules(args, guest, kernel, root), start.archive(root, mounts)]


def _modules(args: argparse.Namespace, guest: DebianGuest, kernel: Buffer, root: Root | None) -> list[bytes]:
    """Those that are asked for, and those that disks need. A kernel of one's own has them built in."""
    from ..vmm.linux import start
    from ..vmm.linux.modules import kernel_release, modules_of, parse

    asked = [name for text in args.modules for name in parse(text)]
    release = guest.release if args.kernel is None else kernel_release(kernel)
    if release != guest.release:
        if asked:
            raise UsageError("--modules", expected=f"the kernel that they are of, {guest.release}",
                             got=f"Linux {release or 'of no known release'}")  # fmt: skip
        return []
    wanted = [*(start.FOR_DISKS if args.disks else ()), *(start.FOR_SHARES if args.shares else ())]
    if root is not None:
        wanted.append(root.kind)
    elif any(map(start.has_ext4, disks_of(args))):
        wanted.append(start.FOR_ROOT)
    return [modules_of(guest.release, args.suite).archive([*wanted, *asked])]
