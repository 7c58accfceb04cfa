"""SSE: supervisor software events, as OpenSBI has them (lib/sbi/sbi_sse.c). Nothing here raises one by
itself: a supervisor injects them.
"""

from __future__ import annotations

from ..firmware import domain
from ..profiles.opensbi_behaviours import OB
from ..see.exits import EventResumed
from ..see.software_events import (
    ENABLED,
    GLOBAL,
    INJECTABLE,
    PENDING,
    REGISTERED,
    RUNNING,
    STATES,
    UNUSED,
    Attribute,
    events_of,
)
from ..see.vcpu_api import MP_STATE_STOPPED, MemoryFault, VcpuLike
from ..spec.sbi import SbiError, SbiRet, SseFid
from . import harts
from .answer import FAILED, INVALID_ADDRESS, INVALID_PARAM, NOT_SUPPORTED, SUCCESS, Answer, Args

_LOCAL_RAS, _DOUBLE_TRAP, _GLOBAL_RAS = 0, 1, 0x8000
_PMU_OVERFLOW, _LOCAL_SOFTWARE, _GLOBAL_SOFTWARE = 0x10000, 0xFFFF0000, 0xFFFF8000
_EVERYWHERE = (_PMU_OVERFLOW, _LOCAL_SOFTWARE, _GLOBAL_SOFTWARE)
_OLD = (_LOCAL_RAS, _DOUBLE_TRAP, _GLOBAL_RAS, *_EVERYWHERE)
_KNOWN = (_LOCAL_RAS, _DOUBLE_TRAP, _GLOBAL_RAS, 0x100000, 0x108000)
"""Events of the specification that nothing raises here."""
_U32 = 0xFFFFFFFF
ONESHOT = 1
_FLAGS = 15
_SETTINGS = (Attribute.CONFIG, Attribute.PRIORITY, Attribute.PREFERRED_HART)
_INTERRUPTED = (
    Attribute.INTERRUPTED_SEPC, Attribute.INTERRUPTED_FLAGS,
    Attribute.INTERRUPTED_A6, Attribute.INTERRUPTED_A7,
)  # fmt: skip
_INVALID_STATE, _BAD_RANGE = SbiRet(SbiError.INVALID_STATE), SbiRet(SbiError.BAD_RANGE)


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """The functions of SSE; event numbers and numbers of attributes have 32 bits."""
    event = args[0] & _U32
    match fid:
        case SseFid.READ_ATTRS:
            return _attributes(vcpu, event, args, write=False)
        case SseFid.WRITE_ATTRS:
            return _attributes(vcpu, event, args, write=True)
        case SseFid.REGISTER:
            return _register(vcpu, event, args[1], args[2])
        case SseFid.COMPLETE:
            return _complete(vcpu)
        case SseFid.INJECT:
            return _inject(vcpu, event, args[1])
        case SseFid.HART_MASK | SseFid.HART_UNMASK:
            return _mask(vcpu, masked=fid == SseFid.HART_MASK)
        case SseFid.UNREGISTER:
            return _move(vcpu, event, REGISTERED, UNUSED)
        case SseFid.ENABLE:
            return _move(vcpu, event, REGISTERED, ENABLED)
        case SseFid.DISABLE:
            return _move(vcpu, event, ENABLED, REGISTERED)
    return NOT_SUPPORTED


def _row(vcpu: VcpuLike, event: int) -> list[int] | SbiRet:
    """The attributes of an event, or the refusal of one that is not there."""
    old = vcpu.profile.has(OB.OPENSBI_SSE_ALL_EVENTS)
    if event not in (_OLD if old else _EVERYWHERE):
        return NOT_SUPPORTED if event in _KNOWN and not old else INVALID_PARAM
    owner = vcpu.vcpus[0] if event & GLOBAL else vcpu
    fresh = [INJECTABLE, 0, 0, owner.hart_id, 0, 0, 0, 0, 0, 0]
    return owner.software_events.setdefault(event, fresh)


def _attributes(vcpu: VcpuLike, event: int, args: Args, *, write: bool) -> SbiRet:
    first, count, low, high = args[1] & _U32, args[2] & _U32, args[3], args[4]
    if not count:
        return INVALID_PARAM
    if first + count > len(Attribute):
        return _BAD_RANGE
    if low % 8 or high or not domain.allows_range(vcpu.profile, low, 8 * count):
        return INVALID_ADDRESS
    row = _row(vcpu, event)
    if isinstance(row, SbiRet):
        return row
    try:
        if not write:
            data = b"".join(word.to_bytes(8, "little") for word in row[first : first + count])
            vcpu.memory.write(low, data)
            return SUCCESS
        data = vcpu.memory.read(low, 8 * count)
    except MemoryFault:  # the firmware itself faults there, and the hart hangs
        return INVALID_ADDRESS
    values = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]
    for attribute, value in enumerate(values, first):
        refusal = _refused(vcpu, event, row, attribute, value)
        if refusal is not None:
            return refusal
    row[first : first + count] = values
    return SUCCESS


