"""Places at which a machine's run ends, by name or address: for scripts that need no debugger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import MachineError, UnknownNameError, UsageError
from ..hart.hart import GuestFault
from .catch import CAUGHT, Catcher, Happening, parse_catch
from .loader import ImageKind, LoadedImage

if TYPE_CHECKING:
    from .machine import Machine
    from .run_result import RunResult

ACCESSES = ("r", "w", "rw")


@dataclass(frozen=True, slots=True)
class Point:
    """A breakpoint or a watchpoint, until `remove`. `physical`: where it lies in guest memory."""

    physical: int
    remove: Callable[[], None]

    def __enter__(self) -> Point:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def break_at(machine: Machine, where: str | int) -> Point:
    """See Machine.break_at."""
    physical = physical_of(machine, where) & ~1
    breakpoints = machine.memory.breakpoints

    def met(vcpu: object) -> bool:
        return True

    breakpoints.add(physical, met)
    return Point(physical, lambda: breakpoints.remove(physical, met))


def watch(machine: Machine, where: str | int, size: int, access: str) -> Point:
    """See Machine.watch."""
    if access not in ACCESSES:
        raise UnknownNameError("access to watch", access, ACCESSES)
    physical = physical_of(machine, where)
    watchpoints = machine.memory.watchpoints

    def met(vcpu: object, access: str) -> bool:
        return True

    try:
        watchpoints.add(physical, size, access, met)
    except ValueError as error:
        raise UsageError(str(error), layer="machine") from None
    return Point(physical, lambda: watchpoints.remove(met))


def until(machine: Machine, event: str, max_instructions: int | None) -> RunResult:
    """See Machine.until."""

    def told(happening: Happening) -> None:
        machine.halt(CAUGHT, happening.words)

    catcher = Catcher(machine, [parse_catch(event)], told)
    catcher.attach()
    try:
        return machine.run(max_instructions)
    finally:
        catcher.detach()


def physical_of(machine: Machine, where: str | int) -> int:
    """The guest physical address of a symbol of the loaded image, or of an address as the hart that runs sees
    it now. UnknownNameError, MachineError.
    """
    if isinstance(where, str):
        return symbol_address(machine.loaded, where)
    if not 0 <= where < 1 << 64:
        raise MachineError("address", expected="one of 64 bits", got=where)
    try:
        hart = machine.vcpus[machine.turns.current].hart
        return hart.translate(where & ~1, 2) | where & 1
    except GuestFault:
        raise MachineError(f"address {where:#x}", expected="one that is mapped now", got="none") from None


def symbol_address(loaded: LoadedImage | None, name: str) -> int:
    """Where a symbol of an image lies in guest memory. UnknownNameError; ImageError for a kernel without
    kallsyms.
    """
    if loaded is None:
        raise MachineError(f"symbol {name!r}", expected="an image that was loaded, or an address", got="none")
    if loaded.kind is ImageKind.LINUX:
        from .kallsyms import KERNEL_LINK_ADDRESS, Kallsyms

        table = Kallsyms(loaded.data, loaded.name)
        found = table.find(name)
        if found is not None:
            return loaded.entry + found.address - KERNEL_LINK_ADDRESS
        known = (symbol.name for symbol in table)
        raise UnknownNameError("symbol", name, known, layer="machine")
    symbols = loaded.symbols()
    if name not in symbols:
        raise UnknownNameError("symbol", name, symbols, layer="machine")
    return loaded.physical(symbols[name])
