"""A hart with all its modes: M, HS, U and, with the hypervisor extension, VS and VU."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.events import HartEvent, Mode
from vpmu.hart.extensions import ISA_BITS
from vpmu.hart.hart import CLASS_EVENTS, MISS_EVENTS, GuestFault, Hart
from vpmu.hart.memory import PhysicalMemory
from vpmu.spec import privileged as fields

U64 = (1 << 64) - 1

_COUNT_NAMES = {Mode.VU: "vu", Mode.VS: "vs", Mode.U: "u", Mode.S: "s", Mode.M: "m"}
_CONTEXTS = {
    Mode.VU: (state.CONTEXT_VU,),
    Mode.VS: (state.CONTEXT_VS, state.CONTEXT_VS_SUM),
    Mode.U: (state.CONTEXT_U,),
    Mode.S: (state.CONTEXT_S, state.CONTEXT_S_SUM),
    Mode.M: (state.CONTEXT_M, state.CONTEXT_OTHER),
}
_COUNTS = tuple(state.STATE[f"count_{name}"] for name in _COUNT_NAMES.values())
_MODES = {
    (state.USER, 0): Mode.U,
    (state.SUPERVISOR, 0): Mode.S,
    (state.MACHINE, 0): Mode.M,
    (state.USER, 1): Mode.VU,
    (state.SUPERVISOR, 1): Mode.VS,
}


@cache
def _words_of(event: HartEvent, modes: Mode) -> tuple[int, ...]:
    """Indices of the state words whose sum is the count of an event in some modes."""
    name = {HartEvent.INSTRUCTIONS: "count", HartEvent.CYCLES: "count", HartEvent.TRAPS: "traps"}.get(event)
    if name is not None:
        return tuple(state.STATE[f"{name}_{_COUNT_NAMES[mode]}"] for mode in _COUNT_NAMES if mode in modes)
    word = CLASS_EVENTS.get(event) or MISS_EVENTS[event]
    contexts = [context for mode in _CONTEXTS if mode in modes for context in _CONTEXTS[mode]]
    return tuple(state.context_word(context, word) for context in contexts)


class WholeHart(Hart):
    """One hart with M, S and U mode and, with "h" in `isa`, VS and VU.

    `firmware`: M mode is software on the hart, which starts in it; else Python plays M, and the hart starts
    in S mode as firmware leaves it. `pmp`: entries of physical memory protection. `counters`: bit i, the
    hart has the counter CSR 0xC00 + i. Every hart of a memory is such a hart.
    """

    whole = True
    contexts = state.ALL_CONTEXTS
    words_of = staticmethod(_words_of)
    counters_at = state.CONTEXTS + state.WHOLE_COUNTERS
    _block_size = state.WHOLE_STATE_SIZE

    def __init__(
        self,
        hart_id: int,
        memory: PhysicalMemory,
        *,
        isa: Iterable[str] = ("h", "sstc", "sscofpmf"),
        engine: str = "native",
        traps_retire: bool = False,
        firmware: bool = False,
        pmp: int = 0,
        counters: int = 0xFFFFFFFF,
    ) -> None:
        self.isa = frozenset(isa)
        self.firmware, self._pmp, self._counters = firmware, pmp, counters
        memory.levels = Counting.WHOLE
        memory.counting |= Counting.WHOLE
        super().__init__(hart_id, memory, engine=engine, lcofi=True, traps_retire=traps_retire)

    # --- state

    @property
    def mode(self) -> Mode:
        return _MODES[self.get("mode"), self.get("virt")]

    def reset(self) -> None:
        """State after a reset: M mode, or, where Python plays that, S mode as firmware hands it over."""
        names = [f"{kind}_{mode}" for kind in ("count", "traps") for mode in _COUNT_NAMES.values()]
        history = {name: self.get(name) for name in (*names, "time_ns")}
        super().reset()
        for name, value in history.items():
            self.set(name, value)
        bits = fields.ISA_S
        for name in self.isa & ISA_BITS.keys():
            bits |= ISA_BITS[name]
        if self._pmp:
            bits |= fields.ISA_PMP
        has_h = bool(bits & fields.ISA_H)
        letters = "abcdfimsu" + "h" * has_h
        interrupts = fields.IP_S if "sscofpmf" in self.isa else fields.IP_S & ~fields.IP_LCOFI
        environment = fields.ENVCFG_FIOM
        for name, bit in (
            ("sstc", fields.ENVCFG_STCE),
            ("svadu", fields.ENVCFG_ADUE),
            ("svpbmt", fields.ENVCFG_PBMTE),
            ("zicbom", fields.ENVCFG_CBIE | fields.ENVCFG_CBCFE),
            ("zicboz", fields.ENVCFG_CBZE),
        ):
            environment |= bit * (name in self.isa)
        enables = fields.STATEEN_SE0 | fields.STATEEN_ENVCFG  # what exists to be enabled
        if bits & fields.ISA_AIA:
            enables |= fields.STATEEN_AIA | fields.STATEEN_CSRIND
        exceptions = fields.MEDELEG_WRITABLE | 1 if has_h else fields.MEDELEG_WRITABLE & 0xB3FF | 1
        self._set_all(
            isa=bits,
            counters=self._counters | 1 << 1,  # time is there
            misa=2 << 62 | sum(1 << ord(letter) - ord("a") for letter in letters),
            s_interrupts=interrupts,
            menvcfg_mask=environment,
            stateen_mask=enables if "smstateen" in self.isa else 0,
            medeleg_mask=exceptions,
            mideleg=fields.IP_VS if has_h else 0,
            mtimecmp=U64,
            stimecmp=U64,
            vstimecmp=U64,
            hedeleg=0,
            scounteren=0,
            pmp_count=self._pmp,
            python_m=int(not self.firmware),
            mode=state.MACHINE if self.firmware else state.SUPERVISOR,
        )
        if not self.firmware:
            self._set_all(
                # All but the supervisor's own ECALL: there is nothing that firmware would emulate.
                medeleg=exceptions & ~(1 << 9 | 1 << 11),
                mideleg=interrupts | fields.IP_VS * has_h,
                mcounteren=self._counters | 1 << 1,
                menvcfg=environment & ~fields.ENVCFG_FIOM,
                mstateen0=enables if "smstateen" in self.isa else 0,
                mstateen_more=14 if "smstateen" in self.isa else 0,
                scounteren=7,
                sstatus=3 << 13,
            )
        raw = self.words.cast("B")
        raw[state.CONTEXTS + state.LEAVES : self.counters_at] = bytes(state.WHOLE_COUNTERS - state.LEAVES)

    def _set_all(self, **words: int) -> None:
        for name, value in words.items():
            self.set(name, value)

    # --- running

    def inject(self, cause: int, value: int) -> None:
        """Take an exception at pc, where the hart's own rules send it."""
        self.set("length", 4)
        if self._engine_name == "native":
            from vpmu.hart.native import engine

            engine(self.memory.counting).trap(self._address, cause, value)
        else:
            self.reference().call["raise_exception"](cause, value)

    def advance(self, instructions: int) -> None:
        """Credit instructions that were emulated outside the engine and yet retire on the hart."""
        name = "count_" + _COUNT_NAMES[self.mode]
        self.set(name, self.get(name) + instructions)
        self.time_ns += instructions

    @property
    def ticks(self) -> int:
        """The `time` CSR."""
        return self.time_ns // state.TICK_NS

    @property
    def has_own_timer(self) -> bool:
        return bool(self.get("menvcfg") & fields.ENVCFG_STCE)

    def next_timer_ns(self) -> int | None:
        """Virtual time at which the next timer of the hart expires that has not yet; None: none will."""
        cycles = [self.get("mtimecmp")]
        if self.get("menvcfg") & fields.ENVCFG_STCE:
            cycles.append(self.get("stimecmp"))
            if self.get("henvcfg") & fields.ENVCFG_STCE:
                cycles.append(self.get("vstimecmp") - self.get("htimedelta") & U64)
        now = self.time_ns
        ahead = [at for cycle in cycles if now < (at := cycle * state.TICK_NS) < U64]
        return min(ahead, default=None)

    def can_wake(self) -> bool:
        """Whether WFI goes on: an interrupt is pending and enabled by itself."""
        tick = self.ticks
        bits = self.get("sip") | self.get("lines") | self.get("hvip") & fields.IP_VS
        if tick >= self.get("mtimecmp"):
            bits |= fields.IP_MTI
        if self.get("menvcfg") & fields.ENVCFG_STCE:
            bits &= ~fields.IP_STI
            if tick >= self.get("stimecmp"):
                bits |= fields.IP_STI
            guest = self.get("henvcfg") & fields.ENVCFG_STCE
            if guest and tick + self.get("htimedelta") & U64 >= self.get("vstimecmp"):
                bits |= fields.IP_VSTI
        own = self.get("hvip") & self.get("hvien") & self.get("vsie_own")
        named = self.get("hvictl") & fields.HVICTL_VTI and self.get("hvictl") >> 16 & 0xFFF != 9
        return bool(bits & self.get("mie") or own or named)

    @property
    def instructions(self) -> int:
        """Instructions retired since power-on, all modes."""
        words = self.words
        return sum(words[index] for index in _COUNTS)


__all__ = ["GuestFault", "WholeHart"]
