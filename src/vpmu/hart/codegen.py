"""The native engine's generator: instruction table in, LLVM IR of a threaded interpreter out.

Every instruction becomes a *handler*, a function that does the work and ends in a tail call of the next
handler (`docs/engine.md`). The arguments of a handler stay in host registers for the whole run:

    %S     the hart's state block
    %T     the translation context (state.CONTEXT) of the current mode
    %rp    the record being executed
    %bias  pc = (rp >> 2) + bias: records keep no pc, so that pages decode once
    %n     instructions left, this one included
    %r     the record: op | rd | rs1 | rs2 | imm
    %tab   addresses of the handlers

A *record* is 64 bits: op 15:0, rd 23:16, rs1 31:24, rs2 39:32, imm 63:40. A decoded page holds one record
per halfword of a page of guest memory; an all-zero record is op 0, DECODE, which fills itself in and runs
again. No value of a record, of a pc or of a register leads outside: the operation is cut to the table of
handlers, a register number to the words before the CSRs, an offset in a page to that of a record.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from vpmu.hart import codegen_fp, state
from vpmu.hart.codegen_flags import HOT_EXPORTS, Counting
from vpmu.hart.isa.instruction import Compressed, Field, Instruction, Kind
from vpmu.hart.isa.rv64fd import FD_BY_NAME
from vpmu.hart.isa.table import BY_NAME, COMPRESSED, ILLEGAL, INSTRUCTIONS, most_specific_first
from vpmu.hart.semantics import DECLARATIONS, Constants, Emitter
from vpmu.hart.syntax import parse_expression
from vpmu.spec.csr import SSTATUS_FS

_CC = "preserve_nonecc"
_ARGUMENTS = "ptr %S, ptr %T, ptr %rp, i64 %bias, i64 %n, i64 %r, ptr %tab"
_SHORT_FORMS = frozenset(row.expands_to for row in COMPRESSED)
_LIKELY, _UNLIKELY = "!prof !0", "!prof !1"
_METADATA = '!0 = !{!"branch_weights", i32 2000, i32 1}\n!1 = !{!"branch_weights", i32 1, i32 2000}\n'
_PAGE = -4096
_RECORD_OFFSET = 4094  # of an instruction in its page: its records are one for two bytes
DISTANCE_SHIFT = 52  # where a record of an in-page branch holds the distance to its target, in records


@dataclass(frozen=True, slots=True)
class Operation:
    """A handler: an instruction in one of its forms. `in_page`: a branch whose target is in its page."""

    name: str
    row: Instruction
    in_page: bool = False

    @property
    def lengths(self) -> tuple[int, ...]:
        """Sizes of the encodings that there are: not every instruction has one of 16 bits."""
        return (2, 4) if self.row is ILLEGAL or self.row.name in _SHORT_FORMS else (4,)


def operations() -> tuple[Operation, ...]:
    """All operations in the order of their numbers, DECODE first.

    The index of a handler is 2 * number + (length == 4).
    """
    rows = [Operation(name, ILLEGAL) for name in (*state.SPECIAL_OPERATIONS, "illegal")]
    for row in INSTRUCTIONS:
        rows.append(Operation(row.name, row))
        if row.kind in (Kind.BRANCH, Kind.JAL):
            rows.append(Operation(row.name + ".in", row, in_page=True))
    return tuple(rows)


def has_slow_path(row: Instruction) -> bool:
    """Whether something that an instruction seldom needs is a function of its own."""
    if row.kind is Kind.FP:
        return FD_BY_NAME[row.name].has_rm
    return row.kind in (Kind.LOAD, Kind.STORE, Kind.AMO, Kind.FP_LOAD, Kind.FP_STORE)


OPERATIONS = operations()
NUMBER = {operation.name: number for number, operation in enumerate(OPERATIONS)}


def record_constant(name: str, length: int = 4) -> int:
    """The record of an operation without operands."""
    return 2 * NUMBER[name] + (length == 4)


class Handler(codegen_fp.Floating):
    """Emits one handler: operands, memory access through the engine's cache, dispatch."""

    def __init__(self, operation: Operation, length: int, constants: Constants, counting: Counting) -> None:
        super().__init__(constants)
        self.operation, self.row, self.length, self.counting = operation, operation.row, length, counting
        self.context_pointer = "%T"

    # -- operands

    def field(self, shift: int, width: int = 8) -> str:
        shifted = self.binary("lshr", "%r", shift) if shift else "%r"
        return self.binary("and", shifted, (1 << width) - 1)

    def register(self, shift: int) -> str:
        return self.word_pointer("s", self.field(shift))

    def read(self, shift: int) -> str:
        return self.load64(self.register(shift))

    def rs1(self) -> str:
        return self.read(24)

    def rs2(self) -> str:
        return self.read(32)

    def imm(self) -> str:
        return self.binary("ashr", "%r", 40)

    def pc(self, ahead: int = 0) -> str:
        pointer = self.integer("%rp")
        pc = self.binary("add", self.binary("lshr", pointer, 2), "%bias")
        return self.binary("add", pc, ahead) if ahead else pc

    def write_rd(self, value: str) -> None:
        self.emit(f"store i64 {value}, ptr {self.register(16)}, align 8")

    def bind_operands(self, source: str) -> None:
        """Load the operands that the semantics name."""
        readers = {"rs1": self.rs1, "rs2": self.rs2, "imm": self.imm, "pc": self.pc}
        used = {node.id for node in ast.walk(parse_expression(source)) if isinstance(node, ast.Name)}
        for name in sorted(used & readers.keys() - self.values.keys()):
            self.values[name] = readers[name]()

    # -- where to go next

    def tail(
        self,
        target: str,
        rp: str = "%rp",
        n: str = "%n",
        r: str = "%r",
        context: str = "%T",
        bias: str = "%bias",
    ) -> None:
        """Tail-call a handler."""
        arguments = f"ptr %S, ptr {context}, ptr {rp}, i64 {bias}, i64 {n}, i64 {r}, ptr %tab"
        result = self.value(f"musttail call {_CC} i64 {target}({arguments})")
        self.emit(f"ret i64 {result}")

    def dispatch(self, rp: str, n: str, context: str = "%T", bias: str = "%bias") -> None:
        """Go on at record `rp` with `n` instructions left; stop exactly when there are none."""
        stop, go = self.new_label("stop"), self.new_label("go")
        self.fork(self.compare("eq", n, 0), stop, go, _UNLIKELY)
        self.label(stop)
        self.tail("@budget_spent", rp, n, context=context, bias=bias)
        self.label(go)
        self.execute(rp, n, context, bias)

    def execute(self, rp: str, n: str, context: str = "%T", bias: str = "%bias") -> None:
        record = self.load64(rp)
        self.tail(self.handler_of(record), rp, n, record, context, bias)

    def handler_of(self, record: str) -> str:
        slot = self.offset("%tab", self.binary("shl", self.binary("and", record, state.HANDLERS - 1), 3))
        return self.load_pointer(slot)

    def retire(self) -> str:
        return self.binary("sub", "%n", 1)

    def next(self, context: str = "%T") -> None:
        self.dispatch(self.offset("%rp", 4 * self.length), self.retire(), context)

    def jump_in_page(self) -> None:
        """An in-page branch holds the distance between the records, in records, above its immediate."""
        distance = self.binary("shl", self.binary("ashr", "%r", DISTANCE_SHIFT), 3)
        self.dispatch(self.offset("%rp", distance), self.retire())

    def jump_to(self, target: str, n: str) -> None:
        """Go to a virtual address: through the fetch cache, or by @resume when it does not know the page."""
        stop, look = self.new_label("stop"), self.new_label("look")
        hit, miss = self.new_label("hit"), self.new_label("miss")
        self.fork(self.compare("eq", n, 0), stop, look, _UNLIKELY)
        self.label(look)
        entry = self.cache_entry(state.TLB_FETCH, target)
        page = self.binary("and", target, _PAGE)
        tag = self.load64(entry)
        self.fork(self.compare("eq", tag, page), hit, miss, _LIKELY)
        self.label(hit)
        decoded = self.load64(self.offset(entry, 8))
        self.enter_page(decoded, target, page, n)
        for label in (stop, miss):
            self.label(label)
            self.store_word("s", "pc", target)
            self.store_word("s", "n", n)
            self.tail("@resume")

    def enter_page(self, decoded: str, target: str, page: str, n: str, context: str = "%T") -> None:
        self.store_word("s", "dbase", decoded)
        if Counting.MISSES in self.counting:
            self.count_miss(state.MODEL_ITLB, target, 12, 255, "itlb_miss")
        offset = self.binary("shl", self.binary("and", target, _RECORD_OFFSET), 2)
        rp = self.pointer(self.binary("add", decoded, offset))
        bias = self.binary("sub", page, self.binary("lshr", decoded, 2))
        self.execute(rp, n, context, bias)

    def save(self) -> None:
        """Make the state precise before code that may trap or leave."""
        self.store_word("s", "pc", self.pc())
        self.store_word("s", "n", "%n")
        self.store_word("s", "length", str(self.length))

    def follow(self, action: str) -> None:
        """After a function of privileged/: CONTINUE, RESUME or EXIT (see there)."""
        on, resume, leave = self.new_label("continue"), self.new_label("resume"), self.new_label("exit")
        codes = self.constants
        cases = f"i64 {codes['CONTINUE']}, label %{on} i64 {codes['RESUME']}, label %{resume}"
        self.emit(f"switch i64 {action}, label %{leave} [ {cases} ]")
        self.label(leave)
        self.emit(f"ret i64 {action}")
        self.label(resume)
        self.tail("@resume")
        self.label(on)

    # -- memory

    def cache_entry(self, offset: int, address: str) -> str:
        index = self.binary("and", self.binary("lshr", address, 8), (state.TLB_ENTRIES - 1) << 4)
        return self.offset(self.offset("%T", index), offset)

    def cached_pointer(self, offset: int, address: str, size: int, slow: str) -> str:
        """Host address of `size` bytes through the engine's cache; branches to label `slow` when it does
        not know them.

        The test compares the page of the access's *last* byte, so one comparison also catches page crossings.
        """
        entry = self.cache_entry(offset, address)
        tag = self.load64(entry)
        last = self.binary("add", address, size - 1) if size > 1 else address
        page = self.binary("and", last, _PAGE)
        hit = self.new_label("hit")
        self.fork(self.compare("eq", tag, page), hit, slow, _LIKELY)
        self.label(hit)
        addend = self.load64(self.offset(entry, 8))
        return self.pointer(self.binary("add", addend, address))

    def extend(self, value: str, size: int, sign: bool) -> str:
        return value if size == 8 else self.value(f"{'sext' if sign else 'zext'} i{8 * size} {value} to i64")

    def narrow(self, value: str, size: int) -> str:
        return value if size == 8 else self.value(f"trunc i64 {value} to i{8 * size}")

    # -- counting

    def count_classes(self) -> None:
        if Counting.CLASSES in self.counting:
            self.count_each("1")

    def count_each(self, times: str) -> None:
        """Count this instruction in each of its classes."""
        for event in (self.row.event, self.row.extra_event):
            if event:
                self.increment(event, times)

    def increment(self, name: str, by: str | int = 1) -> None:
        pointer = self.word_pointer("t", state.CONTEXT[name])
        more = self.binary("add", self.load64(pointer), by)
        self.emit(f"store i64 {more}, ptr {pointer}, align 8")

    def count_access(self, address: str, is_store: bool) -> None:
        """One data access through the modelled TLB and cache."""
        if Counting.MISSES not in self.counting:
            return
        kind = "write" if is_store else "read"
        offset = state.MODEL_DTLB_WRITE if is_store else state.MODEL_DTLB_READ
        self.count_miss(offset, address, 12, state.TLB_ENTRIES - 1, f"dtlb_{kind}_miss")
        self.count_miss(state.MODEL_L1D, address, 6, state.MODEL_L1D_LINES - 1, f"l1d_{kind}_miss")

    def count_miss(self, offset: int, address: str, shift: int, mask: int, counter: str) -> None:
        """Direct-mapped tags: a line (shifted left by one, bit 0 clear, so that no tag is INVALID) that is
        not there is a miss.
        """
        line = self.binary("lshr", address, shift)
        index = self.binary("shl", self.binary("and", line, mask), 3)
        slot = self.offset(self.offset("%T", index), offset)
        wanted = self.binary("shl", line, 1)
        known = self.compare("eq", self.load64(slot), wanted)
        miss, done = self.new_label("miss"), self.new_label("known")
        self.fork(known, done, miss, _LIKELY)
        self.label(miss)
        self.emit(f"store i64 {wanted}, ptr {slot}, align 8")
        self.increment(counter)
        self.emit(f"br label %{done}")
        self.label(done)

    # -- templates, one per Kind

    def value_instruction(self) -> None:
        self.bind_operands(self.row.semantics)
        self.write_rd(self.expression(self.row.semantics))
        self.count_classes()
        self.next()

    def load(self, slow_path: bool) -> None:
        address = self.binary("add", self.rs1(), self.imm())
        size = self.row.size
        if slow_path:
            self.save()
            whole = self.call("slow_load", [address, str(size)])
            self.follow(self.load_word("s", "fault"))
            value = self.narrow(whole, size)
        else:
            pointer = self.cached_pointer(state.TLB_READ, address, size, "slow")
            value = self.value(f"load i{8 * size}, ptr {pointer}, align 1")
        self.write_rd(self.extend(value, size, self.row.sign_extend))
        self.count_access(address, is_store=False)
        self.count_classes()
        self.next()
        if not slow_path:
            self.slow_label()

    def store(self, slow_path: bool) -> None:
        address = self.binary("add", self.rs1(), self.imm())
        size = self.row.size
        if slow_path:
            self.save()
            self.call("slow_store", [address, str(size), self.rs2()])
            self.follow(self.load_word("s", "fault"))
        else:
            pointer = self.cached_pointer(state.TLB_WRITE, address, size, "slow")
            self.emit(f"store i{8 * size} {self.narrow(self.rs2(), size)}, ptr {pointer}, align 1")
        self.count_access(address, is_store=True)
        self.count_classes()
        self.next()
        if not slow_path:
            self.slow_label()

    def amo(self, slow_path: bool) -> None:
        address, size = self.rs1(), self.row.size
        if slow_path:
            self.save()
            host = self.call("amo_pointer", [address, str(size)])
            self.follow(self.load_word("s", "fault"))
            pointer = self.pointer(host)
        else:
            aligned = self.new_label("aligned")
            low = self.binary("and", address, size - 1)
            self.fork(self.compare("eq", low, 0), aligned, "slow", _LIKELY)
            self.label(aligned)
            pointer = self.cached_pointer(state.TLB_WRITE, address, size, "slow")
        old = self.extend(self.value(f"load i{8 * size}, ptr {pointer}, align 1"), size, self.row.sign_extend)
        self.values["old"] = old
        self.bind_operands(self.row.semantics)
        new = self.expression(self.row.semantics)
        self.emit(f"store i{8 * size} {self.narrow(new, size)}, ptr {pointer}, align 1")
        self.write_rd(old)
        self.count_access(address, is_store=True)
        self.count_classes()
        self.next()
        if not slow_path:
            self.slow_label()

    def fp_load(self, slow_path: bool) -> None:
        if not slow_path:
            self.require_fp()
        address = self.binary("add", self.rs1(), self.imm())
        size = self.row.size
        if slow_path:
            self.save()
            value = self.call("slow_load", [address, str(size)])
            self.follow(self.load_word("s", "fault"))
        else:
            pointer = self.cached_pointer(state.TLB_READ, address, size, "slow")
            value = self.extend(self.value(f"load i{8 * size}, ptr {pointer}, align 1"), size, sign=False)
        if size == 4:
            value = self.binary("or", value, self.constant(codegen_fp.BOX))
        self.write_rd(value)
        self.dirty_fp()
        self.count_access(address, is_store=False)
        self.count_classes()
        self.next()
        if not slow_path:
            self.slow_label()
            self.off_label()

    def fp_store(self, slow_path: bool) -> None:
        if not slow_path:
            self.require_fp()
        self.store(slow_path)
        if not slow_path:
            self.off_label()

    def fp(self, slow_path: bool) -> None:
        row = FD_BY_NAME[self.row.name]
        if slow_path:
            self.require(self.any_mode(), "reserved")
        else:
            self.require_fp()
        compute = self.soft if slow_path else self.floating
        self.write_rd(compute(row, self.rs1(), self.rs2(), self.read(40)))
        if row.dest == "f":
            self.dirty_fp()
        self.count_classes()
        self.next()
        if slow_path:
            self.label("reserved")
            if Counting.WHOLE in self.counting:  # the trap is taken here
                self.tail(f"@op_illegal_{self.length}")
                return
            self.save()
            self.emit(f"ret i64 {self.call('leave_illegal', [])}")
            return
        if row.has_rm:
            self.slow_label()
        self.off_label()

    def require_fp(self) -> None:
        """F and D are off unless sstatus.FS says otherwise (a hart without them keeps FS zero)."""
        if Counting.WHOLE in self.counting:
            on = self.compare("ne", self.load_word("s", "fp_on"), 0)
        else:
            on = self.compare("ne", self.binary("and", self.load_word("s", "sstatus"), SSTATUS_FS), 0)
        self.require(on, self.off())

    def off(self) -> str:
        """The label of an instruction of F or D where these are off."""
        return "off"

    def off_label(self) -> None:
        """An illegal instruction, as an encoding that nobody knows."""
        self.label("off")
        if Counting.CLASSES in self.counting:
            self.count_each(self.load_word("s", "traps_retire"))
        self.tail(f"@op_illegal_{self.length}")

    def slow_label(self) -> None:
        """The slow path is a function of its own, so that the fast path needs no stack frame."""
        self.label("slow")
        self.tail(f"@slow_{self.symbol()}")

    def symbol(self) -> str:
        return f'"{self.operation.name}_{self.length}"'.replace('"', "")

    def branch(self) -> None:
        self.count_classes()
        self.bind_operands(self.row.semantics)
        taken, fall = self.new_label("taken"), self.new_label("fall")
        self.fork(self.condition(self.row.semantics), taken, fall)
        self.label(taken)
        if self.operation.in_page:
            self.jump_in_page()
        else:
            self.jump_to(self.binary("add", self.pc(), self.imm()), self.retire())
        self.label(fall)
        self.next()

    def jal(self) -> None:
        self.count_classes()
        if self.operation.in_page:
            self.write_rd(self.pc(self.length))
            self.jump_in_page()
        else:
            target = self.binary("add", self.pc(), self.imm())
            self.write_rd(self.pc(self.length))
            self.jump_to(target, self.retire())

    def jalr(self) -> None:
        self.count_classes()
        target = self.binary("and", self.binary("add", self.rs1(), self.imm()), -2)
        self.write_rd(self.pc(self.length))
        self.jump_to(target, self.retire())

    def system(self) -> None:
        self.save()
        arguments = [self.field(16), self.field(24), self.field(32), self.imm(), str(self.row.size)]
        guest = Counting.WHOLE not in self.counting
        action = self.call("no_hypervisor" if guest and self.row.whole else self.row.semantics, arguments)
        if Counting.CLASSES in self.counting and self.row.event:
            self.count_retired(action)
        self.follow(action)
        context = self.load_pointer(self.word_pointer("s", state.STATE["ctx"]))
        self.next(context)

    def count_retired(self, action: str) -> None:
        """Count a system instruction in its class only if it retired: ECALL and a faulting LR do not."""
        gone = self.binary("sub", "%n", self.load_word("s", "n"))
        continues = self.value(f"zext i1 {self.compare('eq', action, self.constants['CONTINUE'])} to i64")
        self.count_each(self.binary("add", gone, continues))

    # -- the operations that are not instructions

    def decode(self) -> None:
        """Fill in this record and execute it."""
        dbase = self.load_word("s", "dbase")
        host = self.load64(self.pointer(self.binary("add", dbase, self.constants["DECODED_HOST"])))
        distance = self.binary("sub", self.integer("%rp"), dbase)
        offset = self.binary("and", self.binary("lshr", distance, 2), _RECORD_OFFSET)
        record = self.value(f"call fastcc i64 @decode_at(i64 {host}, i64 {offset})")
        self.emit(f"store i64 {record}, ptr %rp, align 8")
        self.tail(self.handler_of(record), r=record)

    def page_end(self) -> None:
        """Execution ran off the end of a decoded page."""
        self.jump_to(self.pc(), "%n")

    def straddle(self) -> None:
        """A four-byte instruction on two pages: read the second half, decode, execute; never cached, the
        pages may part.
        """
        self.save()
        dbase = self.load_word("s", "dbase")
        host = self.load64(self.pointer(self.binary("add", dbase, self.constants["DECODED_HOST"])))
        low = self.call("load16", [self.binary("add", host, 4094)])
        high = self.call("fetch_half", [self.pc(2)])
        self.follow(self.load_word("s", "fault"))
        word = self.binary("or", low, self.binary("shl", high, 16))
        self.store_word("s", "insn", word)
        record = self.value(f"call fastcc i64 @decode_word(i64 {word}, i64 4094)")
        self.tail(self.handler_of(record), r=record)

    def hot(self) -> None:
        """This record is an entry of a compiled region (hot.py), the immediate its index there. One that
        is not is decoded.
        """
        known, unknown = self.new_label("known"), self.new_label("unknown")
        index = self.imm()
        self.fork(self.compare("ult", index, self.load_word("m", "hot_count")), known, unknown, _LIKELY)
        self.label(known)
        table = self.pointer(self.load_word("m", "hot_table"))
        self.tail(self.load_pointer(self.offset(table, self.binary("shl", index, 3))))
        self.label(unknown)
        self.tail("@op_decode_4", r="0")

    def generate(self, slow_path: bool = False) -> str:
        """The text of the handler."""
        name = ("slow_" if slow_path else "op_") + self.symbol()
        linkage = "internal " if slow_path else ""
        self.lines.append(f"define {linkage}{_CC} i64 @{name}({_ARGUMENTS}) {{")
        self.label("entry")
        if self.operation.name in state.SPECIAL_OPERATIONS:
            getattr(self, self.operation.name)()
        else:
            match self.row.kind:
                case Kind.VALUE:
                    self.value_instruction()
                case Kind.LOAD:
                    self.load(slow_path)
                case Kind.STORE:
                    self.store(slow_path)
                case Kind.AMO:
                    self.amo(slow_path)
                case Kind.BRANCH:
                    self.branch()
                case Kind.JAL:
                    self.jal()
                case Kind.JALR:
                    self.jalr()
                case Kind.SYSTEM:
                    self.system()
                case Kind.NOP:
                    self.next()
                case Kind.FP_LOAD:
                    self.fp_load(slow_path)
                case Kind.FP_STORE:
                    self.fp_store(slow_path)
                case Kind.FP:
                    self.fp(slow_path)
        self.lines.append("}")
        return "\n".join(self.lines)


