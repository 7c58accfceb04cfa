"""Traps, returns and interrupts among five modes (privileged ISA, 3.1.6 to 3.1.9, 21.4 and 21.6; AIA)."""

from __future__ import annotations

import random
from itertools import product

import pytest

from ..assemble import EBREAK, ECALL, NOP, SRET, csr
from . import spike
from .amount import seeds
from .bare import U64
from .compare import as_on_spike, same_on_both_engines
from .probe import DATA, HS_VECTOR, ISA, MODES, VS_VECTOR, Probe, Result, build, number, on_engine
from .random_traps import trap

pytestmark = pytest.mark.usefixtures("built_engine")

SSI, VSSI, STI, VSTI, SEI, VSEI, LCOFI = (1 << bit for bit in (1, 2, 5, 6, 9, 10, 13))
S_LEVEL, VS_LEVEL = SSI | STI | SEI | LCOFI, VSSI | VSTI | VSEI
SIE, SPIE, SPP, MPIE = 1 << 1, 1 << 5, 1 << 8, 1 << 7
GVA, SPV, SPVP = 1 << 6, 1 << 7, 1 << 8
DELEGATED = 0xF0B1FF
IRQ = 1 << 63
STCE = 1 << 63


@pytest.mark.parametrize("seed", seeds(2))
def test_random_traps_on_both_engines(seed: int) -> None:
    rng = random.Random(f"engines {seed}")
    same_on_both_engines([trap(rng) for _ in range(150)])


def by_choice(probe: Probe, name: str, ours: int, spikes: int) -> bool:
    """LCOFI comes last (21.4.3); Spike takes it before the interrupts of VS. Misaligned atomics are access
    faults there. Bit 12 of mideleg reads as one there.
    """
    return (
        (name in ("scause", "mepc", "sepc") and probe.csrs.get("mip", 0) & LCOFI and probe.csrs["hvip"])
        or (name == "mcause" and probe.name == "exception" and (ours, spikes) in ((4, 5), (6, 7)))
        or (name == "x12" and ours ^ spikes == 1 << 12)
    )


@spike.needed
@pytest.mark.parametrize("seed", seeds(3))
def test_random_traps_as_on_spike(seed: int) -> None:
    rng = random.Random(f"spike {seed}")
    table = [trap(rng) for _ in range(700)]
    assert not as_on_spike(table, on_engine(build(table), "native"), excuse=by_choice)


def run(*probes: Probe) -> list[Result]:
    return same_on_both_engines(probes)


# ---------------------------------------------------------------- entry


def test_a_trap_to_hs() -> None:
    """SPV is the old V; SPVP moves with it only where V was 1; htval and htinst are written every time."""
    stale = {"medeleg": DELEGATED, "htval": U64, "htinst": U64, "stval": U64}
    probes, expected = [], []
    for mode, before, word in product(("HS", "U", "VS", "VU"), (0, GVA | SPVP), (EBREAK, 0xFFFFFFFF)):
        virt, spp = MODES[mode][1], MODES[mode][0]
        probes.append(Probe(mode, [word], {**stale, "hstatus": before}, status=SIE))
        spvp = SPVP * spp if virt else before & SPVP
        gva = GVA if virt and word == EBREAK else 0
        expected.append((2 << 32 | SPV * virt | spvp | gva, SPP * spp | SPIE, 3 if word == EBREAK else 2))
    for probe, result, (hstatus, status, cause) in zip(probes, run(*probes), expected, strict=True):
        assert result.trap == ("HS", cause)
        assert (result["hstatus"], result["sstatus"] & (SPP | SPIE | SIE)) == (hstatus, status), probe.mode
        assert (result["htval"], result["htinst"], result["sepc"]) == (0, 0, result.pc)
        assert result["stval"] == (result.pc if cause == 3 else 0xFFFFFFFF)
        assert result["vsepc"] == 0


def test_a_trap_to_vs() -> None:
    """It is the guest's own business: no register of HS changes."""
    csrs = {"medeleg": DELEGATED, "hedeleg": DELEGATED, "hstatus": GVA | SPVP, "htval": 5, "vsstatus": SIE}
    for mode in ("VS", "VU"):
        result = run(Probe(mode, [EBREAK], csrs, status=SIE | SPP))[0]
        assert result.trap == ("VS", 3)
        assert (result["vsepc"], result["vstval"]) == (result.pc, result.pc)
        assert result["vsstatus"] & (SPP | SPIE | SIE) == (SPP * (mode == "VS") | SPIE)
        assert (result["hstatus"], result["htval"], result["sepc"], result["scause"]) == (
            2 << 32 | GVA | SPVP, 5, 0, 0
        )  # fmt: skip
        assert result["sstatus"] & (SIE | SPP) == SIE | SPP


