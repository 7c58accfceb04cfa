"""The hot tier's generator: a region of one decoded page as straight LLVM code (`docs/engine.md`, "The hot
tier").

A region is the part of a page that is reachable from a hot instruction by branches inside the page. It
becomes one function with the handlers' signature; guest registers live in SSA values while it runs. It is
entered through records whose op is "hot" and left at every point that it does not contain; what it does is
exactly what the handlers do:

* every block starts with a test that the budget covers all of it; if not, the handlers take over at its first
  record;
* a load or store that misses the engine's cache calls the same slow path; a fault leaves with the exact pc
  and count;
* what a step cannot do (an atomic that misses the cache, floating point that the host does otherwise) is
  left to its handler, with everything before it done;
* an instruction that the region cannot hold (system instructions) is left to its handler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from vpmu.hart import codegen_fp, state
from vpmu.hart.codegen import (
    _ARGUMENTS,
    _CC,
    _LIKELY,
    _METADATA,
    _PAGE,
    _RECORD_OFFSET,
    _UNLIKELY,
    DISTANCE_SHIFT,
    OPERATIONS,
    Handler,
    Operation,
    hot_export_slot,
)
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.isa.rv64fd import FD_BY_NAME
from vpmu.hart.isa.table import INSTRUCTIONS
from vpmu.hart.semantics import DECLARATIONS, Constants, signed
from vpmu.hart.syntax import parse_expression

MAX_INSTRUCTIONS = 96  # compile time grows faster than the region: about 0.5 ms an instruction at this size
_NOT_IN_REGIONS = (*state.SPECIAL_OPERATIONS, "fence.i")
_STRAIGHT = (Kind.VALUE, Kind.LOAD, Kind.STORE, Kind.AMO, Kind.FP, Kind.FP_LOAD, Kind.FP_STORE, Kind.NOP)
_FLOATING = (Kind.FP, Kind.FP_LOAD, Kind.FP_STORE)
_JUMPS = (Kind.BRANCH, Kind.JAL, Kind.JALR)


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a region: its offset in the page and its record, taken apart."""

    offset: int
    record: int

    @property
    def operation(self) -> Operation:
        return OPERATIONS[(self.record & state.HANDLERS - 1) >> 1]

    @property
    def length(self) -> int:
        return 4 if self.record & 1 else 2

    @property
    def imm(self) -> int:
        return signed(self.record >> 40, 24)

    @property
    def target(self) -> int:
        """Offset of an in-page branch's target."""
        return self.offset + 2 * signed(self.record >> DISTANCE_SHIFT, 12)

    @property
    def behind(self) -> int:
        return self.offset + self.length


@dataclass(slots=True)
class Region:
    """Blocks by the offset of their first instruction, and the offsets at which the region may be entered."""

    blocks: dict[int, list[Step]] = field(default_factory=dict)
    entries: list[int] = field(default_factory=list)

    @property
    def steps(self) -> list[Step]:
        return [step for block in self.blocks.values() for step in block]


@cache
def prepare() -> None:
    """Parse what regions are made of, so that the compiling thread has nothing left to parse (syntax.py)."""
    for row in INSTRUCTIONS:
        if row.kind in (Kind.VALUE, Kind.BRANCH, Kind.AMO):
            parse_expression(row.semantics)
    for text in codegen_fp.texts():
        parse_expression(text)


