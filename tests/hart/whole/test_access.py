"""Who may touch which CSR, and run which instruction (privileged ISA, 2.1, 3.1.6.5, 21.3 and 21.6.1)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

import pytest

from vpmu.hart.csr_table import CSRS

from ..assemble import EBREAK, ECALL, SRET, WFI, csr
from . import spike
from .compare import as_on_spike, same_on_both_engines
from .probe import MODES, Probe, build, number, on_engine

pytestmark = pytest.mark.usefixtures("built_engine")

ILLEGAL, VIRTUAL, OK = 2, 22, 0
TVM, TW, TSR = 1 << 20, 1 << 21, 1 << 22  # of mstatus; VTVM, VTW and VTSR are the same bits of hstatus
STCE = 1 << 63
FS = 3 << 13


def read(name: int | str) -> int:
    return csr("csrrs", 10, number(name))


def write(name: int | str) -> int:
    """It sets no bit, yet it writes."""
    return csr("csrrs", 0, number(name), 11)


@dataclasses.dataclass(frozen=True)
class Row:
    """An instruction, the state it meets, and the exception that M, HS, U, VS and VU get."""

    name: str
    word: int
    causes: tuple[int, int, int, int, int]
    csrs: Mapping[str | int, int] = dataclasses.field(default_factory=dict)
    status: int = 0


HLV_D, HSV_D, HLVX_HU = 0x6C004073 | 11 << 15, 0x6E004073 | 11 << 15, 0x64304073 | 11 << 15
ANYWHERE = {11: 0x80C80000}
HU, SUM = 1 << 9, 1 << 18
COUNTER, TIME = 0xC03, 0xC01
ROWS = (
    Row("a hypervisor CSR", read("hstatus"), (0, 0, 2, 22, 22)),
    Row("a VS CSR", write("vsscratch"), (0, 0, 2, 22, 22)),
    Row("a read-only one, read", read("hgeip"), (0, 0, 2, 22, 22)),
    Row("a read-only one, written", write("hgeip"), (2, 2, 2, 2, 2)),
    Row("htimedeltah", read(0x615), (2, 2, 2, 2, 2)),
    Row("a VS CSR that is not there", read(0x2C0), (2, 2, 2, 2, 2)),
    Row("an M CSR", read("mscratch"), (0, 2, 2, 2, 2)),
    Row("a supervisor CSR", write("senvcfg"), (0, 0, 2, 0, 22)),
    Row("sstatus", read("sstatus"), (0, 0, 2, 0, 22)),
    Row("satp, TVM", read("satp"), (0, 2, 2, 0, 22), status=TVM),
    Row("satp, VTVM", write("satp"), (0, 0, 2, 22, 22), {"hstatus": TVM}),
    Row("hgatp, TVM", read("hgatp"), (0, 2, 2, 22, 22), status=TVM),
    Row("vsatp, TVM", read("vsatp"), (0, 0, 2, 22, 22), status=TVM),
    Row("time, no mcounteren", read(TIME), (0, 2, 2, 2, 2), {"mcounteren": 0}),
    Row("time, no hcounteren", read(TIME), (0, 0, 0, 22, 22), {"hcounteren": 0}),
    Row("time, no scounteren", read(TIME), (0, 0, 2, 0, 22), {"scounteren": 0}),
    Row("a counter, no mcounteren", read(COUNTER), (0, 2, 2, 2, 2), {"mcounteren": 0}),
    Row("a counter, no hcounteren", read(COUNTER), (0, 0, 0, 22, 22), {"hcounteren": 0}),
    Row("a counter, no scounteren", read(COUNTER), (0, 0, 2, 0, 22), {"scounteren": 0}),
    Row("a counter, written", write(COUNTER), (2, 2, 2, 2, 2)),
    Row("stimecmp", write("stimecmp"), (0, 0, 2, 0, 22)),
    Row("stimecmp, menvcfg", read("stimecmp"), (0, 2, 2, 2, 2), {"menvcfg": 0}),
    Row("stimecmp, mcounteren", read("stimecmp"), (0, 2, 2, 2, 2), {"mcounteren": ~2 & (1 << 32) - 1}),
    Row("stimecmp, henvcfg", read("stimecmp"), (0, 0, 2, 22, 22), {"henvcfg": 0}),
    Row("stimecmp, hcounteren", read("stimecmp"), (0, 0, 2, 22, 22), {"hcounteren": 0}),
    Row("vstimecmp", write("vstimecmp"), (0, 0, 2, 22, 22)),
    Row("vstimecmp, menvcfg", read("vstimecmp"), (0, 2, 2, 2, 2), {"menvcfg": 0}),
    Row("scountovf", read("scountovf"), (0, 0, 2, 0, 22)),
    Row("senvcfg, mstateen0", read("senvcfg"), (0, 2, 2, 2, 2), {"mstateen0": 0}),
    Row("senvcfg, hstateen0", read("senvcfg"), (0, 0, 2, 22, 22), {"hstateen0": 0}),
    Row("henvcfg, mstateen0", read("henvcfg"), (0, 2, 2, 2, 2), {"mstateen0": 0}),
    Row("sstateen2", read(0x10E), (0, 2, 2, 2, 2)),
    Row("sstateen2, mstateen2", read(0x10E), (0, 0, 2, 22, 22), {0x30E: 1 << 63}),
    Row("fcsr, FS off", read("fcsr"), (2, 2, 2, 2, 2)),
    Row("fcsr, host's FS off", read("fcsr"), (2, 2, 2, 2, 2), {"vsstatus": FS}),
    Row("fcsr, guest's FS off", read("fcsr"), (0, 0, 0, 2, 2), status=FS),
    Row("fcsr, both on", write("fcsr"), (0, 0, 0, 0, 0), {"vsstatus": FS}, FS),
    Row("fmv.d.x, guest's FS off", 0xF2058053, (0, 0, 0, 2, 2), status=FS),
    Row("fadd.d, reserved rounding", 0x02005053, (2, 2, 2, 2, 2), {"vsstatus": FS}, FS),
    Row("hlv.d", HLV_D, (0, 0, 2, 22, 22)),
    Row("hlv.d, HU", HLV_D, (0, 0, 0, 22, 22), {"hstatus": HU}),
    Row("hsv.d", HSV_D, (0, 0, 2, 22, 22)),
    Row("hlvx.hu", HLVX_HU, (0, 0, 2, 22, 22)),
    Row("hfence.vvma", 0x22000073, (0, 0, 2, 22, 22)),
    Row("hfence.vvma, TVM", 0x22058073, (0, 0, 2, 22, 22), status=TVM),
    Row("hfence.gvma", 0x62000073, (0, 0, 2, 22, 22)),
    Row("hfence.gvma, TVM", 0x62058073, (0, 2, 2, 22, 22), status=TVM),
    Row("sfence.vma", 0x12000073, (0, 0, 2, 0, 22)),
    Row("sfence.vma, TVM", 0x12058073, (0, 2, 2, 0, 22), status=TVM),
    Row("sfence.vma, VTVM", 0x12000073, (0, 0, 2, 22, 22), {"hstatus": TVM}),
    Row("sinval.vma", 0x16000073, (0, 0, 2, 0, 22)),
    Row("sinval.vma, TVM", 0x16058073, (0, 2, 2, 0, 22), status=TVM),
    Row("sinval.vma, VTVM", 0x16000073, (0, 0, 2, 22, 22), {"hstatus": TVM}),
    Row("hinval.vvma, TVM", 0x26000073, (0, 0, 2, 22, 22), status=TVM),
    Row("hinval.gvma, TVM", 0x66000073, (0, 2, 2, 22, 22), status=TVM),
    Row("sfence.w.inval, TVM VTVM", 0x18000073, (0, 0, 2, 0, 22), {"hstatus": TVM}, TVM),
    Row("sfence.inval.ir", 0x18100073, (0, 0, 2, 0, 22)),
    Row("mret", 0x30200073, (-1, 2, 2, 2, 2)),
    Row("sret, TSR", SRET, (-1, 2, 2, -1, 22), status=TSR),
    Row("sret, VTSR", SRET, (-1, -1, 2, 22, 22), {"hstatus": TSR}),
    Row("wfi", WFI, (-1, -1, 2, -1, 22)),
    Row("wfi, TW", WFI, (-1, 2, 2, 2, 2), status=TW),
    Row("wfi, VTW", WFI, (-1, -1, 2, 22, 22), {"hstatus": TW}),
    Row("wfi, TW VTW", WFI, (-1, 2, 2, 2, 2), {"hstatus": TW}, TW),
    Row("ebreak", EBREAK, (3, 3, 3, 3, 3)),
    Row("ecall", ECALL, (11, 9, 8, 10, 8)),
)
"""-1: it is legal, but does not go on behind itself; other tests have it."""


def probes() -> list[tuple[Probe, int]]:
    answer = []
    for row in ROWS:
        for mode, cause in zip(MODES, row.causes, strict=True):
            if cause >= 0:
                probe = Probe(mode, [row.word], row.csrs, ANYWHERE, status=row.status, name=row.name)
                answer.append((probe, cause))
    return answer


def test_rows() -> None:
    """The table of who may do what, on both engines and Spike."""
    table = probes()
    ours = same_on_both_engines([probe for probe, _ in table])
    calls = {"M": 11, "HS": 9, "U": 8, "VS": 10, "VU": 8}
    for (probe, cause), result in zip(table, ours, strict=True):
        what = f"{probe.mode} {probe.name}"
        if cause == OK:
            assert (result.trap, result["mepc"]) == (("M", calls[probe.mode]), result.pc + 4), what
        else:
            assert (result.trap, result["mepc"]) == (("M", cause), result.pc), what
            if cause in (ILLEGAL, VIRTUAL):
                assert result["mtval"] == probe.words[0], what


def value_read(probe: Probe, name: str, ours: int, spikes: int) -> bool:
    """What is read is another test's business."""
    return name == "x10"


