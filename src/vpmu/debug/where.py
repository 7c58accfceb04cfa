"""Where the harts of a machine are, in words: pc, mode, the last trap, who called whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpmu.debug.names import Names
from vpmu.hart.memory import MemoryFault
from vpmu.profiles.profiles import IMPL_ID_KVM
from vpmu.see.vcpu_api import MP_STATE_STOPPED, GuestTrap
from vpmu.spec.csr import Cause, Irq

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart
    from vpmu.vmm.machine import Machine

_RA, _FP = 1, 8
MOST_FRAMES = 12
_INTERRUPT = 1 << 63
_NONE = Names(lambda: None)


@dataclass(frozen=True, slots=True)
class Place:
    """One hart. `calls` is the chain of callers that its frame pointers show, the innermost first, as far as
    the symbols know them; `scause`, `sepc` and `stval` are those of the last trap to S mode, `mcause`, `mepc`
    and `mtval` those of the last one to M mode.
    """

    hart: int
    mode: str
    pc: int
    symbol: str | None
    scause: int
    sepc: int
    stval: int
    trapped_at: str | None
    calls: tuple[str, ...]
    mcause: int = 0
    mepc: int = 0
    mtval: int = 0

    def lines(self) -> list[str]:
        """For a person."""
        told = [f"hart {self.hart} in {self.mode} mode at pc {named(self.pc, self.symbol)}"]
        if self.scause or self.sepc:
            told[0] += (
                f"; last trap: scause {self.scause:#x} ({cause_name(self.scause)}), "
                f"sepc {named(self.sepc, self.trapped_at)}, stval {self.stval:#x}"
            )
        if self.mcause or self.mepc:
            told[0] += (
                f"; last trap to M mode: mcause {self.mcause:#x} ({cause_name(self.mcause)}), "
                f"mepc {self.mepc:#x}, mtval {self.mtval:#x}"
            )
        if self.calls:
            told.append(f"called from {' < '.join(self.calls)}")
        return told

    def as_object(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "hart": self.hart, "mode": self.mode, "pc": self.pc, "symbol": self.symbol,
            "scause": self.scause, "cause": cause_name(self.scause) if self.scause or self.sepc else None,
            "sepc": self.sepc, "sepc_symbol": self.trapped_at, "stval": self.stval,
            "calls": list(self.calls), "mcause": self.mcause, "mepc": self.mepc, "mtval": self.mtval,
        }  # fmt: skip


def where(machine: Machine, names: Names = _NONE) -> list[Place]:
    """All harts that are not stopped; the one that ran last first."""
    harts = [vcpu for vcpu in machine.vcpus if vcpu.mp_state != MP_STATE_STOPPED] or machine.vcpus[:1]
    last = machine.turns.current
    return [_place(vcpu, names) for vcpu in sorted(harts, key=lambda vcpu: (vcpu.id != last, vcpu.id))]


def _place(vcpu: GuestHart, names: Names) -> Place:
    hart = vcpu.hart
    sepc = hart.get("sepc")
    return Place(
        vcpu.id, _mode(vcpu), hart.pc, names.of(vcpu, hart.pc), hart.get("scause"), sepc,
        hart.get("stval"), names.of(vcpu, sepc) if sepc else None, tuple(_calls(vcpu, names)),
        hart.get("mcause"), hart.get("mepc"), hart.get("mtval"),
    )  # fmt: skip


def _mode(vcpu: GuestHart) -> str:
    """The mode as the image's author calls it: a hart that has two of them is in S and U where nobody plays a
    hypervisor below it.
    """
    name = vcpu.hart.mode.name or "?"
    two = not vcpu.hart.whole and vcpu.profile.impl_id != IMPL_ID_KVM
    return name.removeprefix("V") if two else name


def _calls(vcpu: GuestHart, names: Names) -> Iterator[str]:
    """ra, then the return addresses that the frame pointers lead to (ra at fp - 8, the caller's fp at
    fp - 16, as in Linux's arch/riscv/kernel/stacktrace.c), while they have names.
    """
    ra, fp = vcpu.hart.x(_RA), vcpu.hart.x(_FP)
    addresses = [ra]
    with suppress(GuestTrap, MemoryFault):
        while len(addresses) < MOST_FRAMES and fp and fp % 8 == 0:
            frame = vcpu.load_virtual(fp - 16 & (1 << 64) - 1, 16)
            caller, address = int.from_bytes(frame[:8], "little"), int.from_bytes(frame[8:], "little")
            addresses.append(address)
            if caller <= fp:
                break
            fp = caller
    before = None
    for address in addresses:
        name = names.of(vcpu, address)
        if name is not None and name != before:
            yield name
        before = name or before


def named(address: int, symbol: str | None) -> str:
    """An address and what it is called."""
    return f"{address:#x}" if symbol is None else f"{address:#x} ({symbol})"


def cause_name(scause: int) -> str:
    """An exception or interrupt by its name in the privileged ISA, in words."""
    kind = Irq if scause & _INTERRUPT else Cause
    number = scause & ~_INTERRUPT
    try:
        name = kind(number).name.lower().replace("_", " ")
    except ValueError:
        name = f"{number}"
    return f"{name} interrupt" if scause & _INTERRUPT else name
