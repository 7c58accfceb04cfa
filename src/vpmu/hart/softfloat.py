"""Exact IEEE 754 arithmetic of the F, D and Zfh extensions, on raw bits.

Source: RISC-V Unprivileged ISA, chapters "F" (version 2.2) and "D" (version 2.2); sections are named below.
A finite number is (sign, exponent, significand) with value (-1)**sign * significand * 2**exponent. Operations
compute the exact result with Python's integers, or one with a sticky last bit (div, sqrt), and round once, in
`round_pack`.

Every value is an unsigned int of raw bits; every operation answers (bits, flags), flags as in fcsr.fflags.
`rm` is one of the five static rounding modes: the caller resolves DYN and refuses the reserved ones
beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Final

# F: "Floating-Point Control and Status Register", tables of rounding modes and of accrued exception flags.
RNE: Final = 0  # to nearest, ties to even
RTZ: Final = 1  # towards zero
RDN: Final = 2  # down, towards -infinity
RUP: Final = 3  # up, towards +infinity
RMM: Final = 4  # to nearest, ties to max magnitude
NX: Final = 0x01  # inexact
UF: Final = 0x02  # underflow
OF: Final = 0x04  # overflow
DZ: Final = 0x08  # divide by zero
NV: Final = 0x10  # invalid operation

_MASK16: Final = 0xFFFF
_MASK32: Final = 0xFFFF_FFFF
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF
_BOX16: Final = 0xFFFF_FFFF_FFFF_0000
_BOX: Final = 0xFFFF_FFFF_0000_0000

Result = tuple[int, int]
Finite = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Format:
    """A binary interchange format; `nan`: the canonical NaN, `lowest`: the smallest subnormal's exponent."""

    name: str
    precision: int  # significand bits, the hidden one included
    lowest: int
    sign: int
    quiet: int
    infinity: int
    nan: int


F16: Final = Format("h", 11, -24, 1 << 15, 1 << 9, 0x7C00, 0x7E00)
F32: Final = Format("s", 24, -149, 1 << 31, 1 << 22, 0x7F80_0000, 0x7FC0_0000)
F64: Final = Format("d", 53, -1074, 1 << 63, 1 << 51, 0x7FF0_0000_0000_0000, 0x7FF8_0000_0000_0000)


# Predicates and unpacking -----------------------------------------------------------------------------------


def is_nan(fmt: Format, a: int) -> bool:
    """True for a quiet or a signalling NaN."""
    return a & (fmt.sign - 1) > fmt.infinity


def is_signalling(fmt: Format, a: int) -> bool:
    """True for a signalling NaN: its quiet bit is clear."""
    return is_nan(fmt, a) and not a & fmt.quiet


def is_infinite(fmt: Format, a: int) -> bool:
    """True for either infinity."""
    return a & (fmt.sign - 1) == fmt.infinity


def unpack(fmt: Format, a: int) -> Finite:
    """(sign, exponent, significand) of a finite number; subnormals and zeros come out by the same rule."""
    fraction_bits = fmt.precision - 1
    sign = 1 if a & fmt.sign else 0
    magnitude = a & (fmt.sign - 1)
    biased = magnitude >> fraction_bits
    if not biased:
        return sign, fmt.lowest, magnitude
    hidden = 1 << fraction_bits
    return sign, fmt.lowest + biased - 1, magnitude & (hidden - 1) | hidden


# Rounding ---------------------------------------------------------------------------------------------------


def _shift_round(sign: int, significand: int, shift: int, rm: int) -> tuple[int, bool]:
    """significand / 2**shift as an integer, rounded, and whether that lost anything."""
    if shift <= 0:
        return significand << -shift, False
    kept = significand >> shift
    lost = significand - (kept << shift)
    if not lost:
        return kept, False
    half = 1 << (shift - 1)
    if rm == RNE:
        up = lost > half or (lost == half and bool(kept & 1))
    elif rm == RTZ:
        up = False
    elif rm == RDN:
        up = bool(sign)
    elif rm == RUP:
        up = not sign
    elif rm == RMM:
        up = lost >= half
    else:
        raise ValueError(f"softfloat: expected a static rounding mode 0..4, got {rm}")
    return kept + up, True


