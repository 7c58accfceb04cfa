"""The PMU extension of SBI as whoever plays the level below answers it, and what all players share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from ..hart.events import Mode
from ..spec.sbi import U64, ConfigFlag, SbiError, SbiRet

if TYPE_CHECKING:
    from ..hart.standing import CounterRow
    from ..profiles.profiles import Profile
    from ..trace.recorder import Recorder


LOOK_UP = (1 << 14) - 1  # bits of an offset that are 0 where it is asked whether the run shall end


class LeaveCall(Exception):
    """The run shall end while a call is being answered: nothing has happened, the guest is still at it."""


class IllegalCounter(Exception):
    """A counter CSR that the guest may not read: it takes an illegal-instruction exception."""


class Refusal(NamedTuple):
    """Which layer refused the last call, in which step, with which SBI error (or -errno that ends KVM_RUN),
    and why.
    """

    layer: str
    step: str
    code: int
    reason: str


class GuestMemory(Protocol):
    """Guest physical memory as the host's kernel reaches it. Like kvm_write_guest, a write that runs into a
    hole has already written the part before it.
    """

    def read(self, gpa: int, n: int) -> bytes:
        """`n` bytes at `gpa`. Raises MemoryFault when any of them is in no slot."""
        ...

    def write(self, gpa: int, data: bytes) -> None:
        """Write `data` at `gpa`. Raises MemoryFault when any byte is in no slot or in a read-only one."""
        ...


class StoredValue(Protocol):
    """A counter, by what is stored of its value."""

    value: int


@lru_cache(maxsize=64)
def counted_modes(flags: int, *, whole: bool) -> Mode:
    """The modes that an event counts in, by the filter flags of its configuration: M
    never. Where the hart has VS and VU alone, they stand for S and U.
    """
    modes = Mode.VU | Mode.VS | Mode.U | Mode.S
    for flag, mode in (
        (ConfigFlag.SET_UINH, Mode.U),
        (ConfigFlag.SET_SINH, Mode.S),
        (ConfigFlag.SET_VUINH, Mode.VU),
        (ConfigFlag.SET_VSINH, Mode.VS),
    ):
        if flags & flag:
            modes &= ~mode
    if not whole:
        modes &= ~(Mode.VU | Mode.VS)
        if Mode.U in modes:
            modes |= Mode.VU
        if Mode.S in modes:
            modes |= Mode.VS
    return modes


@lru_cache(maxsize=256)
def members(base: int, mask: int) -> tuple[tuple[int, int], ...]:
    """(bit, logical index) of a set, ascending by bit; indices wrap at 2^64."""
    return tuple((bit, base + bit & U64) for bit in range(mask.bit_length()) if mask >> bit & 1)


class SbiPmu(ABC):
    """The PMU that one hart's guest sees.

    The nine functions of the extension are methods named as in the specification; their arguments are
    register values (unsigned, 64 bits). `available` is False where there is no PMU: then the extension does
    not exist. `undetermined` tells of the last call that its value depends on what the model does not know;
    `last_refusal` why it was refused, None where it was not.
    """

    layer: ClassVar[str] = "kvm"
    """The player's name in traces and refusals."""
    csrs_trap: ClassVar[bool] = True
    """False: the counter CSRs are the hart's own, and reading one is an instruction as any other."""

    def __init__(
        self,
        profile: Profile,
        memory: GuestMemory,
        raise_overflow: Callable[[], None],
        recorder: Recorder,
        hart_id: int = 0,
    ) -> None:
        self.profile = profile
        self.memory = memory
        self.recorder = recorder
        self.hart_id = hart_id
        self.undetermined = False
        self.last_refusal: Refusal | None = None
        self.num_hw = self.num_fw = self.num_counters_total = 0
        self.available = False
        self.last_overflow: int | None = None  # the counter that raised the last interrupt
        self._raise_overflow = raise_overflow
        self.leaving: Callable[[], bool] = bool  # asked by calls that may take long, which raise LeaveCall

    # --- the functions of the extension

    def num_counters(self) -> SbiRet:
        """FID 0: hardware counters, the hole at 1 included, and firmware counters."""
        self._begin()
        return SbiRet(SbiError.SUCCESS, self.num_counters_total)

    @abstractmethod
    def counter_get_info(self, counter_idx: int) -> SbiRet:
        """FID 1: the counter_info word. INVALID_PARAM for an index that is no counter."""

    @abstractmethod
    def counter_config_matching(
        self, base: int, mask: int, flags: int, event_idx: int, event_data: int
    ) -> SbiRet:
        """FID 2: bind an event to a counter of the set; the value is its index. NOT_SUPPORTED where that
        cannot be done.
        """

    @abstractmethod
    def counter_start(self, base: int, mask: int, flags: int, initial_value: int) -> SbiRet:
        """FID 3: start the counters of the set, with `initial_value`, the values in shared memory, or as they
        are.
        """

    @abstractmethod
    def counter_stop(self, base: int, mask: int, flags: int) -> SbiRet:
        """FID 4: stop the counters of the set, write their values to shared memory, unbind their events."""

    @abstractmethod
    def counter_fw_read(self, counter_idx: int) -> SbiRet:
        """FID 5: the value of a configured firmware counter. INVALID_PARAM for anything else."""

    @abstractmethod
    def counter_fw_read_hi(self, counter_idx: int) -> SbiRet:
        """FID 6: bits 63:32 on RV32, 0 on RV64. NOT_SUPPORTED before SBI 2.0."""

    @abstractmethod
    def snapshot_set_shmem(self, lo: int, hi: int, flags: int) -> SbiRet:
        """FID 7: use the page at `lo` as shared memory and zero it; all-ones halves: none. NOT_SUPPORTED
        before SBI 2.0.
        """

    @abstractmethod
    def event_get_info(self, lo: int, hi: int, num_entries: int, flags: int) -> SbiRet:
        """FID 8: fill in which of the events at `lo` can be counted. NOT_SUPPORTED before SBI 3.0."""

    # --- what else happens to it

    @abstractmethod
    def incr_fw(self, code: int) -> None:
        """A firmware event happened. Codes that are not standard ones are ignored."""

    @abstractmethod
    def read_csr(
        self,
        csr: int,
        *,
        writes: bool,
        sbi_enabled: bool = True,
        user_mode: bool = False,
        scounteren: int = 7,
    ) -> int:
        """Value of a counter CSR for the guest. Raises IllegalCounter where it takes an illegal-instruction
        exception instead.

        `writes`: the instruction is csrrw(i), or csrrs/c(i) with a mask that is not zero. `sbi_enabled`: the
        vCPU has the PMU extension.
        """

    @abstractmethod
    def read_csr_counter(self, idx: int) -> int:
        """Value of counter CSR 0xC00 + `idx`, which may be read. Raises IllegalCounter: there is none."""

    def stands(self, idx: int) -> tuple[CounterRow, StoredValue] | None:
        """How `read_csr_counter` will answer as long as nothing happens to the counter; None where that
        cannot be said.
        """
        return None

    @property
    @abstractmethod
    def overflow_flags(self) -> int:
        """Bit i: counter i has overflown, as scountovf shows it."""

    @property
    def shared_page(self) -> int | None:
        """Where the page of FID 7 is, if one is set."""
        return None

    @abstractmethod
    def counter_mask(self, idx: int) -> int | None:
        """Ones as wide as counter `idx` is; None for an index that no counter can have."""

    @abstractmethod
    def reset(self) -> None:
        """The hart is reset: no counter has an event, no shared memory is set."""

    def deinit(self) -> None:
        """The end of the hart's guest: as `reset`; perf events that are leaked stay."""
        self.reset()

    @abstractmethod
    def renewed(self) -> SbiPmu:
        """Another one as at the beginning, on the same hart."""

    def live_events(self) -> int:
        """Perf events that are held for this guest, leaked ones included."""
        return 0

    # --- for the players

    def refuse(self, code: int, step: str, reason: str, *, layer: str = "") -> SbiRet:
        """Note which layer (the player, unless it is another) refuses the call and why; its answer."""
        layer = layer or self.layer
        self.last_refusal = Refusal(layer, step, int(code), reason)
        if self.recorder.enabled:
            self.recorder.emit(layer, step, "refuse", int(code), hart=self.hart_id, reason=reason)
        return SbiRet(int(code), 0)

    def members(self, base: int, mask: int) -> Sequence[tuple[int, int]]:
        """The function `members`, where nothing is to be said against it."""
        return members(base, mask)

    def _begin(self) -> None:
        self.undetermined = False
        self.last_refusal = None
