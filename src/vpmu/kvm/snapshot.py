"""The snapshot page: shared memory through which counter values and overflow bits pass (FID 7)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from ..profiles.behaviours import B
from ..see.vcpu_api import GuestMemory, MemoryFault
from ..spec.sbi import SHMEM_DISABLE, SNAPSHOT_SIZE, SNAPSHOT_SLOTS, SNAPSHOT_VALUES, SbiError, SbiRet
from .errors import HostLostError, KvmRunError

if TYPE_CHECKING:
    from .pmu import VcpuPmu

_U64 = struct.Struct("<Q")
_VALUES = struct.Struct(f"<{SNAPSHOT_SLOTS}Q")
_PAGE = 4096


class Snapshot:
    """Where the page is, and the kernel's copy of it (`sdata`). Slots and overflow bits are relative to a
    call's base.

    `tainted`: the copy holds values that depend on the host. `leaked`: copies that KVM forgot to free.
    `gone`: there is no copy any more, although a page is set: whoever uses it brings the host down.
    """

    __slots__ = ("address", "copy", "gone", "leaked", "tainted")

    def __init__(self) -> None:
        self.address: int | None = None
        self.copy = bytearray(SNAPSHOT_SIZE)
        self.tainted = self.gone = False
        self.leaked = 0

    @property
    def installed(self) -> bool:
        """True where a page is set."""
        return self.address is not None

    def install(self, address: int | None) -> None:
        """Use the page at `address` from now on, with a copy of zeros; None: none."""
        self.address = address
        self.copy = bytearray(SNAPSHOT_SIZE)
        self.tainted = self.gone = False

    def load(self, memory: GuestMemory) -> tuple[int, ...]:
        """Read the whole page into the copy; the 64 values. Raises MemoryFault, HostLostError."""
        self._use()
        self.copy[:] = memory.read(self._gpa(), SNAPSHOT_SIZE)
        self.tainted = False
        values: tuple[int, ...] = _VALUES.unpack_from(self.copy, SNAPSHOT_VALUES)
        return values

    def put(self, slot: int, value: int, *, overflown: bool) -> None:
        """Set a slot of the copy; an overflow bit is set, never cleared. Raises HostLostError."""
        self._use()
        _U64.pack_into(self.copy, SNAPSHOT_VALUES + 8 * slot, value)
        if overflown:
            self._set_bitmap(self._bitmap() | 1 << slot)

    def clear_overflow(self, slot: int) -> None:
        """Clear an overflow bit of the copy. Raises HostLostError."""
        self._use()
        self._set_bitmap(self._bitmap() & ~(1 << slot))

    def flush(self, memory: GuestMemory) -> None:
        """Write the copy to the guest, all 4096 bytes. Raises MemoryFault."""
        memory.write(self._gpa(), bytes(self.copy))

    def store(self, memory: GuestMemory, overflows: int, values: dict[int, int]) -> None:
        """Write the overflow bitmap and these slots only. Raises MemoryFault."""
        address = self._gpa()
        memory.write(address, _U64.pack(overflows))
        for slot, value in values.items():
            memory.write(address + SNAPSHOT_VALUES + 8 * slot, _U64.pack(value))

    def lose_copy(self) -> None:
        """The kernel freed its copy and goes on believing in the page, if one is set."""
        self.gone = self.installed

    def _use(self) -> None:
        if self.gone:
            raise HostLostError(
                B.SHMEM_STALE_PAGE,
                "the kernel uses its copy of the snapshot page, which a failing snapshot_set_shmem has freed",
            )

    def _bitmap(self) -> int:
        word: int = _U64.unpack_from(self.copy, 0)[0]
        return word

    def _set_bitmap(self, word: int) -> None:
        _U64.pack_into(self.copy, 0, word)

    def _gpa(self) -> int:
        if self.address is None:
            raise ValueError("no snapshot page is set")
        return self.address


def snapshot_set_shmem(pmu: VcpuPmu, lo: int, hi: int, flags: int) -> SbiRet:
    """See VcpuPmu.snapshot_set_shmem."""
    profile, snapshot = pmu.profile, pmu.snapshot
    if flags:
        return pmu.refuse(SbiError.INVALID_PARAM, "flags", f"reserved bits in {flags:#x}")
    if lo == hi == SHMEM_DISABLE:
        drop_page(pmu)
        return SbiRet(SbiError.SUCCESS)
    if lo % SNAPSHOT_SIZE and not profile.has(B.SHMEM_UNALIGNED):
        return pmu.refuse(
            SbiError.INVALID_PARAM, "alignment", f"{lo:#x} is not a multiple of {SNAPSHOT_SIZE}"
        )
    if hi:
        return pmu.refuse(SbiError.INVALID_ADDRESS, "address", "bits above 63 on RV64")
    if profile.has(B.SHMEM_SLOT_CHECK) and not _writable(pmu.memory, lo & -_PAGE):
        return pmu.refuse(SbiError.INVALID_ADDRESS, "address", f"{lo:#x} is in no writable memory slot")
    again = snapshot.installed
    if again and profile.has(B.SHMEM_FAILURE_DROPS_PAGE):
        snapshot.install(None)
    if not pmu.host_allocate(SNAPSHOT_SIZE):
        if profile.has(B.SHMEM_STALE_PAGE):
            snapshot.lose_copy()
        if profile.has(B.SHMEM_OOM_ENDS_KVM_RUN):
            raise KvmRunError(errno.ENOMEM, "snapshot_set_shmem: no kernel memory for the page's copy")
        return pmu.refuse(SbiError.FAILED, "allocation", "no kernel memory for the page's copy")
    try:
        pmu.memory.write(lo, bytes(SNAPSHOT_SIZE))
    except MemoryFault as fault:
        if not profile.has(B.SHMEM_SLOT_CHECK):
            if profile.has(B.SHMEM_STALE_PAGE):
                snapshot.lose_copy()
            return pmu.refuse(SbiError.INVALID_ADDRESS, "address", str(fault))
        # The copy is freed but still pointed to: what a page that is set holds from now on is the host's
        # business.
        snapshot.tainted = snapshot.installed
        return pmu.refuse(SbiError.FAILED, "address", str(fault))
    if again and profile.has(B.SHMEM_COPY_LEAKED):
        snapshot.leaked += 1
    snapshot.install(lo)
    return SbiRet(SbiError.SUCCESS)


def drop_page(pmu: VcpuPmu) -> None:
    """No shared memory from now on."""
    snapshot = pmu.snapshot
    if snapshot.address is not None and pmu.profile.has(B.TEARDOWN_ZEROES_PAGE):
        try:
            pmu.memory.write(snapshot.address, bytes(SNAPSHOT_SIZE))
        except MemoryFault as fault:
            # At teardown the memory slots may be gone already; KVM of that time crashed the host here.
            if pmu.recorder.enabled:
                pmu.note("snapshot", "teardown write failed", str(fault))
    snapshot.install(None)


def _writable(memory: GuestMemory, gpa: int) -> bool:
    """True where the page at `gpa` lies in a writable slot; its content does not change."""
    try:
        memory.write(gpa, memory.read(gpa, 1))
    except MemoryFault:
        return False
    return True
