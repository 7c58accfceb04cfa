"""Operands for the floating-point tests, and an oracle that shares nothing with `vpmu.hart.softfloat`.

The oracle rounds by definition. The magnitudes of a format, in the order of their bit patterns, are a
ladder; the exact result (a Fraction, or a number known only by comparison, as a square root is) lies on a
rung or between two, and the rounding mode says which. The pattern of infinity is the rung 2**(emax + 1)
that an unbounded exponent would reach.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

RNE, RTZ, RDN, RUP, RMM = range(5)
NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16
MODES = (RNE, RTZ, RDN, RUP, RMM)


@dataclass(frozen=True)
class Shape:
    """A format as IEEE 754 describes it: widths of the exponent and fraction fields."""

    exponent_bits: int
    fraction_bits: int

    @property
    def width(self) -> int:
        return 1 + self.exponent_bits + self.fraction_bits

    @property
    def bias(self) -> int:
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def sign(self) -> int:
        return 1 << (self.width - 1)

    @property
    def infinity(self) -> int:
        return ((1 << self.exponent_bits) - 1) << self.fraction_bits

    @property
    def nan(self) -> int:
        return self.infinity | 1 << (self.fraction_bits - 1)


HALF = Shape(5, 10)
SINGLE = Shape(8, 23)
DOUBLE = Shape(11, 52)


def magnitude(shape: Shape, pattern: int) -> Fraction:
    """The value of a pattern without sign; of infinity's pattern, the rung above the largest number."""
    exponent, fraction = divmod(pattern, 1 << shape.fraction_bits)
    if exponent == 0:
        return Fraction(fraction, 1 << shape.fraction_bits) * Fraction(2) ** (1 - shape.bias)
    return (1 + Fraction(fraction, 1 << shape.fraction_bits)) * Fraction(2) ** (exponent - shape.bias)


def value(shape: Shape, pattern: int) -> Fraction:
    """The value of a finite pattern; -0 is 0."""
    size = magnitude(shape, pattern & (shape.sign - 1))
    return -size if pattern & shape.sign else size


Compare = Callable[[Fraction], Fraction]


def _nearest_rung(shape: Shape, above: Compare, negative: bool, rm: int) -> tuple[int, bool]:
    """The rung for a positive number x with x < 2**(emax + 1); `above(f)` has the sign of x - f."""
    low, high = 0, shape.infinity
    while high - low > 1:
        middle = (low + high) // 2
        if above(magnitude(shape, middle)) >= 0:
            low = middle
        else:
            high = middle
    if above(magnitude(shape, low)) == 0:
        return low, False
    to_half = above((magnitude(shape, low) + magnitude(shape, high)) / 2)
    if rm == RNE:
        up = to_half > 0 or (to_half == 0 and low % 2 == 1)
    elif rm == RMM:
        up = to_half >= 0
    else:
        up = rm == (RDN if negative else RUP)
    return (high if up else low), True


def round_compared(
    shape: Shape, above: Compare, negative: bool, rm: int, tiny: bool = False
) -> tuple[int, int]:
    """(bits, flags) of a non-zero exact result known by comparison with its magnitude."""
    sign = shape.sign if negative else 0
    if above(magnitude(shape, shape.infinity)) >= 0:
        rung, inexact = shape.infinity, True
        if rm == RTZ or rm == (RUP if negative else RDN):
            return sign | (rung - 1), OF | NX
    else:
        rung, inexact = _nearest_rung(shape, above, negative, rm)
    if rung == shape.infinity:
        return sign | rung, OF | NX
    return sign | rung, (NX | (UF if tiny else 0)) if inexact else 0


def round_exact(shape: Shape, exact: Fraction, rm: int) -> tuple[int, int]:
    """(bits, flags) of a non-zero rational; tiny is judged after rounding with an unbounded exponent."""
    size = abs(exact)
    smallest_normal = Fraction(2) ** (1 - shape.bias)
    tiny = False
    if size < smallest_normal:
        scale = Fraction(1)
        while size * scale < 1:
            scale *= 2**16
        rung, _ = _nearest_rung(shape, lambda rung: size * scale - rung, exact < 0, rm)
        tiny = magnitude(shape, rung) < smallest_normal * scale
    return round_compared(shape, lambda rung: size - rung, exact < 0, rm, tiny)


