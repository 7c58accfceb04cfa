"""OpenSBI's PMU: no virtual counters, the hart's own ones, programmed by the firmware for the S-mode guest
above it.

Source: OpenSBI lib/sbi/sbi_pmu.c. The guest's VS and VU modes stand for S and U. What M mode itself counts
on cycle and instret is not modelled: their values are undetermined from the first moment that they run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..hart.pmu import FIRST_PROGRAMMABLE, FIXED, PhysicalPmu, Selector
from ..perf.host_pmu import HostPmuPerf
from ..profiles.behaviours import B
from ..profiles.opensbi_behaviours import OB
from ..profiles.profiles import Profile
from ..see.pmu import GuestMemory, IllegalCounter, SbiPmu
from ..spec.csr import Csr
from ..spec.sbi import (
    U64,
    CounterInfo,
    CounterType,
    SbiError,
    SbiRet,
)
from ..spec.sbi_events import (
    FW_MAX,
    EventType,
    FwEvent,
    split_event_idx,
    standard_events,
)
from ..trace.recorder import Recorder
from . import opensbi_config, opensbi_events, opensbi_startstop

FW_COUNTERS = 16
_COUNTER_CSRS = range(Csr.CYCLE, Csr.HPMCOUNTER31 + 1)
_UNCOUNTED = (FwEvent.IPI_SENT, FwEvent.IPI_RECEIVED)


class OpenSbiPmu(SbiPmu):
    """The PMU extension of OpenSBI on one hart. Needs a modelled host: its physical counters are what it
    programs.
    """

    layer = "firmware"
    csrs_trap = False

    def __init__(
        self,
        profile: Profile,
        perf: HostPmuPerf,
        memory: GuestMemory,
        raise_overflow: Callable[[], None],
        recorder: Recorder,
        hart_id: int = 0,
    ) -> None:
        super().__init__(profile, memory, raise_overflow, recorder, hart_id)
        self._perf = perf
        self.physical: PhysicalPmu = perf.physical
        self.whole = perf.physical.whole
        """The hart has S and U mode of its own; else its VS and VU stand for them."""
        perf.unclaimed = self._wrapped
        layout = self.physical.layout
        self.available = True
        self.shifted = profile.has(OB.OPENSBI_SET_SHIFTED)
        self.num_hw, self.num_fw = max(layout.indices) + 1, FW_COUNTERS
        self.num_counters_total = self.num_hw + self.num_fw
        events = standard_events()
        self.rows: list[tuple[int, frozenset[int], Selector]] = [
            (events[name].event_idx, counters, selector)
            for name, counters, selector in perf.description.countable()
        ]
        self.raw = list(perf.description.countable_raw())
        self._power_on()

    def _power_on(self) -> None:
        self.active: list[int | None] = [None] * opensbi_events.SLOTS
        self.active[0], self.active[2] = 1, 2
        self.fw_values: dict[int, int] = {}
        self.fw_started: set[int] = set()
        self.of = 0
        """mhpmevent.OF of each counter: set at configuration, cleared at start."""
        self.noisy = set(FIXED)
        """Counters that M mode has counted on."""
        self.started_at: dict[int, int] = {}
        """What the counters held when they were started."""
        for index in self.physical.layout.indices:
            self.physical.configure(index, None)
            if index in FIXED:
                self.physical.start(index)
            else:
                self.physical.stop(index)
                self.of |= 1 << index  # no interrupt before a start
        if (
            self.profile.has(OB.OPENSBI_HPMCOUNTER3_ALL_ONES)
            and FIRST_PROGRAMMABLE in self.physical.layout.indices
        ):
            self.physical.write(FIRST_PROGRAMMABLE, U64)

    # --- the functions of the extension
    # ------------------------------------------------------------------------------

    def counter_get_info(self, counter_idx: int) -> SbiRet:
        self._begin()
        index = counter_idx & 0xFFFFFFFF if self.profile.has(OB.OPENSBI_INDEX_32_BITS) else counter_idx
        if self.num_hw <= index < self.num_counters_total:
            return SbiRet(SbiError.SUCCESS, CounterInfo(0, 63, CounterType.FIRMWARE).pack())
        if index in self.physical.layout.indices:
            width = self.physical.mask(index).bit_length() - 1
            return SbiRet(
                SbiError.SUCCESS, CounterInfo(Csr.CYCLE + index, width, CounterType.HARDWARE).pack()
            )
        return self.refuse(SbiError.INVALID_PARAM, "counter_idx", f"there is no counter {counter_idx}")

    def counter_config_matching(
        self, base: int, mask: int, flags: int, event_idx: int, event_data: int
    ) -> SbiRet:
        self._begin()
        return opensbi_config.counter_config_matching(self, base, mask, flags, event_idx, event_data)

    def counter_start(self, base: int, mask: int, flags: int, initial_value: int) -> SbiRet:
        self._begin()
        return opensbi_startstop.counter_start(self, base, mask, flags, initial_value)

    def counter_stop(self, base: int, mask: int, flags: int) -> SbiRet:
        self._begin()
        return opensbi_startstop.counter_stop(self, base, mask, flags)

    def counter_fw_read(self, counter_idx: int) -> SbiRet:
        self._begin()
        index = counter_idx & 0xFFFFFFFF if self.profile.has(OB.OPENSBI_FW_READ_32_BITS) else counter_idx
        bound = self.bound(index)
        if bound is not None and not self.bound_firmware(index) and self.profile.has(OB.OPENSBI_FW_READ_ANY):
            self.undetermined = True
            return SbiRet(SbiError.SUCCESS, 0)
        if bound is None or not self.bound_firmware(index) or bound & 0xFFFF >= FW_MAX:
            self.undetermined = True  # a1 is what the firmware's stack held there
            return self.refuse(
                SbiError.INVALID_PARAM, "counter_idx", f"counter {counter_idx} has no firmware event"
            )
        return SbiRet(SbiError.SUCCESS, self.fw_values.get(self.state(index), 0))

    def counter_fw_read_hi(self, counter_idx: int) -> SbiRet:
        self._begin()
        if not self.profile.has(B.FW_READ_HI):
            return self.refuse(SbiError.NOT_SUPPORTED, "function", "counter_fw_read_hi is not there")
        firmware = self.num_hw <= counter_idx < self.num_counters_total
        if self.profile.has(OB.OPENSBI_FW_READ_HI_UNBOUND):
            right = firmware
        else:
            right = firmware and self.bound(counter_idx) is not None
        if not right and not self.profile.has(OB.OPENSBI_FW_READ_HI_UNCHECKED):
            return self.refuse(
                SbiError.INVALID_PARAM, "counter_idx", f"{counter_idx} is no counter with an event"
            )
        return SbiRet(SbiError.SUCCESS, 0)

    def snapshot_set_shmem(self, lo: int, hi: int, flags: int) -> SbiRet:
        self._begin()
        return self.refuse(SbiError.NOT_SUPPORTED, "function", "snapshot_set_shmem is not there")

    def event_get_info(self, lo: int, hi: int, num_entries: int, flags: int) -> SbiRet:
        self._begin()
        if not self.profile.has(B.EVENT_GET_INFO):
            return self.refuse(SbiError.NOT_SUPPORTED, "function", "event_get_info is not there")
        return opensbi_events.event_get_info(self, lo, hi, num_entries, flags)

    # --- what else happens
    # -------------------------------------------------------------------------------------------

    def incr_fw(self, code: int) -> None:
        if code >= FW_MAX or (code in _UNCOUNTED and self.profile.has(OB.OPENSBI_IPI_TO_SELF_NOT_COUNTED)):
            return
        if self.per_code:
            if code in self.fw_started:
                self.fw_values[code] = self.fw_values.get(code, 0) + 1 & U64
            return
        for index in range(self.num_hw, self.num_counters_total):
            bound = self.active[index]
            if bound is not None and bound & 0xFFFF == code and index in self.fw_started:
                self.fw_values[index] = self.fw_values.get(index, 0) + 1 & U64
                return

    def read_csr(
        self,
        csr: int,
        *,
        writes: bool,
        sbi_enabled: bool = True,
        user_mode: bool = False,
        scounteren: int = 7,
    ) -> int:
        if csr == Csr.SCOUNTOVF and not (writes or user_mode):
            return self.overflow_flags
        if csr not in _COUNTER_CSRS:
            raise IllegalCounter(f"CSR {csr:#x} is no counter")
        if writes:
            raise IllegalCounter(f"CSR {csr:#x} is read-only")
        index = csr - Csr.CYCLE
        if user_mode and not scounteren >> index & 1:
            raise IllegalCounter(f"scounteren closes CSR {csr:#x} to U mode")
        return self.read_csr_counter(index)

    def read_csr_counter(self, idx: int) -> int:
        self._begin()
        if idx not in self.physical.layout.indices:
            raise IllegalCounter(f"the hart has no counter {idx}")
        self.undetermined = idx in self.noisy
        return self.physical.read(idx)

    @property
    def overflow_flags(self) -> int:
        """OF of every counter: set at its configuration, or since it wrapped."""
        wrapped = (index for index, value in self.started_at.items() if self.physical.read(index) < value)
        return self.of | self.physical.overflow_flags | sum(1 << index for index in wrapped)

    def counter_mask(self, idx: int) -> int | None:
        if idx in self.physical.layout.indices:
            return self.physical.mask(idx)
        return U64 if idx < self.num_counters_total else None

    def reset(self) -> None:
        self._power_on()

    def renewed(self) -> OpenSbiPmu:
        return OpenSbiPmu(
            self.profile, self._perf, self.memory, self._raise_overflow, self.recorder, self.hart_id
        )

    # --- inside
    # ------------------------------------------------------------------------------------------------------

    @property
    def per_code(self) -> bool:
        """State of firmware events is kept by code, not by counter."""
        return self.profile.has(OB.OPENSBI_FW_STATE_PER_CODE)

    def state(self, index: int) -> int:
        """Where the state of a firmware counter is kept: by counter, or by its event code."""
        return (self.active[index] or 0) & 0xFFFF if self.per_code else index

    def members(self, base: int, mask: int) -> Sequence[tuple[int, int]]:
        if not self.shifted:
            return super().members(base, mask)
        set_ = mask << (base & 63) & U64
        return [(i - base, i) for i in range(base, self.num_counters_total) if set_ >> i & 1]

    def beyond(self, base: int, mask: int) -> bool:
        """True where the set has a counter behind the last one."""
        if self.shifted:
            return (mask << (base & 63) & U64) >> self.num_counters_total != 0
        last = base + max(mask.bit_length() - 1, 0)
        if last > U64 and not self.profile.has(OB.OPENSBI_WRAPPED_SET_ACCEPTED):
            return True
        return last & U64 >= self.num_counters_total

    def bound(self, index: int) -> int | None:
        """The event of a counter, if it has one."""
        return self.active[index] if index < self.num_counters_total else None

    def bound_firmware(self, index: int) -> bool:
        """True where the event of a counter is the firmware's."""
        return split_event_idx(self.active[index] or 0)[0] == EventType.FW

    def _wrapped(self, index: int) -> None:
        if not self.of >> index & 1:
            self.last_overflow = index
            self._raise_overflow()
