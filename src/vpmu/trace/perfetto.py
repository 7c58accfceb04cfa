"""A trace that opens in Perfetto (Chrome's JSON format): harts are processes, layers are threads, counts are
tracks, and the time in which a perf event counts is a slice.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType

from ..errors import FileError
from .recorder import LAYERS, Record
from .stream import Stream
from .views import as_chrome_event


class PerfettoFile:
    """A context manager that writes records to `path` as they come: a sink for `Recorder`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._stream: Stream | None = None
        self._harts: set[int] = set()
        self._first = True
        self._last = 0
        self._since: dict[tuple[int, str], int] = {}
        self._tracks: dict[tuple[int, str], int] = {}
        self._counted: set[tuple[int, str]] = set()

    def __enter__(self) -> PerfettoFile:
        self._stream = Stream(self.path, '{"displayTimeUnit":"ns","traceEvents":[\n')
        return self

    def __call__(self, record: Record) -> None:
        if record.hart not in self._harts:
            self._harts.add(record.hart)
            self._name(record.hart)
        self._put(as_chrome_event(record))
        self._last = record.time
        if record.layer == "perf" and record.actor == "perf_event":
            self._counting(record)
        for key, value in (*record.args.items(), ("value", record.result)):
            counts = (record.actor, key) in _TRACKS
            if counts and isinstance(value, int):
                name = _counter(record)
                self._event(name=name, ph="C", ts=record.time / 1000, pid=record.hart, args={key: value})

    def _counting(self, record: Record) -> None:
        """A slice for the time in which the event has a counter of the host."""
        event = str(record.args.get("event"))
        key = (record.hart, event)
        if record.action == "release":
            self._counted.discard(key)
        on = record.action in ("enable", "reschedule") and record.result == "active"
        if on and key not in self._since:
            self._since[key] = record.time
            if key not in self._counted:
                self._event(name=event, ph="C", ts=record.time / 1000, pid=record.hart, args={"count": 0})
                self._counted.add(key)
        elif not on and record.action in ("disable", "release", "enable", "reschedule"):
            self._slice(key, record.time)

    def _slice(self, key: tuple[int, str], end: int) -> None:
        since = self._since.pop(key, None)
        if since is None:
            return
        hart, event = key
        if key not in self._tracks:
            self._tracks[key] = len(LAYERS) + 1 + len(self._tracks)
            self._event(
                name="thread_name", ph="M", pid=hart, tid=self._tracks[key],
                args={"name": f"{event} counts"},
            )  # fmt: skip
        self._event(name=event, ph="X", ts=since / 1000, dur=(end - since) / 1000, pid=hart,
                    tid=self._tracks[key], cat="perf", args={})  # fmt: skip

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stream is not None:
            if not isinstance(error, FileError):
                for key in list(self._since):  # the run ended while it counted
                    self._slice(key, self._last)
            self._stream.close("\n]}\n", failed=error is not None)
            self._stream = None

    def _name(self, hart: int) -> None:
        self._event(name="process_name", ph="M", pid=hart, args={"name": f"hart {hart}"})
        for number, layer in enumerate(LAYERS):
            self._event(name="thread_name", ph="M", pid=hart, tid=number, args={"name": layer})

    def _event(self, **event: object) -> None:
        self._put(json.dumps(event, separators=(",", ":")))

    def _put(self, text: str) -> None:
        if self._stream is None:
            raise ValueError(f"trace {self.path}: a record came while the file was not open")
        self._stream.write(text if self._first else f",\n{text}")
        self._first = False


def _counter(record: Record) -> str:
    """Of what a number is: Perfetto puts the argument's name behind it."""
    csr = record.args.get("csr")
    return f"CSR {csr:#x}" if isinstance(csr, int) else str(record.args.get("event", record.actor))


_TRACKS = frozenset({("perf_event", "count"), ("csr", "value")})
"""Actor and argument of the records whose numbers are counts."""
