"""A KVM host on our own hart: real kernel, real kvm.ko, real perf, without QEMU.

Its first process is a monitor of ours in machine code (guests/kvm_monitor.c), which talks to vpmu through
memory (vpmu.vmm.line); the serial port and firmware's console are the kernel's. A boot to the monitor's
greeting is kept as a snapshot in the cache folder, by what the host is made of; the next host starts there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImageError
from ..payloads import path as payload
from ..vmm.linux import cpio
from ..vmm.linux.boot import FAST_BOOT
from .host_image import MODULE
from .host_source import HostSource
from .kvm_host import agent_path

if TYPE_CHECKING:
    from ..vmm.machine import Machine
    from ..vmm.run_result import RunResult
    from ..vmm.snapshot import Snapshot

_PACKAGE = Path(__file__).resolve().parent.parent
MEMORY = 256 << 20
ISA = ("h", "sstc", "sscofpmf", "ssaia")
"""With AIA's CSRs, without which KVM cannot pass an overflow interrupt on to its guest."""
FIRMWARE = "opensbi-1.6"
INIT, AGENT = "vpmu/init", "vpmu/agent.bin"
ARGUMENTS = f"earlycon=sbi console=ttyS0 {FAST_BOOT} oops=panic panic=-1 rdinit=/{INIT}"
"""Whatever the kernel trips over ends the machine: a target that is lost must not go on half alive."""
BOOT_INSTRUCTIONS = 6_000_000_000
DEVICES = {"console": (5, 1), "mem": (1, 1), "kmsg": (1, 11), "kvm": (10, 232)}
"""What the monitor opens, for a kernel without devtmpfs (Documentation/admin-guide/devices.txt)."""
KEPT = 8
"""Snapshots of a folder, 90 MB each: the newest ones stay."""


@dataclass(slots=True)
class HostOnVpmu:
    """The machine, and where `rewind` takes it."""

    machine: Machine

    base: Snapshot | None = field(default=None, repr=False)

    @property
    def console(self) -> bytes:
        """What its kernel has said since power-on."""
        return self.machine.console.output

    def rewind(self) -> None:
        """Back to `base`."""
        assert self.base is not None
        self.machine.restore(self.base)

    def run(self, instructions: int) -> RunResult:
        """Run the host until its monitor has something to say (`stop` is `line`), at most so long."""
        return self.machine.run(max_instructions=instructions)

    def ask(self, request: bytes) -> None:
        """What the monitor finds when it goes on."""
        assert self.machine.board.line is not None
        self.machine.board.line.ask(request)

    def answer(self) -> bytes:
        """What the monitor has handed over."""
        assert self.machine.board.line is not None
        return self.machine.board.line.answer()


def build(
    source: HostSource, *, isa: tuple[str, ...] = ISA, host_pmu: str = "full", guest_memory: int = 0
) -> HostOnVpmu:
    """A host that has not started yet, with room for a VM of `guest_memory` bytes beside the agent's. Raises
    FileError, ImageError.
    """
    from ..vmm.machine import Machine

    files = source.read()
    machine = Machine(
        FIRMWARE, host_pmu=host_pmu, isa=isa, plic=True, line=True,
        memory=_memory(files.kernel, files.initrd) + guest_memory, mmu="riscv,sv48", bootargs=ARGUMENTS,
        firmware=None if source.firmware is None else str(source.firmware),
    )  # fmt: skip
    ours = [
        *(cpio.character_device(f"dev/{name}", *number) for name, number in DEVICES.items()),
        cpio.file(INIT, payload("kvm-monitor").read_bytes(), 0o755),
        cpio.file(AGENT, agent_path().read_bytes()),
    ]
    if files.module is not None:
        ours.append(cpio.file(MODULE, files.module))
    root = cpio.write(ours)
    try:
        machine.load(files.kernel, initrd=[cpio.append(files.initrd, root) if files.initrd else root])
    except ImageError as error:
        if source.firmware is not None and error.path == str(source.firmware):
            raise
        # the kernel: it came as bytes
        what = error.what.removeprefix(f"{error.path}: ")
        raise ImageError(source.kernel, what, expected=error.expected, got=error.got) from None
    return HostOnVpmu(machine)


def _memory(*parts: bytes) -> int:
    """Room for what is loaded, thrice: a root is unpacked while it still lies in memory."""
    needed = 3 * sum(map(len, parts)) + (64 << 20)
    return max(MEMORY, needed + (1 << 26) - 1 >> 26 << 26)


def restored(path: Path) -> HostOnVpmu:
    """A host as it was kept. Raises VpmuError where the file does not fit this vpmu."""
    from ..vmm.snapshot import Snapshot

    snapshot = Snapshot.load(path)
    return HostOnVpmu(snapshot.machine(), snapshot)


def kept_path(
    source: HostSource, isa: tuple[str, ...] = ISA, host_pmu: str = "full", guest_memory: int = 0
) -> Path:
    """Where the snapshot of a host is kept: its name has everything that it depends on, vpmu's sources
    among it.
    """
    from ..vmm.snapshot_file import layout_name

    digest = hashlib.sha256(repr((isa, host_pmu, guest_memory, FIRMWARE, ARGUMENTS, layout_name())).encode())
    for path in source.files:
        status = path.stat()
        digest.update(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode())
    for path in (payload("kvm-monitor"), agent_path(), *sorted(_PACKAGE.rglob("*.py"))):
        digest.update(path.read_bytes())
    return source.folder / f"host-{digest.hexdigest()[:24]}.snapshot"


def keep(host: HostOnVpmu, path: Path) -> None:
    """Keep a host for the next time, and as its `base`; of its folder's snapshots the newest stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    host.base = host.machine.snapshot()
    host.base.save(path)
    kept = sorted(path.parent.glob("host-*.snapshot"), key=lambda one: one.stat().st_mtime_ns)
    for old in kept[:-KEPT]:
        old.unlink(missing_ok=True)
