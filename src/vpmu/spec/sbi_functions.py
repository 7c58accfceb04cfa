"""The functions of SBI by name, with the names of their arguments (specification 3.0)."""

from __future__ import annotations

from typing import NamedTuple

from .sbi import Eid


class Function(NamedTuple):
    """A function's name and the names of its arguments, in register order from a0."""

    name: str
    arguments: tuple[str, ...] = ()


_HARTS = ("hart_mask", "hart_mask_base")
_RANGE = ("start_addr", "size")
_ATTRIBUTES = ("event_id", "base_attr_id", "attr_count", "phys_lo", "phys_hi")
_SET = ("counter_idx_base", "counter_idx_mask")

LEGACY: dict[int, Function] = {
    Eid.LEGACY_SET_TIMER: Function("legacy_set_timer", ("stime_value",)),
    Eid.LEGACY_CONSOLE_PUTCHAR: Function("legacy_console_putchar", ("ch",)),
    Eid.LEGACY_CONSOLE_GETCHAR: Function("legacy_console_getchar"),
    Eid.LEGACY_CLEAR_IPI: Function("legacy_clear_ipi"),
    Eid.LEGACY_SEND_IPI: Function("legacy_send_ipi", ("hart_mask",)),
    Eid.LEGACY_REMOTE_FENCE_I: Function("legacy_remote_fence_i", ("hart_mask",)),
    Eid.LEGACY_REMOTE_SFENCE_VMA: Function("legacy_remote_sfence_vma", ("hart_mask", *_RANGE)),
    Eid.LEGACY_REMOTE_SFENCE_VMA_ASID: Function(
        "legacy_remote_sfence_vma_asid", ("hart_mask", *_RANGE, "asid")
    ),
    Eid.LEGACY_SHUTDOWN: Function("legacy_shutdown"),
}
"""The v0.1 calls (chapter "Legacy Extensions"): no function id, and only a0 comes back."""

