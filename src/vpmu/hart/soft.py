"""Arithmetic of F, D and Zfh on integers alone, written in the semantics language (see `semantics/`).

The native engine computes with it whatever the host's arithmetic does otherwise or not at all
(`generator/floating/`); the reference engine has `softfloat.py` instead, so that each checks the other. Apart
from the constants this module is data, as `privileged/` is.

Conventions. Operands are doubles: a single or a half is widened first, which loses nothing and leaves a
signalling NaN signalling. So only the result has a format, named by its `digits`, DIGITS_H, DIGITS_S or
DIGITS_D; bits of a narrower one come out unboxed. `rm` is one of the five modes. Flags are accrued on the
way. A finite number is taken apart into its sign (0 or 1), the exponent of its first digit, and a significand
with that digit at bit 63; digits that do not fit are or-ed into the last bit, where they decide a rounding as
they should.
"""
# ruff: noqa: F821 - words and intrinsics are bound when the module is compiled
# mypy: ignore-errors

from __future__ import annotations

RNE, RTZ, RDN, RUP, RMM = range(5)
NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16
DIGITS_H, DIGITS_S, DIGITS_D = 11, 24, 53

SIGN = 1 << 63
MAGNITUDE = SIGN - 1
INFINITY = 0x7FF << 52
QUIET = 1 << 51
ONE = 0x3FF << 52
EXPONENT_OF_ZERO = (1 << 64) - 4096  # below that of any product


# ---------------------------------------------------------------- taking numbers apart


def widen(a):
    """The double that is a single; its bits are the low half of `a`."""
    sign = (a & 0x80000000) << 32
    magnitude = a & 0x7FFFFFFF
    if magnitude == 0:
        return sign
    if magnitude >= 0x7F800000:
        return sign | INFINITY | (magnitude << 29)
    shift = 0
    if magnitude < 0x00800000:
        shift = clz64(magnitude) - 40
    return sign | ((magnitude << (29 + shift)) + ((1023 - 127 - shift) << 52))


def widen_half(a):
    """The double that is a half; its bits are the low quarter of `a`."""
    sign = (a & 0x8000) << 48
    magnitude = a & 0x7FFF
    if magnitude == 0:
        return sign
    if magnitude >= 0x7C00:
        return sign | INFINITY | (magnitude << 42)
    shift = 0
    if magnitude < 0x400:
        shift = clz64(magnitude) - 53
    return sign | ((magnitude << (42 + shift)) + ((1023 - 15 - shift) << 52))


def significand_of(a):
    """The significand of a finite number, 0 for a zero."""
    if a & INFINITY:
        return (a | (1 << 52)) << 11
    fraction = a << 12
    if fraction == 0:
        return 0
    return fraction << clz64(fraction)


def exponent_of(a):
    """The exponent of a finite number's first digit."""
    if a & INFINITY:
        return ((a >> 52) & 0x7FF) - 1023
    fraction = a << 12
    if fraction == 0:
        return EXPONENT_OF_ZERO
    return -1023 - clz64(fraction)


def is_special(a):
    """Whether a number is infinite or none."""
    return (a & INFINITY) == INFINITY


def is_signalling(a):
    return (a & MAGNITUDE) > INFINITY and (a & QUIET) == 0


# ---------------------------------------------------------------- putting results together


def accrue(flags):
    """Set bits of fflags; the extension's state is dirty then."""
    s.fflags = s.fflags | flags
    s.sstatus = s.sstatus | SSTATUS_FS
    return 0


def infinity_of(digits):
    return 0x7F800000 if digits == DIGITS_S else INFINITY if digits == DIGITS_D else 0x7C00


def signed_bits(sign, magnitude, digits):
    return (sign << (31 if digits == DIGITS_S else 63 if digits == DIGITS_D else 15)) | magnitude


def canonical_nan(invalid, digits):
    """The canonical NaN, with NV where the operation was invalid."""
    if invalid:
        accrue(NV)
    return 0x7FC00000 if digits == DIGITS_S else INFINITY | QUIET if digits == DIGITS_D else 0x7E00


def shift_right(value, distance):
    """Shift, with what is lost or-ed into the last bit."""
    if distance == 0:
        return value
    if distance >= 64:
        return value != 0
    return (value >> distance) | ((value << (64 - distance)) != 0)


