"""The pieces of floating point: registers to numbers and back, conditions, flags and rounding modes."""

from __future__ import annotations

from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import ROUNDING
from vpmu.hart.generator.emitter import LIKELY
from vpmu.hart.generator.floating.formats import BOX, BOX_HALF, DOUBLE, DYNAMIC, HALF, Precision
from vpmu.hart.generator.operands import Operands
from vpmu.hart.soft import NX, RMM, RNE
from vpmu.spec.csr import SSTATUS_FS


class FloatBits(Operands):
    """Emits what the computations are made of; `%r` is the record."""

    def give_up(self) -> str:
        """The label that leaves this instruction to `soft`."""
        return "slow"

    def off(self) -> str:
        """The label of an instruction of F or D where these are off."""
        return "off"

    def require_fp(self) -> None:
        """F and D are off unless sstatus.FS says otherwise (a hart without them keeps FS zero)."""
        if Counting.WHOLE in self.counting:
            on = self.compare("ne", self.load_word("s", "fp_on"), 0)
        else:
            on = self.compare("ne", self.binary("and", self.load_word("s", "sstatus"), SSTATUS_FS), 0)
        self.require(on, self.off())

    def require(self, condition: str, otherwise: str = "") -> None:
        """Go on only where `condition` holds, give up or go to `otherwise` elsewhere."""
        label = self.new_label("usual")
        self.fork(condition, label, otherwise or self.give_up(), LIKELY)
        self.label(label)

    def both(self, *conditions: str) -> str:
        """All of some conditions hold."""
        total = conditions[0]
        for condition in conditions[1:]:
            total = self.value(f"and i1 {total}, {condition}")
        return total

    def either(self, a: str, b: str) -> str:
        """One of two conditions holds."""
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
        """Set bits of fflags where a condition holds."""
        raised, done = self.new_label("raised"), self.new_label("quiet")
        self.fork(condition, raised, done)
        self.label(raised)
        self.accrue(flags)
        self.emit(f"br label %{done}")
        self.label(done)

    def rounding_mode(self) -> str:
        """The mode of this instruction: its own, or that of frm."""
        own = self.field(ROUNDING, 3)
        return self.select(self.compare("eq", own, DYNAMIC), self.load_word("s", "frm"), own)

    def to_nearest(self) -> str:
        """The rounding mode is that of the host, and the host does as IEEE 754 says."""
        return self.both(self.compare("eq", self.rounding_mode(), RNE), self.host_ieee())

    def host_ieee(self) -> str:
        """The host rounds to nearest and keeps subnormal numbers (it was asked when the run began)."""
        return self.compare("ne", self.load_word("s", "host_ieee"), 0)

    def nx_is_set(self) -> str:
        """Another operation was inexact before."""
        return self.compare("ne", self.binary("and", self.load_word("s", "fflags"), NX), 0)

    def any_mode(self) -> str:
        """The rounding mode exists; enough where the result is exact."""
        return self.compare("ule", self.rounding_mode(), RMM)

    def unbox(self, register: str, p: Precision) -> str:
        """A number's bits out of a register; one that is not boxed is NaN."""
        if p is DOUBLE:
            return register
        if p is HALF:
            boxed = self.compare("uge", register, self.constant(BOX_HALF))
            return self.select(boxed, self.binary("and", register, 0xFFFF), p.nan)
        boxed = self.compare("uge", register, self.constant(BOX))
        return self.select(boxed, self.binary("and", register, 0xFFFFFFFF), p.nan)

    def boxed(self, bits: str, p: Precision) -> str:
        """A number's bits as a register holds them."""
        if p is HALF:
            return self.binary("or", self.call("zext16", [bits]), self.constant(BOX_HALF))
        return bits if p is DOUBLE else self.binary("or", self.call("zext32", [bits]), self.constant(BOX))

    def extended(self, integer: str, width: int, is_signed: bool) -> str:
        """An integer of `width` bits out of a register, as 64."""
        return integer if width == 64 else self.call("sext32" if is_signed else "zext32", [integer])

    def host(self, bits: str, p: Precision) -> str:
        """A number of the host with these bits."""
        return self.value(f"bitcast i{p.width} {self.low_bits(bits, p)} to {p.llvm}")

    def low_bits(self, bits: str, p: Precision) -> str:
        """Bits, as wide as the format."""
        return bits if p is DOUBLE else self.value(f"trunc i64 {bits} to i32")

    def bits(self, number: str, p: Precision) -> str:
        """The bits of a number of the host, as 64."""
        raw = self.value(f"bitcast {p.llvm} {number} to i{p.width}")
        return raw if p is DOUBLE else self.value(f"zext i32 {raw} to i64")

    def magnitude(self, bits: str, p: Precision) -> str:
        """Bits without the sign."""
        return self.binary("and", bits, p.magnitude)

    def is_zero(self, bits: str, p: Precision) -> str:
        return self.compare("eq", self.magnitude(bits, p), 0)

    def between(self, bits: str, low: int, high: int, p: Precision) -> str:
        """low <= |bits| < high"""
        return self.compare("ult", self.binary("sub", self.magnitude(bits, p), low), high - low)

    def zero_or_normal(self, bits: str, p: Precision) -> str:
        return self.either(self.between(bits, p.least_normal, p.infinity, p), self.is_zero(bits, p))

    def intrinsic(self, name: str, p: Precision, *arguments: str) -> str:
        """A function of LLVM on numbers of one format."""
        typed = ", ".join(f"{p.llvm} {argument}" for argument in arguments)
        return self.value(f"call {p.llvm} @llvm.{name}.{p.suffix}({typed})")

    def wide(self, number: str, p: Precision) -> str:
        """A number of the host as a double, which is exact."""
        return number if p is DOUBLE else self.value(f"fpext float {number} to double")

    def float_op(self, op: str, a: str, b: str, p: Precision = DOUBLE) -> str:
        """add, sub, mul or div on the host."""
        return self.value(f"f{op} {p.llvm} {a}, {b}")

    def differ(self, a: str, b: str, p: Precision = DOUBLE) -> str:
        """Two numbers of the host are unequal or unordered."""
        return self.value(f"fcmp une {p.llvm} {a}, {b}")

    def negate(self, number: str, p: Precision) -> str:
        """A number of the host with the other sign."""
        return self.value(f"fneg {p.llvm} {number}")