def find_beginning(record_at: Callable[[int], int], offset: int) -> int:
    """Where the straight line of decoded instructions that leads to `offset` begins: of a function, its
    entry.
    """
    for _ in range(MAX_INSTRUCTIONS // 2):
        before = [Step(offset - length, record_at(offset - length)) for length in (2, 4) if offset >= length]
        before = [step for step in before if step.record and step.behind == offset]
        if not before or before[0].operation.name in _NOT_IN_REGIONS:
            break
        kind = before[0].operation.row.kind
        if kind is Kind.SYSTEM or (kind in _JUMPS and kind is not Kind.BRANCH and not _links(before[0])):
            break
        offset = before[0].offset
    return offset


def find_region(record_at: Callable[[int], int], start: int) -> Region:
    """The region around offset `start` of a page; `record_at(offset)` gives decoded records (0: not
    decoded).
    """
    steps: dict[int, Step] = {}
    first = find_beginning(record_at, start)
    leaders, backward, resumed = {start, first}, set(), set()
    work = [start, first]
    while work and len(steps) < MAX_INSTRUCTIONS:
        offset = work.pop(0)
        while offset not in steps and 0 <= offset < 4094 and len(steps) < MAX_INSTRUCTIONS:
            step = Step(offset, record_at(offset))
            kind = step.operation.row.kind
            if step.record == 0 or step.operation.name in _NOT_IN_REGIONS:
                break
            if kind not in _STRAIGHT and kind not in _JUMPS:
                # left to its handler; the region may be entered again behind it
                if kind is Kind.SYSTEM and step.operation.name not in ("illegal", "sret"):
                    leaders.add(step.behind)
                    resumed.add(step.behind)
                    work.append(step.behind)
                break
            steps[offset] = step
            if kind in _JUMPS:
                if step.operation.in_page:
                    leaders.add(step.target)
                    work.append(step.target)
                    if step.target <= offset:
                        backward.add(step.target)
                if kind is Kind.BRANCH or _links(step):
                    leaders.add(step.behind)
                    work.append(step.behind)
                    if kind is not Kind.BRANCH:
                        resumed.add(step.behind)
                break
            offset = step.behind
    region = Region()
    for leader in sorted(leaders):
        block: list[Step] = []
        offset = leader
        while offset in steps and (not block or offset not in leaders):
            block.append(steps[offset])
            if steps[offset].operation.row.kind in _JUMPS:
                break
            offset = steps[offset].behind
        if block:
            region.blocks[leader] = block
    called = {
        step.target
        for step in steps.values()
        if step.operation.row.kind is Kind.JAL and step.operation.in_page and _links(step)
    }
    region.entries = sorted((backward | resumed | called | {start, first}) & region.blocks.keys())
    return region


def _links(step: Step) -> bool:
    """A call: the instruction behind it will be returned to."""
    return step.operation.row.kind in (Kind.JAL, Kind.JALR) and (step.record >> 16 & 255) != state.SINK


class RegionEmitter(Handler):
    """Emits a region; overrides how `Handler` reaches operands, the pc and the count of instructions."""

    def __init__(self, region: Region, constants: Constants, counting: Counting) -> None:
        super().__init__(OPERATIONS[0], 4, constants, counting)
        self.region = region
        self.step = region.steps[0]
        self.n_block = "%n"
        self.position = 0  # of the step in its block
        self.given_up: list[tuple[str, int]] = []  # label, position of the step
        # Of the block so far: values of words of the state, of registers, and those that are zero or normal.
        self.known: dict[str, str] = {}
        self.held: dict[int, str] = {}
        self.usual: set[str] = set()

    # -- what a step cannot do

    def give_up(self) -> str:
        """A label that leaves the current step to its handler."""
        if not self.given_up or self.given_up[-1][1] != self.position:
            self.given_up.append((self.new_label("give_up"), self.position))
        return self.given_up[-1][0]

    def leave_given_up(self) -> None:
        """What stands at the labels of `give_up` in the current block."""
        for label, position in self.given_up:
            self.label(label)
            self.position = position
            self.count_steps(self.block_steps[:position])
            step = self.block_steps[position]
            self.leave_at(step.offset, self.n_before(), step.record)
        self.given_up.clear()

    def off(self) -> str:
        return self.give_up()

    # -- operands: registers are allocas that LLVM turns into SSA values

    def _number(self, shift: int) -> int:
        return self.step.record >> shift & 255

    def read(self, shift: int) -> str:
        number = self._number(shift)
        if not number:
            return "0"
        if number not in self.held:
            self.held[number] = self.value(f"load i64, ptr %x{number}")
        return self.held[number]

    def write_rd(self, value: str) -> None:
        number = self._number(16)
        if number != state.SINK:
            self.emit(f"store i64 {value}, ptr %x{number}")
            self.held[number] = value

    def imm(self) -> str:
        return str(self.step.imm)

    def pc(self, ahead: int = 0) -> str:
        return self.binary("add", "%page", self.step.offset + ahead)

    # -- floating point: what a block has found out once holds for its later steps

    def rounding_mode(self) -> str:
        own = self.step.record >> 48 & 7
        return self.load_word("s", "frm") if own == codegen_fp.DYNAMIC else str(own)

    def to_nearest(self) -> str:
        if (self.step.record >> 48 & 7) != codegen_fp.DYNAMIC:
            return super().to_nearest()
        if "frm" not in self.known:
            self.require(super().to_nearest())  # frm stays: a CSR instruction ends the block
            self.known["frm"] = "true"
        return self.known["frm"]

    def nx_is_set(self) -> str:
        return self.known["nx"]  # as it was at the first step: if it has been set since, nothing is lost

    def _zero_or_normal(self, bits: str, p: codegen_fp.Precision) -> str:
        return "true" if bits in self.usual else super()._zero_or_normal(bits, p)

    def _arithmetic(self, operation: str, p: codegen_fp.Precision, *operands: str) -> str:
        result = super()._arithmetic(operation, p, *operands)
        self.usual |= {*operands, result}  # anything else has left the region
        return result

    def n_before(self) -> str:
        """Instructions left before the current step."""
        return self.binary("sub", self.n_block, self.position) if self.position else self.n_block

    def n_after(self) -> str:
        return self.binary("sub", self.n_block, self.position + 1)

    # -- the ways out; each stores what it needs and joins a common exit that writes the registers back

    def leave_at(self, offset: int, n: str, record: int | None = None) -> None:
        """To the handler of the record at `offset`; `record` overrides what the page holds there (an
        entry of ours).
        """
        self.emit(f"store i64 {offset * 4}, ptr %out_a")
        self.emit(f"store i64 {n}, ptr %out_n")
        if record is None:
            self.emit("br label %leave_record")
        else:
            self.emit(f"store i64 {signed(record)}, ptr %out_r")
            self.emit("br label %leave_handler")

    def leave_to(self, target: str, n: str) -> None:
        """To a virtual address; returns and calls inside the page stay in the region when it has the
        target.
        """
        self.emit(f"store i64 {target}, ptr %out_a")
        self.emit(f"store i64 {n}, ptr %out_n")
        self.emit("br label %leave_address")

    def go(self, offset: int, n: str) -> None:
        """Along an edge to an offset of the page."""
        if offset in self.region.blocks:
            self.emit(f"store i64 {n}, ptr %nv")
            self.emit(f"br label %B{offset}")
        else:
            self.leave_at(offset, n)

    # -- counting: once per block, for the steps before the point that is reached

    def count_steps(self, steps: list[Step]) -> None:
        if Counting.CLASSES not in self.counting:
            return
        totals: dict[str, int] = {}
        for step in steps:
            for event in (step.operation.row.event, step.operation.row.extra_event):
                if event:
                    totals[event] = totals.get(event, 0) + 1
        for event, count in totals.items():
            self.increment(event, count)

    # -- steps

    def access(self, is_store: bool) -> None:
        """A load or store: the engine's cache inline, its slow path as a call."""
        row = self.step.operation.row
        address = self.binary("add", self.read(24), self.imm())
        data = self.read(32) if is_store else ""
        box = row.kind is Kind.FP_LOAD and row.size == 4
        quick = slow_value = ""
        slow, done, faulted, fine = (self.new_label(name) for name in ("slow", "done", "faulted", "fine"))
        pointer = self.cached_pointer(
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
            self._call("hot_store", f"{arguments}, i64 {data}")
        else:
            whole = self._call("hot_load", arguments)
            slow_value = self.extend(self.narrow(whole, row.size), row.size, row.sign_extend)
        fault = self.load_word("s", "fault")
        self.fork(self.compare("eq", fault, 0), fine, faulted, _LIKELY)
        self.label(faulted)
        self.count_steps(self.block_steps[: self.position])
        self.emit(f"store i64 {fault}, ptr %out_a")
        self.emit("br label %leave_fault")
        self.label(fine)
        self.emit(f"br label %{done}")
        self.label(done)
        if not is_store:
            value = self.value(f"phi i64 [{quick}, %{quick_block}], [{slow_value}, %{fine}]")
            self.write_rd(self.binary("or", value, self.constant(codegen_fp.BOX)) if box else value)
        self.count_access(address, is_store)

    def atomic(self) -> None:
        """An AMO whose operand is aligned and in the engine's cache; others are left to the handler."""
        row, address = self.step.operation.row, self.read(24)
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
        """A step of F or D. What turns sstatus.FS off ends a block, so one look at it is enough for all."""
        row = self.step.operation.row
        if "nx" not in self.known:
            self.require_fp()
            self.known["nx"] = super().nx_is_set()
        if row.kind is not Kind.FP:
            self.access(row.kind is Kind.FP_STORE)
        else:
            self.values.clear()
            meaning = FD_BY_NAME[row.name]
            self.write_rd(self.floating(meaning, self.rs1(), self.rs2(), self.read(40)))
            if meaning.dest != "f":
                return
        if row.kind is not Kind.FP_STORE and "dirty" not in self.known:
            self.dirty_fp()
            self.known["dirty"] = "true"

    def _call(self, name: str, arguments: str) -> str:
        function = self._export(name)
        return self.value(f"call preserve_mostcc i64 {function}({arguments})")

    def _export(self, name: str) -> str:
        """A function of the engine, out of the table of handlers: so a region's code has no addresses in
        it.
        """
        return self.load_pointer(self.offset("%tab", hot_export_slot(name)))

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
            target = self.binary("and", self.binary("add", self.read(24), step.imm), -2)
            self.write_rd(self.pc(step.length))
            n = self.n_after()
            inside, outside = self.new_label("inside"), self.new_label("outside")
            self.fork(self.compare("eq", self.binary("and", target, _PAGE), "%page"), inside, outside)
            self.label(inside)
            self.emit(f"store i64 {n}, ptr %nv")
            self.emit(f"store i64 {self.binary('and', target, _RECORD_OFFSET)}, ptr %out_a")
            self.emit("br label %within")
            self.label(outside)
            self.leave_to(target, n)

    def emit_block(self, leader: int, steps: list[Step]) -> None:
        self.label(f"B{leader}")
        self.block_steps = steps
        for of_the_block in (self.known, self.held, self.usual):
            of_the_block.clear()
        self.n_block = self.value("load i64, ptr %nv")
        enough, short = self.new_label("enough"), self.new_label("short")
        self.fork(self.compare("uge", self.n_block, len(steps)), enough, short, _LIKELY)
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
            elif row.kind in _FLOATING:
                self.floating_point()
        self.count_steps(steps)
        if steps[-1].operation.row.kind in _JUMPS:
            self.jump()
        else:
            self.go(steps[-1].behind, self.n_after())
        self.leave_given_up()

    # -- the function

    def generate_region(self, name: str) -> str:
        """The text of the region's function."""
        used = self._registers()
        self.lines.append(f'define {_CC} i64 @{name}({_ARGUMENTS}) "no-jump-tables"="true" {{')
        self.label("entry")
        for variable in (*(f"x{number}" for number in used), "nv", "out_a", "out_n", "out_r"):
            self.emit(f"%{variable} = alloca i64")
        for number in used:
            self.emit(f"store i64 {self.load64(self.word_pointer('s', number))}, ptr %x{number}")
        self.emit("store i64 %n, ptr %nv")
        self.emit(f"%base = load i64, ptr {self.word_pointer('s', state.STATE['dbase'])}, align 8")
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
        numbers = {step.record >> shift & 255 for step in self.region.steps for shift in (16, 24, 32)}
        numbers |= {
            step.record >> 40 & 255 for step in self.region.steps if step.operation.row.kind is Kind.FP
        }
        return sorted(numbers - {0, state.SINK})

    def _written(self) -> list[int]:
        return sorted({step.record >> 16 & 255 for step in self.region.steps} - {0, state.SINK})

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
                self.fork(self.compare("eq", n, 0), stop, go, _UNLIKELY)
                self.label(stop)
                self.tail("@hot_budget_spent", rp, n)
                self.label(go)
                record = self.load64(rp) if name == "leave_record" else self.value("load i64, ptr %out_r")
                self.tail(self.handler_of(record), rp, n, record)

    def tail(
        self,
        target: str,
        rp: str = "%rp",
        n: str = "%n",
        r: str = "%r",
        context: str = "%T",
        bias: str = "%bias",
    ) -> None:
        known = {
            "@resume": "hot_resume",
            "@hot_resume": "hot_resume",
            "@budget_spent": "hot_budget_spent",
            "@hot_budget_spent": "hot_budget_spent",
        }
        if target in known:
            target = self._export(known[target])
        super().tail(target, rp, n, r, context, bias)


def region_ir(region: Region, name: str, constants: Constants, counting: Counting) -> str:
    """The IR module of one region."""
    emitter = RegionEmitter(region, constants, counting)
    return "\n".join((DECLARATIONS, codegen_fp.DECLARATIONS, emitter.generate_region(name), _METADATA))
