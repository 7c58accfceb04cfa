"""The difference between two runs that matters: not the first of all, which is only who answers there."""

from __future__ import annotations

from collections.abc import Sequence

from ..spec.sbi import Eid
from ..spec.sbi_functions import FUNCTIONS
from ..trace.recorder import Record

EVERYDAY = frozenset({"set_timer", "console_write", "console_write_byte", "send_ipi"})
"""Calls whose arguments are another whenever anything was before."""
INTRODUCTIONS = frozenset(function.name for (eid, _), function in FUNCTIONS.items() if eid == Eid.BASE)
"""Calls that ask who answers: two releases differ in them by definition."""


def first_difference(one: Sequence[Record], two: Sequence[Record]) -> int | None:
    """Index of the first call that is not the same in both, None where all are."""
    for index, (left, right) in enumerate(zip(one, two, strict=False)):
        if _told(left) != _told(right):
            return index
    return min(len(one), len(two)) if len(one) != len(two) else None


def first_that_matters(one: Sequence[Record], two: Sequence[Record]) -> tuple[int, int] | None:
    """Where the runs part, as an index in each: a call that one of the two did not survive; else the first
    difference that is neither an introduction nor of every day; else the first of all. None: no difference.
    """
    if first_difference(one, two) is None:
        return None
    died = _death(one), _death(two)
    if died[0] is not None and died[1] is None:
        return died[0], _counterpart(one, died[0], two)
    if died[1] is not None and died[0] is None:
        return _counterpart(two, died[1], one), died[1]
    for left_out in (INTRODUCTIONS | EVERYDAY, EVERYDAY, frozenset[str]()):
        kept = [[i for i, record in enumerate(side) if record.actor not in left_out] for side in (one, two)]
        at = first_difference([one[i] for i in kept[0]], [two[i] for i in kept[1]])
        if at is not None:
            return (
                kept[0][at] if at < len(kept[0]) else len(one),
                kept[1][at] if at < len(kept[1]) else len(two),
            )
    return None


def _told(record: Record) -> tuple[object, ...]:
    return record.actor, record.args, record.result


def _death(calls: Sequence[Record]) -> int | None:
    """Index of the call at which KVM_RUN failed."""
    return next((i for i, record in enumerate(calls) if record.action == "kvm-run-error"), None)


def _counterpart(calls: Sequence[Record], at: int, others: Sequence[Record]) -> int:
    """Index of the same call in the other run: as often made before, with the same arguments."""
    asked = calls[at].actor, calls[at].args
    before = sum((record.actor, record.args) == asked for record in calls[:at])
    for index, record in enumerate(others):
        if (record.actor, record.args) == asked:
            if not before:
                return index
            before -= 1
    return len(others)
