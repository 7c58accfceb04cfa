"""F, D and Zfh in the native engine: on the host's arithmetic where it does what the guest's must
(`arithmetic.py`), on integers elsewhere.
"""

from __future__ import annotations

from vpmu.hart.generator.floating.arithmetic import Arithmetic
from vpmu.hart.generator.floating.conversions import Conversions
from vpmu.hart.generator.floating.formats import (
    ARITY,
    BITS,
    DOUBLE,
    INTEGERS,
    INVALID,
    PRECISION,
    SINGLE,
    Precision,
    text_of,
)
from vpmu.hart.isa.fd_rows import FdRow, operand_precision
from vpmu.hart.soft import NV

_WIDEN = {"h": "widen_half", "s": "widen"}


class Floating(Arithmetic, Conversions):
    """Emits the value of an instruction of F or D, by the host or by `soft.py`."""

    def soft(self, row: FdRow, a: str, b: str, c: str) -> str:
        """The value of a `row` that rounds, over whole registers, whatever they hold; accrues flags. The
        rounding mode must exist.
        """
        p, mode = PRECISION[row.precision], self.rounding_mode()
        kind, _, form = row.operation.partition("_")
        width, is_signed = INTEGERS.get(form, (0, False))
        if kind == "from":
            integer = self.extended(a, width, is_signed)
            bits = self.call("soft_from_integer", [integer, str(int(is_signed)), str(p.digits), mode])
        else:
            source = operand_precision(row)
            operands = [a, b, c][: ARITY.get(kind, 1)]
            if source != "d":
                operands = [
                    self.call(_WIDEN[source], [self.unbox(register, PRECISION[source])])
                    for register in operands
                ]
            if kind == "to":
                highest = self.constant((1 << width - is_signed) - 1)
                integer = self.call("soft_to_integer", [*operands, highest, str(int(is_signed)), mode])
                return self.call("sext32", [integer]) if width == 32 else integer
            operands += ["0"] * (3 - len(operands))
            bits = self.call(f"soft_{kind}", [*operands, str(p.digits), mode])
        return self.boxed(bits, p)

    def floating(self, row: FdRow, a: str, b: str, c: str) -> str:
        """The value of `row` over whole registers; accrues flags once nothing can give up any more."""
        p = PRECISION[row.precision]
        kind, _, form = row.operation.partition("_")
        if row.operation in ARITY:
            bits = self.arithmetic(
                row.operation, p, *(self.unbox(v, p) for v in (a, b, c)[: ARITY[row.operation]])
            )
        elif row.operation == "convert":
            bits = self.convert(DOUBLE if p is SINGLE else SINGLE, p, a)
        elif row.operation == "mv_x":
            return a if p is DOUBLE else self.call("sext32" if p is SINGLE else "sext16", [a])
        elif row.operation == "mv_f":
            bits = a
        elif kind == "to":
            return self.to_integer(p, self.unbox(a, p), *INTEGERS[form])
        elif kind == "from":
            bits = self.from_integer(p, a, *INTEGERS[form])
        else:
            bits = self.on_bits(row.operation, p, self.unbox(a, p), self.unbox(b, p))
        return self.boxed(bits, p) if row.dest == "f" else bits

    def on_bits(self, operation: str, p: Precision, a: str, b: str) -> str:
        """Comparisons, signs, minima and classes: integer work."""
        self.values["a"], self.values["b"] = a, b
        invalid = INVALID.get(operation)
        if invalid:
            self.accrue_if(self.condition(text_of(invalid, p)), NV)
        return self.expression(text_of(BITS[operation], p))
