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

_NEVER_LEAVE = (Kind.VALUE, Kind.NOP, Kind.JAL, Kind.JALR)  # before they are done


class RegionEmitter(Steps):
    """Emits a region."""

    NOT_LOADED: int | None = None
    """What a register holds that is not loaded; None: whatever LLVM likes."""

    def emit_block(self, leader: int, steps: list[Step]) -> None:
        """A block: is there budget for all of it, its steps, and where it goes."""
        self.label(f"B{leader}")
        self.leader, self.block_steps = leader, steps
        self.places = places(steps)
        self.island = self.islands.get(leader)
        self.dirty = 0 if self.island is None else self.island.dirty[leader]
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
            if row.kind not in _NEVER_LEAVE:
                self.flush()
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
        self.flush()
        self.count_steps(steps)
        if steps[-1].operation.row.kind in JUMPS:
            self.jump()
        else:
            self.go(steps[-1].behind, self.n_after())
        self.leave_given_up()

    def generate_region(self, name: str) -> str:
        """The text of the region's function."""
        self.lines.append(f'define {CC} i64 @{name}({ARGUMENTS}) "no-jump-tables"="true" {{')
        self.label("entry")
        for variable in (*(f"x{number}" for number in self._registers()), "nv", "out_a", "out_n", "out_r"):
            self.emit(f"%{variable} = alloca i64")
        for kept in sorted({kept.name for kept in self.kept.values()}):
            for variable in ("page", "bound", "addend"):
                self.emit(f"%{variable}_{kept} = alloca i64")
        self.forget_kept()
        self.emit("store i64 %n, ptr %nv")
        self.emit(f"%base = load i64, ptr {self.word_pointer('s', state.STATE['dbase'])}, align 8")
        self.emit("%page_quarter = lshr i64 %base, 2")
        self.emit("%page = add i64 %page_quarter, %bias")
        offset = self.binary("lshr", self.binary("sub", self.integer("%rp"), "%base"), 2)
        self.emit(f"store i64 {offset}, ptr %out_a")
        self._enter()
        for leader, steps in self.region.blocks.items():
            self.emit_block(leader, steps)
        for label, (on, dirty) in self.ways_in.items():
            self.label(label)
            self.island, self.dirty = on, dirty
            self._to_one_of(self.sites if label == "returned" else self.region.entries)
        for (where, dirty), label in self.ways_out.items():
            self.label(label)
            self._leave(where, dirty)
        self.lines.append("}")
        return "\n".join(self.lines)

    def _to_one_of(self, offsets: list[int]) -> None:
        """Go on at the offset in `out_a`, if it is one of these; else leave."""
        where = self.value("load i64, ptr %out_a")
        elsewhere = self.new_label("elsewhere")
        cases = " ".join(f"i64 {offset}, label %{self.way_to(offset)}" for offset in offsets)
        self.emit(f"switch i64 {where}, label %{elsewhere} [ {cases} ]")
        self.label(elsewhere)
        self.emit(f"store i64 {self.binary('shl', where, 2)}, ptr %out_a")
        self.emit(f"store i64 {self.value('load i64, ptr %nv')}, ptr %out_n")
        self.leave("record")

    def _enter(self) -> None:
        """From the beginning of the function to where the region is entered."""
        entries = self.region.entries
        if self.region.flat:  # one island, whose jumps inside choose among the same blocks
            self.island, wanted = self.islands[entries[0]], 0
            self.dirty = self.island.dirty[entries[0]]
            for entry in entries:
                wanted |= self.island.wanted[entry]
            self._load(wanted)
            self.come_in("within")
            return
        if len(entries) == 1:
            self.emit(f"br label %{self.way_to(entries[0])}")
        else:
            self._to_one_of(entries)
        for leader, island in self.islands.items():
            self.label(f"land{leader}")
            self._load(island.wanted[leader])
            self.emit(f"br label %B{leader}")

    def _load(self, wanted: int) -> None:
        """The way onto an island: load what it needs."""
        for number in self._registers():
            if wanted >> number & 1:
                value = self.load64(self.word_pointer("s", number))
                self.emit(f"store i64 {value}, ptr %x{number}")
            elif self.NOT_LOADED is not None:
                self.emit(f"store i64 {self.NOT_LOADED}, ptr %x{number}")

    def _registers(self) -> list[int]:
        numbers = {step.record >> shift & 255 for step in self.region.steps for shift in (RD, RS1, RS2)}
        numbers |= {
            step.record >> RS3 & 255 for step in self.region.steps if step.operation.row.kind is Kind.FP
        }
        return sorted(numbers - {0, state.SINK})

    def _leave(self, where: str, dirty: int) -> None:
        """A common way out: write registers back, then go on as a handler would."""
        self.write_back(dirty)
        a = self.value("load i64, ptr %out_a")
        n = self.value("load i64, ptr %out_n") if where != "fault" else ""
        if where == "address":
            self.jump_to(a, n)
        elif where == "fault":
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
            record = self.load64(rp) if where == "record" else self.value("load i64, ptr %out_r")
            self.tail(self.handler_of(record), rp, n, record)


def region_ir(region: Region, name: str, constants: Constants, counting: Counting) -> str:
    """The IR module of one region."""
    emitter = RegionEmitter(region, constants, counting)
    return "\n".join((DECLARATIONS, formats.DECLARATIONS, emitter.generate_region(name), METADATA))
