"""Softfloat against the host's floats (RNE), an independent oracle (all modes, flags) and the ISA's words."""

from __future__ import annotations

import ctypes
import math
import operator
import random
import struct
from collections.abc import Callable
from fractions import Fraction

import pytest

from vpmu.hart import softfloat as sf

from .softfloat_cases import (
    DOUBLE,
    DZ,
    HALF,
    MODES,
    NV,
    NX,
    OF,
    RDN,
    RMM,
    RNE,
    RTZ,
    RUP,
    SINGLE,
    UF,
    Shape,
    random_operands,
    random_pattern,
    round_exact,
    round_integer,
    round_root,
    specials,
    value,
)

FORMATS = [pytest.param(sf.F32, SINGLE, id="single"), pytest.param(sf.F64, DOUBLE, id="double")]
WITH_HALF = [pytest.param(sf.F16, HALF, id="half"), *FORMATS]  # where no host is asked
S_ONE, S_NAN, S_SNAN, S_INF, S_NEG = 0x3F80_0000, 0x7FC0_0000, 0x7F80_0001, 0x7F80_0000, 0x8000_0000
ALL_ONES = (1 << 64) - 1


def finite(shape: Shape, *patterns: int) -> bool:
    return all(pattern & (shape.sign - 1) < shape.infinity for pattern in patterns)


