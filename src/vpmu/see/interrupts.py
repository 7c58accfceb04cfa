"""Interrupts that the level below raises in a supervisor: requests, their way into sip, and what the
guest clears.

Numbers are bit positions in sip (spec.csr.Irq): software 1, timer 5, external 9, counter overflow (LCOFI) 13.
Source: kvm_riscv_vcpu_{set,unset,flush,sync}_interrupt(s), arch/riscv/kvm/vcpu.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..spec.csr import Irq

if TYPE_CHECKING:
    from ..profiles.profiles import Profile

KNOWN = (Irq.SOFTWARE, Irq.TIMER, Irq.EXTERNAL, Irq.LCOFI)
KNOWN_MASK = sum(1 << irq for irq in KNOWN)
_SOFTWARE: Final = 1 << Irq.SOFTWARE
_LCOFI: Final = 1 << Irq.LCOFI


class Interrupts:
    """Pending interrupts of one hart.

    `pending` holds what is requested, `pending_mask` which bits of it changed since the last flush, `hvip`
    what the guest sees in sip.
    """

    __slots__ = ("hvip", "pending", "pending_mask")
    moves_by_itself = False
    """Requests may come from nobody but time: `flush` is due before every entry."""

    def __init__(self) -> None:
        self.pending = 0
        self.pending_mask = 0
        self.hvip = 0

    @property
    def due_ns(self) -> int | None:
        """Virtual time at which the next of them comes, where they move by themselves."""
        return None

    def set(self, irq: int) -> None:
        """Request an interrupt; it is seen at the next entry. Raises ValueError for a number that is none
        of KNOWN.
        """
        bit = self._bit(irq)
        self.pending |= bit
        self.pending_mask |= bit

    def unset(self, irq: int) -> None:
        """Withdraw an interrupt. Raises ValueError for a number that is none of KNOWN."""
        bit = self._bit(irq)
        self.pending &= ~bit
        self.pending_mask |= bit

    def flush(self) -> int:
        """Before an entry: move the changes into hvip; the bits that the guest sees in sip."""
        mask, self.pending_mask = self.pending_mask, 0
        if mask:
            self.hvip = self.hvip & ~mask | self.pending & mask
        return self.hvip

    def sync(self, sip: int) -> None:
        """After an exit: take over what the guest did to its sip. A request made meanwhile wins over a bit
        that it cleared.

        The guest may set and clear software interrupts; of LCOFI only the clearing reaches the requests.
        """
        changed = self.hvip ^ sip
        if changed & _SOFTWARE and not self.pending_mask & _SOFTWARE:
            self.pending_mask |= _SOFTWARE
            self.pending = self.pending & ~_SOFTWARE | sip & _SOFTWARE
        if changed & _LCOFI and not sip & _LCOFI and not self.pending_mask & _LCOFI:
            self.pending_mask |= _LCOFI
            self.pending &= ~_LCOFI
        # A LCOFI that the guest set itself stays visible to it (recorded on KVM 7.2).
        self.hvip = self.hvip & ~(_SOFTWARE | _LCOFI) | sip & (_SOFTWARE | _LCOFI)

    def reset(self) -> None:
        """Reset: nothing is pending."""
        self.pending = self.pending_mask = self.hvip = 0

    def take_over(self, old: Interrupts) -> None:
        """Hold what another holds."""
        self.pending, self.pending_mask, self.hvip = old.pending, old.pending_mask, old.hvip

    @staticmethod
    def wakes_by(profile: Profile) -> int:
        """The interrupts that end the waiting of a hart, where sie enables them."""
        return KNOWN_MASK

    @staticmethod
    def _bit(irq: int) -> int:
        if irq not in KNOWN:
            raise ValueError(f"interrupt: expected one of {', '.join(str(int(n)) for n in KNOWN)}, got {irq}")
        return 1 << irq
