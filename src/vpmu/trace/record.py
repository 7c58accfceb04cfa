"""One record of a trace. Records cross processes, so they stay Python where rooms are compiled."""

from __future__ import annotations

from dataclasses import dataclass, field


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
