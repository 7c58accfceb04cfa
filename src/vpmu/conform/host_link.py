"""The monitor of a KVM host on our own hart: its line is the machine's serial port."""

from __future__ import annotations

from ..peers.host_image import HostImage
from ..peers.kvm_host import trouble
from ..peers.vpmu_host import BOOT_INSTRUCTIONS, SLICE, HostOnVpmu, build, keep, kept_path, restored
from ..vmm.linux.progress import Progress
from .frames import Frame, FrameReader
from .host_facts import HostFacts, parse_facts
from .target import TargetError, TargetLost

PATIENCE = 200_000_000
"""Instructions of the host after which an answer is asked for again."""
FACTS = b"I"
FIRST = 255
"""Sequence number of our own request, which the target's begin behind."""


class HostLink:
    """Runs the host as long as an answer is waited for. Raises TargetError where it does not come up."""

    def __init__(self, image: HostImage, progress: Progress) -> None:
        path = kept_path(image)
        if path.exists():
            self._host: HostOnVpmu = restored(path)
            self.send(Frame(FIRST, FACTS).pack())
        else:
            progress.step("booting the KVM host on vpmu: once, then it is kept")
            self._host = build(image)
        self.facts = self._greeting()
        if not path.exists():
            keep(self._host, path)
            progress.finish()
        self._base = self._host.machine.snapshot()

    def _greeting(self) -> HostFacts:
        """The facts about the host: they come unasked when the monitor is ready."""
        reader, start = FrameReader(), self._host.machine.instructions
        while self._host.machine.instructions - start < BOOT_INSTRUCTIONS:
            for frame in reader.feed(self.receive(1.0)):
                if frame.payload[:1] == FACTS:
                    return parse_facts(frame.payload[1:].decode(errors="replace"))
        spent = self._host.machine.instructions - start
        words = self._last_words()
        raise TargetError(f"the KVM host is not up after {spent / 1e9:.1f} G instructions: {words}")

    def rewind(self) -> None:
        """Back to the moment of the greeting, the host and all of its kernel."""
        self._host.machine.restore(self._base)
        self._host.sent.clear()

    def send(self, data: bytes) -> None:
        self._host.machine.serial.feed(data)

    def receive(self, patience: float) -> bytes:
        spent = 0
        while not self._host.sent and spent < PATIENCE * patience:
            result = self._host.run(SLICE)
            spent += SLICE
            if result.stop == "idle":
                break
            if result.stop != "budget":
                why = f"{result.stop}, {result.reason}: {self._last_words()}"
                raise TargetLost(f"the KVM host stopped: {why}")
        data = bytes(self._host.sent)
        self._host.sent.clear()
        return data

    def console(self) -> str:
        """What the host's kernel has said."""
        return self._host.console.decode("utf-8", "replace")

    def _last_words(self) -> str:
        return trouble(self.console())

    def close(self) -> None:
        """Nothing is held."""
