"""Which pages of memory the host has brought."""

from __future__ import annotations

import ctypes
import mmap

from vpmu.hart import state
from vpmu.hart.memory import PAGE, HostMemory


def can_bring() -> bool:
    """Whether the host brings pages before they are used."""
    try:
        mmap.mmap(-1, PAGE).madvise(state.POPULATE_WRITE)
    except (OSError, ValueError):
        return False
    return True


def at_hand(memory: HostMemory, first: int, count: int) -> list[int]:
    """Which of these pages of the memory the host has brought."""
    there = (ctypes.c_ubyte * count)()
    assert ctypes.CDLL(None).mincore(
        ctypes.c_void_p(memory.address + first * PAGE), ctypes.c_size_t(count * PAGE), there
    ) == 0  # fmt: skip
    return [page for page in range(count) if there[page] & 1]
