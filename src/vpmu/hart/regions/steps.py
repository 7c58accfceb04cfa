"""The steps of a region: what the templates are to the handlers."""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.generator.convention import PAGE, RD, RECORD_OFFSET, RS1, RS2, RS3
from vpmu.hart.generator.emitter import LIKELY
from vpmu.hart.generator.floating.formats import BOX
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.isa.rv64fd import FD_BY_NAME
from vpmu.hart.regions.neighbours import Place, Reach, reach
from vpmu.hart.regions.operands import RegionBase


class Steps(RegionBase):
    """Emits the instruction that is `step`."""

    def access(self, is_store: bool) -> None:
        """A load or store: the engine's cache inline, its slow path as a call. What neighbours have found out
        already is not asked again.
        """
        place = self.places[self.position]
        assert place is not None
        known = self.near.get((place.root, is_store))
        if known is not None and known.holds(place):
            self._access_near(known, place)
        else:
            self._access_first(place, reach(self.places, self.position))
        if is_store:
            self.note_store()

    def note_store(self) -> None:
        """A store may have changed a page table: what fills the cache behind it could find another page."""
        for known in self.near.values():
            known.stored = True

    def _access_near(self, known: Reach, place: Place) -> None:
        """An access in a page that has been found for a neighbour."""
        address = self.binary("add", self.read(RS1), self.imm())
        value = self._transfer(self.binary("add", known.addend, address))
        if not place.is_store:
            self.write_rd(value)
        self.count_access(address, place.is_store)

    def _transfer(self, host: str) -> str:
        """Load or store at a host address; the value loaded."""
        row, pointer = self.step.operation.row, self.pointer(host)
        kind = f"i{8 * row.size}"
        if row.kind in (Kind.STORE, Kind.FP_STORE):
            self.emit(f"store {kind} {self.narrow(self.read(RS2), row.size)}, ptr {pointer}, align 1")
            return ""
        return self._loaded(self.value(f"load {kind}, ptr {pointer}, align 1"))

    def _loaded(self, narrow: str) -> str:
        """What a load puts into its register."""
        row = self.step.operation.row
        value = self.extend(narrow, row.size, row.sign_extend)
        return (
            self.binary("or", value, self.constant(BOX))
            if row.kind is Kind.FP_LOAD and row.size == 4
            else value
        )

    def _access_first(self, place: Place, together: tuple[int, int] | None) -> None:
        """An access that looks into the cache, for all the bytes `together` where it has neighbours."""
        row, is_store = self.step.operation.row, place.is_store
        base, imm = self.read(RS1), self.step.imm
        address = self.binary("add", base, imm)
        data = self.read(RS2) if is_store else ""
        low, high = together or (place.offset, place.offset + row.size)
        before = imm + low - place.offset  # of the base register, the first byte; that is often itself
        first = address if before == imm else self.binary("add", base, before) if before else base
        entry = self.cache_entry(state.TLB_WRITE if is_store else state.TLB_READ, first)
        # a page other than the first byte's has another tag, so one comparison covers all of the bytes
        page = self.binary("and", self.binary("add", base, before + high - low - 1), PAGE)
        names = ("quick", "slow", "done", "faulted", "fine", "again", "apart")
        quick, slow, done, faulted, fine, again, apart = map(self.new_label, names)
        self.fork(self.compare("eq", self.load64(entry), page), quick, slow, LIKELY)
        self.label(quick)
        addend = self.load64(self.offset(entry, 8))
        quick_value = self._transfer(self.binary("add", addend, address))
        quick_block = self.block
        self.emit(f"br label %{done}")
        self.label(slow)
        self.near = {key: known for key, known in self.near.items() if not known.stored}
        shape = row.size | self.step.length << 8
        arguments = f"ptr %S, i64 {address}, i64 {shape}, i64 {self.pc()}, i64 {self.n_before()}"
        slow_value = ""
        if is_store:
            self.call_export("hot_store", f"{arguments}, i64 {data}")
        else:
            slow_value = self._loaded(self.narrow(self.call_export("hot_load", arguments), row.size))
        fault = self.load_word("s", "fault")
        self.fork(self.compare("eq", fault, 0), fine, faulted, LIKELY)
        self.label(faulted)
        self.count_steps(self.block_steps[: self.position])
        self.emit(f"store i64 {fault}, ptr %out_a")
        self.emit("br label %leave_fault")
        self.label(fine)
        slow_block, slow_addend = fine, ""
        if together is not None:
            self.fork(self.compare("eq", self.load64(entry), page), again, apart, LIKELY)
            self.label(apart)
            self._leave_behind(slow_value, address, is_store)
            self.label(again)
            slow_block, slow_addend = again, self.load64(self.offset(entry, 8))
        self.emit(f"br label %{done}")
        self.label(done)
        if together is not None:
            addend = self.value(f"phi i64 [{addend}, %{quick_block}], [{slow_addend}, %{slow_block}]")
        if not is_store:
            self.write_rd(
                self.value(f"phi i64 [{quick_value}, %{quick_block}], [{slow_value}, %{slow_block}]")
            )
        if together is not None:
            self.near[place.root, is_store] = Reach(addend, low, high)
        self.count_access(address, is_store)

    def _leave_behind(self, value: str, address: str, is_store: bool) -> None:
        """The access is done, but its neighbours are not in its page, or the cache does not hold it: the
        handlers do the rest.
        """
        number = self.step.record >> RD & 255
        if not is_store and number != state.SINK:
            self.emit(f"store i64 {value}, ptr %x{number}")
        if self.step.operation.row.kind is Kind.FP_LOAD and "dirty" not in self.known:
            self.dirty_fp()
        self.count_access(address, is_store)
        self.count_steps(self.block_steps[: self.position + 1])
        self.leave_at(self.step.behind, self.n_after())

    def atomic(self) -> None:
        """An AMO whose operand is aligned and in the engine's cache; others are left to the handler."""
        row, address = self.step.operation.row, self.read(RS1)
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
        self.note_store()
        self.count_access(address, is_store=True)

    def floating_point(self) -> None:
        """A step of F or D."""
        row = self.step.operation.row
        self.begin_floating()
        if row.kind is not Kind.FP:
            self.access(row.kind is Kind.FP_STORE)
        else:
            self.values.clear()
            meaning = FD_BY_NAME[row.name]
            self.write_rd(self.floating(meaning, self.rs1(), self.rs2(), self.read(RS3)))
            if meaning.dest != "f":
                return
        if row.kind is not Kind.FP_STORE and "dirty" not in self.known:
            self.dirty_fp()
            self.known["dirty"] = "true"

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
            target = self.binary("and", self.binary("add", self.read(RS1), step.imm), -2)
            self.write_rd(self.pc(step.length))
            n = self.n_after()
            inside, outside = self.new_label("inside"), self.new_label("outside")
            self.fork(self.compare("eq", self.binary("and", target, PAGE), "%page"), inside, outside)
            self.label(inside)
            self.emit(f"store i64 {n}, ptr %nv")
            self.emit(f"store i64 {self.binary('and', target, RECORD_OFFSET)}, ptr %out_a")
            self.emit("br label %within")
            self.label(outside)
            self.leave_to(target, n)
