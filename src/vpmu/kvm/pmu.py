"""The virtual PMU of one vCPU: KVM's, or the specification's, as the profile says.

The long functions of the extension live in `config` and `startstop`, shared memory in `snapshot` and
`event_info`, the counter CSRs in `counter_csr`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from ..hart.standing import CounterRow
from ..perf.event import OverflowHandler, PerfEvent, PerfProvider
from ..profiles.behaviours import B
from ..profiles.profiles import Profile
from ..see.pmu import GuestMemory, IllegalCounter, SbiPmu
from ..spec.csr import Csr
from ..spec.perf import PerfEventAttr
from ..spec.sbi import U64, CounterInfo, CounterType, SbiError, SbiRet
from ..spec.sbi_events import FW_MAX
from ..trace.recorder import Recorder
from . import config, counter_csr, event_info, readout, snapshot, startstop
from .counter import MAX_COUNTERS, MAX_FW_CODES, PERIOD_MAX, Counter, FwState
from .translate import translate

MAX_HW_COUNTERS = 32
"""RISCV_KVM_MAX_HW_CTRS."""
HOST_ALLOCATION_LIMIT = 4 << 20
"""Bytes above which kzalloc fails: KMALLOC_MAX_SIZE with pages of 4 KiB (include/linux/slab.h)."""


class VcpuPmu(SbiPmu):
    """The PMU of one vCPU, whose counters are perf events of the host. It is not `available` where the host
    has no PMU that can be restricted to a guest.
    """

    def __init__(
        self,
        profile: Profile,
        perf: PerfProvider | None,
        memory: GuestMemory,
        raise_overflow: Callable[[], None],
        recorder: Recorder,
        hart_id: int = 0,
        *,
        nested: bool = False,
    ) -> None:
        super().__init__(profile, memory, raise_overflow, recorder, hart_id)
        self.perf = perf
        self.nested = nested
        """The guest has a hypervisor extension, and guests of its own."""
        self.host_log_lines = 0
        """Lines that guest actions have written to the host's log."""
        self.host_allocate: Callable[[int], bool] = allocate
        """Asked for every allocation of kernel memory in bytes; False: there is none."""
        width = 64
        if perf is not None and perf.usable and perf.num_hw_counters and perf.width:
            # One more for `time`, which has an index but is no counter.
            self.num_hw = min(perf.num_hw_counters + 1, MAX_HW_COUNTERS)
            self.num_fw = FW_MAX
            width = perf.width
        self.num_counters_total = self.num_hw + self.num_fw
        self.available = self.num_hw > 0
        self.counters = [Counter(i, self._info(i, width)) for i in range(MAX_COUNTERS)]
        self.fw = [FwState() for _ in range(MAX_FW_CODES)]
        """State per firmware event code, where the profile keeps it so."""
        self.snapshot = snapshot.Snapshot()
        self.valid_set = lru_cache(maxsize=256)(self._valid_set)
        """(base, mask) -> whether the set is not empty and, as far as the profile looks, has valid counters
        only.
        """
        self.translate = lru_cache(maxsize=1024)(partial(translate, profile))
        """(event_idx, event_data) -> what perf is asked for."""

    def _info(self, idx: int, hpm_width: int) -> CounterInfo | None:
        if idx == 1 or idx >= self.num_counters_total:
            return None
        if idx >= self.num_hw:
            return CounterInfo(0, 63, CounterType.FIRMWARE)
        return CounterInfo(Csr.CYCLE + idx, 63 if idx < 3 else hpm_width - 1, CounterType.HARDWARE)

    # --- the functions of the extension
    # ------------------------------------------------------------------------------

    def counter_get_info(self, counter_idx: int) -> SbiRet:
        self._begin()
        if counter_idx < self.num_counters_total and counter_idx != 1:
            info = self.counters[counter_idx].info
            if info is not None:
                return SbiRet(SbiError.SUCCESS, info.pack())
        if counter_idx == MAX_COUNTERS and self.profile.has(B.INFO_PAST_ARRAY):
            # What lies there is fw_event[1].started.
            return SbiRet(SbiError.SUCCESS, int(self.fw[1].started))
        if self.num_counters_total <= counter_idx < MAX_COUNTERS and self.profile.has(B.INFO_BEYOND_LAST):
            return SbiRet(SbiError.SUCCESS, 0)
        return self.refuse(SbiError.INVALID_PARAM, "counter_idx", f"there is no counter {counter_idx}")

    def counter_config_matching(
        self, base: int, mask: int, flags: int, event_idx: int, event_data: int
    ) -> SbiRet:
        return config.counter_config_matching(self, base, mask, flags, event_idx, event_data)

    def counter_start(self, base: int, mask: int, flags: int, initial_value: int) -> SbiRet:
        return startstop.counter_start(self, base, mask, flags, initial_value)

    def counter_stop(self, base: int, mask: int, flags: int) -> SbiRet:
        return startstop.counter_stop(self, base, mask, flags)

    def counter_fw_read(self, counter_idx: int) -> SbiRet:
        self._begin()
        hardware = counter_idx < self.num_hw
        if hardware and not self.profile.has(B.FW_READ_ACCEPTS_HW):
            return self.refuse(
                SbiError.INVALID_PARAM, "counter_idx", f"counter {counter_idx} is a hardware counter"
            )
        value = readout.read(self, counter_idx)
        if value is None:
            return self.refuse(SbiError.INVALID_PARAM, "counter_idx", f"counter {counter_idx} has no event")
        return SbiRet(SbiError.SUCCESS, value)

    def counter_fw_read_hi(self, counter_idx: int) -> SbiRet:
        self._begin()
        if not self.profile.has(B.FW_READ_HI):
            return self.refuse(SbiError.NOT_SUPPORTED, "function", "counter_fw_read_hi is not there")
        if not self.profile.has(B.FW_READ_HI_UNCHECKED):
            counter = self.at(counter_idx)
            if counter is None or not (counter.firmware and counter.in_use):
                return self.refuse(
                    SbiError.INVALID_PARAM, "counter_idx", f"counter {counter_idx} has no event"
                )
        return SbiRet(SbiError.SUCCESS, 0)

    def snapshot_set_shmem(self, lo: int, hi: int, flags: int) -> SbiRet:
        """Raises KvmRunError(ENOMEM) where the profile has `shmem-oom-ends-kvm-run` and memory is short."""
        self._begin()
        if not self.profile.has(B.SNAPSHOT):
            return self.refuse(SbiError.NOT_SUPPORTED, "function", "snapshot_set_shmem is not there")
        return snapshot.snapshot_set_shmem(self, lo, hi, flags)

    def event_get_info(self, lo: int, hi: int, num_entries: int, flags: int) -> SbiRet:
        self._begin()
        if not self.profile.has(B.EVENT_GET_INFO):
            return self.refuse(SbiError.NOT_SUPPORTED, "function", "event_get_info is not there")
        return event_info.event_get_info(self, lo, hi, num_entries, flags)

    # --- what else happens to a virtual PMU
    # --------------------------------------------------------------------------

    def incr_fw(self, code: int) -> None:
        if not 0 <= code < FW_MAX:
            return
        if self.profile.has(B.FW_STATE_PER_CODE):
            state = self.fw[code]
            if state.started:
                state.value = state.value + 1 & U64
            return
        for counter in self.counters[self.num_hw : self.num_counters_total]:
            if counter.started and counter.code == code:
                counter.value = counter.value + 1 & U64

    def read_csr(
        self,
        csr: int,
        *,
        writes: bool,
        sbi_enabled: bool = True,
        user_mode: bool = False,
        scounteren: int = 7,
    ) -> int:
        return counter_csr.emulate(
            self, csr, writes=writes, sbi_enabled=sbi_enabled, user_mode=user_mode, scounteren=scounteren
        )

    def read_csr_counter(self, idx: int) -> int:
        """KVM before 7.2 would read a firmware counter behind the hardware ones, but no guest gets there: the
        hart has no such counter, and its illegal-instruction exception is the guest's (KVM 6.12.107 on QEMU
        7.2.22: scause 2).
        """
        self.undetermined, self.last_refusal = False, None
        if idx >= self.num_hw:
            raise IllegalCounter(f"there is no hardware counter {idx}")
        value = readout.read(self, idx)
        if value is None:
            raise IllegalCounter(f"counter {idx} has no event")
        return value

    def stands(self, idx: int) -> tuple[CounterRow, Counter] | None:
        counter = self.counters[idx]
        row = readout.stands(self, counter)
        return None if row is None else (row, counter)

    def reset(self) -> None:
        """vCPU reset: no counter has an event, no shared memory is set. What KVM forgets to reset is a
        behaviour.
        """
        profile = self.profile
        for counter in self.counters:
            if counter.in_use or not profile.has(B.FW_RESET_LEAKS_EVENT):
                counter.release()
            if counter.in_use or not profile.has(B.VALUE_SURVIVES_RESET):
                counter.set_value(0)
            if not profile.has(B.STARTED_SURVIVES_RESET):
                counter.started = False
            counter.unbind()
        for state in self.fw[:FW_MAX]:
            state.value, state.started, state.tainted = 0, False, False
        snapshot.drop_page(self)

    def renewed(self) -> VcpuPmu:
        pmu = VcpuPmu(
            self.profile, self.perf, self.memory, self._raise_overflow, self.recorder, self.hart_id,
            nested=self.nested,
        )  # fmt: skip
        pmu.host_allocate = self.host_allocate
        return pmu

    def live_events(self) -> int:
        return sum(counter.event is not None for counter in self.counters)

    # --- for the modules of the functions
    # ----------------------------------------------------------------------------

    def member_error(self, code: SbiError, counter: Counter, reason: str, *, layer: str = "") -> SbiError:
        """Note the error of one member of a set and return it."""
        self.refuse(code, "member", f"counter {counter.idx}: {reason}", layer=layer)
        return code

    def note(self, actor: str, action: str, result: object = None, **args: object) -> None:
        """Write a record of the kvm layer; the caller has tested `recorder.enabled`."""
        self.recorder.emit("kvm", actor, action, result, hart=self.hart_id, **args)

    def _valid_set(self, base: int, mask: int) -> bool:
        if not mask:
            return False
        last, total = base + mask.bit_length() - 1, self.num_counters_total
        if last >= total and not (self.profile.has(B.WRAPPED_SET_ACCEPTED) and last & U64 < total):
            return False
        return base > 1 or not mask >> (1 - base) & 1 or self.profile.has(B.HOLE_ACCEPTED)

    def at(self, idx: int) -> Counter | None:
        """The counter of that index, None beyond KVM's array: there it reads a bit of unrelated memory, taken
        as 0.
        """
        if idx < MAX_COUNTERS:
            return self.counters[idx]
        self.undetermined |= self.profile.has(B.WRAPPED_SET_ACCEPTED)
        return None

    def create_event(self, counter: Counter | None, attr: PerfEventAttr) -> PerfEvent | None:
        """A perf event on the vCPU's thread whose overflow reaches `counter`. Raises PerfError. A fault can
        make it None: the NULL pointer that IS_ERR() lets pass.
        """
        if self.perf is None:
            raise RuntimeError("a vCPU without host PMU was asked for a perf event")
        if counter is None or not self.profile.has(B.OVERFLOW_INTERRUPT):
            return self.perf.create(attr, None)
        return self.perf.create(attr, partial(self.overflowed, counter))

    def overflow_handler(self, counter: Counter) -> OverflowHandler:
        """What a perf event of this counter calls when its period is over."""
        return partial(self.overflowed, counter)

    def settle(self, counter: Counter) -> None:
        """Fold what was counted into the value, modulo the counter's width, and see whether it wrapped on the
        way.
        """
        if self.profile.has(B.WIDTH_NOT_MASKED):
            counter.fold()
            return
        wrapped = counter.total() > counter.mask
        counter.fold()
        counter.value &= counter.mask
        if wrapped and not counter.overflown:
            counter.overflown = True
            self.last_overflow = counter.idx
            self._raise_overflow()

    @property
    def overflow_flags(self) -> int:
        """Bit i: counter i has wrapped since it was started, as a scountovf of this virtual PMU would
        show it.
        """
        return sum(1 << counter.idx for counter in self.counters if counter.overflown)

    @property
    def shared_page(self) -> int | None:
        return self.snapshot.address

    def counter_mask(self, idx: int) -> int | None:
        return self.counters[idx].mask if idx < MAX_COUNTERS else None

    def read_exactly(self, counter: Counter) -> int:
        """The value now; nothing changes."""
        value, event = counter.value, counter.event
        self.undetermined |= counter.tainted
        if event is not None:
            self.undetermined |= event.host_noise
            value += event.read() - counter.mark
        return value & (U64 if self.profile.has(B.WIDTH_NOT_MASKED) else counter.mask)

    # --- inside
    # ------------------------------------------------------------------------------------------------------

    def overflowed(self, counter: Counter, event: PerfEvent) -> None:
        """The perf event's overflow handler (kvm_riscv_pmu_overflow)."""
        self.last_overflow = counter.idx
        if self.recorder.enabled:
            self.note("overflow", "counter wrapped", counter=counter.idx)
        if self.profile.has(B.OVERFLOW_PERIOD_FROM_TOTAL):
            event.restart_with_period(-event.read() & U64)
            counter.overflown = True
            self._raise_overflow()
        else:
            self.settle(counter)
            event.restart_with_period(min(counter.mask + 1 - counter.value, PERIOD_MAX))


def allocate(size: int) -> bool:
    """The modelled host's answer to a request for `size` bytes of kernel memory."""
    return size <= HOST_ALLOCATION_LIMIT
