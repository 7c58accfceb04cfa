"""F, D and Zfh. The slow path of a computation is integer arithmetic (`soft.py`)."""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import RS3
from vpmu.hart.generator.floating.formats import BOX, BOX_HALF
from vpmu.hart.generator.handler import Handler
from vpmu.hart.generator.templates.memory import store
from vpmu.hart.isa.fd_rows import operand_precision
from vpmu.hart.isa.rv64fd import FD_BY_NAME


def fp_load(h: Handler, slow_path: bool) -> None:
    """f[rd] = memory[rs1 + imm], boxed if it is a single."""
    if not slow_path:
        h.require_fp()
    address = h.binary("add", h.rs1(), h.imm())
    size = h.row.size
    if slow_path:
        h.save()
        value = h.call("slow_load", [address, str(size)])
        h.follow(h.load_word("s", "fault"))
    else:
        pointer = h.cached_pointer(state.TLB_READ, address, size, "slow")
        value = h.extend(h.value(f"load i{8 * size}, ptr {pointer}, align 1"), size, sign=False)
    if size < 8:
        value = h.binary("or", value, h.constant(BOX if size == 4 else BOX_HALF))
    h.write_rd(value)
    h.dirty_fp()
    h.count_access(address, is_store=False)
    h.count_classes()
    h.next()
    if not slow_path:
        h.slow_label()
        h.off_label()


def fp_store(h: Handler, slow_path: bool) -> None:
    """memory[rs1 + imm] = f[rs2]: the numbers of f0 to f31 follow on those of x0 to x31."""
    if not slow_path:
        h.require_fp()
    store(h, slow_path)
    if not slow_path:
        h.off_label()


def fp(h: Handler, slow_path: bool) -> None:
    """rd = a computation of F or D; without `has_rm` it has one path only."""
    row = FD_BY_NAME[h.row.name]
    if slow_path:
        h.require(h.any_mode(), "reserved")
    else:
        h.require_fp()
    if not slow_path and row.has_rm and "h" in (row.precision, operand_precision(row)):
        h.emit("br label %slow")  # few hosts compute with halves, and few programs
        h.slow_label()
        h.off_label()
        return
    compute = h.soft if slow_path else h.floating
    h.write_rd(compute(row, h.rs1(), h.rs2(), h.read(RS3)))
    if row.dest == "f":
        h.dirty_fp()
    h.count_classes()
    h.next()
    if slow_path:
        h.label("reserved")
        if Counting.WHOLE in h.counting:  # the trap is taken here
            h.tail(f"@op_illegal_{h.length}")
            return
        h.save()
        h.emit(f"ret i64 {h.call('leave_illegal', [])}")
        return
    if row.has_rm:
        h.slow_label()
    h.off_label()