class Decoder(Emitter):
    """Emits `decode_word(word, offset in page) -> record` from the tables: a switch on the opcode, then a
    chain of matches.
    """

    def extract(self, source: Field) -> str:
        if source.constant is not None:
            return str(source.constant)
        total = ""
        for high, low, target in source.pieces:
            part = self.binary("lshr", "%word", low) if low else "%word"
            part = self.binary("and", part, (1 << high - low + 1) - 1)
            part = self.binary("shl", part, target) if target else part
            total = self.binary("or", total, part) if total else part
        if source.is_signed:
            total = self.binary("shl", total, 64 - source.width)
            total = self.binary("ashr", total, 64 - source.width)
        return self.binary("add", total, source.offset) if source.offset else total

    def record(self, number: str, rd: str, rs1: str, rs2: str, imm: str) -> None:
        rd = self.select(self.compare("eq", rd, 0), state.SINK, rd)
        total = number
        for part, shift in ((rd, 16), (rs1, 24), (rs2, 32), (imm, 40)):
            total = self.binary("or", total, self.binary("shl", part, shift))
        self.emit(f"ret i64 {total}")

    def row(self, row: Instruction, operands: Instruction | Compressed, length: int) -> None:
        """Answer with the record of `row`, operands cut out as `operands` says."""
        source = operands.format if isinstance(operands, Instruction) else operands
        rd, rs1, rs2, imm = (self.extract(f) for f in (source.rd, source.rs1, source.rs2, source.imm))
        number = 2 * NUMBER[row.name] + (length == 4)
        if row.kind not in (Kind.BRANCH, Kind.JAL):
            self.record(str(number), rd, rs1, rs2, imm)
            return
        target = self.binary("add", "%offset", imm)
        inside = self.compare("ult", target, 4096)
        near = 2 * NUMBER[row.name + ".in"] + (length == 4)
        chosen = self.select(inside, near, number)
        distance = self.binary("shl", imm, DISTANCE_SHIFT - 40 - 1)
        self.record(chosen, rd, rs1, rs2, self.select(inside, distance, imm))

    def chain(self, rows: Iterable[Instruction | Compressed], length: int) -> None:
        for row in rows:
            test = self.compare("eq", self.binary("and", "%word", row.mask), row.match)
            if isinstance(row, Compressed):
                for source in row.nonzero:
                    nonzero = self.compare("ne", self.extract(source), 0)
                    test = self.value(f"and i1 {test}, {nonzero}")
            yes, no = self.new_label("yes"), self.new_label("no")
            self.fork(test, yes, no)
            self.label(yes)
            self.row(BY_NAME[row.expands_to] if isinstance(row, Compressed) else row, row, length)
            self.label(no)
        self.emit(f"ret i64 {record_constant('illegal', length) | state.SINK << 16}")

    def groups(
        self, rows: Iterable[Instruction | Compressed], selector: str, length: int, key_mask: int
    ) -> None:
        """Rows that share the bits `key_mask` of the word, behind one switch."""
        by_key: dict[int, list[Instruction | Compressed]] = {}
        for row in rows:
            by_key.setdefault(row.match & key_mask, []).append(row)
        labels = {key: self.new_label("group") for key in by_key}
        other = self.new_label("other")
        cases = " ".join(f"i64 {key}, label %{label}" for key, label in labels.items())
        self.emit(f"switch i64 {selector}, label %{other} [ {cases} ]")
        self.label(other)
        self.emit(f"ret i64 {record_constant('illegal', length) | state.SINK << 16}")
        for key, label in labels.items():
            self.label(label)
            self.chain(by_key[key], length)

    def generate(self) -> str:
        self.lines.append("define internal fastcc i64 @decode_word(i64 %word, i64 %offset) {")
        self.label("entry")
        low = self.binary("and", "%word", 3)
        self.fork(self.compare("eq", low, 3), "full", "short")
        self.label("full")
        self.groups(most_specific_first(INSTRUCTIONS), self.binary("and", "%word", 127), 4, 0x7F)
        self.label("short")
        self.groups(most_specific_first(COMPRESSED), self.binary("and", "%word", 57347), 2, 0xE003)
        self.lines.append("}")
        return "\n".join(self.lines)


