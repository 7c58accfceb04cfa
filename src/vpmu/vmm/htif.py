"""HTIF: how a bare-metal program of the public suites ends, prints and says its result.

The program writes to the doubleword `tohost` (riscv-tests, and what follows it). Its page is taken out of
plain memory for stores alone, so that a store there is seen at its instruction.
"""

from __future__ import annotations

from collections.abc import Callable

from vpmu.hart.memory import PhysicalMemory
from vpmu.vmm.devices import EventKind, MachineEvent

_CONSOLE, _WRITE_CHARACTER, _SYS_WRITE = 1, 1, 64


class Htif:
    """The page at `page` with `tohost` and, if the program has it, `fromhost` (addresses)."""

    def __init__(
        self,
        memory: PhysicalMemory,
        page: int,
        tohost: int,
        fromhost: int | None,
        emit: Callable[[bytes], None],
    ) -> None:
        self._memory, self._page, self._tohost, self._fromhost = memory, page, tohost, fromhost
        self._emit = emit

    def read(self, offset: int, size: int = 8) -> int:
        """What memory holds: loads do not come here."""
        return int.from_bytes(self._memory.read(self._page + offset, size), "little")

    def write(self, offset: int, value: int, size: int = 8) -> MachineEvent | None:
        """A store to the page; one that completes a command to the host is obeyed."""
        address = self._page + offset
        self._memory.write_through(address, value.to_bytes(size, "little"))
        last = self._tohost + 4 if size == 4 else self._tohost
        if address != last:
            return None
        command = int.from_bytes(self._memory.read(self._tohost, 8), "little")
        if not command:
            return None
        if command & 1 and command >> 48 == 0:
            code = command >> 1
            return MachineEvent(EventKind.FAIL, code) if code else MachineEvent(EventKind.POWEROFF)
        if command >> 56 == _CONSOLE:
            if command >> 48 & 0xFF == _WRITE_CHARACTER:
                self._emit(bytes((command & 0xFF,)))
            self._answer(command >> 48 << 48)
        elif command >> 56 == 0:
            self._system_call(command & (1 << 48) - 1)
        return None

    def _system_call(self, block: int) -> None:
        """The proxied system call whose number and arguments lie at `block`; only write has an effect."""
        words = [
            int.from_bytes(self._memory.read(block + 8 * i, 8), "little", signed=i == 0) for i in range(4)
        ]
        result = -38  # ENOSYS
        if words[0] == _SYS_WRITE:
            data = self._memory.read(words[2], min(words[3], 1 << 20))
            self._emit(data)
            result = len(data)
        self._memory.write_through(block, (result & (1 << 64) - 1).to_bytes(8, "little"))
        self._answer(1)

    def _answer(self, value: int) -> None:
        self._memory.write_through(self._tohost, bytes(8))
        if self._fromhost is not None:
            self._memory.write_through(self._fromhost, value.to_bytes(8, "little"))


def symbols_of(symbols: dict[str, int]) -> tuple[int, int | None] | None:
    """(tohost, fromhost) of a program that has HTIF."""
    tohost = symbols.get("tohost")
    return None if tohost is None else (tohost, symbols.get("fromhost"))
