"""F and D in the native engine: host arithmetic where it does what the guest's must, integers elsewhere.

The host computes to nearest and keeps subnormal numbers, or nothing is computed on it (`host_ieee`). Where
the guest's rounding mode is that one, and the result is normal and not the least normal number, a result of
the host differs from the guest's in nothing, and only the inexact flag NX is open: of a NaN, an infinity, a
zero divisor or a negative root no such number comes. If NX is set already, nothing is open; if not, the error
of the operation, which the host can compute without error, tells (Ogita, Rump and Oishi, "Accurate sum and
dot product", 2005; Boldo and Muller, "Exact and approximated error of the FMA", 2011).
Everything else branches to `give_up`, and then to `soft`: calls of the integer arithmetic of `soft.py`.
Comparisons and moves are integer work from the start.
"""

from __future__ import annotations

from vpmu.hart.generator.emitter import LIKELY
from vpmu.hart.generator.floating.bits import FloatBits
from vpmu.hart.generator.floating.formats import DOUBLE, NEGATED, SINGLE, Precision
from vpmu.hart.soft import NX


class Arithmetic(FloatBits):
    """Emits sums, products, quotients, roots and fused multiply-adds on the host's arithmetic."""

    def arithmetic(self, operation: str, p: Precision, *operands: str) -> str:
        """The bits of a result; gives up where it may not be what the host computes."""
        self.require(self.to_nearest())
        numbers = [self.host(bits, p) for bits in operands]
        for letter in NEGATED.get(operation, ""):
            numbers["abc".index(letter)] = self.negate(numbers["abc".index(letter)], p)
        fused = operation in ("madd", "msub", "nmsub", "nmadd")
        if fused:
            result = self.intrinsic("fma", p, *numbers)
        elif operation == "sqrt":
            result = self.intrinsic("sqrt", p, *numbers)
        else:
            result = self.float_op(operation, numbers[0], numbers[1], p)
        bits = self.bits(result, p)
        ordinary, special, done = (
            self.new_label("ordinary"),
            self.new_label("special"),
            self.new_label("done"),
        )
        self.fork(self.between(bits, p.least_normal + 1, p.infinity, p), ordinary, special, LIKELY)
        self.label(special)  # a zero may stand, when it is exact
        exact_zero = self._exact_zero(operation, p, [self.is_zero(b, p) for b in operands], operands)
        self.fork(self.both(self.is_zero(bits, p), exact_zero), done, self.give_up(), LIKELY)
        self.label(ordinary)
        open_ = self.new_label("open")
        self.fork(self.nx_is_set(), done, open_, LIKELY)
        self.label(open_)
        self._inexact(operation, p, numbers, operands, result, bits, done)
        self.label(done)
        return bits

    def _exact_zero(self, operation: str, p: Precision, zeros: list[str], operands: tuple[str, ...]) -> str:
        """Whether a zero result has lost nothing."""
        if operation == "mul":
            return self.either(*zeros)
        if operation in ("div", "sqrt"):
            return zeros[0]
        if len(operands) == 3:  # a zero product, or a sum that cancels far above the subnormal numbers
            large = self.compare("uge", self.magnitude(operands[2], p), p.low)
            return self.either(self.either(*zeros[:2]), large)
        return "true"  # no sum underflows: a zero is exact

    def _inexact(
        self,
        operation: str,
        p: Precision,
        numbers: list[str],
        operands: tuple[str, ...],
        result: str,
        bits: str,
        done: str,
    ) -> None:
        """NX is not set: find out whether this operation sets it, then go to `done`."""
        x, y, z = (*numbers, "", "")[:3]
        wide = [self.wide(number, p) for number in (*numbers, result)]
        if p is SINGLE and operation in (
            "mul",
            "div",
            "sqrt",
        ):  # a product of two singles is exact as a double
            if operation == "mul":
                a, b, product = wide
            elif operation == "div":
                product, b, a = wide
            else:
                product, a, b = wide[0], wide[1], wide[1]
            inexact = self.differ(self.float_op("mul", a, b), product)
        elif p is SINGLE and len(numbers) == 3:
            total, error = self.two_sum(self.float_op("mul", wide[0], wide[1]), wide[2], DOUBLE)
            inexact = self.either(self.differ(error, "0.0"), self.differ(total, wide[3]))
        else:
            self.require(self.between(bits, p.low, p.high, p))
            if operation in ("div", "sqrt"):
                self.require(self.between(operands[0], p.low, p.high, p))
            match operation:
                case "add" | "sub":
                    error = self.two_sum(x, y if operation == "add" else self.negate(y, p), p)[1]
                case "mul":
                    error = self.intrinsic("fma", p, x, y, self.negate(result, p))
                case "div":
                    error = self.intrinsic("fma", p, self.negate(result, p), y, x)
                case "sqrt":
                    error = self.intrinsic("fma", p, self.negate(result, p), result, x)
                case _:
                    self._exact_or_soft(x, y, z, done)
                    return
            inexact = self.differ(error, "0.0", p)
        raised = self.new_label("inexact")
        self.fork(inexact, raised, done)
        self.label(raised)
        self.accrue(NX)
        self.emit(f"br label %{done}")

    def two_sum(self, a: str, b: str, p: Precision) -> tuple[str, str]:
        """a + b rounded, and its error (Knuth, TAOCP 2, 4.2.2, theorem B)."""
        total = self.float_op("add", a, b, p)
        b_part = self.float_op("sub", total, a, p)
        a_part = self.float_op("sub", total, b_part, p)
        a_error, b_error = self.float_op("sub", a, a_part, p), self.float_op("sub", b, b_part, p)
        return total, self.float_op("add", a_error, b_error, p)

    def _exact_or_soft(self, x: str, y: str, z: str, done: str) -> None:
        """A fused double result: done if three error-free sums show that it is exact."""
        p = DOUBLE
        product = self.float_op("mul", x, y)
        self.require(self.between(self.bits(product, p), p.low, p.high, p))
        low = self.intrinsic("fma", p, x, y, self.negate(product, p))
        total, error = self.two_sum(product, z, p)
        rest, rest_error = self.two_sum(error, low, p)
        last_error = self.two_sum(total, rest, p)[1]
        lossless = [self.value(f"fcmp oeq double {error}, 0.0") for error in (rest_error, last_error)]
        self.fork(self.both(*lossless), done, self.give_up())
