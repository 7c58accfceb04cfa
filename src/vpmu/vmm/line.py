"""A line between the guest's software and whoever runs the machine: memory beside RAM, and a doorbell.

No device tree names it. Software that knows of it (guests/kvm_monitor.c) puts an answer there and stores to
the doorbell, which ends the run; whoever runs the machine takes the answer, puts a request in its place, and
goes on.
"""

from __future__ import annotations

from vpmu.hart.memory import PAGE, PhysicalMemory
from vpmu.vmm.devices import EventKind, MachineEvent

BASE, SIZE = 0x28000000, 0x10000
SLOT = 8
"""Memory slot, behind those that a test may use."""
REQUEST, ANSWER = 0x1000, 0x8000
MAX_REQUEST = ANSWER - REQUEST
_REQUEST_LENGTH, _ANSWER_LENGTH = BASE, BASE + 8
DOORBELL, DOORBELL_SIZE = BASE + SIZE, PAGE


class Doorbell:
    """A store ends the run: RunResult.stop is `line`; `value` is what was stored."""

    def __init__(self) -> None:
        self.value = 0

    def read(self, offset: int, size: int = 8) -> int:
        """Nothing."""
        return 0

    def write(self, offset: int, value: int, size: int = 8) -> MachineEvent:
        """Ring."""
        self.value = value
        return MachineEvent(EventKind.LINE)


class Line:
    """Both directions, as the one who runs the machine sees them."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory, self.doorbell = memory, Doorbell()
        memory.set_slot(SLOT, BASE, SIZE)

    def answer(self) -> bytes:
        """What the guest's software has handed over."""
        length = int.from_bytes(self._memory.read(_ANSWER_LENGTH, 8), "little")
        return self._memory.read(BASE + ANSWER, min(length, SIZE - ANSWER))

    def ask(self, request: bytes) -> None:
        """What it finds when it goes on. Raises ValueError for more than MAX_REQUEST bytes."""
        if len(request) > MAX_REQUEST:
            raise ValueError(f"line: at most {MAX_REQUEST} bytes in a request, got {len(request)}")
        self._memory.write(_REQUEST_LENGTH, len(request).to_bytes(8, "little"))
        self._memory.write(BASE + REQUEST, request)
