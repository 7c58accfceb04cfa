"""Linux as the guest of real KVM on our own hart: kernel, initramfs and device tree in a VM of the host's.

The guest has memory, one CPU with what KVM offers, and a serial port that it polls. A command runs as in
`vpmu boot --exec` (vpmu.vmm.linux.execution); several run from one prompt (vpmu.vmm.linux.session).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..brief import Brief
from ..errors import BootError, MachineError
from ..vmm import devicetree
from ..vmm.linux import cpio
from ..vmm.linux.boot import boot_arguments
from ..vmm.linux.execution import ExecStream, build_exec_archive, command_bytes
from ..vmm.linux.session import READY
from ..vmm.linux.trouble import trouble
from ..vmm.loader import Buffer, ImageKind, load_image
from .kvm_registers import extensions
from .real_guest import BASE, RealEnd, RealGuest

if TYPE_CHECKING:
    from .host_link import HostLink

MEMORY = 192 << 20
"""Of a guest with a small initramfs."""
MEGAPAGE = 2 << 20
BOOT_INSTRUCTIONS = 6_000_000_000
NOT_THE_GUESTS = frozenset({"i", "h", "ssaia"})
"""Of what KVM lists: `i` is always there; the guest has neither H nor an interrupt controller."""
_PANIC_END = b"---[ end Kernel panic"


def memory_for(*parts: Buffer) -> int:
    """What a guest of these files needs: an initramfs is unpacked while it still lies in memory."""
    return max(MEMORY, 3 * sum(map(len, parts)) + (64 << 20) + MEGAPAGE - 1 & -MEGAPAGE)


@dataclass(frozen=True, slots=True, repr=False)
class Done(Brief):
    """What a command did. `status` None: it did not come to its end, and `failure` says why."""

    end: RealEnd
    output: bytes
    status: int | None
    failure: str


class RealLinux:
    """A VM with Linux in it that has not started yet. `command`: it ends when that has, and its output goes
    to `output`; without one the whole console does. `image` is what was loaded.
    """

    def __init__(
        self, link: HostLink, host_pmu: Any, kernel: Buffer, initrd: Buffer | None, *,
        command: str | None = None, append: str = "", memory: int = 0,
        output: Callable[[bytes], None] | None = None,
    ) -> None:  # fmt: skip
        parts = [] if initrd is None else [bytes(initrd)]
        self._stream = None if command is None else ExecStream()
        self._output = output
        self._shown = bytearray()
        if command is not None:
            parts.append(cpio.behind(sum(map(len, parts)), build_exec_archive(command)))
        size = memory or memory_for(kernel, *parts)
        self.guest = RealGuest(link, host_pmu, size, self._said)
        self.image = load_image(kernel, BASE, size, kind=ImageKind.LINUX)
        start = (self.image.end + MEGAPAGE - 1) & -MEGAPAGE
        end = start + sum(map(len, parts))
        tree = devicetree.build(
            1, BASE, size, bootargs=boot_arguments(append, quiet=command is not None),
            initrd=(start, end) if parts else None, isa=_isa(link),
        )  # fmt: skip
        at = (BASE + size - len(tree)) & -MEGAPAGE
        if at < end:
            needed = end + MEGAPAGE + len(tree) - BASE
            raise MachineError("memory of the guest", expected=f"{(needed >> 20) + 1} MiB or more",
                               got=f"{size >> 20} MiB")  # fmt: skip
        self._place(start, parts)
        self.guest.write(at, tree)
        self.guest.load(self.image, at)

    def _place(self, at: int, parts: Sequence[bytes]) -> None:
        for part in parts:
            self.guest.write(at, part)
            at += len(part)

    @property
    def console(self) -> bytes:
        """What the guest has said."""
        return bytes(self.guest.output)

    def run(self, max_instructions: int) -> Done:
        """Run it to the end of the command, or its own."""
        end = self.guest.run(max_instructions)
        said = trouble(self.guest.output)
        status = None if self._stream is None else self._stream.status
        failure = "" if said is None else f"{said.text}: {said.words}"
        if (
            not failure
            and status is None
            and (self._stream is not None or end.stop not in ("shutdown", "reset"))
        ):
            failure = f"{end.stop}: {end.reason}"
        return Done(end, bytes(self._shown), status, failure)

    def to_prompt(self) -> None:
        """Boot one that was made with the command WAIT until it waits for a command, and keep that moment
        (the caller keeps the host's). Raises BootError.
        """
        end = self.guest.run(BOOT_INSTRUCTIONS)
        if end.stop != "ready":
            said = trouble(self.guest.output)
            raise BootError("Linux did not boot to its prompt on real KVM",
                            got=f"{end.stop}: {end.reason if said is None else said.words}")  # fmt: skip
        self._id = self.console.split(b"@vpmu-begin ")[1][:16]
        self.guest.keep()

    def command(self, command: str, max_instructions: int) -> Done:
        """A command from the prompt; the host was brought back there."""
        self.guest.begin()
        self.guest.output.clear()
        self._shown.clear()
        self._stream = ExecStream()
        self._stream.resume(self._id)
        self.guest.serial.feed(command_bytes(command) + b"\n")
        return self.run(max_instructions)

    def _said(self, data: bytes) -> None:
        shown = data
        if self._stream is not None:
            shown = self._stream.feed(data)
            if self._stream.status is not None:
                self.guest.halt("exited", f"the command exited with status {self._stream.status}")
            elif READY in self.guest.output[-len(READY) :]:
                self.guest.halt("ready", "the guest waits for a command")
        self._shown += shown
        if self._output is not None and shown:
            self._output(shown)
        if b"\n" in data and _PANIC_END in self.guest.output[-512:]:
            found = trouble(self.guest.output)
            self.guest.halt("panic", found.words if found is not None else "reason not printed")


def _isa(link: HostLink) -> list[str]:
    """What KVM offers the vCPU."""
    offered = extensions(link.exchange(b"K"))["isa"]
    return ["i", *(name for name in offered if name not in NOT_THE_GUESTS)]