def round_pack(fmt: Format, sign: int, exponent: int, significand: int, rm: int) -> Result:
    """The format's number for (-1)**sign * significand * 2**exponent, with OF, UF and NX.

    Underflow is a tiny and inexact result; tininess is detected after rounding (F: "Subnormal Arithmetic"):
    a value that rounds up to the smallest normal number *with an unbounded exponent range* is not tiny.
    """
    sign_bits = fmt.sign if sign else 0
    if not significand:
        return sign_bits, 0
    to_precision = significand.bit_length() - fmt.precision
    shift = max(to_precision, fmt.lowest - exponent)
    rounded, inexact = _shift_round(sign, significand, shift, rm)
    # The hidden bit adds one to the exponent field, a carry out of the significand one more.
    bits = ((exponent + shift - fmt.lowest) << (fmt.precision - 1)) + rounded
    if bits >= fmt.infinity:
        to_infinity = rm in (RNE, RMM) or rm == (RDN if sign else RUP)
        return sign_bits | (fmt.infinity if to_infinity else fmt.infinity - 1), OF | NX
    if not inexact:
        return sign_bits | bits, 0
    if shift > to_precision:
        unbounded, _ = _shift_round(sign, significand, to_precision, rm)
        smallest_normal = fmt.lowest + fmt.precision - 1
        if unbounded.bit_length() - 1 + exponent + to_precision < smallest_normal:
            return sign_bits | bits, UF | NX
    return sign_bits | bits, NX


def _nan_of(fmt: Format, *operands: int) -> Result:
    # F: "NaN Generation and Propagation": the canonical NaN always, never an operand's payload.
    return fmt.nan, NV if any(is_signalling(fmt, operand) for operand in operands) else 0


def _sum(fmt: Format, x: Finite, y: Finite, rm: int) -> Result:
    low = min(x[1], y[1])
    x_aligned = x[2] << (x[1] - low)
    y_aligned = y[2] << (y[1] - low)
    total = (-x_aligned if x[0] else x_aligned) + (-y_aligned if y[0] else y_aligned)
    if not total:
        # IEEE 754-2019 6.3: an exact zero sum of opposite signs is +0, but -0 when rounding down.
        sign = x[0] if x[0] == y[0] else int(rm == RDN)
        return fmt.sign if sign else 0, 0
    return round_pack(fmt, int(total < 0), low, abs(total), rm)


# F: "Single-Precision Floating-Point Computational Instructions" --------------------------------------------


def add(fmt: Format, a: int, b: int, rm: int) -> Result:
    """a + b."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return _nan_of(fmt, a, b)
    if is_infinite(fmt, a):
        return (fmt.nan, NV) if is_infinite(fmt, b) and a != b else (a, 0)
    if is_infinite(fmt, b):
        return b, 0
    return _sum(fmt, unpack(fmt, a), unpack(fmt, b), rm)


def sub(fmt: Format, a: int, b: int, rm: int) -> Result:
    """a - b."""
    return add(fmt, a, b ^ fmt.sign, rm)


def mul(fmt: Format, a: int, b: int, rm: int) -> Result:
    """a * b; NV for infinity times zero."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return _nan_of(fmt, a, b)
    sign_bits = (a ^ b) & fmt.sign
    magnitudes = fmt.sign - 1
    if is_infinite(fmt, a) or is_infinite(fmt, b):
        return (sign_bits | fmt.infinity, 0) if a & magnitudes and b & magnitudes else (fmt.nan, NV)
    _, x_exponent, x = unpack(fmt, a)
    _, y_exponent, y = unpack(fmt, b)
    return round_pack(fmt, sign_bits, x_exponent + y_exponent, x * y, rm)


