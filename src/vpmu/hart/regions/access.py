"""Loads and stores of a region: the engine's cache inline, its slow path as a call."""

from __future__ import annotations

from collections.abc import Mapping

from vpmu.hart import state
from vpmu.hart.generator.convention import PAGE, RD, RS1, RS2
from vpmu.hart.generator.emitter import LIKELY
from vpmu.hart.generator.floating.formats import BOX
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.regions.islands import writes
from vpmu.hart.regions.kept_pages import KeptPage
from vpmu.hart.regions.neighbours import Place, Reach, reach
from vpmu.hart.regions.operands import RegionBase

_LABELS = ("look", "quick", "slow", "done", "faulted", "fine", "again", "apart")


class Access(RegionBase):
    """Emits the access that is `step`."""

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
        """An access that looks for its page, for all the bytes `together` where it has neighbours."""
        is_store, size = place.is_store, self.step.operation.row.size
        base, imm = self.read(RS1), self.step.imm
        address = self.binary("add", base, imm)
        data = self.read(RS2) if is_store else ""
        low, high = together or (place.offset, place.offset + size)
        before = imm + low - place.offset  # of the base register, the first byte; that is often itself
        first = address if before == imm else self.binary("add", base, before) if before else base
        to = {name: self.new_label(name) for name in _LABELS}
        entry, page, addend = self._look(is_store, first, (base, before + high - low - 1), to)
        quick_value = self._transfer(self.binary("add", addend, address))
        quick_block = self.block
        self.emit(f"br label %{to['done']}")
        slow_value = self._go_slow(address, data, to)
        slow_block, slow_addend = to["fine"], ""
        if together is not None:
            self.fork(self.compare("eq", self.load64(entry), page), to["again"], to["apart"], LIKELY)
            self.label(to["apart"])
            self._leave_behind(slow_value, address, is_store)
            self.label(to["again"])
            slow_block, slow_addend = to["again"], self.load64(self.offset(entry, 8))
        self.emit(f"br label %{to['done']}")
        self.label(to["done"])
        if together is not None:
            addend = self.value(f"phi i64 [{addend}, %{quick_block}], [{slow_addend}, %{slow_block}]")
        if not is_store:
            self.write_rd(
                self.value(f"phi i64 [{quick_value}, %{quick_block}], [{slow_value}, %{slow_block}]")
            )
        if together is not None:
            self.near[place.root, is_store] = Reach(addend, low, high)
        self.count_access(address, is_store)

    def _look(
        self, is_store: bool, first: str, last: tuple[str, int], to: Mapping[str, str]
    ) -> tuple[str, str, str]:
        """What is known of the page of an access, then the engine's cache: (its entry, the page, and at label
        `quick` how far the host's address is from the guest's). A miss goes to label `slow`.
        """
        kept = self.kept.get((self.leader, self.step.record >> RS1 & 255, is_store))
        known: list[tuple[str, str]] = []  # host address minus the guest's, and the block that found it
        if kept is not None:
            known.append((self._ask_kept(kept, first, to["quick"], to["look"]), self.block))
            self.label(to["look"])
        elif self.extent and not is_store:
            known.append((self._ask_extent(first, to["quick"], to["look"]), self.block))
            self.label(to["look"])
        entry = self.cache_entry(state.TLB_WRITE if is_store else state.TLB_READ, first)
        # a page other than the first byte's has another tag, so one comparison covers all of the bytes
        page = self.binary("and", self.binary("add", *last), PAGE)
        hit = self.new_label("hit")
        self.fork(self.compare("eq", self.load64(entry), page), hit, to["slow"], LIKELY)
        self.label(hit)
        found = self.load64(self.offset(entry, 8))
        if kept is not None:
            self._keep(kept, page, found)
        known.append((found, self.block))
        self.emit(f"br label %{to['quick']}")
        self.label(to["quick"])
        addend = self.value("phi i64 " + ", ".join(f"[{value}, %{block}]" for value, block in known))
        return entry, page, addend

    def _go_slow(self, address: str, data: str, to: Mapping[str, str]) -> str:
        """The slow path of a load, or of a store of `data`: the value, at label `fine`; a fault leaves."""
        row = self.step.operation.row
        self.label(to["slow"])
        self.near = {key: known for key, known in self.near.items() if not known.stored}
        shape = row.size | self.step.length << 8
        arguments = f"ptr %S, i64 {address}, i64 {shape}, i64 {self.pc()}, i64 {self.n_before()}"
        value = ""
        if data:
            self.call_export("hot_store", f"{arguments}, i64 {data}")
        else:
            value = self._loaded(self.narrow(self.call_export("hot_load", arguments), row.size))
        fault = self.load_word("s", "fault")
        self.fork(self.compare("eq", fault, 0), to["fine"], to["faulted"], LIKELY)
        self.label(to["faulted"])
        self.count_steps(self.block_steps[: self.position])
        self.emit(f"store i64 {fault}, ptr %out_a")
        self.leave("fault")
        self.label(to["fine"])
        self.forget_kept()
        return value

    # -- where addresses are physical

    def _ask_extent(self, first: str, yes: str, no: str) -> str:
        """Whether a load whose first byte is at `first` lies in the extent (privileged/extent.py); its
        addend. What a block has read of it stays true, whatever slow paths do: those that come back empty
        no caches.
        """
        at = (state.CONTEXTS + state.GUEST_EXTENT) // 8
        for word in range(3):
            if f"extent{word}" not in self.known:
                self.known[f"extent{word}"] = self.load64(self.word_pointer("s", at + word))
        base, bound, addend = (self.known[f"extent{word}"] for word in range(3))
        self.fork(self.compare("ult", self.binary("sub", first, base), bound), yes, no, LIKELY)
        return addend

    # -- the pages that a loop goes on in

    def _ask_kept(self, kept: KeptPage, first: str, yes: str, no: str) -> str:
        """Whether an access whose first byte is at `first` lies in the page that was kept; its addend."""
        distance = self.binary("sub", first, self.value(f"load i64, ptr %page_{kept.name}"))
        bound = self.value(f"load i64, ptr %bound_{kept.name}")
        addend = self.value(f"load i64, ptr %addend_{kept.name}")
        self.fork(self.compare("ult", distance, bound), yes, no, LIKELY)
        return addend

    def _keep(self, kept: KeptPage, page: str, addend: str) -> None:
        """Keep a page that the engine's cache holds."""
        for variable, value in (("page", page), ("bound", str(kept.bound)), ("addend", addend)):
            self.emit(f"store i64 {value}, ptr %{variable}_{kept.name}")

    def forget_kept(self) -> None:
        """Where a region begins, and behind a slow path, which may have changed the cache: a bound of 0 lets
        no access pass.
        """
        for name in sorted({kept.name for kept in self.kept.values()}):
            self.emit(f"store i64 0, ptr %bound_{name}")

    def _leave_behind(self, value: str, address: str, is_store: bool) -> None:
        """The access is done, but its neighbours are not in its page, or the cache does not hold it: the
        handlers do the rest.
        """
        number = self.step.record >> RD & 255
        dirty = self.dirty
        if not is_store and number != state.SINK:
            if self.island is None:
                self.emit(f"store i64 {value}, ptr {self.word_pointer('s', number)}, align 8")
            else:
                self.emit(f"store i64 {value}, ptr %x{number}")
                self.dirty |= writes(self.step)
        if self.step.operation.row.kind is Kind.FP_LOAD and "dirty" not in self.known:
            self.dirty_fp()
        self.count_access(address, is_store)
        self.count_steps(self.block_steps[: self.position + 1])
        self.leave_at(self.step.behind, self.n_after())
        self.dirty = dirty
