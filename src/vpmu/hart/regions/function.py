"""A region as one function: its blocks, the way in, and the common ways out."""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import ARGUMENTS, CC, RD, RS1, RS2, RS3
from vpmu.hart.generator.emitter import LIKELY, METADATA, UNLIKELY
from vpmu.hart.generator.floating import formats
from vpmu.hart.generator.language import Constants
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.regions.find import FLOATING, JUMPS, Region, Step
from vpmu.hart.regions.neighbours import places
from vpmu.hart.regions.steps import Steps
from vpmu.hart.semantics.intrinsics import DECLARATIONS


class RegionEmitter(Steps):
    """Emits a region."""

    def emit_block(self, leader: int, steps: list[Step]) -> None:
        """A block: is there budget for all of it, its steps, and where it goes."""
        self.label(f"B{leader}")
        self.leader, self.block_steps = leader, steps
        self.places = places(steps)
        for of_the_block in (self.known, self.held, self.usual, self.near):
            of_the_block.clear()
        self.n_block = self.value("load i64, ptr %nv")
        enough, short = self.new_label("enough"), self.new_label("short")
        self.fork(self.compare("uge", self.n_block, len(steps)), enough, short, LIKELY)
        self.label(short)
        self.leave_at(leader, self.n_block, steps[0].record)
        self.label(enough)
        for self.position, self.step in enumerate(steps):
            row = self.step.operation.row
            if row.kind is Kind.VALUE:
                self.values.clear()
                self.bind_operands(row.semantics)
                self.write_rd(self.expression(row.semantics))
            elif row.kind in (Kind.LOAD, Kind.STORE):
                self.access(row.kind is Kind.STORE)
            elif row.kind is Kind.AMO:
                self.atomic()
            elif row.kind in FLOATING:
                self.floating_point()
        self.count_steps(steps)
        if steps[-1].operation.row.kind in JUMPS:
            self.jump()
        else:
            self.go(steps[-1].behind, self.n_after())
        self.leave_given_up()

    def generate_region(self, name: str) -> str:
        """The text of the region's function."""
        used = self._registers()
        self.lines.append(f'define {CC} i64 @{name}({ARGUMENTS}) "no-jump-tables"="true" {{')
        self.label("entry")
        for variable in (*(f"x{number}" for number in used), "nv", "out_a", "out_n", "out_r"):
            self.emit(f"%{variable} = alloca i64")
        for name in sorted({kept.name for kept in self.kept.values()}):
            for variable in ("page", "bound", "addend"):
                self.emit(f"%{variable}_{name} = alloca i64")
        self.forget_kept()
        for number in used:
            self.emit(f"store i64 {self.load64(self.word_pointer('s', number))}, ptr %x{number}")
        self.emit("store i64 %n, ptr %nv")
        self.emit(f"%base = load i64, ptr {self.word_pointer('s', state.STATE['dbase'])}, align 8")
        if self.guessed:
            self.emit("%guess = alloca i64")
            pointer = self.cache_entry(state.TLB_READ, self.load64(self.word_pointer("s", 2)))
            self.emit(f"store i64 {self.load64(self.offset(pointer, 8))}, ptr %guess")
        self.emit("%page_quarter = lshr i64 %base, 2")
        self.emit("%page = add i64 %page_quarter, %bias")
        offset = self.binary("lshr", self.binary("sub", self.integer("%rp"), "%base"), 2)
        self.emit(f"store i64 {offset}, ptr %out_a")
        self.emit("br label %within")
        self.label("within")
        where = self.value("load i64, ptr %out_a")
        cases = " ".join(f"i64 {entry}, label %B{entry}" for entry in self.region.entries)
        self.emit(f"switch i64 {where}, label %elsewhere [ {cases} ]")
        self.label("elsewhere")
        self.emit(f"store i64 {self.binary('shl', where, 2)}, ptr %out_a")
        self.emit(f"store i64 {self.value('load i64, ptr %nv')}, ptr %out_n")
        self.emit("br label %leave_record")
        for leader, steps in self.region.blocks.items():
            self.emit_block(leader, steps)
        self._exits(self._written())
        self.lines.append("}")
        return "\n".join(self.lines)

    def _registers(self) -> list[int]:
        numbers = {step.record >> shift & 255 for step in self.region.steps for shift in (RD, RS1, RS2)}
        numbers |= {
            step.record >> RS3 & 255 for step in self.region.steps if step.operation.row.kind is Kind.FP
        }
        return sorted(numbers - {0, state.SINK})

    def _written(self) -> list[int]:
        return sorted({step.record >> RD & 255 for step in self.region.steps} - {0, state.SINK})

    def _exits(self, written: list[int]) -> None:
        """The common ways out: write the registers back, then go on as a handler would."""
        for name in ("leave_record", "leave_handler", "leave_address", "leave_fault"):
            self.label(name)
            for number in written:
                value, word = self.value(f"load i64, ptr %x{number}"), self.word_pointer("s", number)
                self.emit(f"store i64 {value}, ptr {word}, align 8")
            a = self.value("load i64, ptr %out_a")
            n = self.value("load i64, ptr %out_n") if name != "leave_fault" else ""
            if name == "leave_address":
                self.jump_to(a, n)
            elif name == "leave_fault":
                resume, leave = self.new_label("resume"), self.new_label("leave")
                self.fork(self.compare("eq", a, self.constants["RESUME"]), resume, leave)
                self.label(leave)
                self.emit(f"ret i64 {a}")
                self.label(resume)
                self.tail("@hot_resume")
            else:
                rp = self.pointer(self.binary("add", "%base", a))
                stop, go = self.new_label("stop"), self.new_label("go")
                self.fork(self.compare("eq", n, 0), stop, go, UNLIKELY)
                self.label(stop)
                self.tail("@hot_budget_spent", rp, n)
                self.label(go)
                record = self.load64(rp) if name == "leave_record" else self.value("load i64, ptr %out_r")
                self.tail(self.handler_of(record), rp, n, record)


def region_ir(region: Region, name: str, constants: Constants, counting: Counting) -> str:
    """The IR module of one region."""
    emitter = RegionEmitter(region, constants, counting)
    return "\n".join((DECLARATIONS, formats.DECLARATIONS, emitter.generate_region(name), METADATA))
