"""What regions call while NX is clear: is a result of the host exact? It is long, seldom needed after the
first inexact operation, and the same for all: so a region does not hold it.
"""

from __future__ import annotations

from collections.abc import Iterator

from vpmu.hart.codegen_flags import INEXACT, Counting
from vpmu.hart.generator.floating import Floating
from vpmu.hart.generator.floating.formats import DOUBLE, SINGLE, Precision
from vpmu.hart.generator.language import Constants

ARGUMENTS = "ptr %S, i64 %x, i64 %y, i64 %z, i64 %bits"
"""Operands as they were computed with (a sign may have been turned), and the result."""


def name_of(operation: str, p: Precision) -> str:
    """The function for an operation: sums and differences, and all of the fused ones, are one."""
    kind = {"sub": "add", "msub": "madd", "nmsub": "madd", "nmadd": "madd"}.get(operation, operation)
    return f"hot_inexact_{kind}_{p.suffix}"


class _Function(Floating):
    """Emits one of them: 1 where the result stands (NX may be set now), 0 where it is left to `soft`."""

    def generate(self, operation: str, p: Precision) -> str:
        self.lines.append(f"define preserve_mostcc i64 @{name_of(operation, p)}({ARGUMENTS}) {{")
        self.label("entry")
        operands = ["%x", "%y", "%z"][: {"sqrt": 1, "madd": 3}.get(operation, 2)]
        numbers = [self.host(bits, p) for bits in operands]
        result = self.host("%bits", p)
        self._inexact(operation, p, numbers, tuple(operands), result, "%bits", "done")
        for label, answer in (("done", 1), ("slow", 0)):
            self.label(label)
            self.emit(f"ret i64 {answer}")
        self.lines.append("}")
        return "\n".join(self.lines)


def inexact_functions(constants: Constants, counting: Counting) -> Iterator[str]:
    """All of them."""
    for p in (SINGLE, DOUBLE):
        for operation in INEXACT:
            yield _Function(constants, counting).generate(operation, p)
