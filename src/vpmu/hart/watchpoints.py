"""Watchpoints: the engine stops before an instruction that reads or writes watched bytes of memory.

They belong to a machine's memory and are named by guest physical address, so all mappings and all harts have
them. The engine's caches of translations leave out the pages that they lie in, so that each access there
takes the slow path, which compares; other pages cost what they did. Accesses of instructions are watched:
not fetches, page-table walks, HLV and HSV, and not what Python writes for the levels below.

    watchpoints = machine.memory.watchpoints
    watchpoints.add(physical, 8, "w", handler)
    result = machine.run()                      # stop "watchpoint"; pc is before the instruction
    watchpoints.remove(handler)

The handler is called with the vCPU and "r" or "w", and answers whether the run ends there. A run that begins
where the one before was stopped executes the instruction.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vpmu.hart import state

if TYPE_CHECKING:
    from vpmu.hart.memory import PhysicalMemory

MAX_WATCHPOINTS = 64
Handler = Callable[[Any, str], bool]
"""Of the vCPU (see.guest_hart.GuestHart) and the kind of access: whether the run ends there."""
_BITS = {"r": 1, "w": 2, "rw": 3}


class Watchpoints:
    """The watchpoints of a memory."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self._watched: list[tuple[int, int, str, Handler]] = []
        self._table = (ctypes.c_uint64 * (3 * MAX_WATCHPOINTS))()
        memory.shared.words[state.SHARED["watchpoints"]] = ctypes.addressof(self._table)

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, physical: int, size: int, access: str, handler: Handler) -> None:
        """Watch bytes for "r", "w" or "rw". ValueError for no bytes, and for one too many."""
        if size < 1 or not 0 <= physical <= (1 << 64) - size:
            raise ValueError(f"watchpoint: expected bytes of memory, got {size} at {physical:#x}")
        if len(self._watched) >= MAX_WATCHPOINTS:
            raise ValueError(f"watchpoint: at most {MAX_WATCHPOINTS} of them")
        _BITS[access]
        self._watched.append((physical, size, access, handler))
        self._placed()

    def remove(self, handler: Handler) -> None:
        """Take those of a handler away again."""
        self._watched = [watched for watched in self._watched if watched[3] is not handler]
        self._placed()

    def hit(self, vcpu: Any) -> bool:
        """A hart has been stopped by a watchpoint: whether the run ends there."""
        hart = vcpu.hart
        first, size, access = hart.get("exit_a"), hart.get("exit_b"), "rw"[hart.get("exit_c")]
        handlers = [
            handler
            for physical, length, kinds, handler in self._watched
            if access in kinds and physical < first + size and first < physical + length
        ]
        return any([handler(vcpu, access) for handler in handlers])  # noqa: C419 - each is told

    def _placed(self) -> None:
        words = self._memory.shared.words
        words[state.SHARED["watchpoint_count"]] = len(self._watched)
        for number, (physical, size, access, _) in enumerate(self._watched):
            self._table[3 * number : 3 * number + 3] = [physical, physical + size - 1, _BITS[access]]
        for forget in self._memory.forget_accesses:
            forget()
