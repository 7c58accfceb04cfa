"""What bounds a run of a hart, whoever runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vpmu.see.exits import HungExit

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart

UNLIMITED: Final = 1 << 61
SLICE: Final = 50_000_000  # instructions between two chances for Ctrl-C: an engine does not see signals
# exits in a row, without a retired instruction, of a guest that hangs: less than a second of them
STALLED_EXITS: Final = 20_000


def hangs(vcpu: GuestHart) -> HungExit | None:
    """Asked before an entry where nothing has retired since the last one: whether that is for ever."""
    vcpu.stalled += 1
    if vcpu.stalled <= STALLED_EXITS:
        return None
    pc = vcpu.hart.pc
    return HungExit(f"{STALLED_EXITS} exits, the last at pc {pc:#x}, without one retired instruction")
