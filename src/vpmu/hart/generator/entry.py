"""The functions around the handlers: how a run begins, goes on after a trap, and ends."""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import ARGUMENTS, CC, PAGE
from vpmu.hart.generator.dispatch import Dispatch
from vpmu.hart.generator.emitter import LIKELY, UNLIKELY
from vpmu.hart.generator.language import Constants


class Entry(Dispatch):
    """Emits `run`, `resume`, `enter` and `budget_spent`, each by an object of its own."""

    def budget_spent(self) -> str:
        """Stop before the record at %rp."""
        self.lines.append(f"define internal {CC} i64 @budget_spent({ARGUMENTS}) {{")
        self.label("entry")
        self.store_word("s", "pc", self.pc())
        self.store_word("s", "n", "%n")
        self.leave_budget()
        self.lines.append("}")
        return "\n".join(self.lines)

    def entry_looked_at(self) -> str:
        """Run the record at %rp, or what the stitcher has made of it."""
        self.lines.append(f"define internal {CC} i64 @entry_looked_at({ARGUMENTS}) {{")
        self.label("entry")
        self.call("look_at_entry", [self.integer("%rp")])
        self.execute("%rp", "%n")
        self.lines.append("}")
        return "\n".join(self.lines)

    def leave_budget(self) -> None:
        """Stop: the budget is spent, the state precise."""
        self.store_word("s", "exit", str(self.constants["STOP_BUDGET"]))
        self.emit(f"ret i64 {self.constants['EXIT']}")

    def resume(self) -> str:
        """Go on at s.pc, in whatever mode and context the state says; traps taken on the way start over."""
        self.lines.append(f"define internal {CC} i64 @resume({ARGUMENTS}) {{")
        self.label("entry")
        self.emit("br label %again")
        self.label("again")
        n, pc = self.load_word("s", "n"), self.load_word("s", "pc")
        context = self.load_pointer(self.word_pointer("s", state.STATE["ctx"]))
        self.fork(self.compare("eq", n, 0), "spent", "look", UNLIKELY)
        self.label("spent")
        self.leave_budget()
        self.label("look")
        entry = self.cache_entry(state.TLB_FETCH, pc, context)
        page = self.binary("and", pc, PAGE)
        tag = self.load64(entry)
        self.fork(self.compare("eq", tag, page), "hit", "miss", LIKELY)
        self.label("miss")
        fetched = self.call("fetch_page", [pc])
        self.fork(self.compare("eq", fetched, 0), "fault", "fetched")
        self.label("fault")
        fault = self.load_word("s", "fault")
        self.fork(self.compare("eq", fault, self.constants["RESUME"]), "again", "leave")
        self.label("leave")
        self.emit(f"ret i64 {fault}")
        self.label("fetched")
        self.call("enter_new", [fetched])
        self.emit("br label %found")
        self.label("hit")
        known = self.load64(self.offset(entry, 8))
        self.emit("br label %found")
        self.label("found")
        decoded = self.value(f"phi i64 [{fetched}, %fetched], [{known}, %hit]")
        if Counting.MISSES in self.counting:
            # count_miss addresses the context as %T; here the context may have changed
            self.tail("@enter", rp=self.pointer(decoded), n=n, r=pc, context=context)
        else:
            self.enter_page(decoded, pc, page, n, context)
        self.lines.append("}")
        return "\n".join(self.lines)

    def enter(self) -> str:
        """Second half of resume where misses are counted: %rp is the decoded page, %r the pc."""
        self.lines.append(f"define internal {CC} i64 @enter({ARGUMENTS}) {{")
        self.label("entry")
        self.enter_page(self.integer("%rp"), "%r", self.binary("and", "%r", PAGE), "%n")
        self.lines.append("}")
        return "\n".join(self.lines)

    def run(self) -> str:
        """`run(state, budget) -> exits.Stop`: the one function that Python calls to run a guest. It cuts the
        budget into slices, each of which ends in a sample for the stitcher (stencils/stitch.py).
        """
        self.lines.append("define i64 @run(i64 %address, i64 %budget) {")
        self.label("entry")
        self.emit("%S = inttoptr i64 %address to ptr")
        self.emit("br label %slice")
        self.label("slice")
        left = self.value("phi i64 [%budget, %entry], [%left, %again]")
        granted = self.call("next_slice", [left])
        action = self.call("begin_run", [granted])
        self.fork(self.compare("eq", action, self.constants["EXIT"]), "stopped", "start")
        self.label("start")
        self.value(f"call {CC} i64 @resume(ptr %S, ptr %S, ptr %S, i64 0, i64 0, i64 0, ptr @handlers)")
        self.emit("br label %stopped")
        self.label("stopped")
        stop = self.call("end_run", [])
        self.emit(f"%left = sub i64 {left}, {granted}")
        spent = self.compare("eq", stop, self.constants["STOP_BUDGET"])
        more = self.compare("ne", "%left", 0)
        self.fork(self.value(f"and i1 {spent}, {more}"), "again", "done")
        self.label("again")
        self.call("sample", [])
        self.emit("br label %slice")
        self.label("done")
        self.emit(f"ret i64 {stop}")
        self.lines.append("}")
        return "\n".join(self.lines)


