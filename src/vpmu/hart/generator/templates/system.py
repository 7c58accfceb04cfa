"""System instructions: a function of privileged/ does the work."""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import RD, RS1, RS2
from vpmu.hart.generator.handler import Handler


def system(h: Handler) -> None:
    """The function of privileged/ that the row names; it gets the operands and may change everything."""
    h.save()
    arguments = [h.field(RD), h.field(RS1), h.field(RS2), h.imm(), str(h.row.size)]
    guest = Counting.WHOLE not in h.counting
    action = h.call("no_hypervisor" if guest and h.row.whole else h.row.semantics, arguments)
    if Counting.CLASSES in h.counting and h.row.event:
        _count_retired(h, action)
    h.follow(action)
    context = h.load_pointer(h.word_pointer("s", state.STATE["ctx"]))
    h.next(context)


def _count_retired(h: Handler, action: str) -> None:
    """Count a system instruction in its class only if it retired: ECALL and a faulting LR do not."""
    gone = h.binary("sub", "%n", h.load_word("s", "n"))
    continues = h.value(f"zext i1 {h.compare('eq', action, h.constants['CONTINUE'])} to i64")
    h.count_each(h.binary("add", gone, continues))
