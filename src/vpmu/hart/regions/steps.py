"""The steps of a region: what the templates are to the handlers."""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import PAGE, RECORD_OFFSET, RS1, RS2, RS3
from vpmu.hart.generator.emitter import LIKELY
from vpmu.hart.generator.floating.formats import BOX
from vpmu.hart.generator.language import Constants
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.isa.rv64fd import FD_BY_NAME
from vpmu.hart.regions.find import Region, Step
from vpmu.hart.regions.neighbours import Group, groups_of
from vpmu.hart.regions.operands import RegionBase


class Steps(RegionBase):
    """Emits the instruction that is `step`."""

    def __init__(self, region: Region, constants: Constants, counting: Counting) -> None:
        super().__init__(region, constants, counting)
        self.groups: dict[int, tuple[int, Group]] = {}  # of the block: position of a step -> its group
        self.beginnings: dict[int, str] = {}  # group that was looked up -> where its base register points

    def access(self, is_store: bool) -> None:
        """A load or store: the engine's cache inline, its slow path as a call."""
        row = self.step.operation.row
        address = self.binary("add", self.read(RS1), self.imm())
        data = self.read(RS2) if is_store else ""
        box = row.kind is Kind.FP_LOAD and row.size == 4
        quick = slow_value = ""
        slow, done, faulted, fine = (self.new_label(name) for name in ("slow", "done", "faulted", "fine"))
        pointer = self.neighbour(slow) or self.cached_pointer(
            state.TLB_WRITE if is_store else state.TLB_READ, address, row.size, slow
        )
        if is_store:
            self.emit(f"store i{8 * row.size} {self.narrow(data, row.size)}, ptr {pointer}, align 1")
        else:
            quick = self.extend(
                self.value(f"load i{8 * row.size}, ptr {pointer}, align 1"), row.size, row.sign_extend
            )
        quick_block = self.block
        self.emit(f"br label %{done}")
        self.label(slow)
        shape = row.size | self.step.length << 8
        arguments = f"ptr %S, i64 {address}, i64 {shape}, i64 {self.pc()}, i64 {self.n_before()}"
        if is_store:
            self.call_export("hot_store", f"{arguments}, i64 {data}")
        else:
            whole = self.call_export("hot_load", arguments)
            slow_value = self.extend(self.narrow(whole, row.size), row.size, row.sign_extend)
        fault = self.load_word("s", "fault")
        self.fork(self.compare("eq", fault, 0), fine, faulted, LIKELY)
        self.label(faulted)
        self.count_steps(self.block_steps[: self.position])
        self.emit(f"store i64 {fault}, ptr %out_a")
        self.emit("br label %leave_fault")
        self.label(fine)
        self.forget_neighbours()
        self.emit(f"br label %{done}")
        self.label(done)
        if not is_store:
            value = self.value(f"phi i64 [{quick}, %{quick_block}], [{slow_value}, %{fine}]")
            self.write_rd(self.binary("or", value, self.constant(BOX)) if box else value)
        self.count_access(address, is_store)

    # -- accesses beside each other (neighbours.py)

    def find_neighbours(self, steps: list[Step]) -> None:
        """At the beginning of a block: its groups, none of which has been looked up."""
        self.groups = {}
        self.beginnings.clear()
        for number, group in enumerate(groups_of(steps)):
            self.groups |= dict.fromkeys(group.positions, (number, group))

    def neighbour(self, slow: str) -> str:
        """Where the current step's access is in the host's memory, if its group lies in one page that the
        cache knows; else a branch to `slow`. Empty for an access without a group.
        """
        number, group = self.groups.get(self.position, (0, None))
        if group is None:
            return ""
        flag = f"%near{number}"
        if number not in self.beginnings:
            base = self.read(RS1)
            first = self.binary("add", base, group.low)
            last = self.binary("add", base, group.high - 1)
            entry = self.cache_entry(state.TLB_WRITE if group.stores else state.TLB_READ, first)
            tag = self.load64(entry)
            both = self.binary(
                "or",
                self.binary("xor", tag, self.binary("and", first, PAGE)),
                self.binary("xor", tag, self.binary("and", last, PAGE)),
            )
            self.emit(f"store i1 {self.compare('eq', both, 0)}, ptr {flag}")
            addend = self.load64(self.offset(entry, 8))
            self.beginnings[number] = self.pointer(self.binary("add", addend, base))
        near = self.new_label("near")
        self.fork(self.value(f"load i1, ptr {flag}"), near, slow, LIKELY)
        self.label(near)
        return self.offset(self.beginnings[number], self.step.imm)

    def forget_neighbours(self) -> None:
        """Behind a slow path: what it did to the caches is not known."""
        for number in self.beginnings:
            self.emit(f"store i1 false, ptr %near{number}")

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
            if step.operation.in_page:
                self.go(step.target, self.n_after())
            else:
                self.leave_to(self.binary("add", self.pc(), step.imm), self.n_after())
        else:
            target = self.binary("and", self.binary("add", self.read(RS1), step.imm), -2)
            self.write_rd(self.pc(step.length))
            n = self.n_after()
            inside, outside = self.new_label("inside"), self.new_label("outside")
            self.fork(self.compare("eq", self.binary("and", target, PAGE), "%page"), inside, outside)
            self.label(inside)
            self.emit(f"store i64 {n}, ptr %nv")
            self.emit(f"store i64 {self.binary('and', target, RECORD_OFFSET)}, ptr %out_a")
            self.emit("br label %within")
            self.label(outside)
            self.leave_to(target, n)
