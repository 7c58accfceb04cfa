"""What CSRs hold: values at reset, and what is left of ones and zeros written (privileged ISA, each CSR)."""

from __future__ import annotations

import pytest

from vpmu.hart.csr_table import CSRS
from vpmu.hart.whole import WholeHart

from ..assemble import WFI, csr, encode
from . import spike
from .bare import BASE, U64, Image, hart_of
from .compare import as_on_spike, same_on_both_engines
from .probe import ISA, Probe, Result, build, number, on_engine

pytestmark = pytest.mark.usefixtures("built_engine")

FS = 3 << 13
AIA_ISA = ISA | {"ssaia", "smaia"}
HIGH = 0xA << 60  # of menvcfg: STCE, ADUE; no PBMTE, since there is no Svpbmt in ISA
RESET = {
    "misa": 2 << 62 | sum(1 << ord(letter) - ord("a") for letter in "abcdfhimsu"),
    "hstatus": 2 << 32, "vsstatus": 2 << 32, "mstatus": 0xA << 32, "mideleg": 0x444, "medeleg": 0,
    "hedeleg": 0, "hideleg": 0, "hie": 0, "htimedelta": 0, "hcounteren": 0, "hgeie": 0, "hgeip": 0,
    "henvcfg": 0, "htval": 0, "hip": 0, "hvip": 0, "htinst": 0, "hgatp": 0, "vsie": 0, "vsip": 0,
    "vstvec": 0, "vsscratch": 0, "vsepc": 0, "vscause": 0, "vstval": 0, "vsatp": 0, "satp": 0, "mtinst": 0,
    "mtval2": 0, "mie": 0, "mip": 0, "menvcfg": 0, "mcounteren": 0, "mstateen0": 0, "hstateen0": 0,
    "hvien": 0, "hvictl": 0, "hviprio1": 0, "hviprio2": 0, "vsiselect": 0,
    "vstopi": 0, "stopi": 0, "mtopi": 0,
}  # fmt: skip
ONES = {
    "hstatus": 0x2_0070_03C0, "hedeleg": 0x8B1FF, "hideleg": 0x444, "hie": 0x444, "htimedelta": U64,
    "hcounteren": 0xFFFFFFFF, "hgeie": 0, "henvcfg": 1, "htval": U64, "hip": 4, "hvip": 0x444, "htinst": U64,
    "vsstatus": 0x8000_0002_000C_6122, "vsie": 0, "vstvec": U64 & ~2, "vsscratch": U64, "vsepc": U64 & ~1,
    "vscause": U64, "vstval": U64, "vsip": 0, "vstimecmp": U64, "mtinst": U64, "mtval2": U64,
    "mideleg": 0x2666, "medeleg": 0xF8B7FF, "mie": 0x2EEE, "menvcfg": HIGH | 1, "mcounteren": 0xFFFFFFFF,
    "scounteren": 0xFFFFFFFF, "senvcfg": 1, "sstateen0": 0, "mstateen0": 3 << 62, 0x30E: 1 << 63,
    "sscratch": U64, "sepc": U64 & ~1, "stvec": U64 & ~2, "mcause": U64, "mtval": U64,
    "sie": 0, "sip": 0, "fflags": 31, "frm": 7, "fcsr": 255,
}  # fmt: skip
"""What ones leave of a CSR; M has delegated nothing, and menvcfg is 0."""
DELEGATED = {
    "sie": 0x2222, "vsie": 0x222, "vsip": 2, "sip": 0x2002,
    "henvcfg": HIGH | 1,
}  # fmt: skip
"""The same where M has delegated and given all, and HS delegated all to the guest."""
GIVEN = {"menvcfg": U64, "mideleg": U64, "hideleg": U64}
AIA = {
    "hvip": 0x2444, "hvien": 0x2000, "hideleg": 0x2444, "hvictl": 0x4FFF_03FF, "hviprio1": 0,
    "hviprio2": 0, "mvien": 0, "vsiselect": 0x1FF, "siselect": 0x1FF, "mstateen0": 0xD8 << 56,
}  # fmt: skip


def on_power(name: str, isa: frozenset[str]) -> int:
    """What a CSR reads in M mode after a reset."""
    image = Image()
    image.emit(csr("csrrs", 10, number(name)), WFI)
    hart: WholeHart = hart_of(bytes(image.bytes), "native", isa)
    hart.run(10)
    assert hart.pc == BASE + 4
    return hart.x(10)


@pytest.mark.parametrize("name", RESET)
def test_reset(name: str) -> None:
    assert on_power(name, AIA_ISA) == RESET[name]


