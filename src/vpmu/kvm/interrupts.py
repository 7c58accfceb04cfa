"""Interrupts that the hypervisor raises in a vCPU: requests, their way into sip, and what the
guest clears.

Numbers are bit positions in sip (spec.csr.Irq): software 1, timer 5, external 9, counter overflow (LCOFI) 13.
Source: kvm_riscv_vcpu_{set,unset,flush,sync}_interrupt(s), arch/riscv/kvm/vcpu.c.
"""

from __future__ import annotations

from ..profiles.behaviours import B
from ..profiles.profiles import Profile
from ..spec.csr import Irq

KNOWN = (Irq.SOFTWARE, Irq.TIMER, Irq.EXTERNAL, Irq.LCOFI)
KNOWN_MASK = sum(1 << irq for irq in KNOWN)
_SOFTWARE = 1 << Irq.SOFTWARE
_LCOFI = 1 << Irq.LCOFI
_STRAY = 1 << Irq.LCOFI + 1
"""Where KVM put LCOFI before 52c6b7d20d3e: it shifted it like the three interrupts that hvip has one bit
higher than sip.
"""
_VS_VALID = 1 << Irq.SOFTWARE | 1 << Irq.TIMER | 1 << Irq.EXTERNAL


class VcpuInterrupts:
    """Pending interrupts of one vCPU.

    `pending` holds what is requested, `pending_mask` which bits of it changed since the last flush, `hvip`
    what the guest sees in sip. `stray` is what ONE_REG left in a bit of KVM's hvip that no hart has.
    """

    __slots__ = ("hvip", "pending", "pending_mask", "stray")

    def __init__(self) -> None:
        self.pending = 0
        self.pending_mask = 0
        self.hvip = 0
        self.stray = 0

    def set(self, irq: int) -> None:
        """Request an interrupt; it is seen at the next entry. Raises ValueError for a number that KVM does
        not raise.
        """
        bit = self._bit(irq)
        self.pending |= bit
        self.pending_mask |= bit

    def unset(self, irq: int) -> None:
        """Withdraw an interrupt. Raises ValueError for a number that KVM does not raise."""
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
        """vCPU reset: nothing is pending."""
        self.pending = self.pending_mask = self.hvip = self.stray = 0

    def one_reg_sip(self, profile: Profile | None = None) -> int:
        """What KVM_GET_ONE_REG of sip shows, requests that have not been flushed included; without a profile
        as KVM shows it today.

        KVM before 52c6b7d20d3e does not show a pending LCOFI, and shows one that ONE_REG set twice: in its
        place and in the next (6.12.117: set 0x2000, get 0x6000).
        """
        seen = self.flush()
        if profile is None or not profile.has(B.LCOFI_LOST_OVER_ONE_REG):
            return seen
        return seen & ~_LCOFI | (_LCOFI | _STRAY if self.stray else 0)

    def set_one_reg_sip(self, value: int, profile: Profile) -> None:
        """KVM_SET_ONE_REG of sip, as after a migration: the three VS-level interrupts, and LCOFI since
        52c6b7d20d3e.
        """
        lost = profile.has(B.LCOFI_LOST_OVER_ONE_REG)
        self.hvip = value & (_VS_VALID if lost else _VS_VALID | _LCOFI)
        self.stray = value & _LCOFI if lost else 0
        self.pending = self.hvip
        self.pending_mask = 0

    @staticmethod
    def wakes_by(profile: Profile) -> int:
        """The interrupts that a vCPU which waits looks for (kvm_riscv_vcpu_has_interrupts): not LCOFI before
        52c6b7d20d3e, which looked for it at the wrong bit.
        """
        return KNOWN_MASK & ~_LCOFI if profile.has(B.WFI_IGNORES_LCOFI) else KNOWN_MASK

    @staticmethod
    def _bit(irq: int) -> int:
        if irq not in KNOWN:
            raise ValueError(f"interrupt: expected one of {', '.join(str(int(n)) for n in KNOWN)}, got {irq}")
        return 1 << irq
