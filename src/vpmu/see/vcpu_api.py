"""What the virtual PMU and the SBI extensions ask of the rest of a machine: its memory and its vCPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from ..hart.memory import MemoryFault
from ..see.pmu import GuestMemory

if TYPE_CHECKING:
    from ..profiles.profiles import Profile
    from ..see.pmu import SbiPmu
    from ..trace.recorder import Recorder

__all__ = [
    "MP_STATE_RUNNABLE",
    "MP_STATE_STOPPED",
    "GuestMemory",
    "GuestTrap",
    "MemoryFault",
    "VcpuLike",
]

MP_STATE_RUNNABLE: Final = 0
MP_STATE_STOPPED: Final = 5
"""KVM_MP_STATE_RUNNABLE and KVM_MP_STATE_STOPPED, the states that KVM knows for RISC-V."""


class GuestTrap(Exception):
    """The ecall ends in a trap of the guest instead of an answer: pc stays on it, the guest takes `cause`
    with `stval`.
    """

    def __init__(self, cause: int, stval: int) -> None:
        super().__init__(f"trap {cause} with stval {stval:#x}")
        self.cause = cause
        self.stval = stval


class VcpuLike(Protocol):
    """A vCPU as the SBI extensions see it. Interrupts are named by their number in sip (spec.csr.Irq)."""

    @property
    def id(self) -> int: ...

    @property
    def hart_id(self) -> int: ...

    @property
    def profile(self) -> Profile: ...

    @property
    def pmu(self) -> SbiPmu: ...

    @property
    def memory(self) -> GuestMemory: ...

    @property
    def vcpus(self) -> Sequence[VcpuLike]:
        """All vCPUs of the machine, this one included."""
        ...

    @property
    def recorder(self) -> Recorder: ...

    @property
    def mp_state(self) -> int:
        """MP_STATE_RUNNABLE or MP_STATE_STOPPED."""
        ...

    @property
    def blocking(self) -> bool:
        """True while it waits for an interrupt (WFI or hart_suspend)."""
        ...

    @property
    def mvendorid(self) -> int: ...

    @property
    def marchid(self) -> int: ...

    @property
    def mimpid(self) -> int: ...

    @property
    def firmware_features(self) -> dict[int, tuple[int, bool]]:
        """FWFT features that the guest has set: (value, locked) by id. Empty after a reset."""
        ...

    @property
    def suspended(self) -> bool:
        """While it is `blocking`: hart_suspend, not WFI."""
        ...

    @property
    def has_hypervisor(self) -> bool:
        """Whether the hart has the H extension."""
        ...

    @property
    def software_events(self) -> dict[int, list[int]]:
        """Attributes of the software events that the guest has named; see see.software_events."""
        ...

    events_masked: bool
    """Whether software events wait (SSE); so they do after a reset."""

    def interrupt_for_event(self) -> None:
        """A software event became pending on this hart while another one ran."""
        ...

    def leave_event(self, row: list[int]) -> None:
        """The handler of the event with these attributes is through: go on where the hart was."""
        ...

    def sbi_enabled(self, eid: int) -> bool:
        """True where the extension exists in the profile and user space has not switched it off."""
        ...

    def set_timer(self, next_cycle: int) -> None:
        """Raise the timer interrupt when `time` reaches `next_cycle`; clear one if that lies ahead."""
        ...

    def set_interrupt(self, irq: int) -> None: ...

    def unset_interrupt(self, irq: int) -> None: ...

    def fence_i(self) -> None: ...

    def sfence_vma(self, start: int, size: int, asid: int | None) -> None:
        """Drop translations of [start, start + size), of one address space or of all; (0, 0) and 2^64-1 mean
        everything.
        """
        ...

    def start(self, pc: int, opaque: int) -> None:
        """Reset the vCPU and run it from `pc` with a0 = its hart id, a1 = `opaque`, satp = 0, SIE = 0."""
        ...

    def stop(self) -> None:
        """hart_stop: the vCPU does not return from the ecall; MP_STATE_STOPPED until it is started again."""
        ...

    def suspend(self) -> None:
        """Retentive suspend: wait for an interrupt, as WFI; the ecall returns SUCCESS after it."""
        ...

    def request_reset(self, pc: int, opaque: int) -> None:
        """Reset the vCPU before it next enters the guest, then as `start` (non-retentive suspend and system
        suspend).
        """
        ...

    def load_virtual(self, address: int, size: int) -> bytes:
        """Load through the guest's translation, as the guest would. Raises GuestTrap where that faults."""
        ...

    def set_steal_time_area(self, gpa: int | None) -> None:
        """Remember where STA keeps steal time; None: nowhere."""
        ...