def div(fmt: Format, a: int, b: int, rm: int) -> Result:
    """a / b; DZ for a finite non-zero number over zero, NV for 0/0 and for infinity over infinity."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return _nan_of(fmt, a, b)
    sign_bits = (a ^ b) & fmt.sign
    if is_infinite(fmt, a):
        return (fmt.nan, NV) if is_infinite(fmt, b) else (sign_bits | fmt.infinity, 0)
    if is_infinite(fmt, b):
        return sign_bits, 0
    _, x_exponent, x = unpack(fmt, a)
    _, y_exponent, y = unpack(fmt, b)
    if not y:
        return (sign_bits | fmt.infinity, DZ) if x else (fmt.nan, NV)
    # At least precision + 2 quotient bits, so that the sticky bit lies below the rounding position.
    shift = fmt.precision + 3 + y.bit_length() - x.bit_length()
    quotient, rest = divmod(x << shift, y)
    return round_pack(fmt, sign_bits, x_exponent - y_exponent - shift - 1, quotient << 1 | bool(rest), rm)


def sqrt(fmt: Format, a: int, rm: int) -> Result:
    """Square root; -0 for -0, NV for anything else below zero."""
    if is_nan(fmt, a):
        return _nan_of(fmt, a)
    if not a & (fmt.sign - 1) or a == fmt.infinity:
        return a, 0
    if a & fmt.sign:
        return fmt.nan, NV
    _, exponent, significand = unpack(fmt, a)
    shift = 2 * (fmt.precision + 2) - significand.bit_length()
    shift += (exponent - shift) & 1  # the exponent under the root must be even
    significand <<= shift
    root = isqrt(significand)
    return round_pack(fmt, 0, (exponent - shift) // 2 - 1, root << 1 | (root * root != significand), rm)


def fma(fmt: Format, a: int, b: int, c: int, rm: int) -> Result:
    """a * b + c, rounded once; NV for infinity times zero even when c is a quiet NaN, as F requires."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return _nan_of(fmt, a, b, c)
    magnitudes = fmt.sign - 1
    product_infinite = is_infinite(fmt, a) or is_infinite(fmt, b)
    if product_infinite and not (a & magnitudes and b & magnitudes):
        return fmt.nan, NV
    if is_nan(fmt, c):
        return _nan_of(fmt, c)
    sign_bits = (a ^ b) & fmt.sign
    if product_infinite:
        opposite = is_infinite(fmt, c) and c & fmt.sign != sign_bits
        return (fmt.nan, NV) if opposite else (sign_bits | fmt.infinity, 0)
    if is_infinite(fmt, c):
        return c, 0
    _, x_exponent, x = unpack(fmt, a)
    _, y_exponent, y = unpack(fmt, b)
    return _sum(fmt, (int(sign_bits != 0), x_exponent + y_exponent, x * y), unpack(fmt, c), rm)


def _minimum_or_maximum(fmt: Format, a: int, b: int, want_less: bool) -> Result:
    flags = NV if is_signalling(fmt, a) or is_signalling(fmt, b) else 0
    if is_nan(fmt, a):
        return fmt.nan if is_nan(fmt, b) else b, flags
    if is_nan(fmt, b):
        return a, flags
    # For negative numbers a larger magnitude is less; ~ also puts -0 below +0.
    a_key, b_key = (~(v & (fmt.sign - 1)) if v & fmt.sign else v for v in (a, b))
    return a if (a_key < b_key) == want_less else b, flags


def minimum_number(fmt: Format, a: int, b: int) -> Result:
    """FMIN: minimumNumber of IEEE 754-2019; a NaN loses against a number, -0 < +0, NV only for an sNaN."""
    return _minimum_or_maximum(fmt, a, b, True)


def maximum_number(fmt: Format, a: int, b: int) -> Result:
    """FMAX: maximumNumber of IEEE 754-2019, NaNs and zeros as in `minimum_number`."""
    return _minimum_or_maximum(fmt, a, b, False)


# F: "Floating-Point Compare" and "Classify" instructions ----------------------------------------------------


def _order(fmt: Format, a: int) -> int:
    return -(a & (fmt.sign - 1)) if a & fmt.sign else a


def eq(fmt: Format, a: int, b: int) -> Result:
    """a == b; a quiet comparison: NV only for signalling NaNs."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return 0, _nan_of(fmt, a, b)[1]
    return int(_order(fmt, a) == _order(fmt, b)), 0


def lt(fmt: Format, a: int, b: int) -> Result:
    """a < b; a signalling comparison: NV for any NaN."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return 0, NV
    return int(_order(fmt, a) < _order(fmt, b)), 0