def _decode_at() -> str:
    """`decode_at(host page, offset)`: read the word at an offset of a page and decode it."""
    return f"""
define internal fastcc i64 @decode_at(i64 %host, i64 %offset) {{
entry:
  %address = add i64 %host, %offset
  %pointer = inttoptr i64 %address to ptr
  %half = load i16, ptr %pointer, align 1
  %short = zext i16 %half to i64
  %low = and i64 %short, 3
  %is_full = icmp eq i64 %low, 3
  br i1 %is_full, label %full, label %narrow
full:
  %at_end = icmp eq i64 %offset, 4094
  br i1 %at_end, label %last, label %wide
last:
  ret i64 {state.RECORD_STRADDLE}
wide:
  %half2 = load i32, ptr %pointer, align 1
  %word = zext i32 %half2 to i64
  %a = call fastcc i64 @decode_word(i64 %word, i64 %offset)
  ret i64 %a
narrow:
  %b = call fastcc i64 @decode_word(i64 %short, i64 %offset)
  ret i64 %b
}}"""


class Entry(Handler):
    """The functions around the handlers: `run`, `resume` and `budget_spent`."""

    def __init__(self, constants: Constants, counting: Counting) -> None:
        super().__init__(OPERATIONS[0], 4, constants, counting)

    def budget_spent(self) -> str:
        self.lines.append(f"define internal {_CC} i64 @budget_spent({_ARGUMENTS}) {{")
        self.label("entry")
        self.store_word("s", "pc", self.pc())
        self.store_word("s", "n", "%n")
        self.leave_budget()
        self.lines.append("}")
        return "\n".join(self.lines)

    def leave_budget(self) -> None:
        self.store_word("s", "exit", str(self.constants["STOP_BUDGET"]))
        self.emit(f"ret i64 {self.constants['EXIT']}")

    def resume(self) -> str:
        """Go on at s.pc, in whatever mode and context the state says; traps taken on the way start over."""
        self.lines.append(f"define internal {_CC} i64 @resume({_ARGUMENTS}) {{")
        self.label("entry")
        self.emit("br label %again")
        self.label("again")
        n, pc = self.load_word("s", "n"), self.load_word("s", "pc")
        context = self.load_pointer(self.word_pointer("s", state.STATE["ctx"]))
        self.fork(self.compare("eq", n, 0), "spent", "look", _UNLIKELY)
        self.label("spent")
        self.leave_budget()
        self.label("look")
        index = self.binary("and", self.binary("lshr", pc, 8), (state.TLB_ENTRIES - 1) << 4)
        entry = self.offset(self.offset(context, index), state.TLB_FETCH)
        page = self.binary("and", pc, _PAGE)
        tag = self.load64(entry)
        self.fork(self.compare("eq", tag, page), "hit", "miss", _LIKELY)
        self.label("miss")
        fetched = self.call("fetch_page", [pc])
        self.fork(self.compare("eq", fetched, 0), "fault", "found")
        self.label("fault")
        fault = self.load_word("s", "fault")
        self.fork(self.compare("eq", fault, self.constants["RESUME"]), "again", "leave")
        self.label("leave")
        self.emit(f"ret i64 {fault}")
        self.label("hit")
        known = self.load64(self.offset(entry, 8))
        self.emit("br label %found")
        self.label("found")
        decoded = self.value(f"phi i64 [{fetched}, %miss], [{known}, %hit]")
        if Counting.MISSES in self.counting:
            # count_miss addresses the context as %T; here the context may have changed
            self.tail("@enter", rp=self.pointer(decoded), n=n, r=pc, context=context)
        else:
            self.enter_page(decoded, pc, page, n, context)
        self.lines.append("}")
        return "\n".join(self.lines)

    def enter(self) -> str:
        """Second half of resume where misses are counted: %rp is the decoded page, %r the pc."""
        self.lines.append(f"define internal {_CC} i64 @enter({_ARGUMENTS}) {{")
        self.label("entry")
        self.enter_page(self.integer("%rp"), "%r", self.binary("and", "%r", _PAGE), "%n")
        self.lines.append("}")
        return "\n".join(self.lines)

    def run(self) -> str:
        """`run(state, budget) -> exits.Stop`: the one function that Python calls to run a guest."""
        self.lines.append("define i64 @run(i64 %address, i64 %budget) {")
        self.label("entry")
        self.emit("%S = inttoptr i64 %address to ptr")
        action = self.call("begin_run", ["%budget"])
        self.fork(self.compare("eq", action, self.constants["EXIT"]), "stopped", "start")
        self.label("start")
        self.value(f"call {_CC} i64 @resume(ptr %S, ptr %S, ptr %S, i64 0, i64 0, i64 0, ptr @handlers)")
        self.emit("br label %stopped")
        self.label("stopped")
        self.emit(f"ret i64 {self.call('end_run', [])}")
        self.lines.append("}")
        return "\n".join(self.lines)


