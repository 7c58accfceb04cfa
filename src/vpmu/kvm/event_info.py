"""event_get_info (FID 8): which events of a table in guest memory can be counted."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..perf.event import PerfError
from ..profiles.behaviours import B
from ..see.pmu import LOOK_UP, LeaveCall
from ..see.vcpu_api import MemoryFault
from ..spec.sbi import EVENT_INFO_ENTRY, EVENT_INFO_RESERVED, U64, SbiError, SbiRet
from .errors import KvmRunError
from .translate import build_attr, translate

if TYPE_CHECKING:
    from .pmu import VcpuPmu

_SIZE = EVENT_INFO_ENTRY.size


def event_get_info(pmu: VcpuPmu, lo: int, hi: int, num_entries: int, flags: int) -> SbiRet:
    """See VcpuPmu.event_get_info."""
    profile = pmu.profile
    if flags or lo % _SIZE or not num_entries:
        reason = f"flags {flags:#x}, address {lo:#x}, {num_entries} entries"
        return pmu.refuse(SbiError.INVALID_PARAM, "arguments", reason)
    size = num_entries * _SIZE
    lenient = profile.has(B.EVENT_INFO_LENIENT)
    if size > U64:
        error = SbiError.INVALID_PARAM if lenient else SbiError.FAILED
        return pmu.refuse(error, "arguments", f"{num_entries} entries do not fit into the address space")
    if hi:
        return pmu.refuse(SbiError.INVALID_ADDRESS, "address", "bits above 63 on RV64")
    if not pmu.host_allocate(size):
        if profile.has(B.EVENT_INFO_OOM_ENDS_KVM_RUN):
            raise KvmRunError(errno.ENOMEM, f"event_get_info: no kernel memory for {num_entries} entries")
        return pmu.refuse(SbiError.FAILED, "allocation", f"no kernel memory for {num_entries} entries")
    try:
        table = bytearray(pmu.memory.read(lo, size))
    except MemoryFault as fault:
        error = SbiError.FAILED if profile.has(B.EVENT_INFO_READ_FAILED) else SbiError.INVALID_ADDRESS
        return pmu.refuse(error, "address", str(fault))
    answers: dict[tuple[int, int], bool] = {}
    for offset in range(0, size, _SIZE):
        if not offset & LOOK_UP and pmu.leaving():
            raise LeaveCall
        event_idx, _, event_data = EVENT_INFO_ENTRY.unpack_from(table, offset)
        if event_idx & EVENT_INFO_RESERVED and not lenient:
            return pmu.refuse(SbiError.INVALID_PARAM, "event_idx", f"reserved bits in {event_idx:#x}")
        key = event_idx, event_data
        if key not in answers:
            answers[key] = _supported(pmu, event_idx, event_data)
        EVENT_INFO_ENTRY.pack_into(table, offset, event_idx, answers[key], event_data)
    try:
        pmu.memory.write(lo, bytes(table))
    except MemoryFault as fault:
        return pmu.refuse(SbiError.INVALID_ADDRESS, "address", str(fault))
    return SbiRet(SbiError.SUCCESS)


def _supported(pmu: VcpuPmu, event_idx: int, event_data: int) -> bool:
    """True where the event can be counted: by the firmware, or by perf, which is asked to create it and then
    let off.
    """
    event = translate(pmu.profile, event_idx, event_data)
    if event.firmware and pmu.profile.has(B.EVENT_INFO_UNCHECKED):
        return True  # the all-ones config of a code without meaning passes for a platform event
    if event.refusal is not None:
        return False
    if event.firmware:
        return True
    try:
        perf_event = pmu.create_event(None, build_attr(event, 0, 0, disabled=True))
    except PerfError:
        return False
    if perf_event is None:
        return True  # a NULL pointer passes for an event
    countable = perf_event.countable or pmu.profile.has(B.EVENT_INFO_UNCHECKED)
    perf_event.release()
    return countable
