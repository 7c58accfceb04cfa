"""Counter CSRs that trap: hcounteren leaves only `time` open to a guest, KVM answers the others (3.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..profiles.behaviours import B
from ..see.pmu import IllegalCounter
from ..spec.csr import Csr

if TYPE_CHECKING:
    from .pmu import VcpuPmu

_CYCLE: Final = int(Csr.CYCLE)
_LAST: Final = int(Csr.HPMCOUNTER31)
_FIXED = (Csr.CYCLE, Csr.INSTRET)


def emulates(pmu: VcpuPmu, csr: int) -> bool:
    """True where a trapped access of this CSR is KVM's to answer; any other one is illegal for the guest."""
    return _CYCLE <= csr < _LAST or (csr == _LAST and not pmu.profile.has(B.CSR_TABLE_ENDS_AT_30))


def emulate(
    pmu: VcpuPmu,
    csr: int,
    *,
    writes: bool,
    sbi_enabled: bool = True,
    user_mode: bool = False,
    scounteren: int = 7,
) -> int:
    """See SbiPmu.read_csr; `writes` is KVM's wr_mask."""
    if not _CYCLE <= csr < _LAST and not emulates(pmu, csr):
        raise IllegalCounter(f"CSR {csr:#x} is not emulated")
    index = csr - _CYCLE
    if user_mode and not scounteren >> index & 1 and not pmu.profile.has(B.CSR_IGNORES_SCOUNTEREN):
        raise IllegalCounter(f"scounteren closes CSR {csr:#x} to VU mode")
    absent = not pmu.available or not (sbi_enabled or pmu.profile.has(B.CSR_ILLEGAL_WHEN_DISABLED))
    if absent:
        # For guests whose legacy driver reads cycle and instret without asking. KVM does not even look at a
        # write.
        pmu.undetermined = False
        if csr in _FIXED and not pmu.profile.has(B.CSR_ILLEGAL_WITHOUT_CONFIG):
            return 0
        raise IllegalCounter(f"CSR {csr:#x}: the vCPU has no PMU")
    if writes:
        raise IllegalCounter(f"CSR {csr:#x} is read-only")
    return pmu.read_csr_counter(index)
