"""A Debian KVM host on our own hart: real kernel, real kvm.ko, real perf, without QEMU.

The monitor talks over the serial port, the kernel over firmware's console. A boot to the monitor's greeting
is kept as a snapshot in the cache folder, by what the host is made of; the next host starts there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..vmm.linux import cpio
from ..vmm.linux.boot import FAST_BOOT
from ..vmm.loader import ImageKind
from .host_image import MODULE, HostImage
from .kvm_host import AGENT, INIT, MONITOR, agent_path, monitor_path

if TYPE_CHECKING:
    from ..vmm.machine import Machine
    from ..vmm.run_result import RunResult

_PACKAGE = Path(__file__).resolve().parent.parent
MEMORY = 512 << 20
ISA = ("h", "sstc", "sscofpmf", "ssaia")
"""With AIA's CSRs, without which KVM cannot pass an overflow interrupt on to its guest."""
FIRMWARE = "opensbi-1.6"
ARGUMENTS = f"earlycon=sbi keep_bootcon console=hvc0 {FAST_BOOT} oops=panic panic=-1 rdinit=/{INIT}"
"""The serial port is the monitor's: console=hvc0 is nobody's, and the kernel's words go to the firmware."""
BOOT_INSTRUCTIONS = 6_000_000_000
SLICE = 50_000
"""Instructions between two looks at what the monitor has sent."""
_INIT = f"""\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
insmod /{MODULE}
python3 -I -S -B /{MONITOR} /{AGENT} /dev/ttyS0
poweroff -f
"""


@dataclass(slots=True)
class HostOnVpmu:
    """The machine, what its serial port has sent that nobody has taken, and what its kernel has said."""

    machine: Machine
    sent: bytearray = field(default_factory=bytearray, repr=False)
    console: bytearray = field(default_factory=bytearray, repr=False)

    def attach(self) -> None:
        """Take the serial port out of the machine's console."""
        self.machine.serial.redirect(self.sent.extend)

    def run(self, instructions: int) -> RunResult:
        """Run the host, at most so many instructions."""
        return self.machine.run(max_instructions=instructions)


def build(image: HostImage, *, isa: tuple[str, ...] = ISA, host_pmu: str = "full") -> HostOnVpmu:
    """A host that has not started yet."""
    from ..vmm.machine import Machine

    console = bytearray()
    machine = Machine(
        FIRMWARE, host_pmu=host_pmu, isa=isa, memory=MEMORY, plic=True, mmu="riscv,sv48",
        bootargs=ARGUMENTS, console_out=console.extend,
    )  # fmt: skip
    host = HostOnVpmu(machine, console=console)
    host.attach()
    ours = cpio.write(
        [
            cpio.file(INIT, _INIT.encode(), 0o755),
            cpio.file(MONITOR, monitor_path().read_bytes()),
            cpio.file(AGENT, agent_path().read_bytes()),
        ]
    )
    root = cpio.append(image.initrd.read_bytes(), ours)
    machine.load(image.kernel.read_bytes(), kind=ImageKind.LINUX, initrd=[root])
    return host


def restored(path: Path) -> HostOnVpmu:
    """A host as it was kept. Raises VpmuError where the file does not fit this vpmu."""
    from ..vmm.snapshot import Snapshot

    console = bytearray()
    host = HostOnVpmu(Snapshot.load(path).machine(console_out=console.extend), console=console)
    host.attach()
    return host


def kept_path(image: HostImage, isa: tuple[str, ...] = ISA, host_pmu: str = "full") -> Path:
    """Where the snapshot of a host is kept: its name has everything that it depends on, vpmu's sources
    among it.
    """
    from ..vmm.snapshot_file import layout_name

    digest = hashlib.sha256(repr((isa, host_pmu, FIRMWARE, ARGUMENTS, _INIT, layout_name())).encode())
    for path in (image.kernel, image.initrd):
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
    for path in (monitor_path(), agent_path()):
        digest.update(path.read_bytes())
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return image.kernel.parent / f"host-{digest.hexdigest()[:24]}.snapshot"


def keep(host: HostOnVpmu, path: Path) -> None:
    """Keep a host for the next time, in place of older ones of its folder."""
    for old in path.parent.glob("host-*.snapshot"):
        if old != path:
            old.unlink(missing_ok=True)
    host.machine.snapshot().save(path)
