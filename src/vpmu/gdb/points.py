"""What a debugger wants to stop at, named by virtual address, as what a walk stops at, named by physical one.

A debugger takes its points away at every stop and sets them again in whatever mode the guest is then. So an
address stands for all that it has been seen to be: in each mode of each hart now, and where it was when it
was set before. A breakpoint is met only where pc is that address.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vpmu.gdb import memory
from vpmu.gdb.memory import Space, Unmapped
from vpmu.hart.memory import MemoryFault
from vpmu.hart.watchpoints import MAX_WATCHPOINTS
from vpmu.travel.stops import Breakpoint, Stops, Watchpoint
from vpmu.vmm.catch import Catch

if TYPE_CHECKING:
    from vpmu.debug.names import Names
    from vpmu.see.guest_hart import GuestHart
    from vpmu.vmm.machine import Machine

MOST_BREAKPOINTS = 1024
LONGEST_WATCH = 1 << 16
ACCESS = {2: "w", 3: "r", 4: "rw"}
"""Kinds of the packets Z2 to Z4."""


class Points:
    """The points of one session, and the catches that its user asks for."""

    def __init__(self, machine: Machine, names: Names) -> None:
        self._machine, self._names = machine, names
        self._known: dict[int, set[int]] = {}  # page of an address -> where it has been, by physical page
        self.breakpoints: dict[int, set[int]] = {}  # address -> physical ones
        self.watchpoints: dict[tuple[int, int, str], set[Watchpoint]] = {}
        self.catches: set[Catch] = set()

    def add_breakpoint(self, address: int) -> bool:
        """False where there is no memory at the address, in any mode, or there are too many."""
        if address & 1 or (address not in self.breakpoints and len(self.breakpoints) >= MOST_BREAKPOINTS):
            return False
        found = self._physical(address)
        if found:
            self.breakpoints[address] = found
        return bool(found)

    def remove_breakpoint(self, address: int) -> None:
        """Nothing where there is none."""
        self.breakpoints.pop(address, None)

    def add_watchpoint(self, address: int, size: int, access: str) -> bool:
        """False where there is no memory at the address, in any mode, or there are too many."""
        if not 0 < size <= LONGEST_WATCH:
            return False
        found = set()
        for at, length in memory.pieces(address, size):
            places = self._places(at)
            if not places:
                return False
            found |= {Watchpoint(place, length, access, at) for place in places}
        if sum(map(len, self.watchpoints.values())) + len(found) > MAX_WATCHPOINTS:
            return False
        self.watchpoints[address, size, access] = found
        return True

    def remove_watchpoint(self, address: int, size: int, access: str) -> None:
        """Nothing where there is none."""
        self.watchpoints.pop((address, size, access), None)

    def clear(self) -> None:
        """The debugger is gone."""
        self.breakpoints.clear()
        self.watchpoints.clear()
        self.catches.clear()

    def stops(self, but: int | None = None) -> Stops:
        """All of them; without the breakpoint at the address `but`."""
        return Stops(
            frozenset(
                Breakpoint(place, address)
                for address, places in self.breakpoints.items()
                if address != but
                for place in places
            ),
            frozenset(watch for found in self.watchpoints.values() for watch in found),
            frozenset(self.catches),
        )

    def _places(self, address: int) -> set[int]:
        """What an address is now, in any mode; what it was, only where it is nothing now. (Watched bytes
        have no pc to tell a page of another process by.)
        """
        known = self._physical(address)
        now = {place for vcpu in self._machine.vcpus for place in self._now(vcpu, address)}
        return now or known

    def _physical(self, address: int) -> set[int]:
        """Everything that an address is or has been, as far as it is memory."""
        known = self._known.setdefault(address >> 12, set())
        for vcpu in self._machine.vcpus:
            known.update(place >> 12 for place in self._now(vcpu, address))
        linked = self._linked(address)
        if linked is not None:
            known.add(linked >> 12)
        return {page << 12 | address & 4095 for page in known}

    def _now(self, vcpu: GuestHart, address: int) -> Iterator[int]:
        for space in memory.spaces(vcpu.hart):
            try:
                place = memory.physical(vcpu.hart, address, space)
                self._machine.memory.region_at(place)
            except (Unmapped, MemoryFault):
                continue
            if space is not Space.PHYSICAL or space is memory.space_of(vcpu.hart):
                yield place

    def _linked(self, address: int) -> int | None:
        """Where a kernel that has not mapped itself yet will have an address that it is linked for."""
        names = self._names
        if names.linked is None or not 0 <= address - names.linked < names.size:
            return None
        return names.base + address - names.linked
