"""Random accesses through random leaves of both stages."""

from __future__ import annotations

import dataclasses
import random

from ..assemble import csr, encode
from .bare import FULL_FLAGS, R, U, W, X
from .probe import Probe, number
from .stages import FULL, Access

BASE_REGISTER, VALUE, RESULT = 10, 11, 12
ORDINARY = {
    name: encode(name, rd=RESULT, rs1=BASE_REGISTER, rs2=VALUE)
    for name in ("ld", "lw", "lb", "lhu", "lr.d", "amoadd.d", "amoor.w", "jalr", "c.ld", "c.lw")
} | {name: encode(name, rs1=BASE_REGISTER, rs2=VALUE) for name in ("sd", "sw", "sb", "sh", "c.sd")}
HYPERVISOR = {
    name: encode(name, rd=RESULT, rs1=BASE_REGISTER)
    for name in ("hlv.d", "hlv.wu", "hlv.b", "hlv.h", "hlvx.hu", "hlvx.wu")
} | {name: encode(name, rs1=BASE_REGISTER, rs2=VALUE) for name in ("hsv.d", "hsv.w", "hsv.h", "hsv.b")}
ALIGNED = ("lr.d", "amoadd.d", "amoor.w", "jalr")
SUM, MXR, SPVP, HU, MPRV, MPP_S, MPV = 1 << 18, 1 << 19, 1 << 8, 1 << 9, 1 << 17, 1 << 11, 1 << 39
STCE, ADUE = 1 << 63, 1 << 61
WIDTHS = (38, 40, 41, 47, 49, 50, 56, 58, 60, 63)
DELEGATED = 0xF8B0FA


def flags(rng: random.Random, user: bool) -> int:
    """Mostly a leaf that allows everything, or a pointer, or reserved bits."""
    word = FULL if user else FULL & ~U
    for bit in FULL_FLAGS:
        if rng.random() < 0.1:
            word ^= bit
    if rng.random() < 0.04:
        word |= 1 << rng.randrange(54, 64)
    if rng.random() < 0.05:
        word &= ~(R | W | X)
    return word


def access(rng: random.Random) -> Access:
    mode = rng.choice(("VS", "VS", "VU", "VU", "HS", "HS", "M", "HS", "U"))
    first, second = rng.choice((0, 3, 3, 4, 5)), rng.choice((0, 3, 3, 4, 5))
    csrs: dict[str | int, int] = {}
    x, prefix = {}, []
    guest = mode in ("VS", "VU")
    user = mode in ("VU", "U")
    if mode in ("HS", "M", "U") and rng.random() < 0.6 and not (mode == "U" and first):
        name, word = rng.choice(list(HYPERVISOR.items()))
        csrs["hstatus"] = rng.choice((0, SPVP)) | HU
        guest, user = True, not csrs["hstatus"] & SPVP
    elif mode == "M":
        name, word = rng.choice([item for item in ORDINARY.items() if item[0] != "jalr"])
        x[16] = MPRV | rng.choice((0, MPP_S)) | rng.choice((0, SUM)) | rng.choice((0, MXR))
        guest, user = rng.random() < 0.6, not x[16] & MPP_S
        x[16] |= MPV * guest
        prefix = [csr("csrrw", 0, number("mstatus"), 16)]
    else:
        name, word = rng.choice(list(ORDINARY.items()))
    if rng.random() < 0.15:
        user = not user
    offset = rng.choice((0, 0, 8, 16, 0xFF8))
    if name not in ALIGNED and rng.random() < 0.3:
        offset = rng.choice((1, 3, 7, 0xFFC, 0xFFD, 0xFFE, 0xFFF))
    if rng.random() < 0.04:
        offset += 1 << rng.choice(WIDTHS)
    csrs["vsstatus"] = rng.choice((0, SUM)) | rng.choice((0, MXR))
    csrs["menvcfg"], csrs["henvcfg"] = STCE | ADUE, STCE | rng.choice((0, ADUE))
    if rng.random() < 0.4:
        csrs["menvcfg"] = STCE
    csrs["medeleg"] = rng.choice((0, 0, DELEGATED))
    csrs["hedeleg"] = rng.choice((0, csrs["medeleg"] & 0x8B1FF))
    return Access(
        mode,
        [*prefix, word],
        first,
        second,
        (rng.randrange(first or 1), flags(rng, user)),
        (rng.choice((0, 0, rng.randrange(second or 1))), flags(rng, True)),
        rng.choice((FULL, FULL, flags(rng, True))),
        offset,
        csrs,
        x,
        rng.choice((0, SUM)) | rng.choice((0, MXR)),
        int(rng.random() < 0.1),
        name,
        guest,
    )


N, PBMT, PBMTE, NAPOT_64K = 1 << 63, 61, 1 << 62, 8 << 10


def with_attributes(rng: random.Random, one: Access) -> Access:
    """The same access with memory types and contiguous leaves (Svpbmt, Svnapot), allowed or not."""

    def more(leaf: tuple[int, int]) -> tuple[int, int]:
        level, word = leaf
        draw = rng.random()
        if draw < 0.25:
            word |= rng.choice((1, 2, 3)) << PBMT
        elif draw < 0.5:
            word |= N
        return level, word

    csrs = {**one.csrs, **{name: one.csrs[name] | rng.choice((0, PBMTE)) for name in ("menvcfg", "henvcfg")}}
    walked = more((0, one.walked))[1] if rng.random() < 0.2 else one.walked
    return dataclasses.replace(
        one, csrs=csrs, leaf=more(one.leaf), guest_leaf=more(one.guest_leaf), walked=walked,
        offset=one.offset & ~7,
    )  # fmt: skip


def with_sizes(rng: random.Random, probe: Probe) -> Probe:
    """Most of the contiguous leaves of the probe have the one size that there is."""
    pokes = {
        where: entry & ~(15 << 10) | NAPOT_64K if entry & N and rng.random() < 0.8 else entry
        for where, entry in probe.pokes.items()
    }
    return dataclasses.replace(probe, pokes=pokes)
