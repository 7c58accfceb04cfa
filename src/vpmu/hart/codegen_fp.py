"""F and D in the native engine: host arithmetic where it does what the guest's must, integers elsewhere.

The host computes in its default mode, to nearest. Where the guest's rounding mode is that one, the operands
are zero or normal, and the result is normal and not the least normal number, a result of the host differs
from the guest's in nothing, and only the inexact flag NX is open. If NX is set already, nothing is; if not,
the error of the operation, which the host can compute without error, tells (Ogita, Rump and Oishi,
"Accurate sum and dot product", 2005; Boldo and Muller, "Exact and approximated error of the FMA", 2011).
Everything else branches to `give_up`, and then to `soft`: calls of the integer arithmetic of `soft.py`.
Comparisons and moves are integer work from the start.

Subnormal operands are soft although hosts do them well: a process may run with its host's subnormals flushed
to zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vpmu.hart.codegen_flags import Counting
from vpmu.hart.isa.fd_rows import FdRow
from vpmu.hart.semantics import Emitter
from vpmu.hart.soft import DIGITS_D, DIGITS_S, NV, NX, RDN, RMM, RNE, RUP
from vpmu.spec.csr import SSTATUS_FS

DYNAMIC = 7
BOX = 0xFFFFFFFF << 32
_LIKELY = "!prof !0"


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
_PRECISION = {"s": SINGLE, "d": DOUBLE}

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
_BITS = {
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
_INVALID = {
    "eq": _SIGNALLING,
    "lt": "{nan_a} or {nan_b}",
    "le": "{nan_a} or {nan_b}",
    "min": _SIGNALLING,
    "max": _SIGNALLING,
}
_ARITY = {"add": 2, "sub": 2, "mul": 2, "div": 2, "sqrt": 1, "madd": 3, "msub": 3, "nmsub": 3, "nmadd": 3}
_NEGATED = {"msub": "c", "nmsub": "a", "nmadd": "ac"}  # operands of the fused multiply-add whose sign turns
_INTEGERS = {"w": (32, True), "wu": (32, False), "l": (64, True), "lu": (64, False)}


def _text(template: str, p: Precision) -> str:
    numbers = {name: getattr(p, name) for name in ("magnitude", "infinity", "sign", "quiet", "nan")}
    terms = {name: f"({term.format(**numbers)})" for name, term in _TERMS.items()}
    terms["rank_of_class"] = f"(3 - {terms['size']} if a & {p.sign} else 4 + {terms['size']})"
    return template.format(**numbers, **terms)


def texts() -> Iterator[str]:
    """What is read in the semantics language here: every expression and condition over bits."""
    for p in (SINGLE, DOUBLE):
        for template in (*_BITS.values(), *_INVALID.values()):
            yield _text(template, p)


class Floating(Emitter):
    """Emits computations of F and D; `%r` is the record."""

    counting = Counting.NOTHING
    """The variant of the engine."""

    def give_up(self) -> str:
        """The label that leaves this instruction to `soft`."""
        return "slow"

    def soft(self, row: FdRow, a: str, b: str, c: str) -> str:
        """The value of a `row` that rounds, over whole registers, whatever they hold; accrues flags. The
        rounding mode must exist.
        """
        p, mode = _PRECISION[row.precision], self.rounding_mode()
        kind, _, form = row.operation.partition("_")
        width, is_signed = _INTEGERS.get(form, (0, False))
        if kind == "from":
            integer = self._extended(a, width, is_signed)
            bits = self.call("soft_from_integer", [integer, str(int(is_signed)), str(p.digits), mode])
        else:
            source = p if kind != "convert" else DOUBLE if p is SINGLE else SINGLE
            operands = [a, b, c][: _ARITY.get(kind, 1)]
            if source is SINGLE:
                operands = [self.call("widen", [self._unbox(register, SINGLE)]) for register in operands]
            if kind == "to":
                highest = self.constant((1 << width - is_signed) - 1)
                integer = self.call("soft_to_integer", [*operands, highest, str(int(is_signed)), mode])
                return self.call("sext32", [integer]) if width == 32 else integer
            operands += ["0"] * (3 - len(operands))
            bits = self.call(f"soft_{kind}", [*operands, str(p.digits), mode])
        return self._boxed(bits, p)

    def floating(self, row: FdRow, a: str, b: str, c: str) -> str:
        """The value of `row` over whole registers; accrues flags once nothing can give up any more."""
        p = _PRECISION[row.precision]
        kind, _, form = row.operation.partition("_")
        if row.operation in _ARITY:
            bits = self._arithmetic(
                row.operation, p, *(self._unbox(v, p) for v in (a, b, c)[: _ARITY[row.operation]])
            )
        elif row.operation == "convert":
            bits = self._convert(DOUBLE if p is SINGLE else SINGLE, p, a)
        elif row.operation == "mv_x":
            return a if p is DOUBLE else self.call("sext32", [a])
        elif row.operation == "mv_f":
            bits = a
        elif kind == "to":
            return self._to_integer(p, self._unbox(a, p), *_INTEGERS[form])
        elif kind == "from":
            bits = self._from_integer(p, a, *_INTEGERS[form])
        else:
            bits = self._on_bits(row.operation, p, self._unbox(a, p), self._unbox(b, p))
        return self._boxed(bits, p) if row.dest == "f" else bits

    # -- pieces

    def require(self, condition: str, otherwise: str = "") -> None:
        """Go on only where `condition` holds, give up or go to `otherwise` elsewhere."""
        label = self.new_label("usual")
        self.fork(condition, label, otherwise or self.give_up(), _LIKELY)
        self.label(label)

    def both(self, *conditions: str) -> str:
        total = conditions[0]
        for condition in conditions[1:]:
            total = self.value(f"and i1 {total}, {condition}")
        return total

    def either(self, a: str, b: str) -> str:
        return self.value(f"or i1 {a}, {b}")

    def dirty_fp(self) -> None:
        """FS of sstatus is Dirty; in V=1 both."""
        self.store_word("s", "sstatus", self.binary("or", self.load_word("s", "sstatus"), SSTATUS_FS))
        if Counting.WHOLE in self.counting:
            other = self.binary("or", self.load_word("s", "other_sstatus"), self.load_word("s", "fp_other"))
            self.store_word("s", "other_sstatus", other)

    def accrue(self, flags: int | str) -> None:
        """Set bits of fflags; the extension's state is dirty then."""
        self.store_word("s", "fflags", self.binary("or", self.load_word("s", "fflags"), flags))
        self.dirty_fp()

    def accrue_if(self, condition: str, flags: int) -> None:
        raised, done = self.new_label("raised"), self.new_label("quiet")
        self.fork(condition, raised, done)
        self.label(raised)
        self.accrue(flags)
        self.emit(f"br label %{done}")
        self.label(done)

    def rounding_mode(self) -> str:
        """The mode of this instruction: its own, or that of frm."""
        own = self.binary("and", self.binary("lshr", "%r", 48), 7)
        return self.select(self.compare("eq", own, DYNAMIC), self.load_word("s", "frm"), own)

    def to_nearest(self) -> str:
        return self.compare("eq", self.rounding_mode(), RNE)

    def nx_is_set(self) -> str:
        return self.compare("ne", self.binary("and", self.load_word("s", "fflags"), NX), 0)

    def any_mode(self) -> str:
        """The rounding mode exists; enough where the result is exact."""
        return self.compare("ule", self.rounding_mode(), RMM)

    def _unbox(self, register: str, p: Precision) -> str:
        if p is DOUBLE:
            return register
        boxed = self.compare("uge", register, self.constant(BOX))
        return self.select(boxed, self.binary("and", register, 0xFFFFFFFF), p.nan)

    def _boxed(self, bits: str, p: Precision) -> str:
        return bits if p is DOUBLE else self.binary("or", self.call("zext32", [bits]), self.constant(BOX))

    def _extended(self, integer: str, width: int, is_signed: bool) -> str:
        return integer if width == 64 else self.call("sext32" if is_signed else "zext32", [integer])

    def _host(self, bits: str, p: Precision) -> str:
        return self.value(f"bitcast i{p.width} {self._narrow(bits, p)} to {p.llvm}")

    def _narrow(self, bits: str, p: Precision) -> str:
        return bits if p is DOUBLE else self.value(f"trunc i64 {bits} to i32")

    def _bits(self, number: str, p: Precision) -> str:
        raw = self.value(f"bitcast {p.llvm} {number} to i{p.width}")
        return raw if p is DOUBLE else self.value(f"zext i32 {raw} to i64")

    def _magnitude(self, bits: str, p: Precision) -> str:
        return self.binary("and", bits, p.magnitude)

    def _is_zero(self, bits: str, p: Precision) -> str:
        return self.compare("eq", self._magnitude(bits, p), 0)

    def _between(self, bits: str, low: int, high: int, p: Precision) -> str:
        """low <= |bits| < high"""
        return self.compare("ult", self.binary("sub", self._magnitude(bits, p), low), high - low)

    def _zero_or_normal(self, bits: str, p: Precision) -> str:
        return self.either(self._between(bits, p.least_normal, p.infinity, p), self._is_zero(bits, p))

    def _intrinsic(self, name: str, p: Precision, *arguments: str) -> str:
        typed = ", ".join(f"{p.llvm} {argument}" for argument in arguments)
        return self.value(f"call {p.llvm} @llvm.{name}.{p.suffix}({typed})")

    def _wide(self, number: str, p: Precision) -> str:
        return number if p is DOUBLE else self.value(f"fpext float {number} to double")

    def _float(self, op: str, a: str, b: str, p: Precision = DOUBLE) -> str:
        return self.value(f"f{op} {p.llvm} {a}, {b}")

    def _differ(self, a: str, b: str, p: Precision = DOUBLE) -> str:
        return self.value(f"fcmp une {p.llvm} {a}, {b}")

    def _negate(self, number: str, p: Precision) -> str:
        return self.value(f"fneg {p.llvm} {number}")

    # -- arithmetic

    def _arithmetic(self, operation: str, p: Precision, *operands: str) -> str:
        usual = [self.to_nearest(), *(self._zero_or_normal(bits, p) for bits in operands)]
        zeros = [self._is_zero(bits, p) for bits in operands]
        if operation == "div":
            usual.append(self.value(f"xor i1 {zeros[1]}, true"))
        if operation == "sqrt":
            usual.append(self.either(self.compare("ult", operands[0], self.constant(p.sign)), zeros[0]))
        self.require(self.both(*usual))
        numbers = [self._host(bits, p) for bits in operands]
        for letter in _NEGATED.get(operation, ""):
            numbers["abc".index(letter)] = self._negate(numbers["abc".index(letter)], p)
        fused = operation in ("madd", "msub", "nmsub", "nmadd")
        if fused:
            result = self._intrinsic("fma", p, *numbers)
        elif operation == "sqrt":
            result = self._intrinsic("sqrt", p, *numbers)
        else:
            result = self._float(operation, numbers[0], numbers[1], p)
        bits = self._bits(result, p)
        ordinary, special, done = (
            self.new_label("ordinary"),
            self.new_label("special"),
            self.new_label("done"),
        )
        self.fork(self._between(bits, p.least_normal + 1, p.infinity, p), ordinary, special, _LIKELY)
        self.label(special)  # a zero may stand, when it is exact
        exact_zero = self._exact_zero(operation, p, zeros, operands)
        self.fork(self.both(self._is_zero(bits, p), exact_zero), done, self.give_up(), _LIKELY)
        self.label(ordinary)
        open_ = self.new_label("open")
        self.fork(self.nx_is_set(), done, open_, _LIKELY)
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
            large = self.compare("uge", self._magnitude(operands[2], p), p.low)
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
        wide = [self._wide(number, p) for number in (*numbers, result)]
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
            inexact = self._differ(self._float("mul", a, b), product)
        elif p is SINGLE and len(numbers) == 3:
            total, error = self._two_sum(self._float("mul", wide[0], wide[1]), wide[2], DOUBLE)
            inexact = self.either(self._differ(error, "0.0"), self._differ(total, wide[3]))
        else:
            self.require(self._between(bits, p.low, p.high, p))
            if operation in ("div", "sqrt"):
                self.require(self._between(operands[0], p.low, p.high, p))
            match operation:
                case "add" | "sub":
                    error = self._two_sum(x, y if operation == "add" else self._negate(y, p), p)[1]
                case "mul":
                    error = self._intrinsic("fma", p, x, y, self._negate(result, p))
                case "div":
                    error = self._intrinsic("fma", p, self._negate(result, p), y, x)
                case "sqrt":
                    error = self._intrinsic("fma", p, self._negate(result, p), result, x)
                case _:
                    self._exact_or_soft(x, y, z, done)
                    return
            inexact = self._differ(error, "0.0", p)
        raised = self.new_label("inexact")
        self.fork(inexact, raised, done)
        self.label(raised)
        self.accrue(NX)
        self.emit(f"br label %{done}")

    def _two_sum(self, a: str, b: str, p: Precision) -> tuple[str, str]:
        """a + b rounded, and its error (Knuth, TAOCP 2, 4.2.2, theorem B)."""
        total = self._float("add", a, b, p)
        b_part = self._float("sub", total, a, p)
        a_part = self._float("sub", total, b_part, p)
        a_error, b_error = self._float("sub", a, a_part, p), self._float("sub", b, b_part, p)
        return total, self._float("add", a_error, b_error, p)

    def _exact_or_soft(self, x: str, y: str, z: str, done: str) -> None:
        """A fused double result: done if three error-free sums show that it is exact."""
        p = DOUBLE
        product = self._float("mul", x, y)
        self.require(self._between(self._bits(product, p), p.low, p.high, p))
        low = self._intrinsic("fma", p, x, y, self._negate(product, p))
        total, error = self._two_sum(product, z, p)
        rest, rest_error = self._two_sum(error, low, p)
        last_error = self._two_sum(total, rest, p)[1]
        lossless = [self.value(f"fcmp oeq double {error}, 0.0") for error in (rest_error, last_error)]
        self.fork(self.both(*lossless), done, self.give_up())

    # -- conversions

    def _convert(self, source: Precision, target: Precision, register: str) -> str:
        operand = self._unbox(register, source)
        mode = self.any_mode() if target is DOUBLE else self.to_nearest()
        self.require(self.both(mode, self._zero_or_normal(operand, source)))
        number = self._host(operand, source)
        if target is DOUBLE:
            return self._bits(self._wide(number, source), target)
        result = self.value(f"fptrunc double {number} to float")
        bits = self._bits(result, target)
        ordinary = self._between(bits, target.least_normal + 1, target.infinity, target)
        self.require(self.either(ordinary, self._is_zero(operand, source)))
        self.accrue_if(self._differ(self._wide(result, target), number), NX)
        return bits

    def _to_integer(self, p: Precision, operand: str, width: int, is_signed: bool) -> str:
        """Truncate, then add the unit that the rounding mode wants."""
        mode = self.rounding_mode()
        high = ((127 + 62) << 23) if p is SINGLE else ((1023 + 62) << 52)
        small = self._between(operand, p.least_normal, high, p)
        self.require(self.both(self.any_mode(), self.either(small, self._is_zero(operand, p))))
        number = self._wide(self._host(operand, p), p)
        whole = self.value(f"fptosi double {number} to i64")
        rest = self._float("sub", number, self.value(f"sitofp i64 {whole} to double"))  # exact
        size = self._intrinsic("fabs", DOUBLE, rest)
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
            narrow = self._extended(integer, width, is_signed)
            self.require(self.compare("eq", narrow, integer))
            integer = self.call("sext32", [integer])
        elif not is_signed:
            self.require(self.compare("sge", integer, 0))
        self.accrue_if(self.either(below, above), NX)
        return integer

    def _from_integer(self, p: Precision, register: str, width: int, is_signed: bool) -> str:
        integer = self._extended(register, width, is_signed)
        result = self.value(f"{'si' if is_signed else 'ui'}tofp i64 {integer} to {p.llvm}")
        if p is DOUBLE and width == 32:
            self.require(self.any_mode())
            return self._bits(result, p)
        rounds = self._rounds(self._absolute(integer) if is_signed else integer, 24 if p is SINGLE else 53)
        exact = self.value(f"xor i1 {rounds}, true")
        self.require(self.either(self.to_nearest(), self.both(self.any_mode(), exact)))
        self.accrue_if(rounds, NX)
        return self._bits(result, p)

    def _absolute(self, integer: str) -> str:
        return self.select(self.compare("slt", integer, 0), self.binary("sub", 0, integer), integer)

    def _rounds(self, magnitude: str, digits: int) -> str:
        """Whether a number has more binary digits between its first and its last one than a format holds."""
        used = self.binary("sub", 64, self.call("clz64", [magnitude]))
        trailing = self.call("ctz64", [magnitude])
        return self.compare("sgt", self.binary("sub", used, trailing), digits)

    # -- comparisons, signs, classes

    def _on_bits(self, operation: str, p: Precision, a: str, b: str) -> str:
        self.values["a"], self.values["b"] = a, b
        invalid = _INVALID.get(operation)
        if invalid:
            self.accrue_if(self.condition(_text(invalid, p)), NV)
        return self.expression(_text(_BITS[operation], p))
