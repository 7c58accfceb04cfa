"""Breakpoints: the engine stops exactly before an instruction, and where there is none they cost nothing.

They belong to a machine's memory and are named by guest physical address, so all mappings and all harts have
them. The decoder makes a record that stops where a breakpoint is; such an instruction is in no compiled
region. Stores, snapshots that are restored and forks of the process keep them; a snapshot holds none.

    breakpoints = machine.memory.breakpoints
    breakpoints.add(hart.translate(address, 2))       # a virtual address as the hart sees it now
    result = machine.run()                            # stop "breakpoint"; pc is before the instruction
    result = machine.run()                            # goes on, past it
    breakpoints.remove(physical)

`Hart.run` answers Stop.BREAKPOINT. The next run of that hart executes the instruction, if it begins at the
same pc; whoever changes pc first skips it. With a handler (`add(physical, handler)`) nobody is told but that:
it is called with the vCPU, may change registers, pc and memory, and answers whether the run shall end.
"""

from __future__ import annotations

import ctypes
from array import array
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from vpmu.hart import state

if TYPE_CHECKING:
    from vpmu.hart.memory import PhysicalMemory, Region

MAX_BREAKPOINTS = 4096
Handler = Callable[[Any], bool]
"""Of the vCPU (see.guest_hart.GuestHart) that is before the instruction: whether the run ends there."""


def _ends(vcpu: object) -> bool:
    """What a breakpoint without a handler does."""
    return True


class Breakpoints:
    """The breakpoints of a memory: guest physical address -> handlers, in the order of their coming."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self._handlers: dict[int, list[Handler]] = {}
        self._table = (ctypes.c_uint64 * MAX_BREAKPOINTS)()
        self._hosts = array("Q")  # what the table holds: the engine's decoder searches it by halves
        self._by_host: dict[int, list[int]] = {}  # host address of an instruction -> guest physical ones
        memory.shared.words[state.SHARED["breakpoints"]] = ctypes.addressof(self._table)

    def __len__(self) -> int:
        return len(self._handlers)

    def __contains__(self, physical: object) -> bool:
        return physical in self._handlers

    def __iter__(self) -> Iterator[int]:
        return iter(self._handlers)

    def add(self, physical: int, handler: Handler = _ends) -> None:
        """Stop before the instruction at a guest physical address. ValueError for an odd one, and for one
        too many.
        """
        if physical & 1 or physical < 0:
            raise ValueError(f"breakpoint: expected an even guest physical address, got {physical:#x}")
        is_new = physical not in self._handlers
        if is_new and len(self._handlers) >= MAX_BREAKPOINTS:
            raise ValueError(f"breakpoint: at most {MAX_BREAKPOINTS} of them")
        handlers = self._handlers.setdefault(physical, [])
        if handler not in handlers:
            handlers.append(handler)
        if is_new:
            self._place(physical)

    def remove(self, physical: int, handler: Handler = _ends) -> None:
        """Take a breakpoint away again. KeyError where there is none."""
        handlers = self._handlers[physical]
        if handler not in handlers:
            raise KeyError(physical)
        handlers.remove(handler)
        if not handlers:
            del self._handlers[physical]
            self._take_away(physical)

    def clear(self) -> None:
        """Take all of them away."""
        self._handlers.clear()
        self.placed()

    def hit(self, vcpu: Any) -> bool:
        """A hart has been stopped by a breakpoint: whether the run ends there."""
        here = self._by_host.get(vcpu.hart.get("exit_a"))
        handlers = self._handlers.get(here[-1]) if here else None
        if handlers is None:  # taken away by who else was asked
            return False
        ends = [handler(vcpu) for handler in tuple(handlers)]  # each is told
        return any(ends)

    def offsets(self, host: int) -> set[int]:
        """Offsets of the breakpoints in the page of memory at a host address."""
        first = bisect_left(self._hosts, host)
        return {at - host for at in self._hosts[first : bisect_left(self._hosts, host + 4096, first)]}

    def placed(self) -> None:
        """Tell the engines where all instructions are: slots of memory have moved, or all are gone."""
        before, self._by_host, self._hosts = self._by_host, {}, array("Q")
        self._tell()
        for host in before:
            self._forget(before[host][-1])
        for physical in self._handlers:
            self._place(physical)

    def _place(self, physical: int) -> None:
        host = self._host(physical)
        if host is None:
            return
        here = self._by_host.setdefault(host, [])
        here.append(physical)
        if len(here) == 1:
            insort(self._hosts, host)
            self._tell()
            self._forget(physical)

    def _take_away(self, physical: int) -> None:
        host = self._host(physical)
        if host is None:
            return
        here = self._by_host[host]
        here.remove(physical)
        if not here:
            del self._by_host[host]
            self._hosts.pop(bisect_left(self._hosts, host))
            self._tell()
            self._forget(physical)

    def _tell(self) -> None:
        """Have the engines' table hold what `_hosts` does."""
        ctypes.memmove(self._table, self._hosts.buffer_info()[0], 8 * len(self._hosts))
        self._memory.shared.words[state.SHARED["breakpoint_count"]] = len(self._hosts)

    def _host(self, physical: int) -> int | None:
        """Where the host has an instruction; None where there is no memory."""
        region = self._region(physical)
        return None if region is None else region.backing.address + region.offset + physical - region.base

    def _region(self, physical: int) -> Region | None:
        return next((region for region in self._memory.regions.values() if physical in region), None)

    def _forget(self, physical: int) -> None:
        """Have the page of an instruction decoded anew."""
        region = self._region(physical)
        if region is not None:
            page = region.first_page + (physical - region.base) // 4096
            self._memory.forget_code(page, page)
