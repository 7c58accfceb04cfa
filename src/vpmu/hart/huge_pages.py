"""Guest memory on huge pages, where the host has them at hand.

A boot of Linux writes 40,000 pages, and each is a fault; a huge page takes the place of 512 for an eighth of
what these cost. But in a virtual machine whose hypervisor takes back what is free (free page reporting, which
takes whole huge pages), one that it has taken costs seven times as much as 512 small ones, and nothing says
which they are. So they are timed: the first slow one is the last, and what is left comes on small ones.
Memory that a guest may write to later is not asked for at all: nobody could time that.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from vpmu.hart import state

if TYPE_CHECKING:
    from vpmu.hart.memory import HostMemory

HUGE = 2 << 20
SLOW_NS = 600_000  # what 512 faults cost; a huge page at hand takes 90,000
_ADVICE: int | None = getattr(mmap, "MADV_HUGEPAGE", None)


def take(ranges: Iterable[tuple[HostMemory, int, int]]) -> bool:
    """Have [offset, offset + size) of each memory, which will all be written now, on huge pages as long as
    these are quick. Whether all of them were.
    """
    if _ADVICE is None:
        return False
    try:
        for memory, offset, size in ranges:
            first = -(-(memory.address + offset) // HUGE) * HUGE - memory.address
            last = (memory.address + offset + size) // HUGE * HUGE - memory.address
            if not all(_is_quick(memory.mapping, at, _ADVICE) for at in range(first, last, HUGE)):
                return False
    except OSError:  # the system has no huge pages, or cannot bring pages before they are used
        return False
    return True


def bring(ranges: Iterable[tuple[HostMemory, int, int]]) -> None:
    """Have [offset, offset + size) of each memory, which will all be written now, on pages of whatever size:
    all together, for one by one each is a fault.
    """
    with suppress(OSError):  # the system cannot bring pages before they are used
        for memory, offset, size in ranges:
            first = offset & ~(mmap.PAGESIZE - 1)
            memory.mapping.madvise(state.POPULATE_WRITE, first, offset + size - first)


def _is_quick(mapping: mmap.mmap, at: int, advice: int) -> bool:
    began = time.thread_time_ns()
    mapping.madvise(advice, at, HUGE)
    mapping.madvise(state.POPULATE_WRITE, at, HUGE)
    return time.thread_time_ns() - began < SLOW_NS
