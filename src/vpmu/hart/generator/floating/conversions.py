"""Conversions between formats, and between numbers and integers."""

from __future__ import annotations

from vpmu.hart.generator.floating.bits import FloatBits
from vpmu.hart.generator.floating.formats import DOUBLE, SINGLE, Precision
from vpmu.hart.soft import NX, RDN, RMM, RNE, RUP


class Conversions(FloatBits):
    """Emits conversions on the host's arithmetic."""

    def convert(self, source: Precision, target: Precision, register: str) -> str:
        """A number in the other format."""
        operand = self.unbox(register, source)
        mode = self.any_mode() if target is DOUBLE else self.to_nearest()
        self.require(self.both(mode, self.zero_or_normal(operand, source)))
        number = self.host(operand, source)
        if target is DOUBLE:
            return self.bits(self.wide(number, source), target)
        result = self.value(f"fptrunc double {number} to float")
        bits = self.bits(result, target)
        ordinary = self.between(bits, target.least_normal + 1, target.infinity, target)
        self.require(self.either(ordinary, self.is_zero(operand, source)))
        self.accrue_if(self.differ(self.wide(result, target), number), NX)
        return bits

    def to_integer(self, p: Precision, operand: str, width: int, is_signed: bool) -> str:
        """Truncate, then add the unit that the rounding mode wants."""
        mode = self.rounding_mode()
        high = ((127 + 62) << 23) if p is SINGLE else ((1023 + 62) << 52)
        small = self.between(operand, p.least_normal, high, p)
        self.require(self.both(self.any_mode(), self.either(small, self.is_zero(operand, p))))
        number = self.wide(self.host(operand, p), p)
        whole = self.value(f"fptosi double {number} to i64")
        rest = self.float_op("sub", number, self.value(f"sitofp i64 {whole} to double"))  # exact
        size = self.intrinsic("fabs", DOUBLE, rest)
        half, over = (self.value(f"fcmp {relation} double {size}, 0.5") for relation in ("oeq", "ogt"))
        odd = self.value(f"trunc i64 {whole} to i1")
        below, above = (self.value(f"fcmp {relation} double {rest}, 0.0") for relation in ("olt", "ogt"))
        away = {
            RNE: self.either(over, self.both(half, odd)),
            RDN: below,
            RUP: above,
            RMM: self.either(over, half),
        }
        moves = "false"
        for number_of_mode, condition in away.items():
            chosen = self.compare("eq", mode, number_of_mode)
            moves = self.value(f"select i1 {chosen}, i1 {condition}, i1 {moves}")
        unit = self.select(below, -1, 1)
        integer = self.binary("add", whole, self.select(moves, unit, 0))
        if width == 32:
            narrow = self.extended(integer, width, is_signed)
            self.require(self.compare("eq", narrow, integer))
            integer = self.call("sext32", [integer])
        elif not is_signed:
            self.require(self.compare("sge", integer, 0))
        self.accrue_if(self.either(below, above), NX)
        return integer

    def from_integer(self, p: Precision, register: str, width: int, is_signed: bool) -> str:
        """The number nearest to an integer, in the rounding mode."""
        integer = self.extended(register, width, is_signed)
        result = self.value(f"{'si' if is_signed else 'ui'}tofp i64 {integer} to {p.llvm}")
        if p is DOUBLE and width == 32:
            self.require(self.any_mode())
            return self.bits(result, p)
        rounds = self._rounds(self._absolute(integer) if is_signed else integer, 24 if p is SINGLE else 53)
        exact = self.value(f"xor i1 {rounds}, true")
        self.require(self.either(self.to_nearest(), self.both(self.any_mode(), exact)))
        self.accrue_if(rounds, NX)
        return self.bits(result, p)

    def _absolute(self, integer: str) -> str:
        return self.select(self.compare("slt", integer, 0), self.binary("sub", 0, integer), integer)

    def _rounds(self, magnitude: str, digits: int) -> str:
        """Whether a number has more binary digits between its first and its last one than a format holds."""
        used = self.binary("sub", 64, self.call("clz64", [magnitude]))
        trailing = self.call("ctz64", [magnitude])
        return self.compare("sgt", self.binary("sub", used, trailing), digits)
