"""The registers of a guest's hart by number, and its CSRs by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vpmu.spec.csr import Csr

if TYPE_CHECKING:
    from vpmu.hart.hart import Hart

GUEST_CSRS = {
    Csr.SSTATUS: "sstatus", Csr.SIE: "sie", Csr.STVEC: "stvec", Csr.SSCRATCH: "sscratch", Csr.SEPC: "sepc",
    Csr.SCAUSE: "scause", Csr.STVAL: "stval", Csr.SIP: "sip", Csr.SATP: "satp",
    Csr.SCOUNTEREN: "scounteren", Csr.SENVCFG: "senvcfg",
}  # fmt: skip
"""CSRs that user space reads and writes by ONE_REG, and the word of the hart that holds each."""


class Registers(Sequence[int]):
    """x0..x31 of a hart, readable and writable by index; x0 stays 0."""

    def __init__(self, hart: Hart) -> None:
        self._hart = hart

    def __getitem__(self, index: int) -> int:  # type: ignore[override]
        return self._hart.x(range(32)[index])

    def __setitem__(self, index: int, value: int) -> None:
        self._hart.set_x(range(32)[index], value)

    def __len__(self) -> int:
        return 32
