"""The last instructions of a run, and the loop that a run without an end is in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpmu.debug.names import Names
from vpmu.debug.where import named
from vpmu.errors import VpmuError
from vpmu.hart.csr_table import CSRS
from vpmu.hart.isa.table import decode
from vpmu.hart.memory import MemoryFault
from vpmu.see.vcpu_api import GuestTrap
from vpmu.trace.recorder import Record, Recorder
from vpmu.vmm.host_timeout import stall_timeout

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart
    from vpmu.vmm.machine import Machine

STEPS = 4096
"""Instructions that are looked at for a loop."""
SECONDS = 0.4
"""That one of them may take: a call of the SBI may be a long one."""
LAST = 8
MOST_AGAIN = 100_000_000
"""Instructions that a run may have had to be done again."""
_MRET, _SYSTEM, _MACHINE = 0x30200073, 0x73, 3


@dataclass(frozen=True, slots=True)
class Loop:
    """What a guest does for ever: instructions of one round (0: no round was found), lowest and highest pc,
    and the functions it is in, the most frequent first.
    """

    length: int
    low: int
    high: int
    functions: tuple[str, ...]

    def line(self) -> str:
        """For a person."""
        inside = f" in {', '.join(self.functions)}" if self.functions else ""
        if not self.length:
            return f"no short loop: the next {STEPS:,} instructions are{inside or ' of no known function'}"
        if self.low == self.high:
            return f"loops: one instruction at {self.low:#x}{inside}"
        return f"loops: {self.length:,} instructions from {self.low:#x} to {self.high:#x}{inside}"


def loop_of(machine: Machine, names: Names, steps: int = STEPS) -> Loop | None:
    """Let the machine go on by single instructions, unheard, and see where it comes back to. The machine is
    of no use behind this. None where it ends instead, or takes longer than anybody wants to wait.
    """
    machine.console.mute()
    machine.recorder.enabled = False
    pcs: list[int] = []
    tops = Counter[str]()
    with stall_timeout(machine, SECONDS, lambda: len(pcs)):
        for _ in range(steps):
            if machine.run(max_instructions=1).stop != "budget":
                return None
            pcs.append(machine.vcpus[machine.turns.current].hart.pc)
    period = _period(pcs)
    seen = pcs[-period:] if period else pcs
    for pc in seen:
        name = names.of(machine.vcpus[machine.turns.current], pc)
        tops[(name or "").partition("+")[0]] += 1
    functions = tuple(name for name, _ in tops.most_common(4) if name)
    return Loop(period, min(seen), max(seen), functions)


def _period(pcs: list[int]) -> int:
    """The shortest round that the end of the list repeats, 0 for none."""
    last = pcs[-1]
    for length in range(1, len(pcs) // 2 + 1):
        if pcs[-1 - length] == last and pcs[-length:] == pcs[-2 * length : -length]:
            return length
    return 0


@dataclass(frozen=True, slots=True)
class Again:
    """What doing a run again has shown: its last instructions, and whether it is for M mode."""

    last: tuple[str, ...]
    machine_mode: str | None


def again(build: Callable[[Recorder], Machine], instructions: int, names: Names) -> Again | None:
    """Do a run of so many instructions again, up to its end; `build` makes its machine anew. None where that
    would take long, or cannot be had.
    """
    if instructions > MOST_AGAIN:
        return None
    first: list[Record] = []

    def take(record: Record) -> None:
        if not first and record.action == "redirect" and record.args.get("cause") == 2:
            first.append(record)

    try:
        machine = build(Recorder(take))
        machine.console.mute()
        last: list[str] = []
        if instructions > LAST:
            machine.run(max_instructions=instructions - LAST)
        for _ in range(LAST + 1):
            last.append(_instruction(machine.vcpus[machine.turns.current], names))
            if machine.run(max_instructions=1).stop != "budget":
                break
    except VpmuError:
        return None
    return Again(tuple(last[-LAST:]), _for_machine_mode(first))


def _instruction(vcpu: GuestHart, names: Names) -> str:
    pc = vcpu.hart.pc
    try:
        word = int.from_bytes(vcpu.load_virtual(pc, 2, access=2), "little")
        if word & 3 == 3:
            word |= int.from_bytes(vcpu.load_virtual(pc + 2, 2, access=2), "little") << 16
    except (GuestTrap, MemoryFault):
        return f"{named(pc, names.of(vcpu, pc))}: no instruction can be fetched"
    return f"{named(pc, names.of(vcpu, pc))}: {decode(word).row.name} ({word:#x})"


def _for_machine_mode(first: list[Record]) -> str | None:
    """Whether the first illegal instruction is one of M mode, in words."""
    if not first:
        return None
    word, pc = first[0].args.get("stval"), first[0].args.get("pc")
    if not isinstance(word, int) or not isinstance(pc, int):
        return None
    if word == _MRET:
        return f"the image needs M mode: its first illegal instruction, at {pc:#x}, is mret"
    csr = word >> 20
    if word & 0x7F != _SYSTEM or not word >> 12 & 3 or csr >> 8 & 3 != _MACHINE:
        return None
    name = next((row.name for row in CSRS if row.number <= csr < row.end), f"CSR {csr:#x}")
    return f"the image needs M mode: its first illegal instruction, at {pc:#x}, accesses {name}"