def test_a_trap_to_m() -> None:
    for mode, (privilege, virt) in MODES.items():
        result = run(Probe(mode, [EBREAK], {"mtval2": 7, "mtinst": 8, "hstatus": GVA}, status=MPIE))[0]
        assert result.trap == ("M", 3)
        mstatus = result["mstatus"]
        assert (mstatus >> 39 & 1, mstatus >> 38 & 1, mstatus >> 11 & 3) == (virt, virt, privilege)
        assert (result["mtval2"], result["mtinst"], result["hstatus"]) == (0, 0, 2 << 32 | GVA)


def test_ecalls_go_where_they_are_delegated() -> None:
    """8 from U and VU, 10 from VS to HS at most; hedeleg has no 9, 10, 11."""
    csrs = {"medeleg": DELEGATED, "hedeleg": DELEGATED}
    results = run(*(Probe(mode, [ECALL], csrs) for mode in ("U", "VU")))
    assert [result.trap for result in results] == [("HS", 8), ("VS", 8)]


def test_vectors() -> None:
    """Vectored mode is for interrupts alone, by the code that the mode sees (12.1.2)."""
    csrs = {"mideleg": U64, "hideleg": U64, "stvec": HS_VECTOR | 1, "vstvec": VS_VECTOR | 1, "mie": U64,
            "medeleg": DELEGATED, "hedeleg": DELEGATED}  # fmt: skip
    hs, vs, exception = run(
        Probe("U", [NOP], {**csrs, "mip": SEI}),
        Probe("VU", [NOP], {**csrs, "hvip": VSTI}),
        Probe("VU", [EBREAK], csrs),
    )
    assert (hs["mepc"], hs["scause"]) == (HS_VECTOR + 4 * 9, IRQ | 9)
    assert (vs["mepc"], vs["vscause"]) == (VS_VECTOR + 4 * 5, IRQ | 5)
    assert exception["mepc"] == VS_VECTOR


# ---------------------------------------------------------------- return


@pytest.mark.parametrize("spv", [0, SPV])
@pytest.mark.parametrize("spp", [0, SPP])
def test_sret_from_hs(spv: int, spp: int) -> None:
    x = {12: spp, 13: spv}
    words = [
        0x00000717,  # auipc x14
        csr("csrrs", 0, number("sstatus"), 12),
        csr("csrrs", 0, number("hstatus"), 13),
        0x02070713,  # addi x14, x14, 32
        csr("csrrw", 0, number("sepc"), 14),
        SRET,
        NOP,
        NOP,
    ]
    result = run(Probe("HS", words, {"hstatus": SPVP}, x, status=SPIE))[0]
    assert result.trap == ("M", (10 if spp else 8) if spv else 9 if spp else 8)
    assert result["mepc"] == result.pc + 32
    assert result["hstatus"] == 2 << 32 | SPVP  # SPV is cleared, SPVP stays
    assert result["sstatus"] & (SPP | SPIE | SIE) == SPIE | SIE


# ---------------------------------------------------------------- FS


@pytest.mark.parametrize(
    "words",
    [
        [0x02007053],  # fadd.d, inexact or not: it writes f0
        [0xD2258053, 0xC20070D3],  # fcvt.d.l f0, x11; fcvt.w.d x1, f0: out of range, so NV alone
        [0xD2258053, 0x001017F3],  # the same; fsflags
        [0x00053007],  # fld
    ],
)
def test_arithmetic_makes_both_dirty(words: list[int]) -> None:
    """In V=1 FS of both status registers becomes Dirty; in V=0 vsstatus is let alone (21.2.1, 21.4.1)."""
    initial = {"vsstatus": 1 << 13, "hstatus": 0}
    x = {10: DATA, 11: 1 << 60}
    guest, host = run(*(Probe(mode, words, initial, x, status=1 << 13) for mode in ("VS", "HS")))
    assert (guest["sstatus"] >> 13 & 3, guest["vsstatus"] >> 13 & 3) == (3, 3)
    assert (host["sstatus"] >> 13 & 3, host["vsstatus"] >> 13 & 3) == (3, 1)
    assert guest.trap == ("M", 10)


# ---------------------------------------------------------------- interrupts


def first_taken(mode: str, pending: int, **csrs: int) -> tuple[str, int]:
    """Who takes which interrupt first, all enabled."""
    named: dict[str | int, int] = {
        "menvcfg": 0, "mideleg": U64, "mie": U64,
        "mip": pending & S_LEVEL, "hvip": pending & VS_LEVEL, **csrs,
    }  # fmt: skip
    result = run(Probe(mode, [NOP], named))[0]
    assert result["mcause"] in (8, 9, 10, 11) or result["mcause"] & IRQ
    return result.trap[0], result.trap[1] & 63


def test_priorities() -> None:
    """SEI, SSI, STI, VSEI, VSSI, VSTI, LCOFI (21.4.3)."""
    order = (9, 1, 5, 10, 2, 6, 13)
    for position in range(len(order)):
        pending = sum(1 << bit for bit in order[position:])
        assert first_taken("VS", pending) == ("HS", order[position])