@spike.needed
def test_rows_as_on_spike() -> None:
    table = [probe for probe, _ in probes()]
    assert not as_on_spike(table, on_engine(build(table), "native"), excuse=value_read)


STATES: dict[str, tuple[Mapping[str, int], int]] = {
    "plain": ({}, 0),
    "TVM TW TSR": ({}, TVM | TW | TSR),
    "VTVM VTW VTSR": ({"hstatus": TVM | TW | TSR}, 0),
    "no mcounteren": ({"mcounteren": 0}, 0),
    "no hcounteren": ({"hcounteren": 0}, 0),
    "no scounteren": ({"scounteren": 0}, 0),
    "no menvcfg": ({"menvcfg": 0}, 0),
    "no henvcfg": ({"henvcfg": 0}, 0),
    "FS of the host": ({}, FS),
    "FS of the guest": ({"vsstatus": FS}, 0),
    "FS": ({"vsstatus": FS}, FS),
    "no mstateen0": ({"mstateen0": 0}, 0),
    "no hstateen0": ({"hstateen0": 0}, 0),
    "mstateen0.SE0": ({"mstateen0": 1 << 63}, 0),
    "hstateen0.SE0": ({"hstateen0": 1 << 63}, 0),
}
EXTRA = {
    "hpmcounter31": 0xC1F,
    "htimedeltah": 0x615,
    "none": 0x5C0,
    "none of VS": 0x2C0,
    "none to read": 0xE50,
}
ENGINES_ONLY = {"mcountinhibit", "mcyclecfg", "mhpmevent3", "mcycle", "minstret"}
NUMBERS = {
    row.name: row.number
    for row in CSRS
    if row.name not in ENGINES_ONLY and row.needs not in ("ISA_AIA", "ISA_PMP")
} | EXTRA


def matrix(state: str) -> list[Probe]:
    """Every CSR from every mode, read and written."""
    csrs, status = STATES[state]
    return [
        Probe(mode, [form(where)], csrs, {11: 0}, status=status, name=f"{name}, {form.__name__}")
        for mode in MODES
        for name, where in NUMBERS.items()
        for form in (read, write)
    ]


@spike.needed
@pytest.mark.parametrize("state", STATES if os.environ.get("VPMU_SPIKE") else ["plain"])
def test_every_csr_from_every_mode_as_on_spike(state: str) -> None:
    """VPMU_SPIKE=1: under every state that can deny an access."""
    table = matrix(state)
    assert not as_on_spike(table, on_engine(build(table), "native"), excuse=value_read)
