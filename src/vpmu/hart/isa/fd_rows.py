"""The instructions of RV64F and RV64D: encodings as rows of data, and `execute`, which computes any of them.

Source: RISC-V Unprivileged ISA, chapters "F" and "D", and the listing "RV32/64G Instruction Set Listings".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from vpmu.hart import softfloat as sf

Kind = Literal["x", "f"]
Precision = Literal["h", "s", "d"]


@dataclass(frozen=True, slots=True)
class FdRow:
    """One F or D instruction: `word & mask == match` recognises it; `sources` are rs1, rs2, rs3 in order.

    `precision` is what the encoding's fmt field says: the operands', but the result's for fcvt.s.d and
    fcvt.d.s (those of Zfh name the operand's in their operation). When `has_rm`, bits 14:12 are a rounding
    mode (7: DYN, take fcsr.frm; 5, 6: reserved, illegal).
    """

    name: str
    format: str
    mask: int
    match: int
    operation: str
    precision: Precision
    dest: Kind | None  # None: a store
    sources: tuple[Kind, ...]
    has_rm: bool

    @property
    def extension(self) -> str:
        """The extension that brings the instruction: 'F' or 'D' (the fcvt between the two are D's)."""
        return "D" if self.precision == "d" or self.operation == "convert" else "F"


# format: destination kind, source kinds, has a rounding mode
FORMATS: Final[dict[str, tuple[Kind | None, tuple[Kind, ...], bool]]] = {
    "load": ("f", ("x",), False),  # rs1 + imm[11:0] is the address
    "store": (None, ("x", "f"), False),  # rs1 + imm is the address, rs2 the data
    "R4-fp": ("f", ("f", "f", "f"), True),
    "R-fp": ("f", ("f", "f"), True),
    "R1-fp": ("f", ("f",), True),
    "sgnj": ("f", ("f", "f"), False),
    "minmax": ("f", ("f", "f"), False),
    "cmp": ("x", ("f", "f"), False),
    "class": ("x", ("f",), False),
    "cvt x<-f": ("x", ("f",), True),
    "cvt f<-x": ("f", ("x",), True),
    "cvt f<-f": ("f", ("f",), True),
    "mv x<-f": ("x", ("f",), False),
    "mv f<-x": ("f", ("x",), False),
}

_TABLE: Final[tuple[tuple[str, str, int, int, str, Precision], ...]] = (
    # name, format, mask, match, operation, precision
    ("flw", "load", 0x0000707F, 0x00002007, "load", "s"),
    ("fsw", "store", 0x0000707F, 0x00002027, "store", "s"),
    ("fmadd.s", "R4-fp", 0x0600007F, 0x00000043, "madd", "s"),
    ("fmsub.s", "R4-fp", 0x0600007F, 0x00000047, "msub", "s"),
    ("fnmsub.s", "R4-fp", 0x0600007F, 0x0000004B, "nmsub", "s"),
    ("fnmadd.s", "R4-fp", 0x0600007F, 0x0000004F, "nmadd", "s"),
    ("fadd.s", "R-fp", 0xFE00007F, 0x00000053, "add", "s"),
    ("fsub.s", "R-fp", 0xFE00007F, 0x08000053, "sub", "s"),
    ("fmul.s", "R-fp", 0xFE00007F, 0x10000053, "mul", "s"),
    ("fdiv.s", "R-fp", 0xFE00007F, 0x18000053, "div", "s"),
    ("fsqrt.s", "R1-fp", 0xFFF0007F, 0x58000053, "sqrt", "s"),
    ("fsgnj.s", "sgnj", 0xFE00707F, 0x20000053, "sgnj", "s"),
    ("fsgnjn.s", "sgnj", 0xFE00707F, 0x20001053, "sgnjn", "s"),
    ("fsgnjx.s", "sgnj", 0xFE00707F, 0x20002053, "sgnjx", "s"),
    ("fmin.s", "minmax", 0xFE00707F, 0x28000053, "min", "s"),
    ("fmax.s", "minmax", 0xFE00707F, 0x28001053, "max", "s"),
    ("feq.s", "cmp", 0xFE00707F, 0xA0002053, "eq", "s"),
    ("flt.s", "cmp", 0xFE00707F, 0xA0001053, "lt", "s"),
    ("fle.s", "cmp", 0xFE00707F, 0xA0000053, "le", "s"),
    ("fclass.s", "class", 0xFFF0707F, 0xE0001053, "class", "s"),
    ("fcvt.w.s", "cvt x<-f", 0xFFF0007F, 0xC0000053, "to_w", "s"),
    ("fcvt.wu.s", "cvt x<-f", 0xFFF0007F, 0xC0100053, "to_wu", "s"),
    ("fcvt.l.s", "cvt x<-f", 0xFFF0007F, 0xC0200053, "to_l", "s"),
    ("fcvt.lu.s", "cvt x<-f", 0xFFF0007F, 0xC0300053, "to_lu", "s"),
    ("fcvt.s.w", "cvt f<-x", 0xFFF0007F, 0xD0000053, "from_w", "s"),
    ("fcvt.s.wu", "cvt f<-x", 0xFFF0007F, 0xD0100053, "from_wu", "s"),
    ("fcvt.s.l", "cvt f<-x", 0xFFF0007F, 0xD0200053, "from_l", "s"),
    ("fcvt.s.lu", "cvt f<-x", 0xFFF0007F, 0xD0300053, "from_lu", "s"),
    ("fmv.x.w", "mv x<-f", 0xFFF0707F, 0xE0000053, "mv_x", "s"),
    ("fmv.w.x", "mv f<-x", 0xFFF0707F, 0xF0000053, "mv_f", "s"),
    ("fld", "load", 0x0000707F, 0x00003007, "load", "d"),
    ("fsd", "store", 0x0000707F, 0x00003027, "store", "d"),
    ("fmadd.d", "R4-fp", 0x0600007F, 0x02000043, "madd", "d"),
    ("fmsub.d", "R4-fp", 0x0600007F, 0x02000047, "msub", "d"),
    ("fnmsub.d", "R4-fp", 0x0600007F, 0x0200004B, "nmsub", "d"),
    ("fnmadd.d", "R4-fp", 0x0600007F, 0x0200004F, "nmadd", "d"),
    ("fadd.d", "R-fp", 0xFE00007F, 0x02000053, "add", "d"),
    ("fsub.d", "R-fp", 0xFE00007F, 0x0A000053, "sub", "d"),
    ("fmul.d", "R-fp", 0xFE00007F, 0x12000053, "mul", "d"),
    ("fdiv.d", "R-fp", 0xFE00007F, 0x1A000053, "div", "d"),
    ("fsqrt.d", "R1-fp", 0xFFF0007F, 0x5A000053, "sqrt", "d"),
    ("fsgnj.d", "sgnj", 0xFE00707F, 0x22000053, "sgnj", "d"),
    ("fsgnjn.d", "sgnj", 0xFE00707F, 0x22001053, "sgnjn", "d"),
    ("fsgnjx.d", "sgnj", 0xFE00707F, 0x22002053, "sgnjx", "d"),
    ("fmin.d", "minmax", 0xFE00707F, 0x2A000053, "min", "d"),
    ("fmax.d", "minmax", 0xFE00707F, 0x2A001053, "max", "d"),
    ("feq.d", "cmp", 0xFE00707F, 0xA2002053, "eq", "d"),
    ("flt.d", "cmp", 0xFE00707F, 0xA2001053, "lt", "d"),
    ("fle.d", "cmp", 0xFE00707F, 0xA2000053, "le", "d"),
    ("fclass.d", "class", 0xFFF0707F, 0xE2001053, "class", "d"),
    ("fcvt.w.d", "cvt x<-f", 0xFFF0007F, 0xC2000053, "to_w", "d"),
    ("fcvt.wu.d", "cvt x<-f", 0xFFF0007F, 0xC2100053, "to_wu", "d"),
    ("fcvt.l.d", "cvt x<-f", 0xFFF0007F, 0xC2200053, "to_l", "d"),
    ("fcvt.lu.d", "cvt x<-f", 0xFFF0007F, 0xC2300053, "to_lu", "d"),
    ("fcvt.d.w", "cvt f<-x", 0xFFF0007F, 0xD2000053, "from_w", "d"),
    ("fcvt.d.wu", "cvt f<-x", 0xFFF0007F, 0xD2100053, "from_wu", "d"),
    ("fcvt.d.l", "cvt f<-x", 0xFFF0007F, 0xD2200053, "from_l", "d"),
    ("fcvt.d.lu", "cvt f<-x", 0xFFF0007F, 0xD2300053, "from_lu", "d"),
    ("fmv.x.d", "mv x<-f", 0xFFF0707F, 0xE2000053, "mv_x", "d"),
    ("fmv.d.x", "mv f<-x", 0xFFF0707F, 0xF2000053, "mv_f", "d"),
    ("fcvt.s.d", "cvt f<-f", 0xFFF0007F, 0x40100053, "convert", "s"),
    ("fcvt.d.s", "cvt f<-f", 0xFFF0007F, 0x42000053, "convert", "d"),
)

FD_ROWS: Final[tuple[FdRow, ...]] = tuple(
    FdRow(name, form, mask, match, operation, precision, *FORMATS[form])
    for name, form, mask, match, operation, precision in _TABLE
)


def find(word: int) -> FdRow | None:
    """The row of an instruction word, or None; slow, for tests and disassembly."""
    return next((row for row in FD_ROWS if word & row.mask == row.match), None)


# operation: (format, rs1, rs2, rs3, rm) -> (bits, flags), operands unboxed and x registers whole
_Compute = Callable[[sf.Format, int, int, int, int], sf.Result]


def _to_int(width: int, signed: bool) -> _Compute:
    return lambda fmt, a, b, c, rm: sf.to_int(fmt, a, rm, width, signed)


def _from_int(width: int, signed: bool) -> _Compute:
    return lambda fmt, a, b, c, rm: sf.from_int(fmt, a, rm, width, signed)


def _convert_from(source: sf.Format) -> _Compute:
    return lambda fmt, a, b, c, rm: sf.convert(source, fmt, a, rm)


def _convert(fmt: sf.Format, a: int, b: int, c: int, rm: int) -> sf.Result:
    return sf.convert(sf.F64 if fmt is sf.F32 else sf.F32, fmt, a, rm)


_COMPUTE: Final[dict[str, _Compute]] = {
    "add": lambda fmt, a, b, c, rm: sf.add(fmt, a, b, rm),
    "sub": lambda fmt, a, b, c, rm: sf.sub(fmt, a, b, rm),
    "mul": lambda fmt, a, b, c, rm: sf.mul(fmt, a, b, rm),
    "div": lambda fmt, a, b, c, rm: sf.div(fmt, a, b, rm),
    "sqrt": lambda fmt, a, b, c, rm: sf.sqrt(fmt, a, rm),
    # Product and addend are negated before the only rounding; the sign of a NaN does not matter.
    "madd": sf.fma,
    "msub": lambda fmt, a, b, c, rm: sf.fma(fmt, a, b, c ^ fmt.sign, rm),
    "nmsub": lambda fmt, a, b, c, rm: sf.fma(fmt, a ^ fmt.sign, b, c, rm),
    "nmadd": lambda fmt, a, b, c, rm: sf.fma(fmt, a ^ fmt.sign, b, c ^ fmt.sign, rm),
    "min": lambda fmt, a, b, c, rm: sf.minimum_number(fmt, a, b),
    "max": lambda fmt, a, b, c, rm: sf.maximum_number(fmt, a, b),
    "eq": lambda fmt, a, b, c, rm: sf.eq(fmt, a, b),
    "lt": lambda fmt, a, b, c, rm: sf.lt(fmt, a, b),
    "le": lambda fmt, a, b, c, rm: sf.le(fmt, a, b),
    "class": lambda fmt, a, b, c, rm: (sf.classify(fmt, a), 0),
    "sgnj": lambda fmt, a, b, c, rm: (sf.sgnj(fmt, a, b), 0),
    "sgnjn": lambda fmt, a, b, c, rm: (sf.sgnjn(fmt, a, b), 0),
    "sgnjx": lambda fmt, a, b, c, rm: (sf.sgnjx(fmt, a, b), 0),
    "to_w": _to_int(32, True),
    "to_wu": _to_int(32, False),
    "to_l": _to_int(64, True),
    "to_lu": _to_int(64, False),
    "from_w": _from_int(32, True),
    "from_wu": _from_int(32, False),
    "from_l": _from_int(64, True),
    "from_lu": _from_int(64, False),
    "convert": _convert,
    "convert_h": _convert_from(sf.F16),
    "convert_s": _convert_from(sf.F32),
    "convert_d": _convert_from(sf.F64),
}


def _transfer(row: FdRow, a: int, b: int) -> int:
    # Loads, stores and moves carry bits: they neither check the boxing of what they read nor look for NaNs.
    if row.precision == "d":
        return b if row.operation == "store" else a
    if row.precision == "h":
        return _transfer_half(row, a, b)
    match row.operation:
        case "store":
            return b & 0xFFFF_FFFF
        case "mv_x":
            return sf.sign_extend32(a)
        case _:  # load, mv_f
            return sf.box32(a)


def _transfer_half(row: FdRow, a: int, b: int) -> int:
    match row.operation:
        case "store":
            return b & 0xFFFF
        case "mv_x":
            return (a & 0xFFFF ^ 0x8000) - 0x8000 & (1 << 64) - 1
        case _:  # load, mv_f
            return sf.box16(a)


def operand_precision(row: FdRow) -> Precision:
    """The format of what a row reads from f registers."""
    kind, _, source = row.operation.partition("_")
    if kind != "convert":
        return row.precision
    if source:
        return source  # type: ignore[return-value]
    return "d" if row.precision == "s" else "s"


_FORMATS: Final[dict[Precision, sf.Format]] = {"h": sf.F16, "s": sf.F32, "d": sf.F64}
_UNBOX: Final[dict[Precision, Callable[[int], int]]] = {"h": sf.unbox16, "s": sf.unbox32}
_BOX: Final[dict[Precision, Callable[[int], int]]] = {"h": sf.box16, "s": sf.box32}


def execute(row: FdRow, a: int, b: int = 0, c: int = 0, rm: int = sf.RNE) -> sf.Result:
    """(value of rd, flags to accrue) of `row` on whole 64-bit registers rs1, rs2, rs3; what is narrower is
    NaN-boxed.

    `rm` is a static mode, 0..4. Of a load, `a` is the word or double word read from memory; of a store, the
    value answered is the one to write.
    """
    compute = _COMPUTE.get(row.operation)
    if compute is None:
        return _transfer(row, a, b), 0
    unbox = _UNBOX.get(operand_precision(row))
    if unbox is not None and row.sources[0] == "f":
        a, b, c = unbox(a), unbox(b), unbox(c)
    value, flags = compute(_FORMATS[row.precision], a, b, c, rm)
    box = _BOX.get(row.precision)
    return box(value) if box is not None and row.dest == "f" else value, flags