def le(fmt: Format, a: int, b: int) -> Result:
    """a <= b; a signalling comparison: NV for any NaN."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return 0, NV
    return int(_order(fmt, a) <= _order(fmt, b)), 0


def classify(fmt: Format, a: int) -> int:
    """FCLASS: one bit of ten: -inf, -normal, -subnormal, -0, +0, +subnormal, +normal, +inf, sNaN, qNaN."""
    if is_nan(fmt, a):
        return 1 << 9 if a & fmt.quiet else 1 << 8
    magnitude = a & (fmt.sign - 1)
    if magnitude == fmt.infinity:
        rank = 3
    elif magnitude >> (fmt.precision - 1):
        rank = 2
    else:
        rank = 1 if magnitude else 0
    return 1 << (3 - rank if a & fmt.sign else 4 + rank)


# F: "Conversion and Move" instructions; D: "Conversion and Move" --------------------------------------------


def sgnj(fmt: Format, a: int, b: int) -> int:
    """a with b's sign."""
    return a & (fmt.sign - 1) | b & fmt.sign


def sgnjn(fmt: Format, a: int, b: int) -> int:
    """a with the opposite of b's sign."""
    return a & (fmt.sign - 1) | ~b & fmt.sign


def sgnjx(fmt: Format, a: int, b: int) -> int:
    """a with its sign exclusive-ored with b's."""
    return a ^ b & fmt.sign


def sign_extend32(value: int) -> int:
    """The low 32 bits as an RV64 x register holds a word: sign-extended to 64, also for unsigned words."""
    word = value & _MASK32
    return word | _BOX if word >> 31 else word


def to_int(fmt: Format, a: int, rm: int, width: int, signed: bool) -> Result:
    """FCVT.{W,WU,L,LU}: the 64-bit x register; out of range saturates with NV alone, NaN as +infinity."""
    highest = (1 << (width - signed)) - 1
    lowest = -highest - 1 if signed else 0
    flags = 0
    if is_nan(fmt, a):
        value, flags = highest, NV
    elif is_infinite(fmt, a):
        value, flags = lowest if a & fmt.sign else highest, NV
    else:
        sign, exponent, significand = unpack(fmt, a)
        magnitude, inexact = _shift_round(sign, significand, -exponent, rm)
        value = -magnitude if sign else magnitude
        if not lowest <= value <= highest:
            value, flags = lowest if sign else highest, NV
        elif inexact:
            flags = NX
    return sign_extend32(value) if width == 32 else value & _MASK64, flags


def from_int(fmt: Format, value: int, rm: int, width: int, signed: bool) -> Result:
    """FCVT from the low `width` (32 or 64) bits of an x register."""
    integer = value & ((1 << width) - 1)
    if signed and integer >> (width - 1):
        integer -= 1 << width
    return round_pack(fmt, int(integer < 0), 0, abs(integer), rm)


def convert(source: Format, target: Format, a: int, rm: int) -> Result:
    """FCVT.S.D and FCVT.D.S; a NaN becomes the canonical one."""
    if is_nan(source, a):
        return target.nan, _nan_of(source, a)[1]
    sign, exponent, significand = unpack(source, a)
    if is_infinite(source, a):
        return (target.sign if sign else 0) | target.infinity, 0
    return round_pack(target, sign, exponent, significand, rm)


# D: "NaN Boxing of Narrower Values" -------------------------------------------------------------------------


def box32(value: int) -> int:
    """The 64-bit f register that holds a single: all upper bits ones."""
    return _BOX | value & _MASK32


def box16(value: int) -> int:
    """The 64-bit f register that holds a half: all upper bits ones."""
    return _BOX16 | value & _MASK16


def unbox16(register: int) -> int:
    """The half in a 64-bit f register; the canonical NaN when it is not properly boxed."""
    return register & _MASK16 if register >= _BOX16 else F16.nan


def unbox32(register: int) -> int:
    """The single in a 64-bit f register; the canonical NaN when it is not properly boxed."""
    return register & _MASK32 if register >= _BOX else F32.nan
