"""PMU: registers decoded for the virtual PMU (RV64)."""

from __future__ import annotations

from ..see.vcpu_api import VcpuLike
from ..spec.sbi import PmuFid, SbiRet
from .answer import NOT_SUPPORTED, Answer, Args

FUNCTIONS: dict[int, tuple[str, int]] = {
    PmuFid.NUM_COUNTERS: ("num_counters", 0),
    PmuFid.COUNTER_GET_INFO: ("counter_get_info", 1),
    PmuFid.COUNTER_CONFIG_MATCHING: ("counter_config_matching", 5),
    PmuFid.COUNTER_START: ("counter_start", 4),
    PmuFid.COUNTER_STOP: ("counter_stop", 3),
    PmuFid.COUNTER_FW_READ: ("counter_fw_read", 1),
    PmuFid.COUNTER_FW_READ_HI: ("counter_fw_read_hi", 1),
    PmuFid.SNAPSHOT_SET_SHMEM: ("snapshot_set_shmem", 3),
    PmuFid.EVENT_GET_INFO: ("event_get_info", 4),
}
"""FID -> name of the method of the virtual PMU (kvm.pmu.VcpuPmu), and how many argument registers it takes.
"""


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """The nine functions of PMU. Without a PMU of the host the extension does not exist."""
    pmu = vcpu.pmu
    function = FUNCTIONS.get(fid)
    if function is None or not pmu.available:
        return NOT_SUPPORTED
    method, arguments = function
    answer: SbiRet = getattr(pmu, method)(*args[:arguments])
    return answer
