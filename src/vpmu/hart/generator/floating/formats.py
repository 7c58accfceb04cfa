"""The formats of F, D and Zfh, and their operations on bits in the semantics language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vpmu.hart.soft import DIGITS_D, DIGITS_H, DIGITS_S

DYNAMIC = 7
BOX = 0xFFFFFFFF << 32
BOX_HALF = (1 << 64) - (1 << 16)


@dataclass(frozen=True, slots=True)
class Precision:
    """A format's numbers as bits, and its name in LLVM.

    Results from `low` to `high` have errors that the format can hold as normal numbers.
    """

    llvm: str
    width: int
    digits: int
    suffix: str
    infinity: int
    least_normal: int
    quiet: int
    low: int
    high: int

    @property
    def sign(self) -> int:
        return 1 << (self.width - 1)

    @property
    def magnitude(self) -> int:
        return self.sign - 1

    @property
    def nan(self) -> int:
        return self.infinity | self.quiet


SINGLE = Precision(
    "float", 32, DIGITS_S, "f32", 0xFF << 23, 1 << 23, 1 << 22, (127 - 70) << 23, (127 + 120) << 23
)
DOUBLE = Precision(
    "double", 64, DIGITS_D, "f64", 0x7FF << 52, 1 << 52, 1 << 51, (1023 - 900) << 52, (1023 + 1000) << 52
)
HALF = Precision("half", 16, DIGITS_H, "f16", 0x1F << 10, 1 << 10, 1 << 9, 0, 0)  # never the host's
PRECISION = {"h": HALF, "s": SINGLE, "d": DOUBLE}

DECLARATIONS = "".join(
    f"declare {p.llvm} @llvm.{name}.{p.suffix}({', '.join([p.llvm] * arity)})\n"
    for p in (SINGLE, DOUBLE)
    for name, arity in (("fma", 3), ("sqrt", 1), ("fabs", 1))
)

# Operations on bits, in the semantics language over a and b; {names} are the precision's numbers and the
# terms below.
_TERMS = {
    "nan_a": "(a & {magnitude}) > {infinity}",
    "nan_b": "(b & {magnitude}) > {infinity}",
    "key_a": "(-(a & {magnitude}) if a & {sign} else a)",  # ordered as the numbers are, -0 == +0
    "key_b": "(-(b & {magnitude}) if b & {sign} else b)",
    "rank_a": "(~(a & {magnitude}) if a & {sign} else a)",  # the same, -0 < +0
    "rank_b": "(~(b & {magnitude}) if b & {sign} else b)",
    # zero, subnormal, normal, infinite
    "size": "3 if (a & {magnitude}) == {infinity} else 2 if a & {infinity} else 1 if a & {magnitude} else 0",
}
BITS = {
    "sgnj": "(a & {magnitude}) | (b & {sign})",
    "sgnjn": "(a & {magnitude}) | (~b & {sign})",
    "sgnjx": "a ^ (b & {sign})",
    "eq": "0 if {nan_a} or {nan_b} else {key_a} == {key_b}",
    "lt": "0 if {nan_a} or {nan_b} else slt({key_a}, {key_b})",
    "le": "0 if {nan_a} or {nan_b} else not slt({key_b}, {key_a})",
    "min": "{nan} if {nan_a} and {nan_b} else a if {nan_b} or not {nan_a} and slt({rank_a}, {rank_b}) else b",
    "max": "{nan} if {nan_a} and {nan_b} else b if {nan_a} or not {nan_b} and slt({rank_a}, {rank_b}) else a",
    "class": "512 if {nan_a} and a & {quiet} else 256 if {nan_a} else 1 << {rank_of_class}",
}
_SIGNALLING = "({nan_a} and not a & {quiet}) or ({nan_b} and not b & {quiet})"
INVALID = {
    "eq": _SIGNALLING,
    "lt": "{nan_a} or {nan_b}",
    "le": "{nan_a} or {nan_b}",
    "min": _SIGNALLING,
    "max": _SIGNALLING,
}
ARITY = {"add": 2, "sub": 2, "mul": 2, "div": 2, "sqrt": 1, "madd": 3, "msub": 3, "nmsub": 3, "nmadd": 3}
NEGATED = {"msub": "c", "nmsub": "a", "nmadd": "ac"}  # operands of the fused multiply-add whose sign turns
INTEGERS = {"w": (32, True), "wu": (32, False), "l": (64, True), "lu": (64, False)}


def text_of(template: str, p: Precision) -> str:
    numbers = {name: getattr(p, name) for name in ("magnitude", "infinity", "sign", "quiet", "nan")}
    terms = {name: f"({term.format(**numbers)})" for name, term in _TERMS.items()}
    terms["rank_of_class"] = f"(3 - {terms['size']} if a & {p.sign} else 4 + {terms['size']})"
    return template.format(**numbers, **terms)


def texts() -> Iterator[str]:
    """What is read in the semantics language here: every expression and condition over bits."""
    for p in (SINGLE, DOUBLE):
        for template in (*BITS.values(), *INVALID.values()):
            yield text_of(template, p)
