"""The machine's console: what the guest sends by serial port, DBCN or the legacy calls, and what it is
sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vpmu.hart.memory import MemoryFault, PhysicalMemory
from vpmu.see.exits import SbiExit
from vpmu.spec.sbi import Eid, SbiError
from vpmu.vmm.devices import Ns16550a

_WRITE, _READ, _WRITE_BYTE = 0, 1, 2
# bytes per DBCN call that are moved at once: the call may say less than was asked for
_MAX_TRANSFER = 1 << 20
KEPT_OUTPUT = 16 << 20
"""Bytes of output that are kept: a guest may write for ever."""


def keep(output: bytearray, data: bytes | bytearray) -> None:
    """Add output of a guest; of more than twice KEPT_OUTPUT bytes the last KEPT_OUTPUT stay."""
    output += data
    if len(output) > 2 * KEPT_OUTPUT:
        del output[:-KEPT_OUTPUT]


class Console:
    """Keeps the end of the output (and hands all on as it comes); user space's half of DBCN and of the
    legacy console.
    """

    def __init__(self, memory: PhysicalMemory, sink: Callable[[bytes], None] | None) -> None:
        self._memory, self._sink = memory, sink
        self._error_sink: Callable[[bytes], None] = self.emit
        self._output = bytearray()
        self._muted = False
        self._input: deque[int] = deque()

    @property
    def output(self) -> bytes:
        """What the guest has sent: the last KEPT_OUTPUT bytes of it."""
        return bytes(self._output[-KEPT_OUTPUT:])

    def mute(self) -> None:
        """Nothing is kept or handed on any more."""
        self._sink, self._error_sink, self._muted = None, self.emit, True
        self._output.clear()

    def hand_errors_to(self, sink: Callable[[bytes], None]) -> None:
        """What the guest sends by its second serial port goes there instead of where the rest goes."""

        def kept(data: bytes) -> None:
            keep(self._output, data)
            sink(data)

        self._error_sink = kept

    def listen_through(self, gate: Callable[[Callable[[bytes], None]], Callable[[bytes], None]]) -> None:
        """Who hears the output hears from now on what `gate` makes of it."""
        self._sink = gate(self._sink or (lambda data: None))
        if self._error_sink != self.emit:
            self._error_sink = gate(self._error_sink)

    def emit_error(self, data: bytes) -> None:
        """Output of the guest's second serial port."""
        self._error_sink(data)

    def emit(self, data: bytes) -> None:
        """Output of the guest."""
        if self._muted:
            return
        keep(self._output, data)
        if self._sink is not None:
            self._sink(data)

    def feed(self, data: bytes, serial: Ns16550a) -> None:
        """Input for the guest: for whichever of its two consoles it reads."""
        serial.feed(data)
        self._input.extend(data)

    def sbi(self, call: SbiExit) -> tuple[int, int | None]:
        """Answer an SBI call that KVM forwards: (error, value); a value of None leaves a1 as it is."""
        match call.eid, call.fid:
            case Eid.LEGACY_CONSOLE_PUTCHAR, _:
                self.emit(bytes((call.args[0] & 0xFF,)))
                return 0, None
            case Eid.LEGACY_CONSOLE_GETCHAR, _:
                return (self._input.popleft() if self._input else -1), None
            case Eid.DBCN, fid if fid == _WRITE:
                return self._write(call.args[0], call.args[1], call.args[2])
            case Eid.DBCN, fid if fid == _READ:
                return self._read(call.args[0], call.args[1], call.args[2])
            case Eid.DBCN, fid if fid == _WRITE_BYTE:
                self.emit(bytes((call.args[0] & 0xFF,)))
                return SbiError.SUCCESS, 0
        return SbiError.NOT_SUPPORTED, 0

    def _write(self, count: int, low: int, high: int) -> tuple[int, int]:
        try:
            data = self._memory.read(low | high << 64, min(count, _MAX_TRANSFER))
        except MemoryFault:
            return SbiError.INVALID_PARAM, 0
        self.emit(data)
        return SbiError.SUCCESS, len(data)

    def _read(self, count: int, low: int, high: int) -> tuple[int, int]:
        waiting = bytes(self._input)[: min(count, _MAX_TRANSFER)]
        try:
            self._memory.read(low | high << 64, min(count, _MAX_TRANSFER))  # the whole buffer must be there
            self._memory.write(low | high << 64, waiting)
        except MemoryFault:
            return SbiError.INVALID_PARAM, 0
        for _ in waiting:
            self._input.popleft()
        return SbiError.SUCCESS, len(waiting)