def shift_right_low(high, low, distance):
    """The low word of `shift_right` of two words."""
    if distance == 0:
        return low
    if distance >= 64:
        return shift_right(high, distance - 64) | (low != 0)
    return (high << (64 - distance)) | shift_right(low, distance)


def shift_right_high(high, distance):
    """The high word of `shift_right` of two words."""
    if distance >= 64:
        return 0
    return high >> distance


def rounds_up(sign, kept, lost, half, rm):
    """Whether the integer `kept`, behind which a fraction `lost` / (2 * `half`) is cut off, grows by one."""
    if rm == RNE:
        return lost + (kept & 1) > half
    if rm == RMM:
        return lost >= half
    if rm == RDN:
        return lost != 0 and sign
    if rm == RUP:
        return lost != 0 and sign == 0
    return 0


def round_pack(sign, at, significand, digits, rm):
    """The bits of a number that is not zero, rounded, with OF, UF and NX.

    A result is tiny when it is below the least normal number after rounding as if exponents had no bound.
    """
    least = -126 if digits == DIGITS_S else -1022 if digits == DIGITS_D else -14
    drop = 64 - digits
    half = 1 << (drop - 1)
    mask = (1 << drop) - 1
    tiny = 0
    if slt(at, least):
        kept = significand >> drop
        up = rounds_up(sign, kept, significand & mask, half, rm)
        tiny = at + 1 != least or (kept + up) >> digits == 0
        significand = shift_right(significand, least - at)
        at = least
    kept = significand >> drop
    lost = significand & mask
    # The first digit adds one to the exponent field, a carry out of the significand one more.
    bits = ((at - least) << (digits - 1)) + kept + rounds_up(sign, kept, lost, half, rm)
    if bits >= infinity_of(digits):
        accrue(OF | NX)
        bits = infinity_of(digits) - 1 + rounds_up(sign, 0, half + 1, half, rm)
    elif lost:
        accrue(NX | UF if tiny else NX)
    return signed_bits(sign, bits, digits)


# ---------------------------------------------------------------- the operations


def fused(a, b, c, digits, rm):
    """a * b + c, rounded once. Two words hold any product, and two bits more at the top for the sum."""
    if is_special(a) or is_special(b) or is_special(c):
        return fused_special(a, b, c, digits)
    sign = (a ^ b) >> 63
    opposite = sign != c >> 63
    at = exponent_of(a) + exponent_of(b)
    a_half = significand_of(a) >> 1
    high = mulhu(a_half, significand_of(b))
    low = a_half * significand_of(b)
    c_at = exponent_of(c)
    c_high = significand_of(c) >> 2
    c_low = 0
    # Digits are lost only where the distance is too large for the others to cancel.
    if slt(at, c_at):
        low = shift_right_low(high, low, c_at - at)
        high = shift_right_high(high, c_at - at)
        at = c_at
    else:
        c_low = shift_right_low(c_high, 0, at - c_at)
        c_high = shift_right_high(c_high, at - c_at)
    if opposite == 0:
        low += c_low
        high = high + c_high + (low < c_low)
    elif high < c_high or (high == c_high and low < c_low):
        high = c_high - high - (c_low < low)
        low = c_low - low
        sign = c >> 63
    else:
        high = high - c_high - (low < c_low)
        low = low - c_low
    if (high | low) == 0:  # an exact zero of opposite signs is -0 only where rounding goes down
        return signed_bits(rm == RDN if opposite else sign, 0, digits)
    if high == 0:
        high = low
        low = 0
        at -= 64
    shift = clz64(high)
    if shift:
        high = (high << shift) | (low >> (64 - shift))
        low = low << shift
    return round_pack(sign, at + 2 - shift, high | (low != 0), digits, rm)


def fused_special(a, b, c, digits):
    """`fused` where an operand is infinite or none. Infinity times zero is invalid whatever c is."""
    a_size = a & MAGNITUDE
    b_size = b & MAGNITUDE
    if a_size > INFINITY or b_size > INFINITY:
        return canonical_nan(is_signalling(a) or is_signalling(b) or is_signalling(c), digits)
    sign = (a ^ b) >> 63
    infinite = a_size == INFINITY or b_size == INFINITY
    if infinite and (a_size == 0 or b_size == 0):
        return canonical_nan(1, digits)
    if (c & MAGNITUDE) > INFINITY:
        return canonical_nan(is_signalling(c), digits)
    if infinite == 0:
        sign = c >> 63
    elif is_special(c) and c >> 63 != sign:
        return canonical_nan(1, digits)
    return signed_bits(sign, infinity_of(digits), digits)