FUNCTIONS: dict[tuple[int, int], Function] = {
    (Eid.BASE, 0): Function("get_spec_version"),
    (Eid.BASE, 1): Function("get_impl_id"),
    (Eid.BASE, 2): Function("get_impl_version"),
    (Eid.BASE, 3): Function("probe_extension", ("extension_id",)),
    (Eid.BASE, 4): Function("get_mvendorid"),
    (Eid.BASE, 5): Function("get_marchid"),
    (Eid.BASE, 6): Function("get_mimpid"),
    (Eid.TIME, 0): Function("set_timer", ("stime_value",)),
    (Eid.IPI, 0): Function("send_ipi", _HARTS),
    (Eid.RFENCE, 0): Function("remote_fence_i", _HARTS),
    (Eid.RFENCE, 1): Function("remote_sfence_vma", (*_HARTS, *_RANGE)),
    (Eid.RFENCE, 2): Function("remote_sfence_vma_asid", (*_HARTS, *_RANGE, "asid")),
    (Eid.RFENCE, 3): Function("remote_hfence_gvma_vmid", (*_HARTS, *_RANGE, "vmid")),
    (Eid.RFENCE, 4): Function("remote_hfence_gvma", (*_HARTS, *_RANGE)),
    (Eid.RFENCE, 5): Function("remote_hfence_vvma_asid", (*_HARTS, *_RANGE, "asid")),
    (Eid.RFENCE, 6): Function("remote_hfence_vvma", (*_HARTS, *_RANGE)),
    (Eid.HSM, 0): Function("hart_start", ("hartid", "start_addr", "opaque")),
    (Eid.HSM, 1): Function("hart_stop"),
    (Eid.HSM, 2): Function("hart_get_status", ("hartid",)),
    (Eid.HSM, 3): Function("hart_suspend", ("suspend_type", "resume_addr", "opaque")),
    (Eid.SRST, 0): Function("system_reset", ("reset_type", "reset_reason")),
    (Eid.PMU, 0): Function("num_counters"),
    (Eid.PMU, 1): Function("counter_get_info", ("counter_idx",)),
    (Eid.PMU, 2): Function("counter_config_matching", (*_SET, "config_flags", "event_idx", "event_data")),
    (Eid.PMU, 3): Function("counter_start", (*_SET, "start_flags", "initial_value")),
    (Eid.PMU, 4): Function("counter_stop", (*_SET, "stop_flags")),
    (Eid.PMU, 5): Function("counter_fw_read", ("counter_idx",)),
    (Eid.PMU, 6): Function("counter_fw_read_hi", ("counter_idx",)),
    (Eid.PMU, 7): Function("snapshot_set_shmem", ("shmem_phys_lo", "shmem_phys_hi", "flags")),
    (Eid.PMU, 8): Function("event_get_info", ("shmem_phys_lo", "shmem_phys_hi", "num_entries", "flags")),
    (Eid.DBCN, 0): Function("console_write", ("num_bytes", "base_addr_lo", "base_addr_hi")),
    (Eid.DBCN, 1): Function("console_read", ("num_bytes", "base_addr_lo", "base_addr_hi")),
    (Eid.DBCN, 2): Function("console_write_byte", ("byte",)),
    (Eid.SUSP, 0): Function("system_suspend", ("sleep_type", "resume_addr", "opaque")),
    (Eid.SSE, 0): Function("sse_read_attrs", _ATTRIBUTES),
    (Eid.SSE, 1): Function("sse_write_attrs", _ATTRIBUTES),
    (Eid.SSE, 2): Function("sse_register", ("event_id", "handler_entry_pc", "handler_entry_arg")),
    (Eid.SSE, 3): Function("sse_unregister", ("event_id",)),
    (Eid.SSE, 4): Function("sse_enable", ("event_id",)),
    (Eid.SSE, 5): Function("sse_disable", ("event_id",)),
    (Eid.SSE, 6): Function("sse_complete"),
    (Eid.SSE, 7): Function("sse_inject", ("event_id", "hart_id")),
    (Eid.SSE, 8): Function("sse_hart_unmask"),
    (Eid.SSE, 9): Function("sse_hart_mask"),
    (Eid.FWFT, 0): Function("fwft_set", ("feature", "value", "flags")),
    (Eid.FWFT, 1): Function("fwft_get", ("feature",)),
    (Eid.STA, 0): Function("steal_time_set_shmem", ("shmem_phys_lo", "shmem_phys_hi", "flags")),
}
"""Every function that a profile may offer."""

CONSTANT = frozenset((int(eid), fid) for eid, fid in FUNCTIONS if eid == Eid.BASE) | {
    (int(Eid.PMU), 0),
    (int(Eid.PMU), 1),
}
"""Those whose answer is the same for ever, or as long as their argument is."""

FAR_FROM_COUNTERS = frozenset(
    int(eid)
    for eid in (
        *(Eid.LEGACY_SET_TIMER, Eid.LEGACY_CLEAR_IPI, Eid.LEGACY_SEND_IPI, Eid.LEGACY_REMOTE_FENCE_I),
        *(Eid.LEGACY_REMOTE_SFENCE_VMA, Eid.LEGACY_REMOTE_SFENCE_VMA_ASID, Eid.TIME, Eid.IPI, Eid.RFENCE),
    )
)
"""Extensions whose calls change no counter that a CSR shows, nor any of these answers."""

_EID_NAMES = {int(eid): eid.name for eid in Eid if eid > Eid.LEGACY_SHUTDOWN}


def function(eid: int, fid: int) -> Function:
    """The function behind an ecall; an unknown one is named after its numbers and has no named arguments."""
    known = LEGACY.get(eid) or FUNCTIONS.get((eid, fid))
    if known is not None:
        return known
    return Function(f"{_EID_NAMES.get(eid, hex(eid))}:{fid:#x}")
