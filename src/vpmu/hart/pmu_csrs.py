"""The PMU's CSRs on the physical PMU: mcountinhibit, mhpmevent, mhpmcounter, and the counters below M mode.

Privileged ISA 3.1.10 to 3.1.12, Sscofpmf and Smcntrpmf. The engine has checked who may touch a CSR before it
stops here (privileged/whole/csr.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from vpmu.hart.events import ALL_MODES, Mode
from vpmu.hart.pmu import CYCLE, FIXED, INSTRET, PhysicalPmu, Selector

MCOUNTINHIBIT, MCYCLECFG, MINSTRETCFG, MHPMEVENT0 = 0x320, 0x321, 0x322, 0x320
MCYCLE, CYCLE_CSR, SCOUNTOVF = 0xB00, 0xC00, 0xDA0
OF = 1 << 63
_FILTERS = {1 << 62: Mode.M, 1 << 61: Mode.S, 1 << 60: Mode.U, 1 << 59: Mode.VS, 1 << 58: Mode.VU}
_FILTER_BITS = sum(_FILTERS)
SELECTOR_BITS = (1 << 56) - 1


class NoCsr(Exception):
    """The hart has no such CSR: the access is an illegal instruction."""


class PmuCsrs:
    """What software in M mode programs. `selectors`: values of mhpmevent (bits 55:0) and what they count; any
    other counts nothing.
    """

    def __init__(self, pmu: PhysicalPmu, selectors: Mapping[int, Selector]) -> None:
        self._pmu = pmu
        self._selectors = selectors
        self._present = frozenset(pmu.layout.indices)
        self.events: dict[int, int] = {}
        self.reset()

    def reset(self) -> None:
        """All counters stopped at what they hold, without an event; cycle and instret count (3.1.12)."""
        self.events = dict.fromkeys(self._present, 0)
        for index in self._present:
            self._pmu.configure(index, None, ALL_MODES)
            if index in FIXED:
                self._pmu.start(index)
            else:
                self._pmu.stop(index)

    def read(self, csr: int) -> int:
        """The value of a CSR of the PMU. Raises NoCsr."""
        if csr == MCOUNTINHIBIT:
            return self._pmu.inhibit
        if csr == SCOUNTOVF:
            return self._pmu.overflow_flags & ~7
        if csr in (MCYCLECFG, MINSTRETCFG):
            if not self._pmu.layout.smcntrpmf:
                raise NoCsr
            return self.events[CYCLE if csr == MCYCLECFG else INSTRET]
        if MHPMEVENT0 + 3 <= csr < MHPMEVENT0 + 32:
            index = csr - MHPMEVENT0
            if index not in self._present:
                return 0  # the selector of a counter that is not there: OpenSBI 1.1 writes them
            flag = self._pmu.layout.sscofpmf and self._pmu.overflow_flags >> index & 1
            return self.events[index] | (OF if flag else 0)
        index = csr & 31
        if csr >> 5 not in (MCYCLE >> 5, CYCLE_CSR >> 5) or index == 1:
            raise NoCsr
        self._require(index)
        return self._pmu.read(index)

    def _require(self, index: int) -> None:
        """A counter that the hart lacks is an illegal instruction, as on QEMU: the ISA also allows zeros, but
        firmware looks for the trap.
        """
        if index not in self._present:
            raise NoCsr

    def write(self, csr: int, value: int) -> None:
        """Write a CSR of the PMU. Raises NoCsr."""
        if csr == MCOUNTINHIBIT:
            for index in self._present:
                (self._pmu.stop if value >> index & 1 else self._pmu.start)(index)
        elif csr in (MCYCLECFG, MINSTRETCFG):
            if not self._pmu.layout.smcntrpmf:
                raise NoCsr
            self._configure(CYCLE if csr == MCYCLECFG else INSTRET, value & _FILTER_BITS)
        elif MHPMEVENT0 + 3 <= csr < MHPMEVENT0 + 32:
            if csr - MHPMEVENT0 in self._present:
                self._configure(csr - MHPMEVENT0, value)
        elif MCYCLE <= csr < MCYCLE + 32 and csr != MCYCLE + 1:
            if csr - MCYCLE in self._present:
                self._pmu.write(csr - MCYCLE, value)
        else:
            raise NoCsr

    def _configure(self, index: int, value: int) -> None:
        filters = self._pmu.filters(index)
        kept = SELECTOR_BITS | (_FILTER_BITS if filters else 0)
        self.events[index] = value & kept
        modes = ALL_MODES
        for bit, mode in _FILTERS.items():
            if filters and value & bit:
                modes &= ~mode
        if index in FIXED:
            self._pmu.configure(index, None, modes)
            return
        selector = self._selectors.get(value & SELECTOR_BITS)
        if selector is not None and not self._pmu.can_count(index, selector):
            selector = None
        self._pmu.configure(index, selector, modes)
        if value & OF and self._pmu.layout.sscofpmf:
            self._pmu.set_overflow(index)
