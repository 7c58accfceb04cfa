"""What gdb is told of a hart: its registers by number, in the features that gdb knows for RISC-V (gdb manual,
G.5.14), and one of our own for V.

The numbers are gdb's own (gdb/riscv-tdep.h): x0 to x31, pc, f0 to f31, then a CSR's number above CSR, then
the privilege.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from vpmu.hart.csr_table import CSRS
from vpmu.hart.hart import Hart
from vpmu.spec import privileged
from vpmu.spec.csr import Csr

PC, F, CSR, PRIV, VIRT = 32, 33, 65, 4161, 4162
FLOATING = frozenset({Csr.FFLAGS, Csr.FRM, Csr.FCSR})
_X = "zero ra sp gp tp t0 t1 t2 fp s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"
_F = (
    "ft0 ft1 ft2 ft3 ft4 ft5 ft6 ft7 fs0 fs1 fa0 fa1 fa2 fa3 fa4 fa5 fa6 fa7 fs2 fs3 fs4 fs5 fs6 fs7 fs8 fs9 "
    "fs10 fs11 ft8 ft9 ft10 ft11"
)
_TYPES = {
    **dict.fromkeys(("pc", "ra"), ' type="code_ptr"'),
    **dict.fromkeys(("sp", "gp", "tp", "fp"), ' type="data_ptr"'),
}
_DOUBLE = (
    '<union id="riscv_double"><field name="float" type="ieee_single"/>'
    '<field name="double" type="ieee_double"/></union>'
)


class Register(NamedTuple):
    """One register: its number in the protocol, its name, how many bytes it has."""

    number: int
    name: str
    size: int = 8


@lru_cache(maxsize=8)
def _csrs(whole: bool, isa: int) -> tuple[tuple[int, str], ...]:
    if not whole:
        few = [(int(csr), csr.name.lower()) for csr in Csr if not csr.name.startswith("HPMCOUNTER")]
        return (*few, *((Csr.CYCLE + index, f"hpmcounter{index}") for index in range(3, 32)))
    found = []
    for row in CSRS:
        needed = [getattr(privileged, name.strip()) for name in row.needs.split("|") if name.strip()]
        if all(isa & bit for bit in needed):
            stem = row.name.rstrip("0123456789")
            first = int(row.name[len(stem) :] or 0)
            found += [
                (number, row.name if number == row.number else f"{stem}{first + number - row.number}")
                for number in range(row.number, row.end)
                if not (row.name == "pmpcfg0" and number & 1)
            ]
    return tuple(_NAMES.get(number, (number, name)) for number, name in found)


_NAMES = {number: (number, name) for number, name in (
    (0xF12, "marchid"), (0xF13, "mimpid"), (0x7A2, "tdata2"), (0x7A3, "tdata3"), (0x322, "minstretcfg"),
)}  # fmt: skip
"""Rows of several CSRs whose names are no numbers."""


def csrs(hart: Hart) -> tuple[tuple[int, str], ...]:
    """(number, name) of the CSRs that a hart has."""
    return _csrs(hart.whole, hart.get("isa") if hart.whole else 0)


def has_fp(hart: Hart) -> bool:
    """It has f0 to f31."""
    return hart.whole or bool(hart.get("fp"))


def registers(hart: Hart) -> list[Register]:
    """All registers of a hart, by number."""
    found = [Register(number, name) for number, name in enumerate(_X.split())]
    found.append(Register(PC, "pc"))
    if has_fp(hart):
        found += [Register(F + number, name) for number, name in enumerate(_F.split())]
    found += [
        Register(CSR + number, name, 4 if number in FLOATING else 8)
        for number, name in csrs(hart)
        if has_fp(hart) or number not in FLOATING
    ]
    return sorted([*found, Register(PRIV, "priv"), Register(VIRT, "virt")])


def target_xml(hart: Hart) -> bytes:
    """The target description."""
    features: dict[str, list[str]] = {"cpu": [], "fpu": [], "csr": [], "virtual": []}
    own: list[str] = []
    for number, name, size in registers(hart):
        kind = _TYPES.get(name, "")
        feature = "cpu" if number <= PC else "fpu" if number < CSR or number - CSR in FLOATING else "csr"
        if feature == "fpu" and size == 8:
            kind = ' type="riscv_double"'
        if feature == "csr":
            kind = ' group="csr"'
        row = f'<reg name="{name}" bitsize="{8 * size}" regnum="{number}"{kind}/>'
        if number == VIRT:
            own.append(row)
        else:
            features["virtual" if number == PRIV else feature].append(row)
    if features["fpu"]:
        features["fpu"].insert(0, _DOUBLE)
    parts = [
        f'<feature name="org.gnu.gdb.riscv.{name}">{"".join(rows)}</feature>'
        for name, rows in features.items()
        if rows
    ]
    parts.append(f'<feature name="vpmu.hart">{"".join(own)}</feature>')
    return (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">'
        f"<architecture>riscv:rv64</architecture>{''.join(parts)}</target>"
    ).encode()


_GENERIC = {1: "ra", 2: "sp", 8: "fp", PC: "pc", **{10 + number: f"arg{number + 1}" for number in range(8)}}


def register_info(hart: Hart, number: int) -> bytes | None:
    """A register for lldb where it reads no XML (qRegisterInfo): x0 to x31, pc, f0 to f31. None behind
    them.
    """
    if number >= CSR or (number >= F and not has_fp(hart)):
        return None
    name = next(one.name for one in registers(hart) if one.number == number)
    kind = "General Purpose Registers" if number <= PC else "Floating Point Registers"
    told = f"name:{name};bitsize:64;offset:{8 * number};encoding:uint;format:hex;set:{kind};gcc:{number};"
    told += f"dwarf:{number if number < PC else number - 1};" if number != PC else ""
    return (told + (f"generic:{_GENERIC[number]};" if number in _GENERIC else "")).encode()
