"""What a walk stops at, and where it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from vpmu.vmm.catch import CAUGHT, Catch, Catcher, Happening

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart
    from vpmu.vmm.machine import Machine


class Breakpoint(NamedTuple):
    """An instruction by its guest physical address; with `pc` only where it runs at that virtual one."""

    physical: int
    pc: int | None = None


class Watchpoint(NamedTuple):
    """Bytes of guest physical memory, and which accesses: "r", "w" or "rw". `address` is what its user calls
    them.
    """

    physical: int
    size: int
    access: str
    address: int


@dataclass(frozen=True, slots=True)
class Stops:
    """All that a walk stops at."""

    breakpoints: frozenset[Breakpoint] = frozenset()
    watchpoints: frozenset[Watchpoint] = frozenset()
    catches: frozenset[Catch] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.breakpoints or self.watchpoints or self.catches)


class Hit(NamedTuple):
    """Where a walk met something: `position` instructions have retired, and it is number `order` of what is
    met there. `kind` is breakpoint, watchpoint or caught. `address`: of a watchpoint, what its user calls it;
    of a breakpoint, its pc.
    """

    position: int
    order: int
    kind: str
    hart: int
    words: str
    address: int = 0
    access: str = ""


class Installed:
    """Stops at work in a machine, between `attach` and `detach`. `last` is what was met last."""

    def __init__(self, machine: Machine, stops: Stops) -> None:
        self._machine, self.stops = machine, stops
        self._undo: list[Callable[[], None]] = []
        self._catcher = Catcher(machine, stops.catches, self._caught)
        self.last: Hit | None = None
        self._at = (-1, -1)

    def forget(self) -> None:
        """Nothing has been met since."""
        self.last = None

    def attach(self) -> None:
        """Begin; nothing has been met yet."""
        self.last, self._at = None, (-1, -1)
        memory = self._machine.memory
        for point in self.stops.breakpoints:
            handler = self._break(point)
            memory.breakpoints.add(point.physical, handler)
            self._undo.append(lambda at=point.physical, it=handler: memory.breakpoints.remove(at, it))  # type: ignore[misc]
        for watch in self.stops.watchpoints:
            seen = self._watch(watch)
            memory.watchpoints.add(watch.physical, watch.size, watch.access, seen)
            self._undo.append(lambda it=seen: memory.watchpoints.remove(it))  # type: ignore[misc]
        if self.stops.catches:
            self._catcher.attach()

    def detach(self) -> None:
        """End."""
        self._catcher.detach()
        for undo in self._undo:
            undo()
        self._undo.clear()

    def _met(self, kind: str, hart: int, words: str, address: int = 0, access: str = "") -> bool:
        position = self._machine.instructions
        before, order = self._at
        order = order + 1 if before == position else 0
        self._at = position, order
        self.last = Hit(position, order, kind, hart, words, address, access)
        return True

    def _break(self, point: Breakpoint) -> Callable[[GuestHart], bool]:
        def met(vcpu: GuestHart) -> bool:
            pc = vcpu.hart.pc
            if point.pc is not None and point.pc != pc:
                return False
            return self._met("breakpoint", vcpu.id, f"breakpoint at {pc:#x}", pc)

        return met

    def _watch(self, watch: Watchpoint) -> Callable[[GuestHart, str], bool]:
        def met(vcpu: GuestHart, access: str) -> bool:
            words = {"r": "reads", "w": "writes"}[access]
            words = f"hart {vcpu.id} at {vcpu.hart.pc:#x} {words} {watch.address:#x}"
            return self._met("watchpoint", vcpu.id, words, watch.address, watch.access)

        return met

    def _caught(self, happening: Happening) -> None:
        self._met("caught", happening.hart, happening.words)
        self._machine.halt(CAUGHT, happening.words)
