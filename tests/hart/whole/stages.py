"""Two stages of translation as data: an image with page tables of every mode of both stages, and probes that
access one page of them through leaves of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ..assemble import ECALL
from .bare import ALL, BASE, A, D, G, Image, R, Tables, U, V, W, X
from .probe import CODE, DATA, HS_VECTOR, TABLES, VS_VECTOR, Probe

USER_CODE = 0x40000000
"""Where the first two megabytes of the image lie for U mode."""
IDENTITY_END = BASE + 0x1000000
VIRTUAL = {0: 0x60000000, 1: 0x70000000, 2: 5 << 30, 3: 3 << 39, 4: 5 << 48}
"""Where a leaf of the first stage is, by its level."""
GUEST = {0: 0xA0000000, 1: 0xA8000000, 2: 9 << 30, 3: 3 << 39, 4: 5 << 48}
"""Guest physical addresses that a leaf of the second stage translates, by its level."""
FULL = V | R | W | X | U | G | A | D


def size(level: int) -> int:
    """Bytes that a leaf of a level maps."""
    return 1 << 12 + 9 * level


class Stages:
    """First-stage tables of 3, 4 and 5 levels at TABLES, and second-stage ones behind them."""

    def __init__(self) -> None:
        image = Image()
        image.bytes += bytes(CODE - BASE)
        self.image = image
        self.first = {levels: Tables(image, TABLES + 0x20000 * (levels - 3), levels) for levels in (3, 4, 5)}
        self.second = {
            levels: Tables(image, TABLES + 0x80000 + 0x20000 * (levels - 3), levels, x4=True)
            for levels in (3, 4, 5)
        }
        for tables in self.first.values():
            for page in (HS_VECTOR, VS_VECTOR):
                tables.map(page, page, ALL | G)
            tables.map(CODE, CODE, ALL | G, 1) if CODE % size(1) == 0 else self._pages(tables, CODE, CODE)
            self._pages(tables, USER_CODE + CODE - BASE, CODE, U)
            for level in range(tables.levels):
                tables.map(VIRTUAL[level], 0, 0, level)
            tables.map(VIRTUAL[0] + 0x1000, 0, 0)
        for tables in self.second.values():
            for page in range(BASE, IDENTITY_END, size(1)):
                if TABLES <= page < TABLES + size(1) or page == BASE:
                    for small in range(page, page + size(1), 0x1000):
                        tables.map(small, small, ALL | U)
                else:
                    tables.map(page, page, ALL | U, 1)
            for level in range(tables.levels):
                tables.map(GUEST[level], 0, 0, level)
            tables.map(GUEST[0] + 0x1000, 0, 0)
        self.tables = bytes(image.bytes[TABLES - BASE :])

    @staticmethod
    def _pages(tables: Tables, virtual: int, physical: int, flags: int = 0) -> None:
        for offset in range(0, 0x40000, 0x1000):
            tables.map(virtual + offset, physical + offset, ALL | G | flags)

    def prepare(self, image: Image) -> None:
        image.data(TABLES, self.tables)
        image.data(DATA, ECALL.to_bytes(4, "little") * 0x1000)

    def default(self, entry: int) -> int:
        """What the image holds at an entry."""
        return int.from_bytes(self.image.bytes[entry - BASE : entry - BASE + 8], "little")


@dataclasses.dataclass(frozen=True)
class Access:
    """One access through a first-stage leaf and a second-stage one, both poked before it.

    `first` and `second` are levels of tables (0: Bare), `leaf` and `guest_leaf` the levels and flags of the
    leaves; `walked` the flags of the second-stage leaf that maps the first-stage leaf's table.
    """

    mode: str
    words: Sequence[int]
    first: int = 3
    second: int = 3
    leaf: tuple[int, int] = (0, FULL & ~U)
    guest_leaf: tuple[int, int] = (0, FULL)
    walked: int = FULL
    offset: int = 0
    csrs: Mapping[str | int, int] = dataclasses.field(default_factory=dict)
    x: Mapping[int, int] = dataclasses.field(default_factory=dict)
    status: int = 0
    wrong: int = 0  # added to the page numbers of the leaves: a superpage that is not aligned
    name: str = ""
    guest: bool = False
    """The access is one of V=1, made by HLV, HSV or with MPRV."""


def leaf(physical: int, level: int, flags: int, wrong: int = 0) -> int:
    return ((physical & -size(level)) >> 12) + wrong << 10 | flags


def probes(stages: Stages, accesses: Sequence[Access]) -> list[Probe]:
    """The accesses as probes; x10 is the address, `peek0` to `peek4` are the entries and the data."""
    answer, dirty = [], dict[int, int]()
    for access in accesses:
        pokes = {entry: stages.default(entry) for entry in dirty}
        dirty = {}
        virt = access.guest or access.mode in ("VS", "VU")
        guest_level, guest_flags = access.guest_leaf
        target = DATA
        peeks = []
        if access.second and virt:
            tables = stages.second[access.second]
            target = GUEST[guest_level] + DATA % size(guest_level)
            for page in (0, 0x1000) if guest_level == 0 else (0,):
                entry = tables.slot(target + page, guest_level)
                dirty[entry] = leaf(DATA + page, guest_level, guest_flags, access.wrong * (guest_level > 0))
                peeks.append(entry)
        address = target
        if access.first:
            tables = stages.first[access.first]
            level, flags = access.leaf
            address = VIRTUAL[level] + target % size(level)
            for page in (0, 0x1000) if level == 0 else (0,):
                entry = tables.slot(address + page, level)
                dirty[entry] = leaf(target + page, level, flags, access.wrong * (level > 0))
                peeks.append(entry)
            if access.second and virt:
                walked = stages.second[access.second].slot(entry, 0)
                dirty[walked] = leaf(entry, 0, access.walked)
                peeks.append(walked)
            shift = 63 - (12 + 9 * access.first - 1)
            address = ((address << shift) & (1 << 64) - 1) >> shift
        address += access.offset
        pokes |= dirty
        data = DATA + (access.offset & 0xFFF) & ~7
        pokes |= {data: 0x0000007300000073, data + 8: 0x0000007300000073}
        csrs: dict[str | int, int] = {}
        if access.second and virt:
            csrs["hgatp"] = stages.second[access.second].atp(3)
        if access.first:
            csrs["vsatp" if virt else "satp"] = stages.first[access.first].atp(7)
        user = access.mode == "VU" or (access.mode == "U" and access.first)
        answer.append(
            Probe(
                access.mode,
                access.words,
                csrs | dict(access.csrs),
                {10: address, 11: 0x1122334455667788, **access.x},
                pokes,
                [*peeks, data, data + 8],
                access.status,
                (lambda at: at + USER_CODE - BASE) if user and access.first else (lambda at: at),
                access.name,
            )
        )
    return answer
