"""The IR of stencils: the templates of the handlers, written with holes for operands."""

from __future__ import annotations

import ast

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import (
    PAGE,
    RD,
    RECORD_OFFSET,
    ROUNDING,
    RS1,
    RS2,
    RS3,
    hot_export_slot,
)
from vpmu.hart.generator.emitter import LIKELY, UNLIKELY
from vpmu.hart.generator.handler import Handler
from vpmu.hart.generator.language import Constants
from vpmu.hart.generator.operations import Operation
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.stencils.forms import ABSENT
from vpmu.hart.stencils.holes import FIRST, MAX_LINE, NEAR, NO_RD

_REGISTER_HOLES = {RD: "rd", RS1: "rs1", RS2: "rs2", RS3: "rs3"}
_LENGTH = 4  # stands for the length of the instruction, which is in the hole `behind`


def hole(name: str) -> str:
    """What stands for a hole that is a number."""
    return f"ptrtoint (ptr @hole_{name} to i64)"


class Stencil(Handler):
    """Emits one stencil. Its arguments are a handler's in number, but %r is the address of the page, and in
    the places of %rp and %bias are what neighbours have found of the engine's caches: how far the host's
    address of an access is from the guest's, for stores and for loads. %S is the midst of the registers.
    """

    def __init__(self, operation: Operation, constants: Constants, counting: Counting, form: int = 0) -> None:
        super().__init__(operation, _LENGTH, constants, counting)
        self.form = form
        self.absent = ABSENT.get(operation.row.name, {}).get(form)  # the operand that is not there
        self.near = {state.TLB_WRITE: "%rp", state.TLB_READ: "%bias"}

    # -- operands

    def register(self, shift: int) -> str:
        return self.offset("%S", hole(_REGISTER_HOLES[shift]))

    def word_pointer(self, block: str, index: int | str) -> str:
        if block == "s":
            return self.offset("%S", 8 * int(index) - state.MIDST)
        return super().word_pointer(block, index)

    def state_of_stencils(self) -> str:
        return "%S"

    def write_rd(self, value: str) -> None:
        if self.form != NO_RD:
            super().write_rd(value)

    def field(self, shift: int, width: int = 8) -> str:
        assert shift == ROUNDING
        return hole("rounding")

    def read(self, shift: int) -> str:
        return "0" if _REGISTER_HOLES[shift] == self.absent else super().read(shift)

    def imm(self) -> str:
        return "0" if self.absent == "imm" else hole("imm")

    def expression(self, source: str | ast.expr) -> str:
        if source == self.row.semantics and self.row.name == "lui":
            return hole("upper")
        if source == self.row.semantics and self.row.name == "auipc":
            return self.plus("%r", "upper_pc")
        return super().expression(source)

    def pc(self, ahead: int = 0) -> str:
        return self.plus("%r", "behind" if ahead else "here")

    def retire(self) -> str:
        return self.plus("%n", "less_after")

    def plus(self, value: str, name: str) -> str:
        """A value and a hole."""
        return self.binary("add", value, hole(name))

    def cached_pointer(self, offset: int, address: str, size: int, slow: str) -> str:
        """As a handler; the first of neighbours looks for all of them, and the others need not look."""
        if self.form == NEAR:
            near = self.near[offset]
            return self.pointer(self.binary("add", self._number(near), address))
        if self.form != FIRST:
            return super().cached_pointer(offset, address, size, slow)
        base, hit = self.rs1(), self.new_label("hit")
        entry = self.cache_entry(offset, self.plus(base, "low"))
        page = self.binary("and", self.plus(base, "last"), PAGE)
        self.fork(self.compare("eq", self.load64(entry), page), hit, slow, LIKELY)
        self.label(hit)
        addend = self.load64(self.offset(entry, 8))
        self.near[offset] = addend if offset == state.TLB_READ else self.pointer(addend)
        return self.pointer(self.binary("add", addend, address))

    def _number(self, near: str) -> str:
        return near if near == "%bias" else self.integer(near)

    # -- ways on: tail calls of holes, which the stitcher makes jumps or nothing at all

    def go(self, to: str) -> None:
        self.tail(f"@hole_{to}", self.near[state.TLB_WRITE], bias=self.near[state.TLB_READ])

    def next(self, context: str = "%T") -> None:
        self.go("next")

    def jump_in_page(self) -> None:
        self.expect_return()
        self.go("stub")

    def expect_return(self) -> None:
        """Of a call: its return will ask for the record behind it, which the host had better have by then."""
        if self.row.kind in (Kind.JAL, Kind.JALR) and self.form != NO_RD:
            record = self.pointer(self.plus(self.load_word("s", "dbase"), "behind_record"))
            self.emit(f"call void @llvm.prefetch.p0(ptr {record}, i32 0, i32 3, i32 1)")

    def jump_to(self, target: str, n: str, *, to_line: bool = False) -> None:
        self.expect_return()
        if self.row.kind is Kind.JALR:
            self.tail("@hole_shared_jump", n=n, r=target)
        else:
            self.go("stub")

    def slow_label(self) -> None:
        self.label("slow")
        self.tail("@hole_stub")

    def off_label(self) -> None:
        self.label("off")
        self.tail("@hole_stub")

    def fork(self, condition: str, yes: str, no: str, weights: str = "") -> None:
        """A branch that is not taken goes straight on."""
        is_branch = self.row.kind is Kind.BRANCH and yes.startswith("taken")
        super().fork(condition, yes, no, UNLIKELY if is_branch else weights)

    def export(self, name: str) -> str:
        """The address of a function of the engine, which stands behind the handlers."""
        return self.load_pointer(self.offset("%tab", hot_export_slot(name)))

    # -- stubs: what stencils seldom need, behind the straight line

    def stub_slow(self) -> None:
        """To the handler of this record."""
        self.tail("@hole_shared_slow", bias=hole("where"))

    def stub_taken(self) -> None:
        """To code of this page, if there is budget for its straight line; else to `stub_leave`, behind it."""
        enough, short = self.new_label("enough"), self.new_label("short")
        self.fork(self.compare("ult", "%n", hole("enough")), short, enough, UNLIKELY)
        self.label(enough)
        self.tail("@hole_target", n=self.plus("%n", "repaid"))
        self.label(short)
        self.tail("@hole_stub")

    def stub_leave(self) -> None:
        """To a record of this page."""
        self.tail("@hole_shared_leave", bias=hole("target_where"))

    def stub_far(self) -> None:
        """To another page, by a distance."""
        self.tail("@hole_shared_jump", n=self.retire(), r=self.plus("%r", "far"))

    # -- shared: where stubs and jumps through a register go

    def shared_slow(self) -> None:
        """To the handler of the record that %bias names, as `where` does."""
        self._leave("stitched_original")

    def shared_leave(self) -> None:
        """To the record that %bias names, as `target_where` does."""
        self._leave("stitched_leave")

    def _leave(self, export: str) -> None:
        """To a function of the engine, with the arguments of the handler of a record."""
        decoded = self.load_word("s", "dbase")
        n = self.binary("sub", "%n", self.binary("and", "%bias", 255))
        rp = self.pointer(self.binary("add", decoded, self.binary("lshr", "%bias", 8)))
        bias = self.binary("sub", "%r", self.binary("lshr", decoded, 2))
        self.tail(self.export(export), rp, n, "0", bias=bias, state_block=self.offset("%S", -state.MIDST))

    def shared_jump(self) -> None:
        """To the address in %r: straight into its line if there is one, else the engine finds the way."""
        known, other = self.new_label("known"), self.new_label("other")
        entry = self.cache_entry(state.TLB_FETCH, "%r")
        page = self.binary("and", "%r", PAGE)
        self.fork(self.compare("eq", self.load64(entry), page), known, other, LIKELY)
        self.label(known)
        decoded = self.load64(self.offset(entry, 8))
        self.store_word("s", "dbase", decoded)
        at = self.binary("shl", self.binary("and", "%r", RECORD_OFFSET), 2)
        record = self.load64(self.pointer(self.binary("add", decoded, at)))
        # no line is longer: the engine looks closer where the budget is about to end
        self.enter_if_line(record, page, "%n", MAX_LINE)
        self.emit(f"br label %{other}")
        self.label(other)
        self.tail(self.export("stitched_jump"), state_block=self.offset("%S", -state.MIDST))