def round_root(shape: Shape, square: Fraction, rm: int) -> tuple[int, int]:
    """(bits, flags) of the square root of a positive rational."""
    return round_compared(shape, lambda rung: square - rung * rung, False, rm)


def round_integer(exact: Fraction, rm: int) -> int:
    """The integer that the mode picks."""
    below = exact.numerator // exact.denominator
    rest = exact - below
    if rest == 0 or rm == RDN:
        return below
    if rm == RUP:
        return below + 1
    if rm == RTZ:
        return below + (exact < 0)
    if rest != Fraction(1, 2):
        return below + (rest > Fraction(1, 2))
    return below + (below % 2 if rm == RNE else exact > 0)


@cache
def specials(shape: Shape) -> list[int]:
    """Every kind of number, and both sides of every boundary, in both signs."""
    one = shape.bias << shape.fraction_bits
    ulp_exponents = (1, 2, shape.bias - shape.fraction_bits, shape.bias - 1, shape.bias, shape.bias + 1)
    integers = [shape.bias + n for n in (7, 23, 24, 30, 31, 32, 33, 52, 53, 62, 63, 64, 65)]
    # a half's range ends at 2**16
    exponents = [e for e in (*ulp_exponents, *integers) if e < (1 << shape.exponent_bits) - 1]
    powers = [exponent << shape.fraction_bits for exponent in exponents]
    positive = {
        0, 1, 2, 3, 1 << (shape.fraction_bits - 1), (1 << shape.fraction_bits) - 1,
        one | 1 << (shape.fraction_bits - 1), one | 1, shape.infinity - 1, shape.infinity - 2, shape.infinity,
        shape.infinity | 1, shape.nan - 1, shape.nan, shape.nan | 1, shape.sign - 1,
        *powers, *(p + 1 for p in powers), *(p - 1 for p in powers),
    }  # fmt: skip
    return sorted(positive) + [shape.sign | p for p in sorted(positive)]


def random_pattern(rng: random.Random, shape: Shape) -> int:
    """A pattern biased to what goes wrong: few fraction bits, runs of ones, exponents at ends and middle."""
    fraction = rng.getrandbits(shape.fraction_bits)
    style = rng.randrange(4)
    if style == 0:
        fraction &= -1 << rng.randrange(shape.fraction_bits + 1)
    elif style == 1:
        fraction |= (1 << rng.randrange(shape.fraction_bits + 1)) - 1
    exponent = rng.choice((
        rng.getrandbits(shape.exponent_bits),
        shape.bias + rng.randrange(-4, 5),
        shape.bias + rng.randrange(-70, 70),
        rng.randrange(0, 3),
        (1 << shape.exponent_bits) - 1 - rng.randrange(0, 3),
        shape.bias // 2 + rng.randrange(-30, 30),
    ))  # fmt: skip
    exponent = min(max(exponent, 0), (1 << shape.exponent_bits) - 1)
    return (
        rng.getrandbits(1) << (shape.width - 1)
        | exponent << shape.fraction_bits
        | fraction & ((1 << shape.fraction_bits) - 1)
    )


def random_operands(rng: random.Random, shape: Shape, count: int) -> list[int]:
    """`count` operands, some of them specials, or neighbours of one another so that sums cancel."""
    operands = [
        rng.choice(specials(shape)) if rng.random() < 0.25 else random_pattern(rng, shape)
        for _ in range(count)
    ]
    if count > 1 and rng.random() < 0.2:
        near = operands[0] ^ rng.choice((0, shape.sign)) ^ rng.getrandbits(2)
        operands[rng.randrange(1, count)] = near
    return operands


def random_register(rng: random.Random) -> int:
    """A 64-bit register: a number in either format (singles sometimes badly boxed), or an integer."""
    style = rng.randrange(3)
    if style == 0:
        return rng.choice(specials(DOUBLE)) if rng.random() < 0.3 else random_pattern(rng, DOUBLE)
    if style == 1:
        single = rng.choice(specials(SINGLE)) if rng.random() < 0.3 else random_pattern(rng, SINGLE)
        return (0xFFFF_FFFF if rng.random() < 0.95 else rng.getrandbits(32)) << 32 | single
    return rng.choice((1, -1)) * rng.getrandbits(rng.randrange(1, 65)) % 2**64
