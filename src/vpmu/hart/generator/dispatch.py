"""Where a handler goes when it is done: every way ends in a tail call."""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import CC, PAGE, RD, RECORD_OFFSET, RS1
from vpmu.hart.generator.emitter import LIKELY, UNLIKELY
from vpmu.hart.generator.memory import Memory


class Dispatch(Memory):
    """Emits the ways on: to a record, to a virtual address, or after a function of privileged/."""

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
        """Tail-call a handler."""
        arguments = f"ptr {state_block}, ptr {context}, ptr {rp}, i64 {bias}, i64 {n}, i64 {r}, ptr %tab"
        result = self.value(f"musttail call {CC} i64 {target}({arguments})")
        self.emit(f"ret i64 {result}")

    def dispatch(
        self, rp: str, n: str, context: str = "%T", bias: str = "%bias", *, entry: bool = False
    ) -> None:
        """Go on at record `rp` with `n` instructions left; stop exactly when there are none."""
        stop, go = self.new_label("stop"), self.new_label("go")
        self.fork(self.compare("eq", n, 0), stop, go, UNLIKELY)
        self.label(stop)
        self.tail("@budget_spent", rp, n, context=context, bias=bias)
        self.label(go)
        (self.execute_entry if entry else self.execute)(rp, n, context, bias)

    def execute(self, rp: str, n: str, context: str = "%T", bias: str = "%bias") -> None:
        """Run the record at `rp`, for which there is budget."""
        record = self.load64(rp)
        self.tail(self.handler_of(record), rp, n, record, context, bias)

    def execute_entry(self, rp: str, n: str, context: str = "%T", bias: str = "%bias") -> None:
        """As `execute`, where a handler goes that stencils could save: the stitcher looks there every so
        many times (stencils/stitch.py).
        """
        look, go = self.new_label("look"), self.new_label("go")
        left = self.binary("sub", self.load_word("m", "stitch_entries"), 1)
        self.store_word("m", "stitch_entries", left)
        self.fork(self.compare("eq", left, 0), look, go, UNLIKELY)
        self.label(look)
        self.tail("@entry_looked_at", rp, n, context=context, bias=bias)
        self.label(go)
        self.execute(rp, n, context, bias)

    def handler_of(self, record: str) -> str:
        """The address of a record's handler; no record leads outside of the table."""
        slot = self.offset("%tab", self.binary("shl", self.binary("and", record, state.HANDLERS - 1), 3))
        return self.load_pointer(slot)

    def jump_to(self, target: str, n: str, *, to_line: bool = False) -> None:
        """Go to a virtual address: through the fetch cache, or by @resume when it does not know the page.
        `to_line`: most likely to stencils.
        """
        stop, look = self.new_label("stop"), self.new_label("look")
        hit, miss = self.new_label("hit"), self.new_label("miss")
        self.fork(self.compare("eq", n, 0), stop, look, UNLIKELY)
        self.label(look)
        entry = self.cache_entry(state.TLB_FETCH, target)
        page = self.binary("and", target, PAGE)
        tag = self.load64(entry)
        self.fork(self.compare("eq", tag, page), hit, miss, LIKELY)
        self.label(hit)
        decoded = self.load64(self.offset(entry, 8))
        self.enter_page(decoded, target, page, n, to_line=to_line)
        for label in (stop, miss):
            self.label(label)
            self.store_word("s", "pc", target)
            self.store_word("s", "n", n)
            self.tail("@resume")

    def enter_page(
        self, decoded: str, target: str, page: str, n: str, context: str = "%T", *, to_line: bool = False
    ) -> None:
        """Go to a page that is decoded at `decoded`; its records find the pc by `bias`."""
        self.store_word("s", "dbase", decoded)
        if Counting.MISSES in self.counting:
            self.count_miss(state.MODEL_ITLB, target, 12, state.MODEL_TLB_ENTRIES - 1, "itlb_miss")
        offset = self.binary("shl", self.binary("and", target, RECORD_OFFSET), 2)
        rp = self.pointer(self.binary("add", decoded, offset))
        bias = self.binary("sub", page, self.binary("lshr", decoded, 2))
        if to_line:
            self.enter_if_line(self.load64(rp), page, n)
        self.execute_entry(rp, n, context, bias)

    def enter_line(self, record: str, page: str, n: str) -> None:
        """Go to the stencils of a record, in the page at a virtual address (stencils/stencil.py)."""
        code = self.binary("add", self.load_word("s", "stitched"), self.binary("lshr", record, 32))
        before = self.binary("and", self.binary("lshr", record, RS1), 255)
        self.tail(
            self.pointer(code), n=self.binary("add", n, before), r=page, state_block=self.state_of_stencils()
        )

    def state_of_stencils(self) -> str:
        """Stencils reach the state block from its midst: so a register is a byte away."""
        return self.offset("%S", state.MIDST)

    def enter_if_line(self, record: str, page: str, n: str, budget: int | None = None) -> None:
        """Go to the stencils of a record if it is stitched and there is budget for its line, or the one that
        is given; else straight on here.
        """
        stitched, enough, other = map(self.new_label, ("stitched", "enough", "other"))
        operation = self.binary("and", record, state.HANDLERS - 1)
        self.fork(self.compare("eq", operation, state.RECORD_STITCHED), stitched, other, LIKELY)
        self.label(stitched)
        line = self.binary("and", self.binary("lshr", record, RD), 255) if budget is None else budget
        self.fork(self.compare("uge", n, line), enough, other, LIKELY)
        self.label(enough)
        self.enter_line(record, page, n)
        self.label(other)

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