def soft_madd(a, b, c, digits, rm):
    return fused(a, b, c, digits, rm)


def soft_msub(a, b, c, digits, rm):
    return fused(a, b, c ^ SIGN, digits, rm)


def soft_nmsub(a, b, c, digits, rm):
    return fused(a ^ SIGN, b, c, digits, rm)


def soft_nmadd(a, b, c, digits, rm):
    return fused(a ^ SIGN, b, c ^ SIGN, digits, rm)


def soft_add(a, b, c, digits, rm):
    return fused(a, ONE, b, digits, rm)


def soft_sub(a, b, c, digits, rm):
    return fused(a, ONE, b ^ SIGN, digits, rm)


def soft_mul(a, b, c, digits, rm):
    """The zero that is added has the product's sign: it changes nothing."""
    return fused(a, b, (a ^ b) & SIGN, digits, rm)


def soft_convert(a, b, c, digits, rm):
    return fused(a, ONE, a & SIGN, digits, rm)


def soft_div(a, b, c, digits, rm):
    sign = (a ^ b) >> 63
    a_size = a & MAGNITUDE
    b_size = b & MAGNITUDE
    if a_size > INFINITY or b_size > INFINITY:
        return canonical_nan(is_signalling(a) or is_signalling(b), digits)
    if a_size == b_size and (a_size == 0 or a_size == INFINITY):
        return canonical_nan(1, digits)
    if b_size == 0 or a_size == INFINITY:
        if a_size != INFINITY:
            accrue(DZ)
        return signed_bits(sign, infinity_of(digits), digits)
    if a_size == 0 or b_size == INFINITY:
        return signed_bits(sign, 0, digits)
    at = exponent_of(a) - exponent_of(b)
    rest = significand_of(a) >> 11
    divisor = significand_of(b) >> 11
    if rest < divisor:
        rest = rest << 1
        at -= 1
    quotient = 1
    rest -= divisor
    while quotient >> (digits + 1) == 0:  # eleven digits at a time: the divisor has 53
        quotient = (quotient << 11) | udiv(rest << 11, divisor)
        rest = urem(rest << 11, divisor)
    return round_pack(sign, at, (quotient << clz64(quotient)) | (rest != 0), digits, rm)


def soft_sqrt(a, b, c, digits, rm):
    size = a & MAGNITUDE
    if size > INFINITY:
        return canonical_nan(is_signalling(a), digits)
    if size == 0:
        return signed_bits(a >> 63, 0, digits)
    if a >> 63:
        return canonical_nan(1, digits)
    if size == INFINITY:
        return infinity_of(digits)
    at = exponent_of(a)
    square = significand_of(a)
    if (at & 1) == 0:  # two digits before the point: 1 to 4
        square = square >> 1
    root = 0
    rest = 0
    while root >> (digits + 1) == 0:  # one digit of the root for two of the square
        rest = (rest << 2) | (square >> 62)
        square = square << 2
        root = root << 1
        if rest > root << 1:
            rest = rest - (root << 1) - 1
            root += 1
    return round_pack(0, sar(at, 1), (root << clz64(root)) | ((rest | square) != 0), digits, rm)


def soft_to_integer(a, highest, is_signed, rm):
    """A number as an integer up to `highest`; out of range the nearest there is, with NV alone. A NaN
    counts as +infinity.
    """
    sign = a >> 63
    limit = highest
    if (a & MAGNITUDE) > INFINITY:
        sign = 0
    elif sign:
        limit = highest + 1 if is_signed else 0
    whole = 0
    lost = 0  # the fraction in units of 2**-64
    at = exponent_of(a)
    if slt(at, 0):
        lost = shift_right(significand_of(a), -1 - at)
    elif at <= 63:
        whole = significand_of(a) >> (63 - at)
        if at != 63:
            lost = significand_of(a) << (at + 1)
    whole += rounds_up(sign, whole, lost, 1 << 63, rm)
    if whole > limit or slt(63, at):
        accrue(NV)
        whole = limit
    elif lost:
        accrue(NX)
    return -whole if sign else whole


def soft_from_integer(a, is_signed, digits, rm):
    sign = a >> 63 if is_signed else 0
    size = -a if sign else a
    if size == 0:
        return 0
    shift = clz64(size)
    return round_pack(sign, 63 - shift, size << shift, digits, rm)
