"""The hypervisor extension in a guest: its hart is the host's with V=1, so its instructions and CSRs raise
the virtual-instruction exception, which KVM sends back as an illegal one without counting it
(system_opcode_insn, truly_illegal_insn in arch/riscv/kvm/vcpu_insn.c).
"""

from __future__ import annotations

import struct

import pytest

from vpmu import Machine
from vpmu.hart import state
from vpmu.hart.isa.hypervisor import INSTRUCTIONS
from vpmu.kvm.refused_insn import HYPERVISOR_CSRS
from vpmu.spec.csr import Cause, Csr
from vpmu.spec.sbi import Eid, PmuFid

HERE, HANDLER = 0x80008000, 0x80000100
ILLEGAL_INSN = 0xF0004
OF_H = {row.name: row.match | 6 << 15 for row in INSTRUCTIONS if row.whole} | {
    f"csrr {csr:#x}": csr << 20 | 0x2573 for csr in (*sorted(HYPERVISOR_CSRS), 0xE12)
}
ILLEGAL = {
    "csrr 0x6ff": 0x6FF02573, "csrw 0xa00": 0xA0031073, "csrw hgeip": 0xE1231073, "htimedeltah": 0x61502573,
    "mret": 0x30200073, "csrr mstatus": 0x30002573, "hlv of no size": 0x6C104073, "0": 0xFFFFFFFF,
}  # fmt: skip


def trapped(profile: str, engine: str, word: int, mode: int) -> tuple[int, ...]:
    """scause, sepc and stval of the guest, and how often firmware counters saw an illegal instruction."""
    machine = Machine(profile, memory=1 << 20, engine=engine)
    vcpu = machine.vcpu(0)
    error, total = vcpu.ecall(Eid.PMU, PmuFid.NUM_COUNTERS)  # type: ignore[misc]
    every = (1 << total) - 1 & ~2  # type: ignore[operator]
    error, counter = vcpu.ecall(Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 0, every, 6, ILLEGAL_INSN, 0)  # type: ignore[misc]
    assert error == 0
    vcpu.write(HERE, struct.pack("<II", word, 0x6F))
    vcpu.write(HANDLER, struct.pack("<I", 0x6F))
    vcpu.pc = HERE
    for csr, value in (("stvec", HANDLER), ("sstatus", 0x6000), ("mode", mode)):
        vcpu.hart.set(csr, value)
    assert machine.run(max_instructions=4).stop == "budget"
    assert vcpu.pc == HANDLER
    counted = vcpu.ecall(Eid.PMU, PmuFid.COUNTER_FW_READ, counter)  # type: ignore[arg-type]
    return (*(vcpu.csr_read(csr) for csr in (Csr.SCAUSE, Csr.SEPC, Csr.STVAL)), counted.value)  # type: ignore[union-attr, return-value]


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("mode", [state.VS, state.VU], ids=("VS", "VU"))
@pytest.mark.parametrize(
    ("profile", "of_h", "illegal"),
    [("kvm-6.12", 0, 1), ("kvm-7.2", 0, 0), ("spec-3.0", 0, 1), ("opensbi-1.6", 1, 1)],
)
def test_what_a_guest_gets(profile: str, of_h: int, illegal: int, mode: int, engine: str) -> None:
    for words, counted in ((OF_H, of_h), (ILLEGAL, illegal)):
        for name, word in words.items():
            got = trapped(profile, engine, word, mode)
            assert got == (Cause.ILLEGAL_INSTRUCTION, HERE, word, counted), name