def hot_export_slot(name: str) -> int:
    """Where the address of a function of HOT_EXPORTS stands in the table of handlers, in bytes."""
    return 8 * (state.HANDLERS + HOT_EXPORTS.index(name))


def _hot_exports() -> str:
    """What compiled regions (hot.py) call in the engine."""
    arguments = _ARGUMENTS
    # The shape of an access is its size, and the length of its instruction from bit 8 on. The state is made
    # precise
    # here, not in the region: the less a region's slow paths hold, the sooner it is compiled.
    save = f"""
  %size = and i64 %shape, 255
  %length = lshr i64 %shape, 8
  %pc.word = getelementptr i64, ptr %S, i64 {state.STATE["pc"]}
  store i64 %pc, ptr %pc.word, align 8
  %n.word = getelementptr i64, ptr %S, i64 {state.STATE["n"]}
  store i64 %n, ptr %n.word, align 8
  %length.word = getelementptr i64, ptr %S, i64 {state.STATE["length"]}
  store i64 %length, ptr %length.word, align 8"""
    return f"""
define preserve_mostcc i64 @hot_load(ptr %S, i64 %address, i64 %shape, i64 %pc, i64 %n) {{
{save}
  %v = call fastcc i64 @slow_load(ptr %S, i64 %address, i64 %size)
  ret i64 %v
}}
define preserve_mostcc i64 @hot_store(ptr %S, i64 %address, i64 %shape, i64 %pc, i64 %n, i64 %value) {{
{save}
  %v = call fastcc i64 @slow_store(ptr %S, i64 %address, i64 %size, i64 %value)
  ret i64 %v
}}
define {_CC} i64 @hot_resume({arguments}) {{
  %v = musttail call {_CC} i64 @resume(ptr %S, ptr %T, ptr %rp, i64 %bias, i64 %n, i64 %r, ptr %tab)
  ret i64 %v
}}
define {_CC} i64 @hot_budget_spent({arguments}) {{
  %v = musttail call {_CC} i64 @budget_spent(ptr %S, ptr %T, ptr %rp, i64 %bias, i64 %n, i64 %r, ptr %tab)
  ret i64 %v
}}"""


