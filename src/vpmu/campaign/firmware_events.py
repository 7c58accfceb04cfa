"""How often firmware events happened, by the calls that the guest's harts made: the truth of firmware
counters, which no layer below the guest has counted (SBI 3.0, "Event: Firmware Events").

Traps (misaligned, access, illegal) are not known here: who takes them first is not the guest's to see. Where
the specification leaves open what counts (a hart that names itself "other hart", a call that fails half-way,
a v0.1 call), nobody knows the count from there on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..sbi import harts
from ..see.vcpu_api import MP_STATE_STOPPED
from ..spec.sbi import Eid, RfenceFid, SbiError
from ..spec.sbi_events import FwEvent

if TYPE_CHECKING:
    from ..see.guest_hart import Args, GuestHart

SENT: Mapping[tuple[int, int], FwEvent] = {
    (Eid.IPI, 0): FwEvent.IPI_SENT,
    (Eid.RFENCE, RfenceFid.FENCE_I): FwEvent.FENCE_I_SENT,
    (Eid.RFENCE, RfenceFid.SFENCE_VMA): FwEvent.SFENCE_VMA_SENT,
    (Eid.RFENCE, RfenceFid.SFENCE_VMA_ASID): FwEvent.SFENCE_VMA_ASID_SENT,
}
"""Calls that are events of the caller; that of the harts which they are for has the next code."""
JUDGED = frozenset(
    {int(FwEvent.SET_TIMER), *map(int, SENT.values()), *(int(code) + 1 for code in SENT.values())}
)
_LEGACY = frozenset(range(Eid.LEGACY_SET_TIMER, Eid.LEGACY_SHUTDOWN))
EXTENSIONS = frozenset({int(Eid.TIME), int(Eid.IPI), int(Eid.RFENCE), *_LEGACY})


class FirmwareEvents:
    """The events of a machine's harts. `unknown(hart, code)` is told where a count is not known any more."""

    def __init__(self, unknown: Callable[[int, int], None]) -> None:
        self._counts: Counter[tuple[int, int]] = Counter()
        self._unknown = unknown

    def count(self, hart: int, code: int) -> int:
        """How often it happened on a hart."""
        return self._counts[hart, code]

    def called(self, vcpu: GuestHart, eid: int, fid: int, args: Args, error: int) -> None:
        """A hart has made a call and been answered."""
        if eid in _LEGACY:
            for other in vcpu.vcpus:
                for code in JUDGED:
                    self._unknown(other.id, code)
            return
        if (eid, fid) == (Eid.TIME, 0):
            self._happened(vcpu, FwEvent.SET_TIMER, clear=error == SbiError.SUCCESS)
            return
        sent = SENT.get((eid, fid))
        if sent is None:
            return
        targets, valid = harts.select(vcpu, args[0], args[1])
        clear = error == SbiError.SUCCESS and valid and bool(targets)
        self._happened(vcpu, sent, clear=clear and vcpu not in targets)
        for target in targets:
            awake = target is not vcpu and target.mp_state != MP_STATE_STOPPED
            self._happened(target, FwEvent(sent + 1), clear=clear and awake)

    def _happened(self, vcpu: object, code: FwEvent, *, clear: bool) -> None:
        hart: int = vcpu.id  # type: ignore[attr-defined]
        self._counts[hart, int(code)] += 1
        if not clear:
            self._unknown(hart, int(code))