def _refused(vcpu: VcpuLike, event: int, row: list[int], attribute: int, value: int) -> SbiRet | None:
    """Why an attribute cannot be set to a value (sse_event_set_attr_check)."""
    state = row[Attribute.STATUS] & STATES
    if attribute in _SETTINGS and state >= ENABLED:
        return _INVALID_STATE
    match attribute:
        case Attribute.CONFIG:
            return INVALID_PARAM if value & ~ONESHOT else None
        case Attribute.PRIORITY:
            return INVALID_PARAM if value > _U32 else None
        case Attribute.PREFERRED_HART:
            if not event & GLOBAL:
                return _BAD_RANGE
            target = harts.by_id(vcpu, value & _U32)
            return INVALID_PARAM if target is None or target.mp_state == MP_STATE_STOPPED else None
        case _ if attribute in _INTERRUPTED:
            if attribute == Attribute.INTERRUPTED_FLAGS and value > _FLAGS:
                return INVALID_PARAM
            if state != RUNNING:
                return _INVALID_STATE
            return None if row[Attribute.PREFERRED_HART] == vcpu.hart_id else INVALID_PARAM
    old = vcpu.profile.has(OB.OPENSBI_SSE_READ_ONLY_IS_BAD_RANGE)
    return SbiRet(SbiError.BAD_RANGE if old else SbiError.DENIED)


def _register(vcpu: VcpuLike, event: int, entry: int, argument: int) -> SbiRet:
    if entry & 1:
        return INVALID_PARAM
    if not domain.allows_range(vcpu.profile, entry, 8):
        return INVALID_ADDRESS
    row = _row(vcpu, event)
    if isinstance(row, SbiRet):
        return row
    if row[Attribute.STATUS] & STATES != UNUSED:
        return _INVALID_STATE
    row[Attribute.ENTRY_PC], row[Attribute.ENTRY_ARG] = entry, argument
    row[Attribute.STATUS] |= REGISTERED
    return SUCCESS


def _move(vcpu: VcpuLike, event: int, old: int, new: int) -> SbiRet:
    row = _row(vcpu, event)
    if isinstance(row, SbiRet):
        return row
    if row[Attribute.STATUS] & STATES != old:
        return _INVALID_STATE
    row[Attribute.STATUS] = row[Attribute.STATUS] & ~STATES | new
    return SUCCESS


def _inject(vcpu: VcpuLike, event: int, hart_id: int) -> SbiRet:
    target = harts.by_id(vcpu, hart_id & _U32)
    if target is None:
        return INVALID_PARAM
    row = _row(vcpu, event)
    if isinstance(row, SbiRet):
        return row
    if event & GLOBAL:  # the hart that is named does not count
        target = harts.by_id(vcpu, row[Attribute.PREFERRED_HART]) or target
    if target.mp_state == MP_STATE_STOPPED:  # no interrupt reaches it
        return FAILED
    if target is not vcpu and not event & GLOBAL:
        theirs = _row(target, event)
        assert not isinstance(theirs, SbiRet)
        row = theirs
    if row[Attribute.STATUS] & STATES not in (ENABLED, RUNNING):
        # Another hart, or a number beyond 32 bits, is told by an interrupt: nobody hears of it.
        return _INVALID_STATE if target is vcpu and (event & GLOBAL or hart_id <= _U32) else SUCCESS
    row[Attribute.STATUS] |= PENDING
    if target is not vcpu:
        target.interrupt_for_event()
    return SUCCESS


def _mask(vcpu: VcpuLike, *, masked: bool) -> SbiRet:
    if vcpu.events_masked == masked:
        swapped = vcpu.profile.has(OB.OPENSBI_SSE_MASK_ERRORS_SWAPPED)
        return SbiRet(SbiError.ALREADY_STOPPED if masked != swapped else SbiError.ALREADY_STARTED)
    vcpu.events_masked = masked
    return SUCCESS


def _complete(vcpu: VcpuLike) -> Answer:
    for _, row in events_of(vcpu):  # type: ignore[arg-type]
        if row[Attribute.STATUS] & STATES == RUNNING:
            state = REGISTERED if row[Attribute.CONFIG] & ONESHOT else ENABLED
            row[Attribute.STATUS] = row[Attribute.STATUS] & ~STATES | state
            vcpu.leave_event(row)
            return EventResumed()
    return SUCCESS