def ones(name: str | int, csrs: dict[str | int, int]) -> Probe:
    """Ones, then zeros, then a pattern written whole, set and cleared; what is read lies in x10 to x14."""
    where = number(name)
    words = [
        csr("csrrw", 0, where, 16), csr("csrrs", 10, where), csr("csrrw", 0, where, 0),
        csr("csrrs", 11, where),
        csr("csrrs", 0, where, 17), csr("csrrs", 12, where),
        csr("csrrc", 0, where, 16), csr("csrrs", 13, where),
        encode("addi", rd=14, imm=1),
    ]  # fmt: skip
    status = FS if str(name) in ("fflags", "frm", "fcsr") else 0
    return Probe("M", words, csrs, {16: U64, 17: U64 // 3 * 2}, status=status, name=str(name))


def check(table: dict[str | int, int], csrs: dict[str | int, int], isa: frozenset[str] = ISA) -> None:
    probes = [ones(name, csrs) for name in table]
    for probe, result in zip(probes, same_on_both_engines(probes, isa=isa), strict=True):
        name = int(probe.name) if probe.name.isdigit() else probe.name
        fixed = {"hstatus": 2 << 32, "vsstatus": 2 << 32, "mideleg": 0x444}.get(str(name), 0)
        assert result["x14"] == 1, probe.name
        assert read(result) == (table[name], fixed, shown(table[name] & U64 // 3 * 2 | fixed, name), fixed), (
            name
        )


def read(result: Result) -> tuple[int, ...]:
    return tuple(result[f"x{i}"] for i in range(10, 14))


def shown(value: int, name: str | int) -> int:
    """SD says whether FS is Dirty."""
    return value & ~(1 << 63) if name == "vsstatus" else value


def test_ones_and_zeros() -> None:
    check(ONES, {"menvcfg": 0})


def test_ones_and_zeros_where_all_is_delegated() -> None:
    check(DELEGATED, GIVEN)


def test_ones_and_zeros_with_the_advanced_interrupt_architecture() -> None:
    check(AIA, {}, AIA_ISA)


MODES_HELD = {0: True, 8: True, 9: True, 10: True, 1: False, 7: False, 11: False, 15: False}


@pytest.mark.parametrize("name", ["satp", "vsatp", "hgatp"])
def test_paging_modes(name: str) -> None:
    """An unsupported MODE is not taken; satp and vsatp stay as a whole (12.1.11, 21.2.10, 21.2.14)."""
    where = number(name)
    probes = [
        Probe(
            "M",
            [csr("csrrw", 0, where, 16), csr("csrrw", 0, where, 17), csr("csrrs", 10, where)],
            {},
            {16: 8 << 60 | 0x81000, 17: mode << 60 | 0x55 << 44 | 0x82003},
        )
        for mode in MODES_HELD
    ]
    for (mode, held), result in zip(MODES_HELD.items(), same_on_both_engines(probes), strict=True):
        ppn = 0x82000 if name == "hgatp" else 0x82003
        new = mode << 60 | 0x55 << 44 | ppn
        old = 8 << 60 | 0x55 << 44 | ppn if name == "hgatp" else 8 << 60 | 0x81000
        assert result["x10"] == (new if held else old), mode


def test_a_hart_without_sv57_does_not_take_it() -> None:
    isa = ISA - {"sv57"}
    words = [csr("csrrw", 0, number("satp"), 16), csr("csrrs", 10, number("satp"))]
    assert same_on_both_engines([Probe("M", words, {}, {16: 10 << 60})], isa=isa)[0]["x10"] == 0


def test_what_menvcfg_hides_of_henvcfg_does_not_act_and_is_kept() -> None:
    words = [
        csr("csrrs", 10, number("henvcfg")), csr("csrrw", 0, number("menvcfg"), 0),
        csr("csrrs", 11, number("henvcfg")), csr("csrrw", 0, number("henvcfg"), 0),
        csr("csrrw", 0, number("menvcfg"), 16), csr("csrrs", 12, number("henvcfg")),
    ]  # fmt: skip
    result = same_on_both_engines([Probe("M", words, {"menvcfg": U64, "henvcfg": U64}, {16: U64})])[0]
    assert [result[f"x{i}"] for i in (10, 11, 12)] == [HIGH | 1, 1, HIGH]


ENGINES_ONLY = (
    "mscratch", "mcountinhibit", "mcyclecfg", "mhpmevent3", "mcycle", "minstret", "mtvec", "misa",
    "tselect", "tdata1", "tdata2", "tdata3", "tinfo",  # Spike has triggers
)  # fmt: skip
CHOSEN = {
    "senvcfg": 1, "henvcfg": 1, "menvcfg": 1,  # FIOM, which Spike lacks (3.1.18)
    "hedeleg": 1 << 18, "medeleg": 1 << 18 | 1,  # software check; a misaligned fetch, that cannot happen here
    "hstateen0": 1 << 60 | 1, "mstateen0": 1 << 60 | 1, "sstateen0": 1,  # indirect access, custom state
    "mideleg": 1 << 12, "mie": 1 << 12, "hie": 1 << 12,  # guest external interrupts; GEILEN is 0
}  # fmt: skip
"""Bits that hold on one side alone, by choice or by extension."""


def values(probe: Probe, name: str, ours: int, spikes: int) -> bool:
    if name == "henvcfg":
        return (ours ^ spikes) == 1
    csr_name = probe.name.split()[-1]
    if csr_name == "vsatp" and name == "x10":
        return True  # Spike keeps the old MODE and takes the rest; the manual leaves it open (21.2.14)
    return name[0] == "x" and not (ours ^ spikes) & ~CHOSEN.get(csr_name, 0)


@spike.needed
def test_every_csr_holds_what_it_does_on_spike() -> None:
    states: list[tuple[str, dict[str | int, int]]] = [("", {}), ("given ", {**GIVEN, "henvcfg": U64})]
    probes = []
    for mode, level in (("M", 3), ("HS", 2), ("VS", 1)):
        for what, csrs in states:
            for row in CSRS:
                where = row.number
                if row.name in ENGINES_ONLY or row.needs in ("ISA_AIA", "ISA_PMP") or where >> 10 == 3:
                    continue
                if level == 3 or (where >> 8 & 3 <= level and not (level == 1 and where >> 8 & 3 == 2)):
                    one = ones(row.name, csrs)
                    if row.name == "satp" and level < 3:
                        continue  # it would turn paging on
                    probes.append(
                        Probe(mode, one.words, one.csrs, one.x, status=one.status, name=what + row.name)
                    )
    assert not as_on_spike(probes, on_engine(build(probes), "native"), excuse=values)
