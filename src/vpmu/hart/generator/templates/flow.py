"""Branches and jumps. One whose target is in its own page needs no lookup of the page."""

from __future__ import annotations

from vpmu.hart.generator.handler import Handler


def branch(h: Handler) -> None:
    """Where the meaning, a condition over rs1 and rs2, holds: pc += imm."""
    h.count_classes()
    h.bind_operands(h.row.semantics)
    taken, fall = h.new_label("taken"), h.new_label("fall")
    h.fork(h.condition(h.row.semantics), taken, fall)
    h.label(taken)
    if h.operation.in_page:
        h.jump_in_page()
    else:
        h.jump_to(h.binary("add", h.pc(), h.imm()), h.retire())
    h.label(fall)
    h.next()


def jal(h: Handler) -> None:
    """rd = the address behind; pc += imm."""
    h.count_classes()
    if h.operation.in_page:
        h.write_rd(h.pc(h.length))
        h.jump_in_page()
    else:
        target = h.binary("add", h.pc(), h.imm())
        h.write_rd(h.pc(h.length))
        h.jump_to(target, h.retire())


def jalr(h: Handler) -> None:
    """rd = the address behind; pc = rs1 + imm, even."""
    h.count_classes()
    target = h.binary("and", h.binary("add", h.rs1(), h.imm()), -2)
    h.write_rd(h.pc(h.length))
    h.jump_to(target, h.retire())