def hot_exports() -> str:
    """What compiled regions (regions/) call in the engine."""
    arguments = ARGUMENTS
    # The shape of an access is its size, and the length of its instruction from bit 8 on. The state is made
    # precise here, not in the region: the less a region's slow paths hold, the sooner it is compiled.
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
define {CC} i64 @hot_resume({arguments}) {{
  %v = musttail call {CC} i64 @resume(ptr %S, ptr %T, ptr %rp, i64 %bias, i64 %n, i64 %r, ptr %tab)
  ret i64 %v
}}
define {CC} i64 @hot_budget_spent({arguments}) {{
  %v = musttail call {CC} i64 @budget_spent(ptr %S, ptr %T, ptr %rp, i64 %bias, i64 %n, i64 %r, ptr %tab)
  ret i64 %v
}}"""


def stitched_exports(constants: Constants, counting: Counting) -> str:
    """What stencils leave to: the handler of a record that is stitched, a record, an address."""
    parts = []
    for name in ("stitched_original", "stitched_leave", "stitched_jump"):
        e = Dispatch(constants, counting)
        e.lines.append(f"define {CC} i64 @{name}({ARGUMENTS}) {{")
        e.label("entry")
        if name == "stitched_original":
            original = e.load64(e.offset("%rp", state.DECODED_ORIGINALS))
            e.tail(e.handler_of(original), r=original)
        elif name == "stitched_leave":
            e.dispatch("%rp", "%n", entry=True)
        else:
            e.jump_to("%r", "%n", to_line=True)
        e.lines.append("}")
        parts.append("\n".join(e.lines))
    return "\n".join(parts)


def hot_judged() -> str:
    """Look at the visits of the region whose row is %r, then run the record that led there."""
    return f"""
define internal {CC} i64 @hot_judged({ARGUMENTS}) {{
  call fastcc i64 @judge_region(ptr %S, i64 %r)
  %record = load i64, ptr %rp, align 8
  %v = musttail call {CC} i64 @op_hot_4(ptr %S, ptr %T, ptr %rp, i64 %bias, i64 %n, i64 %record, ptr %tab)
  ret i64 %v
}}"""


def probe() -> str:
    """For Python: `probe(state, address, access)`, a physical address; `trap(state, cause, value)`;
    `unstitch(state, decoded page)`, 0 for all.
    """
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
}
define i64 @unstitch(i64 %address, i64 %decoded) {
entry:
  %S = inttoptr i64 %address to ptr
  %every = icmp eq i64 %decoded, 0
  br i1 %every, label %all, label %one
all:
  %a = call fastcc i64 @unstitch_all(ptr %S)
  ret i64 %a
one:
  %b = call fastcc i64 @unstitch_page(ptr %S, i64 %decoded)
  ret i64 %b
}"""
