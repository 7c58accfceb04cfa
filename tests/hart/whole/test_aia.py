"""The CSRs of the Advanced Interrupt Architecture on a hart without IMSIC (AIA, chapters 2, 5 and 6)."""

from __future__ import annotations

import pytest

from ..assemble import NOP, csr
from . import spike
from .bare import U64
from .compare import as_on_spike, same_on_both_engines
from .probe import ISA, MODES, VS_VECTOR, Probe, Result, build, number, on_engine

pytestmark = pytest.mark.usefixtures("built_engine")

AIA = ISA | {"ssaia", "smaia"}
WITHOUT_ENABLES = AIA - {"smstateen"}
CALLS = (11, 9, 8, 10, 8)
LCOFI, SEI, VSEI, SSI, VSSI, STI = 1 << 13, 1 << 9, 1 << 10, 1 << 1, 1 << 2, 1 << 5
VTI, DPR, IPRIOM, SIE = 1 << 30, 1 << 9, 1 << 8, 1 << 1
STOPEI, VSTOPEI, MTOPEI = 0x15C, 0x25C, 0x35C
CSRIND, STATE = 1 << 60, 1 << 59
SELECTS: tuple[tuple[str | int, int, tuple[int, int, int, int, int]], ...] = (
    ("sireg", 0x30, (0, 0, 2, 22, 22)),
    ("sireg", 0x31, (2, 2, 2, 22, 22)),
    ("sireg", 0x70, (2, 2, 2, 22, 22)),
    ("sireg", 0x40, (2, 2, 2, 2, 22)),
    ("sireg", 0x100, (2, 2, 2, 2, 22)),
    ("vsireg", 0x30, (2, 2, 2, 22, 22)),
    ("vsireg", 0x40, (2, 2, 2, 22, 22)),
    ("mireg", 0x30, (0, 2, 2, 2, 2)),
    ("mireg", 0x31, (2, 2, 2, 2, 2)),
    ("stopi", 0, (0, 0, 2, 0, 22)),
    ("vstopi", 0, (0, 0, 2, 22, 22)),
    ("mtopi", 0, (0, 2, 2, 2, 2)),
    (STOPEI, 0, (2, 2, 2, 22, 22)),
    (VSTOPEI, 0, (2, 2, 2, 22, 22)),
    (MTOPEI, 0, (2, 2, 2, 2, 2)),
    ("hvictl", 0, (0, 0, 2, 22, 22)),
    ("hvien", 0, (0, 0, 2, 22, 22)),
    ("siselect", 0, (0, 0, 2, 0, 22)),
    ("vsiselect", 0, (0, 0, 2, 22, 22)),
)
ENABLES: tuple[tuple[str, dict[str | int, int], tuple[int, int, int, int, int]], ...] = (
    ("siselect", {"mstateen0": U64 ^ CSRIND}, (0, 2, 2, 2, 2)),
    ("sireg", {"mstateen0": U64 ^ CSRIND, "siselect": 0x30, "vsiselect": 0x30}, (0, 2, 2, 2, 2)),
    ("sireg", {"mstateen0": U64 ^ STATE, "siselect": 0x30, "vsiselect": 0x30}, (0, 2, 2, 22, 22)),
    ("sireg", {"hstateen0": U64 ^ CSRIND, "vsiselect": 0x40, "siselect": 0x30}, (0, 0, 2, 22, 22)),
    ("stopi", {"mstateen0": U64 ^ STATE}, (0, 2, 2, 2, 2)),
    ("stopi", {"hstateen0": U64 ^ STATE}, (0, 0, 2, 22, 22)),
    ("hvictl", {"mstateen0": U64 ^ STATE}, (0, 2, 2, 2, 2)),
    ("vsireg", {"mstateen0": U64 ^ CSRIND}, (2, 2, 2, 2, 2)),
)


def run(*probes: Probe) -> list[Result]:
    return same_on_both_engines(probes, isa=AIA)


