"""What a Debian guest does before its init where it has disks, shares or modules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vpmu.errors import UsageError
from vpmu.vmm.linux import cpio
from vpmu.vmm.virtio.image import Disk

START = "/vpmu/start"
"""Path of the script in the guest: `rdinit=` of it."""
COMMAND = "vpmu/disk-command"
"""The command that runs in the root on a disk."""
FOR_DISKS, FOR_SHARES, FOR_ROOT = ("virtio_mmio", "virtio_blk"), ("virtio_mmio", "9p", "9pnet_virtio"), "ext4"
"""Modules that an option brings by itself."""
_IN_DISK = f"""for name in dev proc sys; do mount -o bind /$name /vpmu/disk/$name; done
chroot /vpmu/disk /bin/sh -c 'cd /root 2>/dev/null; exec /bin/sh -c "$0"' "$(cat /{COMMAND})"
status=$?
sync
exit $status"""


@dataclass(frozen=True, slots=True)
class Root:
    """The root on a disk: the device, the type and options of its file system, and its first process."""

    device: str
    kind: str
    options: str
    init: str

    @classmethod
    def of(cls, arguments: str) -> Root | None:
        """As kernel arguments say (Documentation/admin-guide/kernel-parameters.txt); None without `root=`.
        UsageError for one that is not named by its device.
        """
        words = arguments.split()
        found = dict(word.partition("=")[::2] for word in words if "=" in word)
        device = found.get("root")
        if device is None:
            return None
        if not device.startswith("/dev/"):
            raise UsageError("root=", expected="a device such as /dev/vda", got=repr(device), layer="disk")
        writable = "rw" if [word for word in words if word in ("ro", "rw")][-1:] == ["rw"] else "ro"
        options = ",".join(filter(None, (writable, found.get("rootflags"))))
        return cls(device, found.get("rootfstype", FOR_ROOT), options, found.get("init", "/sbin/init"))

    def __str__(self) -> str:
        return f"{self.device} {self.kind} {self.options} {self.init}"


def tag(number: int) -> str:
    """What the guest mounts a share by: `vpmu0` is the first."""
    return f"vpmu{number}"


@dataclass(frozen=True, slots=True)
class Mount:
    """A share in the guest: its tag, and where it is."""

    tag: str
    where: str
    readonly: bool = False

    def __str__(self) -> str:
        options = "trans=virtio,version=9p2000.L,msize=131072" + ",ro" * self.readonly
        return f"{self.tag} {options} {self.where}"


def has_ext4(disk: Disk) -> bool:
    """Whether an image begins with a file system of ext4 or its elders: its superblock's magic says so."""
    try:
        with Path(disk.path).open("rb") as image:
            image.seek(1024 + 0x38)
            return image.read(2) == b"\x53\xef"
    except (OSError, ValueError):  # that is said where the machine gets its disk
        return False


def archive(root: Root | None, mounts: list[Mount]) -> bytes:
    """The script and what it mounts (cpio); the modules are an archive of their own."""
    entries = [cpio.file("vpmu/start", Path(__file__).with_name("start").read_bytes(), 0o755)]
    if root is not None:
        entries.append(cpio.file("vpmu/root", f"{root}\n".encode()))
    if mounts:
        entries.append(cpio.file("vpmu/shares", "".join(f"{mount}\n" for mount in mounts).encode()))
    return cpio.write(entries)


def in_disk() -> str:
    """Runs COMMAND in the root on the disk; what it wrote there is there when its status comes."""
    return _IN_DISK
