"""What a hart can count, in which privilege modes, and the interface through which its PMU asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag, StrEnum
from typing import Final, Protocol


class Mode(IntFlag):
    """Privilege modes. A counter's mode filter is the set of modes in which it counts."""

    VU = 1
    VS = 2
    U = 4
    S = 8  # HS, with the hypervisor extension
    M = 16


ALL_MODES = Mode.VU | Mode.VS | Mode.U | Mode.S | Mode.M
"""No filter. A hart that is a guest's has VS and VU alone."""


class HartEvent(StrEnum):
    """Events that a hart counts exactly. Each happens at most once per instruction, except CYCLES."""

    CYCLES = "cycles"
    """Clock cycles by the stated cost model: one per instruction, plus configured penalties."""
    INSTRUCTIONS = "instructions"
    """Retired instructions."""
    BRANCHES = "branches"
    """Retired conditional branches, taken or not, and jumps."""
    LOADS = "loads"
    """Retired loads of any register file, LR among them."""
    STORES = "stores"
    """Retired stores of any register file, SC and AMO among them: no instruction is both a load and a
    store.
    """
    ATOMICS = "atomics"
    """Retired LR, SC and AMO instructions."""
    FP = "fp"
    """Retired floating-point computations (loads and stores excluded)."""
    CSR = "csr"
    """Retired Zicsr instructions."""
    SYSTEM = "system"
    """Retired fences, returns from traps, WFI and the like."""
    MULDIV = "muldiv"
    """Retired M-extension instructions."""
    TRAPS = "traps"
    """Traps taken by the guest, exceptions and interrupts."""
    DTLB_READ_MISS = "dtlb-read-miss"
    """Loads whose translation the modelled data TLB did not hold."""
    DTLB_WRITE_MISS = "dtlb-write-miss"
    """Stores whose translation the modelled data TLB did not hold."""
    ITLB_MISS = "itlb-miss"
    """Fetches whose translation the modelled instruction TLB did not hold."""
    L1D_READ_MISS = "l1d-read-miss"
    """Loads whose line the modelled first-level data cache did not hold."""
    L1D_WRITE_MISS = "l1d-write-miss"
    """Stores whose line the modelled first-level data cache did not hold."""


class EventSource(Protocol):
    """A hart as its PMU sees it."""

    @property
    def words(self) -> Sequence[int]:
        """The words in which it counts, exact at the current instruction boundary. Word 0 is always 0."""
        ...

    def words_of(self, event: HartEvent, modes: Mode) -> tuple[int, ...]:
        """Which words add up to the total of ``event`` in ``modes`` since power-on."""
        ...

    def want(self, events: frozenset[HartEvent]) -> None:
        """Name every event that is needed from now on; the hart may stop counting the others."""
        ...


FAR: Final = 1 << 28
FOREVER: Final = 1 << 61


class Quiet:
    """How long nobody has to ask for overflows."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until = 0
        """Retired instructions of the hart, of its life, before which no counter can request an interrupt,
        unless it is changed; whoever runs the hart asks again at least every FAR instructions.
        """
