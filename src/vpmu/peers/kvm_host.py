"""QEMU as a machine with the hypervisor extension, on which Debian's kernel is the KVM host."""

from __future__ import annotations

import re
import shutil
from importlib import resources
from pathlib import Path

from vpmu.payloads import path as payload
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.boot import FAST_BOOT

from .host_image import MODULE, HostImage

MEMORY = 512
"""MB: the root is unpacked while it still lies in memory."""
MONITOR, AGENT, INIT = "vpmu/monitor.py", "vpmu/agent.bin", "vpmu/init"
PORT = "/dev/vport0p1"
ARGUMENTS = f"earlycon=sbi console=ttyS0 {FAST_BOOT} oops=panic panic=-1 rdinit=/{INIT}"
"""Whatever the kernel trips over ends the machine: a target that is lost must not go on half alive."""
_INIT = f"""\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
echo 3 > /proc/sys/kernel/printk
insmod /{MODULE}
python3 -I -S -B /{MONITOR} /{AGENT} {PORT}
poweroff -f
"""
_TROUBLE = re.compile(
    r"^.*(?:Kernel panic - not syncing|Oops|Unable to handle kernel|BUG:|monitor:|insmod:|Error: ).*$",
    re.MULTILINE,
)


def monitor_path() -> Path:
    """The monitor's file."""
    return Path(str(resources.files("vpmu.peers") / "monitor.py"))


def agent_path() -> Path:
    """The agent that talks to the monitor."""
    return payload("agent-kvm")


def prepare(image: HostImage, folder: Path) -> Path:
    """The root of `image` with the monitor, the agent and a first process, as a file in `folder`."""
    ours = cpio.write(
        [
            cpio.file(INIT, _INIT.encode(), 0o755),
            cpio.file(MONITOR, monitor_path().read_bytes()),
            cpio.file(AGENT, agent_path().read_bytes()),
        ]
    )
    root = folder / "root.cpio"
    root.write_bytes(cpio.append(image.initrd.read_bytes(), ours))
    return root


def command(program: str, image: HostImage, root: Path, console: Path) -> list[str]:
    """QEMU's command line: the console goes to a file, the monitor's line is standard input and output."""
    # The value of a suboption ends at a comma; QEMU takes two for one.
    return [
        program, "-machine", "virt", "-cpu", "rv64,h=true,sscofpmf=true", "-smp", "1", "-m", f"{MEMORY}M",
        # One instruction is one nanosecond, and a hart that waits does not: counts are exact.
        "-icount", "shift=0,sleep=off",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-serial", f"file:{console}",
        "-device", "virtio-serial-pci",
        "-chardev", "stdio,signal=off,id=monitor", "-device", "virtserialport,chardev=monitor",
        "-kernel", str(image.kernel), "-initrd", str(root), "-append", ARGUMENTS,
    ]  # fmt: skip


def find_program(name: str) -> str | None:
    """The emulator on PATH, or None."""
    return shutil.which(name)


def trouble(console: str) -> str:
    """The line of the host's console that says what went wrong; the last one where none does."""
    found = _TROUBLE.search(console)
    if found:
        return found[0].strip()
    lines = [line.strip() for line in console.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def firmware(console: str) -> str:
    """`OpenSBI v1.1`, as the firmware says it on the console."""
    found = re.search(r"^OpenSBI v\S+", console, re.MULTILINE)
    return found[0] if found else "unknown firmware"