def pairs(shape: Shape, count: int, seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [[a, b] for a in specials(shape)[::3] for b in specials(shape)[::2]] + [
        random_operands(rng, shape, 2) for _ in range(count)
    ]


# Against the host's hardware, to nearest --------------------------------------------------------------------


def to_host(shape: Shape, pattern: int) -> float:
    size, code = (4, "<f") if shape is SINGLE else (8, "<d")
    return float(struct.unpack(code, pattern.to_bytes(size, "little"))[0])


def from_host(shape: Shape, number: float) -> int:
    if math.isnan(number):
        return shape.nan
    if shape is SINGLE:
        return int.from_bytes(bytes(ctypes.c_float(number)), "little")
    return int.from_bytes(struct.pack("<d", number), "little")


# A double holds more than twice a single's precision plus two bits: rounding twice is harmless (Figueroa).
@pytest.mark.parametrize(("fmt", "shape"), FORMATS)
@pytest.mark.parametrize(
    ("ours", "host"),
    [(sf.add, operator.add), (sf.sub, operator.sub), (sf.mul, operator.mul), (sf.div, operator.truediv)],
    ids=["add", "sub", "mul", "div"],
)
def test_two_operands_as_the_host(
    fmt: sf.Format, shape: Shape, ours: Callable[..., sf.Result], host: Callable[[float, float], float]
) -> None:
    for a, b in pairs(shape, 4000, 1):
        if host is operator.truediv and to_host(shape, b) == 0:
            continue  # Python raises
        expected = from_host(shape, host(to_host(shape, a), to_host(shape, b)))
        assert ours(fmt, a, b, RNE)[0] == expected, (hex(a), hex(b))


@pytest.mark.parametrize(("fmt", "shape"), FORMATS)
def test_sqrt_as_the_host(fmt: sf.Format, shape: Shape) -> None:
    rng = random.Random(2)
    for a in specials(shape) + [random_pattern(rng, shape) for _ in range(4000)]:
        number = to_host(shape, a)
        if not number < 0:
            assert sf.sqrt(fmt, a, RNE)[0] == from_host(shape, math.sqrt(number)), hex(a)


@pytest.mark.parametrize(("fmt", "shape"), FORMATS)
def test_fma_as_the_hosts_libm(fmt: sf.Format, shape: Shape) -> None:
    name, kind = ("fmaf", ctypes.c_float) if shape is SINGLE else ("fma", ctypes.c_double)
    try:
        host = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        pytest.skip(f"the C library that Python is linked with has no {name}()")
    host.restype, host.argtypes = kind, [kind] * 3
    rng = random.Random(3)
    for _ in range(8000):
        a, b, c = random_operands(rng, shape, 3)
        expected = from_host(shape, host(to_host(shape, a), to_host(shape, b), to_host(shape, c)))
        assert sf.fma(fmt, a, b, c, RNE)[0] == expected, (hex(a), hex(b), hex(c))


def test_narrowing_and_widening_as_the_host() -> None:
    rng = random.Random(4)
    for a in specials(DOUBLE) + [random_pattern(rng, DOUBLE) for _ in range(4000)]:
        assert sf.convert(sf.F64, sf.F32, a, RNE)[0] == from_host(SINGLE, to_host(DOUBLE, a)), hex(a)
    for a in specials(SINGLE) + [random_pattern(rng, SINGLE) for _ in range(4000)]:
        bits, flags = sf.convert(sf.F32, sf.F64, a, RNE)
        assert bits == from_host(DOUBLE, to_host(SINGLE, a)), hex(a)
        assert flags == (NV if sf.is_signalling(sf.F32, a) else 0)


@pytest.mark.parametrize(("fmt", "shape"), FORMATS)
def test_comparisons_as_the_host(fmt: sf.Format, shape: Shape) -> None:
    for a, b in pairs(shape, 2000, 5):
        x, y = to_host(shape, a), to_host(shape, b)
        assert (sf.eq(fmt, a, b)[0], sf.lt(fmt, a, b)[0], sf.le(fmt, a, b)[0]) == (x == y, x < y, x <= y)


# Against the oracle, all modes, with flags ------------------------------------------------------------------


def zero_or_round(shape: Shape, exact: Fraction, zero: int, rm: int) -> sf.Result:
    return round_exact(shape, exact, rm) if exact else (zero, 0)


def sum_zero(shape: Shape, x_negative: bool, y_negative: bool, rm: int) -> int:
    return shape.sign if (x_negative and y_negative) or (x_negative != y_negative and rm == RDN) else 0


@pytest.mark.parametrize("rm", MODES)
@pytest.mark.parametrize(("fmt", "shape"), WITH_HALF)
def test_arithmetic_as_the_oracle(fmt: sf.Format, shape: Shape, rm: int) -> None:
    rng = random.Random(6)
    compared = 0
    while compared < 250:
        a, b, c = random_operands(rng, shape, 3)
        if not finite(shape, a, b, c):
            continue
        compared += 1
        x, y, z = (value(shape, operand) for operand in (a, b, c))
        signs = [bool(operand & shape.sign) for operand in (a, b, c)]
        xy_zero = shape.sign if signs[0] != signs[1] else 0
        where = f"{a:#x} {b:#x} {c:#x} rm={rm}"
        assert sf.add(fmt, a, b, rm) == zero_or_round(
            shape, x + y, sum_zero(shape, signs[0], signs[1], rm), rm
        ), where
        difference_zero = sum_zero(shape, signs[0], not signs[1], rm)
        assert sf.sub(fmt, a, b, rm) == zero_or_round(shape, x - y, difference_zero, rm), where
        assert sf.mul(fmt, a, b, rm) == zero_or_round(shape, x * y, xy_zero, rm), where
        if y:
            assert sf.div(fmt, a, b, rm) == zero_or_round(shape, x / y, xy_zero, rm), where
        fma_zero = sum_zero(shape, signs[0] != signs[1], signs[2], rm)
        assert sf.fma(fmt, a, b, c, rm) == zero_or_round(shape, x * y + z, fma_zero, rm), where
        if x > 0:
            assert sf.sqrt(fmt, a, rm) == round_root(shape, x, rm), where


@pytest.mark.parametrize("rm", MODES)
def test_conversions_as_the_oracle(rm: int) -> None:
    rng = random.Random(7)
    for a in specials(DOUBLE) + [random_pattern(rng, DOUBLE) for _ in range(300)]:
        if finite(DOUBLE, a):
            expected = zero_or_round(SINGLE, value(DOUBLE, a), a >> 32 & SINGLE.sign, rm)
            assert sf.convert(sf.F64, sf.F32, a, rm) == expected, hex(a)
            expected = zero_or_round(HALF, value(DOUBLE, a), a >> 48 & HALF.sign, rm)
            assert sf.convert(sf.F64, sf.F16, a, rm) == expected, hex(a)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize(("fmt", "shape"), WITH_HALF)
def test_integers_as_the_oracle(fmt: sf.Format, shape: Shape, width: int, signed: bool) -> None:
    rng = random.Random(8)
    lowest, highest = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
    operands = specials(shape) + [random_pattern(rng, shape) for _ in range(500)]
    operands += [
        sf.from_int(fmt, bound + n, RNE, 64, bound < 0)[0]
        for bound in (lowest, highest)
        for n in range(-2, 3)
    ]
    for rm in MODES:
        for a in filter(lambda operand: finite(shape, operand), operands):
            exact = value(shape, a)
            integer = round_integer(exact, rm)
            clamped = min(max(integer, lowest), highest)
            flags = NV if clamped != integer else NX if integer != exact else 0
            register = (clamped ^ 1 << 31) - (1 << 31) if width == 32 and clamped >= 0 else clamped
            expected = (register & ALL_ONES, flags)
            assert sf.to_int(fmt, a, rm, width, signed) == expected, (hex(a), rm)
        for _ in range(150):
            integer = rng.choice((lowest, highest, 0)) + rng.getrandbits(
                rng.randrange(1, width)
            ) * rng.choice((1, -1))
            integer = min(max(integer, lowest), highest)
            register = integer & ((1 << width) - 1) | (rng.getrandbits(32) << 32 if width == 32 else 0)
            expected = zero_or_round(shape, Fraction(integer), 0, rm)
            assert sf.from_int(fmt, register, rm, width, signed) == expected, (integer, rm)


# The ISA's words --------------------------------------------------------------------------------------------


def test_tininess_is_detected_after_rounding() -> None:
    # (1 - 2**-24) * 2**-126 lies half an ulp below the smallest normal and is exact with 24 bits: tiny.
    largest_below_one, smallest_normal, just_below = 0x3F7F_FFFF, 0x0080_0000, 0x007F_FFFF
    assert sf.mul(sf.F32, largest_below_one, smallest_normal, RNE) == (smallest_normal, UF | NX)
    # (1 - 2**-26) * 2**-126 rounds up to 2**-126 with any exponent range: not tiny, if exactly it is.
    a = sf.from_int(sf.F64, (1 << 26) - 1, RNE, 64, False)[0]  # 26 ones
    scaled = a - ((26 + 126) << 52)  # * 2**-152
    assert sf.convert(sf.F64, sf.F32, scaled, RNE) == (smallest_normal, NX)
    assert sf.convert(sf.F64, sf.F32, scaled, RUP) == (smallest_normal, NX)
    assert sf.convert(sf.F64, sf.F32, scaled, RTZ) == (just_below, UF | NX)


def test_exact_subnormals_raise_nothing() -> None:
    assert sf.mul(sf.F32, 0x0080_0000, 0x3F00_0000, RNE) == (0x0040_0000, 0)
    assert sf.div(sf.F64, 1, 0x4000_0000_0000_0000, RUP) == (1, UF | NX)


def test_overflow_goes_where_the_mode_says() -> None:
    largest = sf.F32.infinity - 1
    for negative in (0, S_NEG):
        results = [sf.mul(sf.F32, largest | negative, 0x4000_0000, rm) for rm in MODES]
        down, up = (S_INF, largest) if negative else (largest, S_INF)
        expected = [S_INF, largest, down, up, S_INF]
        assert results == [(bits | negative, OF | NX) for bits in expected]


@pytest.mark.parametrize(
    ("result", "flags"),
    [
        (sf.add(sf.F32, S_INF, S_INF | S_NEG, RNE), NV),
        (sf.sub(sf.F32, S_INF, S_INF, RNE), NV),
        (sf.mul(sf.F32, 0, S_INF, RNE), NV),
        (sf.div(sf.F32, 0, S_NEG, RNE), NV),
        (sf.div(sf.F32, S_INF, S_INF, RNE), NV),
        (sf.sqrt(sf.F32, S_ONE | S_NEG, RNE), NV),
        (sf.sqrt(sf.F32, S_INF | S_NEG, RNE), NV),
        (sf.fma(sf.F32, S_INF, S_ONE, S_INF | S_NEG, RNE), NV),
        (sf.fma(sf.F32, S_INF, 0, 0xFFFF_FFFF, RNE), NV),  # even though the addend is a quiet NaN
        (sf.fma(sf.F32, S_ONE, S_ONE, 0xFFFF_FFFF, RNE), 0),
        (sf.fma(sf.F32, 0xFFC0_0001, S_ONE, S_SNAN, RNE), NV),
        (sf.fma(sf.F32, S_ONE, S_ONE, S_SNAN, RNE), NV),
        (sf.add(sf.F32, 0xFFC1_2345, S_ONE, RNE), 0),  # no payload, no sign comes through
        (sf.add(sf.F32, S_SNAN, S_ONE, RNE), NV),
        (sf.mul(sf.F32, S_ONE, 0xFF80_0001, RNE), NV),
        (sf.sqrt(sf.F32, S_SNAN, RNE), NV),
    ],
)
def test_invalid_operations_and_nans_are_canonical(result: sf.Result, flags: int) -> None:
    assert result == (S_NAN, flags)


def test_divide_by_zero() -> None:
    assert sf.div(sf.F32, S_ONE, S_NEG, RNE) == (S_INF | S_NEG, DZ)
    assert sf.div(sf.F32, S_INF, 0, RNE) == (S_INF, 0)


def test_infinities_in_arithmetic() -> None:
    assert sf.add(sf.F32, S_ONE, S_INF | S_NEG, RNE) == (S_INF | S_NEG, 0)
    assert sf.fma(sf.F32, S_ONE, S_ONE, S_INF | S_NEG, RNE) == (S_INF | S_NEG, 0)
    assert sf.fma(sf.F32, S_INF, S_ONE | S_NEG, S_ONE, RNE) == (S_INF | S_NEG, 0)
    assert sf.div(sf.F32, S_ONE | S_NEG, S_INF, RNE) == (S_NEG, 0)
    assert sf.sqrt(sf.F32, S_INF, RNE) == (S_INF, 0)
    assert sf.sqrt(sf.F32, S_NEG, RNE) == (S_NEG, 0)


def test_signs_of_exact_zero_sums() -> None:
    for rm in MODES:
        zero = S_NEG if rm == RDN else 0
        assert sf.sub(sf.F32, S_ONE, S_ONE, rm) == (zero, 0)
        assert sf.add(sf.F32, 0, S_NEG, rm) == (zero, 0)
        assert sf.add(sf.F32, S_NEG, S_NEG, rm) == (S_NEG, 0)
        assert sf.fma(sf.F32, S_ONE, S_ONE, S_ONE | S_NEG, rm) == (zero, 0)


def test_minimum_and_maximum() -> None:
    cases = [  # a, b, minimum, maximum, flags
        (0, S_NEG, S_NEG, 0, 0),
        (S_NEG, 0, S_NEG, 0, 0),
        (S_ONE, S_ONE | S_NEG, S_ONE | S_NEG, S_ONE, 0),
        (0xC000_0000, 0xC040_0000, 0xC040_0000, 0xC000_0000, 0),
        (S_INF | S_NEG, S_INF, S_INF | S_NEG, S_INF, 0),
        (S_NAN, S_ONE, S_ONE, S_ONE, 0),
        (S_ONE, 0xFFFF_FFFF, S_ONE, S_ONE, 0),
        (S_SNAN, S_ONE, S_ONE, S_ONE, NV),
        (S_ONE, S_SNAN, S_ONE, S_ONE, NV),
        (0xFFFF_FFFF, 0x7FC0_0001, S_NAN, S_NAN, 0),
        (0xFFFF_FFFF, S_SNAN, S_NAN, S_NAN, NV),
    ]
    for a, b, minimum, maximum, flags in cases:
        assert sf.minimum_number(sf.F32, a, b) == (minimum, flags)
        assert sf.maximum_number(sf.F32, a, b) == (maximum, flags)


def test_comparisons_of_nans() -> None:
    for nan, quiet_flags in ((S_NAN, 0), (S_SNAN, NV)):
        for a, b in ((nan, S_ONE), (S_ONE, nan), (nan, nan)):
            assert sf.eq(sf.F32, a, b) == (0, quiet_flags)
            assert sf.lt(sf.F32, a, b) == (0, NV)
            assert sf.le(sf.F32, a, b) == (0, NV)


def test_classify() -> None:
    in_order = [0xFF80_0000, 0xBF80_0000, 0x8000_0001, S_NEG, 0, 1, S_ONE, S_INF, S_SNAN, S_NAN]
    assert [sf.classify(sf.F32, a) for a in in_order] == [1 << bit for bit in range(10)]
    wide = [
        0xFFF << 52,
        0xBFF << 52,
        1 << 63 | 1,
        1 << 63,
        0,
        1,
        1 << 52,
        0x7FF << 52,
        (0x7FF << 52) + 1,
        0x7FF8 << 48,
    ]
    assert [sf.classify(sf.F64, a) for a in wide] == [1 << bit for bit in range(10)]


def test_sign_injection() -> None:
    assert [f(sf.F32, S_ONE, S_NEG) for f in (sf.sgnj, sf.sgnjn, sf.sgnjx)] == [
        S_ONE | S_NEG,
        S_ONE,
        S_ONE | S_NEG,
    ]
    assert [f(sf.F32, S_SNAN | S_NEG, S_NEG) for f in (sf.sgnj, sf.sgnjn, sf.sgnjx)] == [
        S_SNAN | S_NEG,
        S_SNAN,
        S_SNAN,
    ]


def test_to_int_out_of_range_is_the_isa_table() -> None:
    # F: "Domains of float-to-integer conversions and behavior for invalid inputs"
    low32, high32 = 0xFFFF_FFFF_8000_0000, 0x7FFF_FFFF
    table = {
        (32, True): (low32, high32),
        (32, False): (0, ALL_ONES),  # 2**32 - 1, sign-extended
        (64, True): (1 << 63, (1 << 63) - 1),
        (64, False): (0, ALL_ONES),
    }
    for (width, signed), (lowest, highest) in table.items():
        for a in (S_INF, S_NAN, S_NAN | S_NEG, S_SNAN, 0x7F00_0000):
            assert sf.to_int(sf.F32, a, RNE, width, signed) == (highest, NV)
        for a in (S_INF | S_NEG, 0xFF00_0000):
            assert sf.to_int(sf.F32, a, RNE, width, signed) == (lowest, NV)
    minus_half = 0xBF00_0000
    assert [sf.to_int(sf.F32, minus_half, rm, 32, False) for rm in MODES] == [
        (0, NX),
        (0, NX),
        (0, NV),
        (0, NX),
        (0, NV),
    ]


def test_boxing() -> None:
    assert sf.box32(S_ONE) == 0xFFFF_FFFF_3F80_0000
    assert sf.unbox32(sf.box32(S_ONE)) == S_ONE
    assert sf.unbox32(0xFFFF_FFFE_3F80_0000) == S_NAN
    assert sf.unbox32(S_ONE) == S_NAN


def test_a_reserved_rounding_mode_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match=r"rounding mode 0\.\.4, got 7"):
        sf.div(sf.F32, S_ONE, 0x4040_0000, 7)


def test_ties() -> None:
    halves = {0x3F00_0000: "00011", 0x3FC0_0000: "21122", 0x4020_0000: "22233"}  # 0.5 1.5 2.5
    for a, expected in halves.items():
        modes = (RNE, RTZ, RDN, RUP, RMM)
        assert "".join(str(sf.to_int(sf.F32, a, rm, 64, True)[0]) for rm in modes) == expected
