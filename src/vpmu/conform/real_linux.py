"""Linux as the guest of real KVM on our own hart: its kernel, initramfs and device tree in a VM of the host's.

The guest has memory, one CPU with what KVM offers, and a serial port that it polls. A command runs as in
`vpmu boot --exec` (vpmu.vmm.linux.execution).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import MachineError
from ..vmm import devicetree
from ..vmm.linux import cpio
from ..vmm.linux.boot import boot_arguments
from ..vmm.linux.execution import ExecStream, build_exec_archive
from ..vmm.linux.trouble import trouble
from ..vmm.loader import Buffer, ImageKind, load_image
from .kvm_registers import extensions
from .real_guest import BASE, RealEnd, RealGuest

if TYPE_CHECKING:
    from .host_link import HostLink

MEMORY = 192 << 20
"""Of a guest with a small initramfs."""
MEGAPAGE = 2 << 20
_PANIC_END = b"---[ end Kernel panic"


def memory_for(*parts: Buffer) -> int:
    """What a guest of these files needs: an initramfs is unpacked while it still lies in memory."""
    return max(MEMORY, 3 * sum(map(len, parts)) + (64 << 20) + MEGAPAGE - 1 & -MEGAPAGE)


class RealLinux:
    """A VM with Linux in it that has not started yet. `command`: it ends when that has, and its output goes
    to `output`; without one the whole console does.
    """

    def __init__(
        self, link: HostLink, host_pmu: Any, kernel: Buffer, initrd: Buffer | None, *, command: str | None = None,
        append: str = "", memory: int = 0, output: Callable[[bytes], None] | None = None,
    ) -> None:  # fmt: skip
        parts = [] if initrd is None else [bytes(initrd)]
        self._stream = None if command is None else ExecStream()
        self._output = output
        if command is not None:
            parts.append(cpio.behind(sum(map(len, parts)), build_exec_archive(command)))
        size = memory or memory_for(kernel, *parts)
        self.guest = RealGuest(link, host_pmu, size, self._said)
        image = load_image(kernel, BASE, size, kind=ImageKind.LINUX)
        start = (image.end + MEGAPAGE - 1) & -MEGAPAGE
        end = self._place(start, parts)
        tree = devicetree.build(
            1, BASE, size, bootargs=boot_arguments(append, quiet=command is not None),
            initrd=(start, end) if parts else None, isa=self._isa(link),
        )  # fmt: skip
        at = (BASE + size - len(tree)) & -MEGAPAGE
        if at < end:
            needed = end + MEGAPAGE + len(tree) - BASE
            raise MachineError("memory of the guest", expected=f"{(needed >> 20) + 1} MiB or more",
                               got=f"{size >> 20} MiB", layer="loader")  # fmt: skip
        self.guest.write(at, tree)
        self.guest.load(image, at)

    def _place(self, at: int, parts: Sequence[bytes]) -> int:
        for part in parts:
            self.guest.write(at, part)
            at += len(part)
        return at

    @staticmethod
    def _isa(link: HostLink) -> list[str]:
        """What KVM offers this vCPU. `h` and AIA's controllers it has not."""
        offered = extensions(link.exchange(b"K"))["isa"]
        return ["i", *(name for name in offered if name not in {"i", "h", "ssaia"})]

    @property
    def console(self) -> bytes:
        """What the guest has said."""
        return bytes(self.guest.output)

    @property
    def status(self) -> int | None:
        """Exit status of the command; None without one, or before it has ended."""
        return None if self._stream is None else self._stream.status

    def run(self, max_instructions: int) -> RealEnd:
        """Run it to the end of the command, or its own."""
        return self.guest.run(max_instructions)

    def _said(self, data: bytes) -> None:
        shown = data
        if self._stream is not None:
            shown = self._stream.feed(data)
            if self._stream.status is not None:
                self.guest.halt("exited", f"the command exited with status {self._stream.status}")
        if self._output is not None and shown:
            self._output(shown)
        if b"\n" in data and _PANIC_END in self.guest.output[-512:]:
            found = trouble(self.guest.output)
            self.guest.halt("panic", found.words if found is not None else "reason not printed")