def reads(name: str | int, csrs: dict[str | int, int]) -> list[Probe]:
    return [Probe(mode, [csr("csrrs", 10, number(name))], csrs, name=str(name)) for mode in MODES]


def selected(select: int) -> dict[str | int, int]:
    return {"siselect": select, "vsiselect": select, "miselect": select}


@pytest.mark.parametrize(("name", "select", "causes"), SELECTS)
def test_who_may(name: str | int, select: int, causes: tuple[int, ...]) -> None:
    expected = [cause or call for cause, call in zip(causes, CALLS, strict=True)]
    assert [result["mcause"] for result in run(*reads(name, selected(select)))] == expected


@pytest.mark.parametrize(("name", "csrs", "causes"), ENABLES)
def test_state_enables(name: str, csrs: dict[str | int, int], causes: tuple[int, ...]) -> None:
    expected = [cause or call for cause, call in zip(causes, CALLS, strict=True)]
    assert [result["mcause"] for result in run(*reads(name, csrs))] == expected


@spike.needed
def test_who_may_as_on_spike() -> None:
    """Without state enables, of which Spike lacks the AIA's, and without CSRs of which the AIA leaves open
    what they do. vstopei without IMSIC is illegal in V=1 there; the AIA makes it a virtual instruction (2.4).
    """
    table = [
        probe
        for name, select, _ in SELECTS
        if name not in ("sireg", "mireg", VSTOPEI)
        for probe in reads(name, selected(select))
    ]
    ours = on_engine(build(table, isa=WITHOUT_ENABLES), "native", WITHOUT_ENABLES)
    assert not as_on_spike(table, ours, isa=WITHOUT_ENABLES)


def test_lcofi_by_injection() -> None:
    """hvien.13 gives vsip.13 and vsie.13 of their own, of hvip.13, while hideleg.13 is zero (6.3.2)."""
    base = {"mideleg": LCOFI, "mip": LCOFI}
    nothing, injected, delegated = run(
        Probe("HS", [NOP], {**base, "hvip": LCOFI, "vsie": LCOFI}),
        Probe("HS", [NOP], {"mideleg": LCOFI, "hvien": LCOFI, "hvip": LCOFI, "vsie": LCOFI}),
        Probe("HS", [NOP], {**base, "hideleg": LCOFI, "mie": LCOFI}),
    )
    assert (nothing["vsip"], nothing["vsie"], nothing["hvip"]) == (0, 0, LCOFI)
    assert (injected["vsip"], injected["vsie"], injected["mip"], injected["mie"]) == (LCOFI, LCOFI, 0, 0)
    assert (delegated["vsip"], delegated["vsie"], delegated["sie"]) == (LCOFI, LCOFI, LCOFI)


def test_the_guest_takes_and_clears_it() -> None:
    csrs = {"mideleg": LCOFI, "hvien": LCOFI, "hvip": LCOFI, "vsie": LCOFI, "vstvec": VS_VECTOR | 1}
    taken, cleared, waits = run(
        Probe("VU", [NOP], csrs),
        Probe("VS", [csr("csrrc", 10, number("sip"), 16)], csrs, {16: LCOFI}),
        Probe("U", [NOP], csrs),
    )
    assert (taken.trap, taken["mepc"]) == (("VS", 1 << 63 | 13), VS_VECTOR + 4 * 13)
    assert (cleared["x10"], cleared["hvip"]) == (LCOFI, 0)
    assert waits.trap == ("M", 8)


def test_stopi_names_the_first() -> None:
    """Number in 27:16; the priority is 1, for all of iprio is zero. What goes to VS or M is not HS's."""
    csrs = {"menvcfg": 0, "mideleg": SSI | SEI | LCOFI, "mie": U64}
    read = [csr("csrrs", 10, number("stopi")), csr("csrrs", 11, number("vstopi"))]
    everything = {**csrs, "mip": SSI | SEI | LCOFI, "hvip": VSEI | VSSI, "hideleg": VSEI | VSSI}
    first, other, none, not_enabled = run(
        Probe("HS", read, everything),
        Probe("HS", read, {**csrs, "mip": LCOFI, "hvip": VSSI, "hideleg": VSSI}),
        Probe("HS", read, csrs),
        Probe("HS", read, {**everything, "mie": LCOFI}),
    )
    shown = [(r["x10"], r["x11"]) for r in (first, other, none, not_enabled)]
    assert shown == [(9 << 16 | 1, 9 << 16 | 1), (13 << 16 | 1, 1 << 16 | 1), (0, 0), (13 << 16 | 1, 0)]