def _probe() -> str:
    """For Python: `probe(state, address, access)`, a physical address; `trap(state, cause, value)`."""
    return """
define i64 @probe(i64 %address, i64 %virtual, i64 %access) {
entry:
  %S = inttoptr i64 %address to ptr
  %physical = call fastcc i64 @translate(ptr %S, i64 %virtual, i64 %access)
  ret i64 %physical
}
define i64 @trap(i64 %address, i64 %cause, i64 %value) {
entry:
  %S = inttoptr i64 %address to ptr
  %action = call fastcc i64 @raise_exception(ptr %S, i64 %cause, i64 %value)
  ret i64 %action
}"""


def module(
    functions: Iterable[ast.FunctionDef], constants: Constants, counting: Counting = Counting.NOTHING
) -> str:
    """The IR of a whole engine: these functions, decoder, handlers and their table, entry points."""
    parts = [DECLARATIONS, codegen_fp.DECLARATIONS]
    for node in functions:
        emitter = Emitter(constants)
        emitter.function(node)
        parts.append("\n".join(emitter.lines))
    parts += [Decoder(constants).generate(), _decode_at()]
    names: list[str] = []
    for operation in OPERATIONS:
        for length in (2, 4):
            if length not in operation.lengths:
                names.append("op_illegal_2")
                continue
            handler = Handler(operation, length, constants, counting)
            parts.append(handler.generate())
            names.append(f"op_{handler.symbol()}")
            if has_slow_path(operation.row):
                parts.append(Handler(operation, length, constants, counting).generate(slow_path=True))
    for part in (Entry.budget_spent, Entry.resume, Entry.enter, Entry.run):
        parts.append(part(Entry(constants, counting)))
    parts += [_probe(), _hot_exports()]
    names += ["op_illegal_4"] * (state.HANDLERS - len(names))
    names += HOT_EXPORTS  # compiled regions find them behind the handlers (hot_export_slot)
    parts.append(f"@handlers = constant [{len(names)} x ptr] [{', '.join(f'ptr @{name}' for name in names)}]")
    parts.append(_METADATA)
    return "\n".join(parts)
