"""A hart: its state, its engine, its clock, and the exact counts of what it did."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING

from vpmu.hart import host_caches, state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.events import HartEvent, Mode
from vpmu.hart.exits import Details, Stop
from vpmu.hart.extensions import GUEST_ISA, isa_word
from vpmu.hart.memory import PhysicalMemory
from vpmu.spec.csr import SSTATUS_SIE, SSTATUS_SPIE, SSTATUS_SPP, Cause, Irq
from vpmu.spec.privileged import ISA_SSTC

if TYPE_CHECKING:
    from vpmu.hart.reference import ReferenceEngine

MASK = (1 << 64) - 1
_PC, _DBASE, _INSN = state.STATE["pc"], state.STATE["dbase"], state.STATE["insn"]
CHUNK = 250_000  # instructions from one sample of the hot tier to the next, on average
PATIENCE = 4  # times as far where samples find nothing to compile
REFERENCE_CHUNK = 10_000  # as long, but slower
HOT_AFTER = 3_000_000  # instructions before the first sample
# Which words of the context block an event is the sum of, and the engine variant that keeps them.
CLASS_EVENTS: dict[HartEvent, str] = {
    HartEvent.BRANCHES: "branch", HartEvent.LOADS: "load", HartEvent.STORES: "store",
    HartEvent.ATOMICS: "atomic", HartEvent.MULDIV: "muldiv", HartEvent.FP: "fp", HartEvent.CSR: "csr",
    HartEvent.SYSTEM: "system",
}  # fmt: skip
MISS_EVENTS: dict[HartEvent, str] = {
    HartEvent.DTLB_READ_MISS: "dtlb_read_miss", HartEvent.DTLB_WRITE_MISS: "dtlb_write_miss",
    HartEvent.ITLB_MISS: "itlb_miss", HartEvent.L1D_READ_MISS: "l1d_read_miss",
    HartEvent.L1D_WRITE_MISS: "l1d_write_miss",
}  # fmt: skip


@cache
def _words_of(event: HartEvent, modes: Mode) -> tuple[int, ...]:
    """Indices of the state words whose sum is the count of an event in some modes."""
    vu, vs = Mode.VU in modes, Mode.VS in modes
    name = {HartEvent.INSTRUCTIONS: "count", HartEvent.CYCLES: "count", HartEvent.TRAPS: "traps"}.get(event)
    if name is not None:
        return (state.STATE[f"{name}_vu"],) * vu + (state.STATE[f"{name}_vs"],) * vs
    name = CLASS_EVENTS.get(event) or MISS_EVENTS[event]
    contexts = (state.CONTEXT_VU,) * vu + (state.CONTEXT_VS, state.CONTEXT_VS_SUM) * vs
    return tuple(state.context_word(context, name) for context in contexts)


@cache
def _variant_for(events: frozenset[HartEvent]) -> Counting:
    """The engine variant that keeps the counts of `events`."""
    counting = Counting.NOTHING
    for event in events:
        if event in CLASS_EVENTS:
            counting |= Counting.CLASSES
        elif event in MISS_EVENTS:
            counting |= Counting.MISSES
    return counting


# What KVM leaves to the guest (arch/riscv/kvm/main.c, hedeleg): the rest of the exceptions come out.
HEDELEG = (1 << Cause.FETCH_MISALIGNED | 1 << Cause.BREAKPOINT | 1 << Cause.USER_ECALL
           | 1 << Cause.FETCH_PAGE_FAULT | 1 << Cause.LOAD_PAGE_FAULT
           | 1 << Cause.STORE_PAGE_FAULT)  # fmt: skip


# A run is entered and left at every exit of a guest: the words that it needs are looked up once.
_ISA, _STIMECMP = state.STATE["isa"], state.STATE["stimecmp"]
_COUNT_VU, _COUNT_VS = state.STATE["count_vu"], state.STATE["count_vs"]
_STOPS, _BUDGET = tuple(Stop), int(Stop.BUDGET)
_NO_SUPERPAGES = memoryview(bytes(state.SUPERPAGES_SIZE)).cast("Q")
_TIME, _MODE, _VS, _VU = state.STATE["time_ns"], state.STATE["mode"], Mode.VS, Mode.VU
_WORD64, _WORD32 = ctypes.c_uint64.from_address, ctypes.c_uint32.from_address
assert all(stop == position for position, stop in enumerate(_STOPS))


def _no_engine(address: int, budget: int) -> int:
    raise AssertionError("no engine has been chosen")


class GuestFault(Exception):
    """A translation that the guest is not allowed: cause and stval of the exception it would take."""

    def __init__(self, cause: int, value: int) -> None:
        super().__init__(f"exception {cause} at {value:#x}")
        self.cause, self.value = cause, value


class Hart:
    """One hart in VS/VU mode, all levels above it played by Python. `engine` is "native" or "reference";
    `fp`: it has F and D.
    """

    whole = False
    """It has M, HS and U mode as well (WholeHart)."""
    isa: frozenset[str] = frozenset()
    """What it has beside what all harts have (hart.extensions)."""
    contexts = state.GUEST_CONTEXTS
    words_of = staticmethod(_words_of)
    counters_at = state.CONTEXTS + state.GUEST_COUNTERS
    _block_size = state.GUEST_STATE_SIZE

    def __init__(
        self,
        hart_id: int,
        memory: PhysicalMemory,
        *,
        engine: str = "native",
        lcofi: bool = True,
        traps_retire: bool = False,
        fp: bool = True,
        isa: Iterable[str] = (),
    ) -> None:
        if not self.whole:
            self.isa = frozenset(isa) & GUEST_ISA
        self.hart_id = hart_id
        self.memory = memory
        self.block = state.Block(self._block_size)
        self.words = self.block.words
        self._address = self.block.address
        self._engines: dict[int, Callable[[int, int], int]] = {}  # by id of their variant: it hashes slowly
        self._variant: Counting | None = None  # that `_native` is the run function of
        self._native: Callable[[int, int], int] = _no_engine
        self._indices: dict[tuple[int, int], tuple[int, ...]] = {}  # where the words of a count are
        self._engine_name = engine
        self._reference: object | None = None
        self._share, self._patience = 64, 1  # of 64 of a chunk: from 1 to 128 in turns; chunks at a time
        self.interrupted = False  # somebody wants `run` to return soon, whatever its budget; see Turns.halt
        self._lcofi, self._traps_retire, self._fp = lcofi, traps_retire, fp
        self.reset()
        memory.flush_harts.append(self.flush)
        memory.forget_accesses.append(self.forget_accesses)

    # -- registers

    def get(self, name: str) -> int:
        """A word of the state by name (state.STATE)."""
        return self.words[state.STATE[name]]

    def set(self, name: str, value: int) -> None:
        self.words[state.STATE[name]] = value & MASK

    @property
    def pc(self) -> int:
        return self.words[state.STATE["pc"]]

    @pc.setter
    def pc(self, value: int) -> None:
        self.words[state.STATE["pc"]] = value & MASK & ~1

    def x(self, number: int) -> int:
        """General register; x0 reads 0."""
        return self.words[number]

    def set_x(self, number: int, value: int) -> None:
        if number:
            self.words[number] = value & MASK

    @property
    def mode(self) -> Mode:
        return _VS if self.words[_MODE] == state.VS else _VU

    def reset(self) -> None:
        """State after a vCPU reset: VS mode, translation off, everything zero but the counts, which are the
        hart's history.
        """
        kept = ("count_vu", "count_vs", "traps_vu", "traps_vs", "time_ns")
        history = {name: self.get(name) for name in kept}
        for word in range(state.CONTEXTS // 8):
            self.words[word] = 0
        for name, value in history.items():
            self.set(name, value)
        self.set("mode", state.VS)
        self.set("contexts", self.block.address + state.CONTEXTS)
        self.set("ctx", self.block.address + state.CONTEXTS + state.CONTEXT_VS * state.CONTEXT_SIZE)
        self.set("shared", self.memory.shared.address)
        self.set("hart_id", self.hart_id)
        self.set("reservation", state.NO_RESERVATION)
        self.set("hedeleg", HEDELEG)
        self.set("scounteren", 7)  # KVM's reset value
        standard = 1 << Irq.SOFTWARE | 1 << Irq.TIMER | 1 << Irq.EXTERNAL
        self.set("sie_mask", standard | self._lcofi << Irq.LCOFI)
        self.set("sip_mask", 1 << Irq.SOFTWARE | self._lcofi << Irq.LCOFI)
        self.set("traps_retire", int(self._traps_retire))
        self.set("fp", int(self._fp))
        self.set("isa", isa_word(self.isa))
        self.set("stimecmp", MASK)
        self.flush()

    def flush(self) -> None:
        """Forget every cached translation."""
        host_caches.empty(self, 0, state.MODEL_L1D)
        first = state.SUPERPAGES
        self.words[first : first + state.SUPERPAGES_SIZE // 8] = _NO_SUPERPAGES

    def forget_accesses(self) -> None:
        """Forget where loads and stores went; nothing that counts changes."""
        host_caches.empty(self, 0, state.TLB_FETCH)

    # -- running

    def run(self, budget: int) -> Stop:
        """Run at most `budget` (>= 1) instructions; the counts, the clock and pc are exact afterwards."""
        if self._engine_name != "native":
            return self._run_reference(budget)
        native, address = self._native, self._address
        if self._variant is not self.memory.counting:
            native = self._choose_engine()
        while True:
            chunk = CHUNK * self._share * self._patience >> 6
            stop = native(address, budget if budget < chunk else chunk)
            if stop != _BUDGET or budget <= chunk or self.interrupted:
                return _STOPS[stop]
            budget -= chunk
            self._sample()

    def _run_reference(self, budget: int) -> Stop:
        run = self.reference().run
        while True:
            stop = run(min(budget, REFERENCE_CHUNK))
            if stop != _BUDGET or budget <= REFERENCE_CHUNK or self.interrupted:
                return _STOPS[stop]
            budget -= REFERENCE_CHUNK

    def _sample(self) -> None:
        """Tell the hot tier where a chunk of the run ended; a short guest never pays for loading it."""
        # chunks differ in length: a run that is done again would be sampled at the same instructions
        self._share = (5 * self._share - 2) % 128 + 1  # each of 1 to 128 once, then again
        if self.memory.stitcher is None:
            self.memory.stitch()
        if self.memory.hot_tier is None:
            if self.instructions < HOT_AFTER and "vpmu.hart.hot_tier" not in sys.modules:
                return
            from vpmu.hart.hot_tier import HotTier

            self.memory.hot_tier = HotTier(self.memory)
        may_wait = self.memory.hot_tier.sample(self.get("dbase"), self.pc)
        self._patience = min(2 * self._patience, PATIENCE) if may_wait else 1

    def _choose_engine(self) -> Callable[[int, int], int]:
        """The engine variant that keeps what is to be counted."""
        self._variant = variant = self.memory.counting
        if id(variant) not in self._engines:
            from vpmu.hart.native import engine

            self._engines[id(variant)] = engine(variant).run
        if self.memory.stitcher is not None:
            self.memory.stitch()
        self._native = self._engines[id(variant)]
        return self._native

    def reference(self) -> ReferenceEngine:
        """The plain-Python engine on this hart's state."""
        if self._reference is None:
            from vpmu.hart.reference import ReferenceEngine

            self._reference = ReferenceEngine(self.block, self.memory.shared, self.whole)
        return self._reference  # type: ignore[return-value]

    @property
    def details(self) -> Details:
        """The words that go with the last stop."""
        return Details(self.get("exit_a"), self.get("exit_b"), self.get("exit_c"))

    def fetched_instruction(self) -> int | None:
        """The instruction at pc as the engine fetched it before it stopped there, whatever the page tables
        say by now (hardware has it in htinst or stval); None before the first instruction.
        """
        offset, decoded = self.words[_PC] & 4095, self.words[_DBASE]
        if self._engine_name != "native":
            return self.words[_INSN] or None
        if not decoded:
            return None
        host = _WORD64(decoded + state.DECODED_HOST).value + offset
        word = _WORD32(host).value if offset != 4094 else ctypes.c_uint16.from_address(host).value
        if word & 3 != 3:
            return word & 0xFFFF
        # on two pages: where the second one was, only the engine knows
        return self.words[_INSN] if offset == 4094 else word

    def translate(self, address: int, access: int) -> int:
        """Guest physical address of a virtual one for a load (0), store (1) or fetch (2), in the current
        mode.

        Raises GuestFault; the state stays as it is.
        """
        before = self.words[: state.CONTEXTS // 8].tobytes()
        if self._engine_name == "native":
            from vpmu.hart.native import engine

            physical = engine(self.memory.counting).probe(self.block.address, address, access)
        else:
            physical = self.reference().call["translate"](address, access)
        if not self.get("fault"):
            return physical
        if self.get("fault") == 1:  # delegated: the trap has been taken on the state, undone below
            cause, value = self.get("scause"), self.get("stval")
        else:
            cause, value = self.get("exit_a"), self.get("exit_b")
        self.words[: state.CONTEXTS // 8].cast("B")[:] = before
        raise GuestFault(cause, value)

    def inject(self, cause: int, value: int) -> None:
        """Make the guest take an exception at its pc (kvm_riscv_vcpu_trap_redirect)."""
        status = self.get("sstatus") & ~(SSTATUS_SIE | SSTATUS_SPIE | SSTATUS_SPP)
        if self.get("sstatus") & SSTATUS_SIE:
            status |= SSTATUS_SPIE
        if self.mode is Mode.VS:
            status |= SSTATUS_SPP
        traps = "traps_vs" if self.mode is Mode.VS else "traps_vu"
        self.set(traps, self.get(traps) + 1)
        words = {"sstatus": status, "sepc": self.pc, "scause": cause, "stval": value, "mode": state.VS}
        for name, word in words.items():
            self.set(name, word)
        self.pc = self.get("stvec") & ~3

    def advance(self, instructions: int) -> None:
        """Credit instructions that were emulated outside the engine and yet retire on the hart."""
        name = "count_vs" if self.get("mode") else "count_vu"
        self.set(name, self.get(name) + instructions)
        self.time_ns += instructions

    def count_class(self, name: str) -> None:
        """Credit an instruction that Python did for the hart to its class (`csr`, `system`)."""
        if Counting.CLASSES in self.memory.counting:
            self.words[(self.get("ctx") - self._address) // 8 + state.CONTEXT[name]] += 1

    @property
    def time_ns(self) -> int:
        """Virtual time of this hart in nanoseconds: one per retired instruction, plus idle time."""
        return self.words[_TIME]

    @time_ns.setter
    def time_ns(self, value: int) -> None:
        self.set("time_ns", value)

    # -- the guest's own timer (Sstc)

    @property
    def has_own_timer(self) -> bool:
        """The supervisor may write stimecmp."""
        return bool(self.words[_ISA] & ISA_SSTC)

    def set_own_timer(self, cycle: int) -> bool:
        """Set stimecmp; False where the supervisor has none."""
        if not self.has_own_timer:
            return False
        self.set("stimecmp", cycle)
        return True

    def next_timer_ns(self) -> int | None:
        """Virtual time at which the timer will expire; None: it has, or there is none."""
        at = self.words[_STIMECMP] * state.TICK_NS
        return at if self.has_own_timer and self.words[_TIME] < at < MASK else None

    @property
    def own_timer_bit(self) -> int:
        """STIP of sip where the timer has expired, else 0."""
        words = self.words
        if self.has_own_timer and words[_TIME] // state.TICK_NS >= words[_STIMECMP]:
            return 1 << Irq.TIMER
        return 0

    # -- counts (hart.events.EventSource)

    def count(self, event: HartEvent, modes: Mode) -> int:
        """How often `event` has happened in `modes` since power-on."""
        key = (id(event), id(modes))  # of singletons: hashing an enum's member costs more than the sum
        indices = self._indices.get(key)
        if indices is None:
            indices = self._indices[key] = self.words_of(event, modes)
        words, total = self.words, 0
        for index in indices:
            total += words[index]
        return total

    def want(self, events: Iterable[HartEvent]) -> None:
        """Choose the engine variant that keeps the counts of `events` from now on."""
        self.memory.want(self.hart_id, _variant_for(frozenset(events)))

    def want_too(self, events: Iterable[HartEvent]) -> None:
        """Keep these counts as well, for somebody who looks at the hart past its PMU."""
        self.memory.want(-1 - self.hart_id, _variant_for(frozenset(events)))

    @property
    def instructions(self) -> int:
        """Instructions retired since power-on, all modes."""
        return self.words[_COUNT_VU] + self.words[_COUNT_VS]
