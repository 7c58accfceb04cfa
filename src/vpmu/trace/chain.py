"""A chain: one thing that went wrong in a run, and the records that tell of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..brief import Brief
from ..spec.sbi import SbiError
from .recorder import LAYERS, Record

EARLIER, LATER = 4, 3
"""Records before and after that a chain keeps."""
HARMLESS = frozenset({int(SbiError.SUCCESS), int(SbiError.ALREADY_STARTED), int(SbiError.ALREADY_STOPPED)})
_CREATING = frozenset({"create", "enable", "reschedule", "refuse"})


@dataclass(slots=True, repr=False)
class Chain(Brief):
    """One thing that went wrong: its kind, one sentence, the records from the moment, and what came of it.

    `earlier`, `later`: the records before and after in which the guest meets the same counter. `times`: how
    often the same happened. `because`: what had gone wrong with the counter before.
    """

    kind: str
    title: str
    records: tuple[Record, ...]
    later: list[Record] = field(default_factory=list)
    times: int = 1
    earlier: tuple[Record, ...] = ()
    because: tuple[str, ...] = ()

    @property
    def culprit(self) -> Record | None:
        """The record of the lowest layer that refused, or of the fault that was ordered."""
        marked = [record for record in self.records if mark(record) != " "]
        faults = [record for record in marked if record.actor == "fault"]
        return max(faults or marked, key=lambda record: depth(record.layer), default=None)


def mark(record: Record) -> str:
    """`!` for a fault that was ordered, `x` where a layer refused or failed, `*` for a value that is not what
    the hart did, a space for anything else.
    """
    if record.actor == "fault":
        return "!"
    if record.actor == "oracle":
        return "*"
    result = record.result
    if record.layer == "perf":
        wrong = record.action in _CREATING and result not in ("ok", "active")
    elif record.layer == "sbi":
        wrong = record.action in ("kvm-run-error", "host-lost") or error_of(record) not in HARMLESS
    elif record.actor == "perf_event_period":  # perf refuses 2^63 and more every time: no guest waits so long
        wrong = record.action == "refused" and 0 < number(record, "period") < 1 << 63
    else:
        wrong = record.action in ("refuse", "refused", "failed") or record.args.get("delivered") is False
    return "x" if wrong else " "


def depth(layer: str) -> int:
    """How far below the guest a layer is."""
    return LAYERS.index(layer) if layer in LAYERS else len(LAYERS)


def error_of(record: Record) -> int:
    """The SBI error of a call, 0 for anything else."""
    result = record.result
    return result[0] if isinstance(result, tuple) and result and isinstance(result[0], int) else 0


def number(record: Record, key: str) -> int:
    """An argument that is a number, 0 where there is none."""
    value = record.args.get(key, 0)
    return value if isinstance(value, int) else 0


def faults_of(group: tuple[Record, ...]) -> list[Record]:
    """The faults that were ordered among these records."""
    return [record for record in group if record.actor == "fault"]
