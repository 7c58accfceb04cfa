"""OpenSBI's counter_start and counter_stop (sbi_pmu_ctr_start, sbi_pmu_ctr_stop)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..hart.pmu import FIXED
from ..profiles.opensbi_behaviours import OB
from ..spec.sbi import SbiError, SbiRet, StartFlag, StopFlag

if TYPE_CHECKING:
    from .opensbi_pmu import OpenSbiPmu

_TIME = 1


def counter_start(pmu: OpenSbiPmu, base: int, mask: int, flags: int, initial_value: int) -> SbiRet:
    """See SbiPmu.counter_start."""
    if pmu.beyond(base, mask) or (not mask and not pmu.profile.has(OB.OPENSBI_MASK_ZERO_ACCEPTED)):
        return pmu.refuse(SbiError.INVALID_PARAM, "counter set", "it has an invalid counter")
    if flags & StartFlag.INIT_SNAPSHOT and pmu.profile.has(OB.OPENSBI_NO_SHMEM):
        return pmu.refuse(SbiError.NO_SHMEM, "INIT_SNAPSHOT", "there is no shared memory")
    value = initial_value if flags & StartFlag.SET_INIT_VALUE else None
    result = SbiError.INVALID_PARAM
    for _, index in pmu.members(base, mask):
        if pmu.bound(index) is None:
            continue
        result = _start_fw(pmu, index, value) if pmu.bound_firmware(index) else start_hw(pmu, index, value)
    return (
        SbiRet(result)
        if result is SbiError.SUCCESS
        else pmu.refuse(result, "start", "the last counter of the set")
    )


def counter_stop(pmu: OpenSbiPmu, base: int, mask: int, flags: int) -> SbiRet:
    """See SbiPmu.counter_stop."""
    if pmu.beyond(base, mask) or (not mask and not pmu.profile.has(OB.OPENSBI_MASK_ZERO_ACCEPTED)):
        return pmu.refuse(SbiError.INVALID_PARAM, "counter set", "it has an invalid counter")
    if flags & StopFlag.TAKE_SNAPSHOT and pmu.profile.has(OB.OPENSBI_NO_SHMEM):
        return pmu.refuse(SbiError.NO_SHMEM, "TAKE_SNAPSHOT", "there is no shared memory")
    result = SbiError.INVALID_PARAM
    for _, index in pmu.members(base, mask):
        if pmu.bound(index) is None:
            continue
        result = _stop_fw(pmu, index) if pmu.bound_firmware(index) else _stop_hw(pmu, index)
        if flags & StopFlag.RESET and (index > max(FIXED) or pmu.profile.has(OB.OPENSBI_RESET_UNBINDS_FIXED)):
            pmu.active[index] = None
            pmu.of &= ~(1 << index)
            pmu.started_at.pop(index, None)
            if index in pmu.physical.layout.indices:
                pmu.physical.configure(index, None)
    return (
        SbiRet(result)
        if result is SbiError.SUCCESS
        else pmu.refuse(result, "stop", "the last counter of the set")
    )


def write(pmu: OpenSbiPmu, index: int, value: int) -> None:
    """Set a counter of the hart, if it is one."""
    if index in pmu.physical.layout.indices:
        pmu.physical.write(index, value)
        if index in FIXED and not pmu.physical.running(index):
            pmu.noisy.discard(index)


def start_hw(pmu: OpenSbiPmu, index: int, value: int | None) -> SbiError:
    """Start a counter of the hart, with a value or as it is (pmu_ctr_start_hw)."""
    if index >= pmu.num_hw or index == _TIME or index not in pmu.physical.layout.indices:
        return SbiError.INVALID_PARAM
    if pmu.physical.running(index):
        return SbiError.ALREADY_STARTED
    pmu.of &= ~(1 << index)
    pmu.physical.clear_overflow(index)
    if value is not None:
        write(pmu, index, value)
    pmu.physical.start(index)
    if index in FIXED:
        pmu.noisy.add(index)
    else:
        pmu.started_at[index] = pmu.physical.read(index)
    return SbiError.SUCCESS


def _stop_hw(pmu: OpenSbiPmu, index: int) -> SbiError:
    if index >= pmu.num_hw or index == _TIME or index not in pmu.physical.layout.indices:
        return SbiError.INVALID_PARAM
    if not pmu.physical.running(index):
        return SbiError.ALREADY_STOPPED
    pmu.physical.stop(index)
    return SbiError.SUCCESS


def _start_fw(pmu: OpenSbiPmu, index: int, value: int | None) -> SbiError:
    index = pmu.state(index)
    if index in pmu.fw_started and not pmu.profile.has(OB.OPENSBI_FW_START_UNCHECKED):
        return SbiError.ALREADY_STARTED
    if value is not None:
        pmu.fw_values[index] = value
    pmu.fw_started.add(index)
    return SbiError.SUCCESS


def _stop_fw(pmu: OpenSbiPmu, index: int) -> SbiError:
    index = pmu.state(index)
    if index not in pmu.fw_started and not pmu.profile.has(OB.OPENSBI_FW_STOP_UNCHECKED):
        return SbiError.ALREADY_STOPPED
    pmu.fw_started.discard(index)
    return SbiError.SUCCESS
