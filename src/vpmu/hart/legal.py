"""Which values the CSRs of a hart with all its modes can hold: found by writing them, on a hart of its kind.

The rules of each CSR (WARL, privileged ISA 2.3) are in the semantics alone; here they are asked. That takes
the reference engine, and 0.3 s, so the answer is kept beside the engine.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from ..spec import privileged as fields
from . import code_cache
from . import state as layout
from .codegen_flags import Counting
from .csr_table import CSRS
from .digest import digest
from .memory import PhysicalMemory
from .state import STATE
from .whole import WholeHart

PAGING = ("satp", "other_satp", "hgatp")
HELD = (
    *("sstatus", "stvec", "sscratch", "sepc", "scause", "stval", "sip", "scounteren", "senvcfg"),
    *("hedeleg", *PAGING),
    *("other_sstatus", "other_stvec", "other_sscratch", "other_sepc", "other_scause", "other_stval"),
    *("mstatus", "misa", "medeleg", "mideleg", "mie", "mtvec", "mcounteren", "menvcfg", "mstateen0"),
    *("mscratch", "mepc", "mcause", "mtval", "mtinst", "mtval2", "miselect"),
    *("medeleg_mask", "menvcfg_mask", "stateen_mask", "s_interrupts", "counters"),
    *("hstatus", "hideleg", "htimedelta", "hcounteren", "henvcfg", "hstateen0", "htval", "hvip", "htinst"),
    *("hvien", "hvictl", "mstateen_more", "hstateen_more"),
    *("stimecmp", "vstimecmp", "sstateen0", "siselect", "vsiselect", "vsie_own"),
)
"""Words whose bits only software changes (and traps, in the ways that software can), or nobody."""
_LINES = fields.IP_MSI | fields.IP_MTI | fields.IP_MEI | fields.IP_SEI
_ONES = (1 << 64) - 1
_TRIED = (_ONES, *(mode << 60 | (1 << 60) - 1 for mode in (8, 9, 10)), 0)
_ENABLES = ("mstateen0", "mstateen1", "menvcfg", "mideleg", "hvien")
"""What gives other CSRs their bits."""
_PMP_REGISTERS = range(0x3A0, 0x3F0)


_KEPT = struct.Struct(f"<{len(HELD)}Q")
_SOURCES = ("legal.py", "whole.py", "reference.py")  # beside those of the engine


@cache
def _writable(isa: frozenset[str], pmp: int, counters: int) -> Mapping[str, int]:
    path = _kept_at(repr((sorted(isa), pmp, counters)))
    kept = None if path is None else code_cache.load(path)
    if kept is not None and len(kept) == _KEPT.size:
        return dict(zip(HELD, _KEPT.unpack(kept), strict=True))
    found = _tried(isa, pmp, counters)
    if path is not None:
        code_cache.store(path, _KEPT.pack(*found.values()))
    return found


def _kept_at(kind: str) -> Path | None:
    """Where the answer for a kind of hart is kept; None where there is no engine to keep it beside."""
    from .native import beside

    sources = [(Path(__file__).parent / name).read_bytes() for name in _SOURCES]
    try:
        return beside(Counting.WHOLE, f"-{digest(kind.encode(), *sources).hex()[:16]}.legal")
    except ImportError:
        return None


def _tried(isa: frozenset[str], pmp: int, counters: int) -> dict[str, int]:
    """The bits of each of HELD that some write can change."""
    twin = WholeHart(
        0, PhysicalMemory(), isa=isa, engine="reference", firmware=True, pmp=pmp, counters=counters
    )
    call, found = twin.reference().call, dict.fromkeys(HELD, 0)
    # The CSRs of M mode come first: they decide what the others can hold. Where interrupts of the guest are
    # delegated, and where they are not, different words of the hart keep them.
    rows = sorted((row for row in CSRS if row.write != 0), key=lambda row: -(row.number >> 8 & 3))
    for is_delegated in (True, False):
        for row in rows:
            for number in range(row.number, row.end):
                twin.set("mode", layout.MACHINE)
                call["csr_read"](number)
                if number in _PMP_REGISTERS or twin.get("fault"):
                    continue
                enables = row.name in _ENABLES or (row.name == "hideleg" and is_delegated)
                for value in (*_TRIED, _ONES) if enables else _TRIED:
                    before = [twin.get(name) for name in HELD]
                    call["csr_write"](number, value)
                    for name, was in zip(HELD, before, strict=True):
                        found[name] |= was ^ twin.get(name)
    return found


def problems(hart: WholeHart, words: memoryview, pmp: bytes) -> Iterator[str]:
    """What of a block of state no hart like this one can hold; `hart` is fresh from its reset."""
    writable = _writable(hart.isa, hart.get("pmp_count"), hart.get("counters"))
    for name in HELD:
        value, fresh = words[STATE[name]], hart.get(name)
        if (value ^ fresh) & ~writable[name]:
            yield f"{name} = {value:#x}"
    paging = (0, 8, 9, 10) if "sv57" in hart.isa else (0, 8, 9)
    for name in PAGING:
        if words[STATE[name]] >> 60 not in paging:
            yield f"{name} = {words[STATE[name]]:#x}"
    if words[STATE["mstatus"]] & fields.MSTATUS_MPP == 0x1000:
        yield "mstatus.MPP = 2"
    if words[STATE["lines"]] & ~_LINES:
        yield f"lines = {words[STATE['lines']]:#x}"
    if words[STATE["virt"]] > int("h" in hart.isa and words[STATE["mode"]] != layout.MACHINE):
        yield f"virt = {words[STATE['virt']]}"
    yield from _protection(hart.get("pmp_count"), pmp)
    if words[STATE["pmp_fine"]] != _cuts_pages(pmp):
        yield f"pmp_fine = {words[STATE['pmp_fine']]}"


def _protection(entries: int, pmp: bytes) -> Iterator[str]:
    """Of physical memory protection (privileged ISA, 3.7.1)."""
    for number, configuration in enumerate(pmp[:64]):
        impossible = configuration & 0x60 or configuration & 3 == 2
        if impossible or (number >= entries and configuration):
            yield f"pmp{number}cfg = {configuration:#x}"
    for number, address in enumerate(memoryview(pmp)[64:].cast("Q")):
        if address & ~fields.PMP_ADDRESS or (number >= entries and address):
            yield f"pmpaddr{number} = {address:#x}"


def _cuts_pages(pmp: bytes) -> bool:
    """Whether an entry begins or ends inside a page (see privileged.whole.pmp)."""
    addresses, before, cuts = memoryview(pmp)[64:].cast("Q"), 0, False
    for configuration, address in zip(pmp[:64], addresses, strict=True):
        mode = configuration >> 3 & 3
        first, end = ((0, 0), (before, address), (address, address + 1), (address & address + 1,
                      (address | address + 1) + 1))[mode]  # fmt: skip
        cuts |= bool((first | end) & 1023)
        before = address
    return cuts
