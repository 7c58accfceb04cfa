"""The steps of a region: what the templates are to the handlers."""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.generator.convention import PAGE, RECORD_OFFSET, RS1, RS3
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.isa.rv64fd import FD_BY_NAME
from vpmu.hart.regions.access import Access
from vpmu.hart.regions.islands import returns


class Steps(Access):
    """Emits the instruction that is `step`."""

    def atomic(self) -> None:
        """An AMO whose operand is aligned and in the engine's cache; others are left to the handler."""
        row, address = self.step.operation.row, self.read(RS1)
        self.require(self.compare("eq", self.binary("and", address, row.size - 1), 0))
        pointer = self.cached_pointer(state.TLB_WRITE, address, row.size, self.give_up())
        old = self.extend(
            self.value(f"load i{8 * row.size}, ptr {pointer}, align 1"), row.size, row.sign_extend
        )
        self.values.clear()
        self.values["old"] = old
        self.bind_operands(row.semantics)
        new = self.narrow(self.expression(row.semantics), row.size)
        self.emit(f"store i{8 * row.size} {new}, ptr {pointer}, align 1")
        self.write_rd(old)
        self.note_store()
        self.count_access(address, is_store=True)

    def floating_point(self) -> None:
        """A step of F or D."""
        row = self.step.operation.row
        self.begin_floating()
        if row.kind is not Kind.FP:
            self.access(row.kind is Kind.FP_STORE)
        else:
            self.values.clear()
            meaning = FD_BY_NAME[row.name]
            self.write_rd(self.floating(meaning, self.rs1(), self.rs2(), self.read(RS3)))
            if meaning.dest != "f":
                return
        if row.kind is not Kind.FP_STORE and "dirty" not in self.known:
            self.dirty_fp()
            self.known["dirty"] = "true"

    def jump(self) -> None:
        """The last step of a block: a branch, a jump or a call."""
        row, step = self.step.operation.row, self.step
        if row.kind is Kind.BRANCH:
            self.values.clear()
            self.bind_operands(row.semantics)
            taken, fall = self.new_label("taken"), self.new_label("fall")
            self.fork(self.condition(row.semantics), taken, fall)
            self.label(taken)
            if step.operation.in_page:
                self.go(step.target, self.n_after())
            else:
                self.leave_to(self.binary("add", self.pc(), step.imm), self.n_after())
            self.label(fall)
            self.go(step.behind, self.n_after())
        elif row.kind is Kind.JAL:
            self.write_rd(self.pc(step.length))
            self.flush()
            if step.operation.in_page:
                self.go(step.target, self.n_after())
            else:
                self.leave_to(self.binary("add", self.pc(), step.imm), self.n_after())
        else:
            target = self.binary("and", self.binary("add", self.read(RS1), step.imm), -2)
            self.write_rd(self.pc(step.length))
            self.flush()
            n = self.n_after()
            within = "returned" if returns(step) else "within"
            if within == "within" or self.sites:
                inside, outside = self.new_label("inside"), self.new_label("outside")
                self.fork(self.compare("eq", self.binary("and", target, PAGE), "%page"), inside, outside)
                self.label(inside)
                self.emit(f"store i64 {n}, ptr %nv")
                self.emit(f"store i64 {self.binary('and', target, RECORD_OFFSET)}, ptr %out_a")
                self.come_in(within)
                self.label(outside)
            self.leave_to(target, n)
