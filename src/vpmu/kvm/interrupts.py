"""Interrupts of a vCPU as user space reaches them, and what ends its waiting (arch/riscv/kvm/vcpu.c)."""

from __future__ import annotations

from ..profiles.behaviours import B
from ..profiles.profiles import Profile
from ..see.interrupts import KNOWN_MASK, Interrupts
from ..spec.csr import Irq

_LCOFI = 1 << Irq.LCOFI
_STRAY = 1 << Irq.LCOFI + 1
"""Where KVM put LCOFI before 52c6b7d20d3e: it shifted it like the three interrupts that hvip has one bit
higher than sip.
"""
_VS_VALID = 1 << Irq.SOFTWARE | 1 << Irq.TIMER | 1 << Irq.EXTERNAL


class VcpuInterrupts(Interrupts):
    """Pending interrupts of one vCPU. `stray`: what ONE_REG left in a bit of KVM's hvip that no hart has."""

    __slots__ = ("stray",)

    def __init__(self) -> None:
        super().__init__()
        self.stray = 0

    def reset(self) -> None:
        """vCPU reset: nothing is pending."""
        super().reset()
        self.stray = 0

    def take_over(self, old: Interrupts) -> None:
        """Hold what another holds."""
        super().take_over(old)
        self.stray = old.stray if isinstance(old, VcpuInterrupts) else 0

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
