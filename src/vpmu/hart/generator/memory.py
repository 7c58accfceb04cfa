"""Guest memory through the engine's caches, and what is counted of it."""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import PAGE
from vpmu.hart.generator.emitter import LIKELY
from vpmu.hart.generator.operands import Operands


class Memory(Operands):
    """Emits accesses: the fast path, and the counts of the modelled TLB and cache."""

    def cache_entry(self, offset: int, address: str, context: str = "%T") -> str:
        """A pointer to an entry, (tag, addend), of the cache at `offset` of a context."""
        index = self.binary("and", self.binary("lshr", address, 8), (state.TLB_ENTRIES[offset] - 1) << 4)
        return self.offset(self.offset(context, index), offset)

    def cached_pointer(self, offset: int, address: str, size: int, slow: str) -> str:
        """Host address of `size` bytes through the engine's cache; branches to label `slow` when it does
        not know them.

        The test compares the page of the access's *last* byte, so one comparison also catches page crossings.
        """
        entry = self.cache_entry(offset, address)
        tag = self.load64(entry)
        last = self.binary("add", address, size - 1) if size > 1 else address
        page = self.binary("and", last, PAGE)
        hit = self.new_label("hit")
        self.fork(self.compare("eq", tag, page), hit, slow, LIKELY)
        self.label(hit)
        addend = self.load64(self.offset(entry, 8))
        return self.pointer(self.binary("add", addend, address))

    def extend(self, value: str, size: int, sign: bool) -> str:
        """A value of `size` bytes as 64 bits."""
        return value if size == 8 else self.value(f"{'sext' if sign else 'zext'} i{8 * size} {value} to i64")

    def narrow(self, value: str, size: int) -> str:
        """The low `size` bytes of a value."""
        return value if size == 8 else self.value(f"trunc i64 {value} to i{8 * size}")

    # -- counting

    def increment(self, name: str, by: str | int = 1) -> None:
        """Count an event in the context of the current mode."""
        pointer = self.word_pointer("t", state.CONTEXT[name])
        more = self.binary("add", self.load64(pointer), by)
        self.emit(f"store i64 {more}, ptr {pointer}, align 8")

    def count_access(self, address: str, is_store: bool) -> None:
        """One data access through the modelled TLB and cache."""
        if Counting.MISSES not in self.counting:
            return
        kind = "write" if is_store else "read"
        offset = state.MODEL_DTLB_WRITE if is_store else state.MODEL_DTLB_READ
        self.count_miss(offset, address, 12, state.MODEL_TLB_ENTRIES - 1, f"dtlb_{kind}_miss")
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
        self.fork(known, done, miss, LIKELY)
        self.label(miss)
        self.emit(f"store i64 {wanted}, ptr {slot}, align 8")
        self.increment(counter)
        self.emit(f"br label %{done}")
        self.label(done)
