"""Reading a counter, by its CSR or by counter_fw_read (KVM's pmu_ctr_read)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..hart.standing import CounterRow
from ..profiles.behaviours import B
from ..spec.sbi import U64
from ..spec.sbi_events import EVENT_IDX_INVALID, FW_MAX
from .counter import GARBAGE, MAX_COUNTERS, MAX_FW_CODES, Counter

if TYPE_CHECKING:
    from .pmu import VcpuPmu


def read(pmu: VcpuPmu, idx: int) -> int | None:
    """KVM's pmu_ctr_read: the value, or None where the counter cannot be read."""
    profile = pmu.profile
    if idx >= pmu.num_counters_total or idx == 1:
        if idx >= MAX_COUNTERS and profile.has(B.READ_INDEX_UNCHECKED):
            pmu.undetermined = True
            return GARBAGE
        if profile.has(B.INVALID_READ_WARNS):
            pmu.host_log_lines += 1
            if pmu.recorder.enabled:
                pmu.note("host-log", "warn", f"Invalid counter id [{idx}] during read")
        return None
    counter = pmu.counters[idx]
    if counter.firmware and profile.has(B.FW_STATE_PER_CODE):
        return _read_code(pmu, counter)
    if counter.event is None and not (counter.firmware and counter.in_use):
        return None
    if not counter.firmware and profile.has(B.READ_ACCUMULATES):
        value = counter.accumulate()
        pmu.undetermined |= counter.tainted
        return value
    return pmu.read_exactly(counter)


def stands(pmu: VcpuPmu, counter: Counter) -> CounterRow | None:
    """How `read` of a hardware counter will answer as long as nothing happens to the counter."""
    event, profile = counter.event, pmu.profile
    if event is None or counter.firmware or counter.tainted or event.host_noise:
        return None
    followed = event.follows()
    if followed is None:
        return None
    start, counted, modes = followed
    if profile.has(B.READ_ACCUMULATES):
        return CounterRow(start, U64, counted, modes, counter.value)
    mask = U64 if profile.has(B.WIDTH_NOT_MASKED) else counter.mask
    return CounterRow(start + counter.value - counter.mark, mask, counted, modes)


def _read_code(pmu: VcpuPmu, counter: Counter) -> int | None:
    """A read stores the code's value in the counter, too: a later start without a value begins there."""
    unbound = counter.event_idx == EVENT_IDX_INVALID or counter.code >= FW_MAX
    if unbound and not pmu.profile.has(B.FW_READ_UNBOUND):
        return None
    if counter.code < MAX_FW_CODES:
        state = pmu.fw[counter.code]
        counter.value, counter.tainted = state.value, state.tainted
    else:
        counter.value, counter.tainted = GARBAGE, True
    pmu.undetermined |= counter.tainted
    return counter.value
