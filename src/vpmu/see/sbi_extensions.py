"""Which SBI extensions a vCPU has: KVM's ONE_REG interface (KVM_REG_RISCV_SBI_EXT, single registers)."""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..profiles.behaviours import B
from ..profiles.opensbi_behaviours import OB
from ..profiles.profiles import Profile, SbiExtension
from ..spec.sbi import EXPERIMENTAL_EIDS, VENDOR_EIDS, Eid

_BY_EID: dict[int, SbiExtension] = {
    Eid.TIME: SbiExtension.TIME,
    Eid.IPI: SbiExtension.IPI,
    Eid.RFENCE: SbiExtension.RFENCE,
    Eid.SRST: SbiExtension.SRST,
    Eid.HSM: SbiExtension.HSM,
    Eid.PMU: SbiExtension.PMU,
    Eid.DBCN: SbiExtension.DBCN,
    Eid.STA: SbiExtension.STA,
    Eid.SUSP: SbiExtension.SUSP,
    Eid.FWFT: SbiExtension.FWFT,
}


def extension_of(eid: int) -> SbiExtension | None:
    """The switchable extension that an EID belongs to; None for BASE and for an EID that nobody knows."""
    known = _BY_EID.get(eid)
    if known is not None:
        return known
    if eid <= Eid.LEGACY_SHUTDOWN:
        return SbiExtension.V01
    if eid >> 24 == EXPERIMENTAL_EIDS:
        return SbiExtension.EXPERIMENTAL
    if eid >> 24 == VENDOR_EIDS:
        return SbiExtension.VENDOR
    return None


class _Enabled(dict[int, bool]):
    """Which EIDs reach an extension, as far as they have been asked for."""

    def __init__(self, look_up: Callable[[int], bool]) -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, eid: int) -> bool:
        enabled = self._look_up(eid)
        if len(self) < 64:  # a guest may try all EIDs
            self[eid] = enabled
        return enabled


class SbiExtensions:
    """The switches of one vCPU. `pmu_available` is False where the host cannot offer a PMU: then there is no
    switch for it.
    """

    def __init__(self, profile: Profile, *, pmu_available: bool) -> None:
        self._enabled = dict(profile.extensions)
        self._probed: tuple[int, ...] = ()
        if profile.has(OB.OPENSBI_NO_DBCN):
            self._enabled.pop(SbiExtension.DBCN, None)
        if profile.has(OB.OPENSBI_SSE_FWFT_DBTR):
            self._enabled[SbiExtension.FWFT] = True
            self._probed = (Eid.SSE, Eid.DBTR)
        self._legacy = not profile.has(B.LEGACY_NOT_BUILT)
        if not pmu_available:
            self._enabled.pop(SbiExtension.PMU, None)
        self.ran_at_least_once = False
        self._by_eid = _Enabled(self._is_enabled)
        self.enabled: Callable[[int], bool] = self._by_eid.__getitem__
        """True where an ecall with this EID reaches an extension."""

    def _is_enabled(self, eid: int) -> bool:
        extension = extension_of(eid)
        known = eid == Eid.BASE or eid in self._probed
        known = known or (extension is not None and self._enabled.get(extension, False))
        return known and (self._legacy or extension is not SbiExtension.V01)

    def get(self, extension: int) -> int:
        """KVM_GET_ONE_REG: 1 enabled, 0 disabled. OSError(ENOENT) where the extension is not available."""
        return int(self._enabled[self._known(extension)])

    def set(self, extension: int, value: int) -> None:
        """KVM_SET_ONE_REG. OSError: EBUSY after the first run, EINVAL for a value but 0 and 1, ENOENT not
        available.
        """
        if self.ran_at_least_once:
            raise OSError(errno.EBUSY, "SBI extensions are fixed once the vCPU has run")
        if value not in (0, 1):
            raise OSError(errno.EINVAL, f"SBI extension register: expected 0 or 1, got {value}")
        self._enabled[self._known(extension)] = bool(value)
        self._by_eid.clear()

    def _known(self, extension: int) -> SbiExtension:
        if extension not in self._enabled:
            raise OSError(errno.ENOENT, f"SBI extension {extension} is not available")
        return SbiExtension(extension)
