"""What differs in a region from a handler: registers are SSA values, records are known, and what a block has
found out once holds for its later steps.
"""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import RD, ROUNDING, hot_export_slot
from vpmu.hart.generator.dispatch import Dispatch
from vpmu.hart.generator.emitter import LIKELY
from vpmu.hart.generator.floating import Floating
from vpmu.hart.generator.floating.formats import DYNAMIC, Precision
from vpmu.hart.generator.floating.inexact import name_of
from vpmu.hart.generator.language import Constants
from vpmu.hart.regions.find import Region, Step
from vpmu.hart.regions.islands import Island, islands, numbers, return_sites, writes, written
from vpmu.hart.regions.kept_pages import kept_pages
from vpmu.hart.regions.neighbours import Place, Reach
from vpmu.hart.semantics import signed


class RegionBase(Dispatch, Floating):
    """Emits parts of a region; overrides how a handler reaches operands, the pc and the count of
    instructions.
    """

    def __init__(self, region: Region, constants: Constants, counting: Counting) -> None:
        super().__init__(constants, counting)
        self.region = region
        self.step = region.steps[0]
        self.n_block = "%n"
        self.block_steps: list[Step] = []
        self.position = 0  # of the step in its block
        self.given_up: list[tuple[str, int]] = []  # label, position of the step
        # Of the block so far: values of words of the state, of registers, and those that are zero or normal.
        self.known: dict[str, str] = {}
        self.held: dict[int, str] = {}
        self.usual: set[str] = set()
        self.places: list[Place | None] = []
        self.near: dict[tuple[int, bool], Reach] = {}  # by root, and whether for stores
        self.leader = 0  # of the block
        self.extent = region.flat and Counting.WHOLE not in counting
        self.kept = kept_pages(region)
        self.sites = return_sites(region)
        self.islands = islands(region)
        self.island: Island | None = None  # of the block
        self.dirty = 0  # what may have been written since the island was entered
        self.pending: set[int] = set()  # of the block, elsewhere: what is still to be stored
        self.ways_out: dict[tuple[str, int], str] = {}  # labels by where to, and what is stored before
        self.ways_in: dict[str, tuple[Island | None, int]] = {}  # by label: from where, and what is dirty

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
            if self.island is not None:
                self.dirty = self.island.dirty[self.leader] | written(self.block_steps[:position])
            self.leave_at(step.offset, self.n_before(), step.record)
        self.given_up.clear()

    def off(self) -> str:
        return self.give_up()

    # -- operands: on an island registers are allocas, which LLVM turns into SSA values

    def _number(self, shift: int) -> int:
        return self.step.record >> shift & 255

    def read(self, shift: int) -> str:
        number = self._number(shift)
        if not number:
            return "0"
        if number not in self.held:
            self.held[number] = self.load64(
                self.word_pointer("s", number) if self.island is None else f"%x{number}"
            )
        return self.held[number]

    def write_rd(self, value: str) -> None:
        number = self._number(RD)
        if number != state.SINK:
            self.held[number] = value
            if self.island is None:
                self.pending.add(number)
            else:
                self.emit(f"store i64 {value}, ptr %x{number}")
                self.dirty |= writes(self.step)

    def flush(self) -> None:
        """Before what may leave the region: store what the block has written, outside of islands."""
        for number in sorted(self.pending):
            self.emit(f"store i64 {self.held[number]}, ptr {self.word_pointer('s', number)}, align 8")
        self.pending.clear()

    def write_back(self, dirty: int) -> None:
        """Where an island is left: store what may have been written on it."""
        for number in numbers(dirty):
            value, word = self.value(f"load i64, ptr %x{number}"), self.word_pointer("s", number)
            self.emit(f"store i64 {value}, ptr {word}, align 8")

    def imm(self) -> str:
        return str(self.step.imm)

    def pc(self, ahead: int = 0) -> str:
        return self.binary("add", "%page", self.step.offset + ahead)

    # -- floating point: what a block has found out once holds for its later steps

    def rounding_mode(self) -> str:
        own = self.step.record >> ROUNDING & 7
        return self.load_word("s", "frm") if own == DYNAMIC else str(own)

    def to_nearest(self) -> str:
        if (self.step.record >> ROUNDING & 7) != DYNAMIC:
            return super().to_nearest()
        if "frm" not in self.known:
            self.require(super().to_nearest())  # frm stays: a CSR instruction ends the block
            self.known["frm"] = "true"
        return self.known["frm"]

    def host_ieee(self) -> str:
        if "host" not in self.known:
            self.require(super().host_ieee())
            self.known["host"] = "true"
        return self.known["host"]

    def begin_floating(self) -> None:
        """What turns sstatus.FS off ends a block, so one look at it, and at NX, is enough for all."""
        if "nx" not in self.known:
            self.require_fp()
            self.known["nx"] = super().nx_is_set()

    def nx_is_set(self) -> str:
        return self.known["nx"]  # as it was at the first step: if it has been set since, nothing is lost

    def zero_or_normal(self, bits: str, p: Precision) -> str:
        return "true" if bits in self.usual else super().zero_or_normal(bits, p)

    def _inexact(
        self,
        operation: str,
        p: Precision,
        numbers: list[str],
        operands: tuple[str, ...],
        result: str,
        bits: str,
        done: str,
    ) -> None:
        if operation == "sub":
            numbers = [numbers[0], self.negate(numbers[1], p)]
        given = [self.bits(number, p) for number in numbers] + ["0"] * (3 - len(numbers))
        arguments = ", ".join(f"i64 {word}" for word in (*given, bits))
        stands = self.call_export(name_of(operation, p), f"ptr %S, {arguments}")
        self.fork(self.compare("ne", stands, 0), done, self.give_up(), LIKELY)

    def arithmetic(self, operation: str, p: Precision, *operands: str) -> str:
        result = super().arithmetic(operation, p, *operands)
        self.usual.add(result)  # anything else has left the region
        return result

    def n_before(self) -> str:
        """Instructions left before the current step."""
        return self.binary("sub", self.n_block, self.position) if self.position else self.n_block

    def n_after(self) -> str:
        """Instructions left behind the current step."""
        return self.binary("sub", self.n_block, self.position + 1)

    # -- the ways out; each joins those that go to the same place and have the same registers to write back

    def leave(self, where: str) -> None:
        """By one of the common ways out (function.py), which writes back what may have been written."""
        label = self.ways_out.setdefault((where, self.dirty), f"leave_{where}_{len(self.ways_out)}")
        self.emit(f"br label %{label}")

    def leave_at(self, offset: int, n: str, record: int | None = None) -> None:
        """To the handler of the record at `offset`; `record` overrides what the page holds there (an
        entry of ours).
        """
        self.emit(f"store i64 {offset * 4}, ptr %out_a")
        self.emit(f"store i64 {n}, ptr %out_n")
        if record is None:
            self.leave("record")
        else:
            self.emit(f"store i64 {signed(record)}, ptr %out_r")
            self.leave("handler")

    def leave_to(self, target: str, n: str) -> None:
        """To a virtual address; returns and calls inside the page stay in the region when it has the
        target.
        """
        self.emit(f"store i64 {target}, ptr %out_a")
        self.emit(f"store i64 {n}, ptr %out_n")
        self.leave("address")

    def way_to(self, offset: int) -> str:
        """The label by which a block of the region is reached from the current one."""
        there = self.islands.get(offset)
        return f"B{offset}" if there is None or there is self.island else f"land{offset}"

    def come_in(self, way: str) -> None:
        """To the block at the offset in `out_a`, which a jump through a register has found."""
        _, dirty = self.ways_in.get(way, (None, 0))
        self.ways_in[way] = self.island, dirty | self.dirty  # all that jump are on one island, or on none
        self.emit(f"br label %{way}")

    def go(self, offset: int, n: str) -> None:
        """Along an edge to an offset of the page."""
        if offset in self.region.blocks:
            if self.islands.get(offset) is not self.island:
                self.write_back(self.dirty)
            self.emit(f"store i64 {n}, ptr %nv")
            self.emit(f"br label %{self.way_to(offset)}")
        else:
            self.leave_at(offset, n)

    # -- counting: once per block, for the steps before the point that is reached

    def count_steps(self, steps: list[Step]) -> None:
        """Count steps that retire in their classes."""
        if Counting.CLASSES not in self.counting:
            return
        totals: dict[str, int] = {}
        for step in steps:
            for event in (step.operation.row.event, step.operation.row.extra_event):
                if event:
                    totals[event] = totals.get(event, 0) + 1
        for event, count in totals.items():
            self.increment(event, count)

    # -- the engine's functions

    def call_export(self, name: str, arguments: str) -> str:
        """Call a function of the engine; it saves its registers itself."""
        function = self.export(name)
        return self.value(f"call preserve_mostcc i64 {function}({arguments})")

    def export(self, name: str) -> str:
        """A function of the engine, out of the table of handlers: so a region's code has no addresses in
        it.
        """
        return self.load_pointer(self.offset("%tab", hot_export_slot(name)))

    def execute_entry(self, rp: str, n: str, context: str = "%T", bias: str = "%bias") -> None:
        # no handler is left for it: where a region leads to is not counted
        self.execute(rp, n, context, bias)

    def tail(
        self,
        target: str,
        rp: str = "%rp",
        n: str = "%n",
        r: str = "%r",
        context: str = "%T",
        bias: str = "%bias",
        state_block: str = "%S",
    ) -> None:
        known = {
            "@resume": "hot_resume",
            "@hot_resume": "hot_resume",
            "@budget_spent": "hot_budget_spent",
            "@hot_budget_spent": "hot_budget_spent",
        }
        if target in known:
            target = self.export(known[target])
        super().tail(target, rp, n, r, context, bias, state_block)
