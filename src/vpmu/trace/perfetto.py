"""A trace that opens in Perfetto (Chrome's JSON format): harts are processes, layers are threads, counts
are tracks.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import IO

from .recorder import LAYERS, Record
from .views import as_chrome_event


class PerfettoPath(str):
    """A file name that stands for this view, whatever its ending is."""

    __slots__ = ()


class PerfettoFile:
    """A context manager that writes records to `path` as they come: a sink for `Recorder`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: IO[str] | None = None
        self._harts: set[int] = set()
        self._first = True

    def __enter__(self) -> PerfettoFile:
        self._file = self.path.open("w", encoding="utf-8", newline="\n")
        self._file.write('{"displayTimeUnit":"ns","traceEvents":[\n')
        return self

    def __call__(self, record: Record) -> None:
        if record.hart not in self._harts:
            self._harts.add(record.hart)
            self._name(record.hart)
        self._put(as_chrome_event(record))
        for key, value in (*record.args.items(), ("value", record.result)):
            counts = (record.actor, key) in _TRACKS
            if counts and isinstance(value, int):
                name = f"{record.args.get('event', record.args.get('csr', record.actor))} {key}"
                self._event(name=name, ph="C", ts=record.time / 1000, pid=record.hart, args={key: value})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.write("\n]}\n")
            self._file.close()
            self._file = None

    def _name(self, hart: int) -> None:
        self._event(name="process_name", ph="M", pid=hart, args={"name": f"hart {hart}"})
        for number, layer in enumerate(LAYERS):
            self._event(name="thread_name", ph="M", pid=hart, tid=number, args={"name": layer})

    def _event(self, **event: object) -> None:
        self._put(json.dumps(event, separators=(",", ":")))

    def _put(self, text: str) -> None:
        if self._file is None:
            raise ValueError(f"trace {self.path}: a record came while the file was not open")
        self._file.write(text if self._first else f",\n{text}")
        self._first = False


_TRACKS = frozenset({("perf_event", "count"), ("csr", "value")})
"""Actor and argument of the records whose numbers are counts."""