NAMED = (
    # hvictl, SEI pending for VS, SSI pending for VS: vstopi
    (0, 0, 0, 0),
    (9 << 16, 0, 0, 0),
    (9 << 16 | 7, VSEI, VSSI, 9 << 16 | 1),
    (9 << 16 | 7 | IPRIOM, VSEI, VSSI, 9 << 16 | 7),
    (9 << 16 | IPRIOM, VSEI, 0, 9 << 16 | 255),
    (IPRIOM, 0, VSSI, 1 << 16 | 255),
    (VTI | 9 << 16, 0, VSSI, 0),
    (VTI | 9 << 16 | 3, VSEI, VSSI, 9 << 16 | 1),
    (VTI | 14 << 16, VSEI, 0, 14 << 16 | 1),
    (VTI | 14 << 16 | DPR, VSEI, 0, 9 << 16 | 1),
    (VTI | 14 << 16 | DPR | 5, VSEI, 0, 14 << 16 | 1),
    (VTI | 14 << 16 | DPR | IPRIOM, 0, 0, 14 << 16 | 255),
    (VTI | 14 << 16 | IPRIOM, 0, 0, 14 << 16),
    (VTI | 45 << 16, 0, VSSI, 45 << 16 | 1),
)


@pytest.mark.parametrize(("control", "external", "software", "expected"), NAMED)
def test_interrupts_that_hvictl_names(control: int, external: int, software: int, expected: int) -> None:
    """vstopi has it, and VS takes it with that number (6.3.3 and 6.3.4)."""
    csrs = {
        "hideleg": VSEI | VSSI, "mie": VSEI | VSSI, "hvip": external | software, "hvictl": control,
    }  # fmt: skip
    seen, taken = run(
        Probe("HS", [csr("csrrs", 10, number("vstopi"))], csrs), Probe("VS", [NOP], csrs | {"vsstatus": SIE})
    )
    assert seen["x10"] == expected
    assert taken.trap == (("VS", 1 << 63 | expected >> 16) if expected else ("M", 10))


def test_what_a_guest_may_not_do_under_vti() -> None:
    """sip and sie are the hypervisor's, and so is a write of stimecmp; not a read (6.3.2)."""
    csrs = {"hvictl": VTI | 9 << 16}
    table = {
        csr("csrrs", 10, number("sip")): 22,
        csr("csrrw", 0, number("sie"), 0): 22,
        csr("csrrs", 10, number("stimecmp")): 10,
        csr("csrrw", 0, number("stimecmp"), 0): 22,
        csr("csrrs", 10, number("sstatus")): 10,
    }
    results = run(*(Probe("VS", [word], csrs) for word in table))
    assert [result["mcause"] for result in results] == list(table.values())
    assert [result["mepc"] - result.pc for result in results] == [0, 0, 4, 0, 4]
    assert run(Probe("HS", [csr("csrrs", 10, number("sip"))], csrs))[0]["mcause"] == 9


def test_mvip_is_what_software_latches() -> None:
    """While mvien is zero (5.3): SSIP and SEIP, and STIP where Sstc does not have it."""
    word = [csr("csrrw", 0, number("mvip"), 16), csr("csrrs", 10, number("mvip"))]
    with_timer, without = (run(Probe("M", word, {"menvcfg": env}, {16: U64}))[0] for env in (1 << 63, 0))
    assert (with_timer["x10"], with_timer["mip"]) == (SSI | SEI, SSI | SEI)
    assert (without["x10"], without["mip"]) == (SSI | SEI | STI, SSI | SEI | STI)
