"""Loads, stores and atomics. The fast path is the handler; what the engine's caches do not know is the slow
path, a function of its own.
"""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.generator.emitter import LIKELY
from vpmu.hart.generator.handler import Handler


def load(h: Handler, slow_path: bool) -> None:
    """rd = memory[rs1 + imm]."""
    address = h.binary("add", h.rs1(), h.imm())
    size = h.row.size
    if slow_path:
        h.save()
        whole = h.call("slow_load", [address, str(size)])
        h.follow(h.load_word("s", "fault"))
        value = h.narrow(whole, size)
    else:
        pointer = h.cached_pointer(state.TLB_READ, address, size, "slow")
        value = h.value(f"load i{8 * size}, ptr {pointer}, align 1")
    h.write_rd(h.extend(value, size, h.row.sign_extend))
    h.count_access(address, is_store=False)
    h.count_classes()
    h.next()
    if not slow_path:
        h.slow_label()


def store(h: Handler, slow_path: bool) -> None:
    """memory[rs1 + imm] = rs2."""
    address = h.binary("add", h.rs1(), h.imm())
    size = h.row.size
    if slow_path:
        h.save()
        h.call("slow_store", [address, str(size), h.rs2()])
        h.follow(h.load_word("s", "fault"))
    else:
        pointer = h.cached_pointer(state.TLB_WRITE, address, size, "slow")
        h.emit(f"store i{8 * size} {h.narrow(h.rs2(), size)}, ptr {pointer}, align 1")
    h.count_access(address, is_store=True)
    h.count_classes()
    h.next()
    if not slow_path:
        h.slow_label()


def amo(h: Handler, slow_path: bool) -> None:
    """rd = memory[rs1], which becomes the meaning, over `old` and rs2."""
    address, size = h.rs1(), h.row.size
    if slow_path:
        h.save()
        host = h.call("amo_pointer", [address, str(size)])
        h.follow(h.load_word("s", "fault"))
        pointer = h.pointer(host)
    else:
        aligned = h.new_label("aligned")
        low = h.binary("and", address, size - 1)
        h.fork(h.compare("eq", low, 0), aligned, "slow", LIKELY)
        h.label(aligned)
        pointer = h.cached_pointer(state.TLB_WRITE, address, size, "slow")
    old = h.extend(h.value(f"load i{8 * size}, ptr {pointer}, align 1"), size, h.row.sign_extend)
    h.values["old"] = old
    h.bind_operands(h.row.semantics)
    new = h.expression(h.row.semantics)
    h.emit(f"store i{8 * size} {h.narrow(new, size)}, ptr {pointer}, align 1")
    h.write_rd(old)
    h.count_access(address, is_store=True)
    h.count_classes()
    h.next()
    if not slow_path:
        h.slow_label()
