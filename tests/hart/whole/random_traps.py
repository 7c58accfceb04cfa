"""Random interrupts, exceptions and returns, under random delegation."""

from __future__ import annotations

import random

from ..assemble import EBREAK, ECALL, NOP, SRET, csr, encode
from .probe import HS_VECTOR, MODES, U64, VS_VECTOR, Probe, number

MRET = 0x30200073
HERE = 14
SUPERVISORS, VS = (1, 5, 9, 13), (2, 6, 10)
KINDS = ("interrupt", "interrupt", "sret", "mret", "exception")
WRITTEN = ("mip", "mie", "sip", "sie", "hip", "hie", "hvip", "vsip", "vsie", "sstatus", "vsstatus", "mstatus",
           "hideleg", "mideleg", "menvcfg", "henvcfg")  # fmt: skip
EXCEPTIONS = (
    EBREAK, ECALL, 0, 0xFFFFFFFF, encode("c.ebreak"), MRET, SRET, 0x62000073, encode("lw", rd=12, rs1=13),
    encode("sd", rs1=13, rs2=12), encode("lr.w", rd=12, rs1=13), encode("jalr", rs1=13),
    encode("hlv.d", rd=12, rs1=13), encode("hsv.d", rs1=13), csr("csrrs", 10, number("hstatus")),
    csr("csrrs", 10, number("mstatus")), csr("csrrs", 10, number("vsatp")),
)  # fmt: skip
NOWHERE = (0x1000000, 0x40000001000, 1 << 56, 1 << 63, 0x5000000)


def some(rng: random.Random, bits: tuple[int, ...] = SUPERVISORS + VS, likely: float = 0.5) -> int:
    return sum(1 << bit for bit in bits if rng.random() < likely)


def interrupt(rng: random.Random, csrs: dict[str | int, int], x: dict[int, int]) -> list[int]:
    csrs["menvcfg"], csrs["henvcfg"] = rng.choice((0, 1 << 63)), rng.choice((0, 1 << 63))
    csrs["mie"], csrs["hvip"] = some(rng, likely=0.6), some(rng, VS, 0.3)
    csrs["mip"] = some(rng, SUPERVISORS, 0.3)
    if rng.random() < 0.5:
        return [NOP, NOP]
    name = rng.choice(WRITTEN)
    x[16] = some(rng)
    if name == "mstatus":
        x[16] = some(rng, (1, 3)) | 3 << 11
    elif name.endswith("status"):
        x[16] = 2
    elif name.endswith("envcfg"):
        x[16] = 1 << 63
    form = "csrrs" if name == "mstatus" else rng.choice(("csrrw", "csrrs", "csrrc"))
    return [csr(form, 12, number(name), 16), NOP, NOP]


def supervisor_return(rng: random.Random, mode: str, csrs: dict[str | int, int]) -> list[int]:
    csrs["hstatus"] |= rng.choice((0, 1 << 7)) | rng.choice((0, 0, 0, 1 << 22))
    return [
        encode("auipc", rd=HERE, imm=0),
        encode("addi", rd=HERE, rs1=HERE, imm=24),
        csr("csrrw", 0, number("sepc"), HERE) if mode in ("M", "HS", "VS") else NOP,
        csr("csrrw", 0, number("vsepc"), HERE) if mode in ("M", "HS") else NOP,
        SRET,
        NOP,
    ]


def machine_return(rng: random.Random, mode: str, x: dict[int, int]) -> list[int]:
    x[16] = rng.choice((0, 1, 3)) << 11 | some(rng, (7, 17, 38, 39))
    return [
        encode("auipc", rd=HERE, imm=0),
        encode("addi", rd=HERE, rs1=HERE, imm=20),
        csr("csrrw", 0, number("mepc"), HERE) if mode == "M" else NOP,
        csr("csrrw", 0, number("mstatus"), 16) if mode == "M" else NOP,
        MRET,
    ]


def trap(rng: random.Random) -> Probe:
    mode, kind = rng.choice(list(MODES)), rng.choice(KINDS)
    csrs: dict[str | int, int] = {
        "medeleg": rng.choice((0, rng.getrandbits(24) & 0xF8B0FE & ~(7 << 9))),
        "mideleg": some(rng),
        "hideleg": some(rng),
        "stvec": HS_VECTOR | rng.choice((0, 1)),
        "vstvec": VS_VECTOR | rng.choice((0, 1)),
        "vsstatus": some(rng, (1, 5, 8)),
        "hstatus": some(rng, (6, 8, 9)),
        **{name: value for value, name in enumerate(("stval", "vstval", "htval", "htinst", "mtval2"), 5)},
    }
    csrs["hedeleg"] = csrs["medeleg"] & rng.getrandbits(24) & 0x8B1FE
    status = some(rng, (1, 5, 7, 8)) | rng.choice((0, 3 << 13))
    x: dict[int, int] = {}
    if kind == "interrupt":
        words = interrupt(rng, csrs, x)
    elif kind == "sret":
        words = supervisor_return(rng, mode, csrs)
        status |= rng.choice((0, 0, 0, 1 << 22)) | rng.choice((0, 1 << 17)) * (mode == "M")
    elif kind == "mret":
        words = machine_return(rng, mode, x)
    else:
        words, x[13] = [rng.choice(EXCEPTIONS), NOP], rng.choice(NOWHERE)
    return Probe(mode, words, csrs, x, status=status & U64, name=kind)
