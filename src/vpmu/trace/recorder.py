"""One stream of typed records from all layers, stamped with virtual time.

A record says *who* (layer, actor) did *what* (action, args) and *what came of it* (result). The stamps are
virtual, so two runs of one input give the same stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..rows import Rows


LAYERS = ("guest", "sbi", "kvm", "firmware", "perf", "hart", "vmm")
"""The layers that may write records, in the order in which a call falls through them (`vmm` is user space).
"""


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that one layer did. `time` is virtual nanoseconds since power-on; `result` is None where
    there is none."""

    time: int
    hart: int
    layer: str
    actor: str
    action: str
    args: dict[str, object] = field(default_factory=dict)
    result: object | None = None


def _at_power_on() -> int:
    return 0


class Recorder:
    """Collects records in `records`, or hands each to `sink` as it comes and keeps none.

    `clock` gives virtual nanoseconds; the machine sets it. Hot paths test `enabled` before they build
    arguments.
    """

    __slots__ = ("_sink", "clock", "enabled", "records")

    def __init__(
        self,
        sink: Callable[[Record], None] | None = None,
        *,
        clock: Callable[[], int] = _at_power_on,
        enabled: bool = True,
    ) -> None:
        self.enabled = enabled
        self.clock = clock
        self.records: list[Record] = []
        self._sink = sink

    def emit(
        self,
        layer: str,
        actor: str,
        action: str,
        result: object | None = None,
        *,
        hart: int = 0,
        **args: object,
    ) -> None:
        """Write one record now; nothing happens while the recorder is disabled."""
        if not self.enabled:
            return
        record = Record(self.clock(), hart, layer, actor, action, args, result)
        if self._sink is None:
            self.records.append(record)
        else:
            self._sink(record)

    def rows(self) -> Rows:
        """The kept records as a table; arguments and result are JSON."""
        from ..rows import Rows
        from .views import COLUMNS, as_row

        return Rows(COLUMNS, [as_row(record) for record in self.records])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self.records):,} records>"

    def _repr_html_(self) -> str:
        return self.rows()._repr_html_()


def note_end(recorder: Recorder, stop: str, reason: str, *, ok: bool, values: int, wrong: int) -> None:
    """The last record of a run: how it ended, and how many of the values that the guest read were wrong."""
    recorder.emit("vmm", "run", "end", stop, reason=reason, ok=ok, values=values, wrong=wrong)


class _Null(Recorder):
    """Stays disabled: one instance is shared by every machine that records nothing."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(enabled=False)

    def emit(
        self,
        layer: str,
        actor: str,
        action: str,
        result: object | None = None,
        *,
        hart: int = 0,
        **args: object,
    ) -> None:
        """Drop the record, whatever became of `enabled`."""


NULL: Recorder = _Null()
"""The recorder that records nothing."""