def test_delegated_to_the_guest() -> None:
    """VS takes 10, 2, 6 as 9, 1, 5, in V=1 alone; HS comes before it."""
    for bit in (2, 6, 10):
        assert first_taken("VU", 1 << bit, hideleg=VS_LEVEL) == ("VS", bit - 1)
        assert first_taken("VS", 1 << bit, hideleg=VS_LEVEL, vsstatus=SIE) == ("VS", bit - 1)
        assert first_taken("VS", 1 << bit, hideleg=VS_LEVEL) == ("M", 10)
        assert first_taken("U", 1 << bit, hideleg=VS_LEVEL) == ("M", 8)
        assert first_taken("U", 1 << bit) == ("HS", bit)
    # HS comes first; where it has taken its own, that of the guest waits
    assert first_taken("VU", VSEI | LCOFI, hideleg=VS_LEVEL) == ("HS", 13)


def test_masks_of_the_modes() -> None:
    """An interrupt for a mode above cannot be masked; one for the mode itself, by its own bit."""
    for mode, status, taken in (("HS", 0, False), ("HS", SIE, True), ("U", 0, True), ("VS", 0, True)):
        result = run(Probe(mode, [NOP], {"mideleg": U64, "mie": U64, "mip": SEI}, status=status))[0]
        assert (result.trap[0] == "HS") == taken, (mode, status)
    for mode, status, taken in (("M", 0, False), ("M", MPIE, True), ("HS", 0, True), ("VS", 0, True)):
        result = run(Probe(mode, [NOP], {"mideleg": 0, "mie": U64, "mip": SEI}, status=status))[0]
        assert (result.trap == ("M", IRQ | 9)) == taken, (mode, status)


def test_aliases() -> None:
    """mip, hip, hvip, vsip and the enables: what is written in one shows in the others (21.2.4 ff.)."""

    def after(name: str, value: int, **csrs: int) -> Result:
        return run(Probe("M", [csr("csrrw", 0, number(name), 16)], {"mideleg": U64, **csrs}, {16: value}))[0]

    for name in ("mip", "hip", "hvip"):
        result = after(name, VSSI)
        assert [result[n] for n in ("mip", "hip", "hvip")] == [VSSI] * 3, name
    assert after("vsip", SSI)["hvip"] == 0
    assert after("vsip", SSI, hideleg=VS_LEVEL)["hvip"] == VSSI
    assert after("vsip", U64, hideleg=VS_LEVEL)["hip"] == VSSI
    result = after("hvip", VS_LEVEL, hideleg=VSSI | VSEI)
    assert (result["vsip"], result["hip"]) == (SSI | SEI, VS_LEVEL)
    assert after("hip", VSTI | VSEI)["hip"] == 0
    result = after("vsie", U64, hideleg=VSTI)
    assert (result["hie"], result["mie"], result["vsie"]) == (VSTI, VSTI, STI)
    result = after("hie", VS_LEVEL, hideleg=VSSI)
    assert (result["mie"], result["vsie"]) == (VS_LEVEL, SSI)
    result = after("mip", U64, mie=0)
    assert (result["sip"], result["mip"]) == (S_LEVEL & ~STI, S_LEVEL & ~STI | VSSI)  # Sstc has STIP


@pytest.mark.parametrize("delegated", [0, LCOFI])
def test_lcofi_of_the_guest_is_hs_own(delegated: int) -> None:
    """hideleg has bit 13 with the AIA alone; vsip then shows sip's, if M has delegated it."""
    isa = ISA | {"ssaia"}
    csrs = {"mideleg": delegated, "hideleg": LCOFI, "mie": LCOFI, "mip": LCOFI, "mstateen0": U64}
    result = same_on_both_engines([Probe("HS", [NOP], csrs)], isa=isa)[0]
    expected = LCOFI if delegated else 0
    assert (result["vsip"], result["vsie"], result["sip"]) == (expected, expected, expected)


# ---------------------------------------------------------------- timers


def test_timers_of_both_supervisors() -> None:
    """STIP and VSTIP follow the comparators, unsigned, with htimedelta for the guest, and need STCE."""
    for stce, compare in product((0, STCE), (0, U64)):
        csrs = {"menvcfg": STCE, "henvcfg": STCE, "stimecmp": compare, "vstimecmp": compare}
        result = run(Probe("HS", [NOP], {**csrs, "mideleg": U64, "menvcfg": stce}))[0]
        due = bool(stce and not compare)
        assert (result["sip"], result["hip"]) == (STI * due, VSTI * due)
    for delta, compare, due in (
        (1 << 63, 1 << 62, True),
        (1 << 63, (1 << 63) + (1 << 62), False),
        (U64, 1 << 62, False),
    ):
        result = run(Probe("HS", [NOP], {"htimedelta": delta, "vstimecmp": compare}))[0]
        assert result["hip"] == VSTI * due, hex(delta)
    result = run(Probe("HS", [NOP], {"henvcfg": 0, "vstimecmp": 0}))[0]
    assert result["hip"] == 0
    assert run(Probe("HS", [NOP], {"henvcfg": 0, "vstimecmp": 0, "hvip": VSTI}))[0]["hip"] == VSTI
