"""rd = an expression of the operands."""

from __future__ import annotations

from vpmu.hart.generator.handler import Handler


def value_instruction(h: Handler) -> None:
    """rd = the meaning, over rs1, rs2, imm and pc."""
    h.bind_operands(h.row.semantics)
    h.write_rd(h.expression(h.row.semantics))
    h.count_classes()
    h.next()


def nothing(h: Handler) -> None:
    """It retires."""
    h.next()
