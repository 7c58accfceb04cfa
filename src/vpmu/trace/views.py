"""Views of a record stream: text for people, JSON lines for programs, Chrome JSON for Perfetto.

All three are functions of the records alone, so equal streams give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

from ..spec.sbi import Eid, error_name
from ..spec.sbi_events import event_name
from .recorder import LAYERS, Record
from .stream import Stream

_EXTENSIONS = frozenset(int(eid) for eid in Eid)

SCHEMA = "vpmu-trace"
SCHEMA_VERSION = 1

_HEX_FROM = 4096
"""Integers from here up are addresses, masks and register values more often than counts."""


def plain(value: object) -> object:
    """`value` as JSON can hold it: named tuples become objects, bytes become hex, anything unknown its
    `str`."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


def as_object(record: Record) -> dict[str, object]:
    """The record as one JSON object with a fixed order of keys; `args` and `result` are left out where
    empty."""
    out: dict[str, object] = {
        "time": record.time,
        "hart": record.hart,
        "layer": record.layer,
        "actor": record.actor,
        "action": record.action,
    }
    if record.args:
        out["args"] = plain(record.args)
    if record.result is not None:
        out["result"] = plain(record.result)
    return out


COLUMNS = ("time", "hart", "layer", "actor", "action", "args", "result")
"""Of a trace as a table."""


def as_row(record: Record) -> tuple[object, ...]:
    """The record as a row of COLUMNS: `args` and `result` as JSON, None where there is none."""
    plain_ones = as_object(record)
    told = [json.dumps(plain_ones[name]) if name in plain_ones else None for name in ("args", "result")]
    return (*(plain_ones[name] for name in COLUMNS[:5]), *told)


def header() -> str:
    """The first line of a JSON-lines trace: which schema, which version, which unit of time."""
    return json.dumps({"schema": SCHEMA, "version": SCHEMA_VERSION, "time_unit": "virtual ns"})


def as_json_line(record: Record) -> str:
    """The record as one line of JSON, without the newline."""
    return json.dumps(as_object(record), separators=(",", ":"))


def show(value: object) -> str:
    """One value for a person: large integers in hexadecimal, small ones in decimal, bytes as their length
    and head."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int):
        name = getattr(value, "name", None)
        if isinstance(name, str):
            return name
        return hex(value) if abs(value) >= _HEX_FROM else str(int(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        return f"{len(data)} bytes {data[:8].hex()}{'…' if len(data) > 8 else ''}"
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return "(" + ", ".join(f"{key}={show(item)}" for key, item in value._asdict().items()) + ")"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(show(item) for item in value) + "]"
    return str(value)


def show_argument(record: Record, key: str) -> str:
    """An argument for a person: events and extensions have their name behind the number."""
    value = record.args[key]
    if key == "event_idx" and isinstance(value, int):
        data = record.args.get("event_data", 0)
        return f"{value:#x} ({event_name(value, data if isinstance(data, int) else 0)})"
    if key == "extension_id" and value in _EXTENSIONS:
        return Eid(value).name
    if key in ("csr", "pc", "stval", "gpa") and isinstance(value, int):
        return hex(value)
    return show(value)


def show_result(record: Record) -> str:
    """A result for a person: an SBI error by its name."""
    result = record.result
    if (
        record.layer == "sbi"
        and isinstance(result, tuple)
        and len(result) == 2
        and isinstance(result[0], int)
    ):
        return f"{error_name(result[0])}, {show(result[1])}"
    return show(result)


def words(record: Record) -> str:
    """What happened, without time and place: `actor.action(args) -> result`."""
    args = ", ".join(f"{key}={show_argument(record, key)}" for key in record.args)
    result = "" if record.result is None else f" -> {show_result(record)}"
    return f"{record.actor}.{record.action}({args}){result}"


def as_text(record: Record) -> str:
    """The record as one line: time in ns, hart, layer, then `actor.action(args) -> result`."""
    return f"{record.time:>14,} ns  hart{record.hart}  {record.layer:<5}  {words(record)}"


def as_chrome_event(record: Record) -> str:
    """The record as one instant event of the Chrome trace format: a process per hart, a thread per layer."""
    args = dict(as_object(record))
    for key in ("time", "hart", "layer"):
        del args[key]
    event = {
        "name": f"{record.actor}.{record.action}",
        "ph": "i",
        "s": "t",
        "ts": record.time / 1000,
        "pid": record.hart,
        "tid": LAYERS.index(record.layer) if record.layer in LAYERS else len(LAYERS),
        "cat": record.layer,
        "args": args,
    }
    return json.dumps(event, separators=(",", ":"))


class TraceFile:
    """A context manager that writes records to `path` as they come: a sink for `Recorder`.

    The ending of the name chooses the view: `.txt` and `.log` text, `.json` Chrome JSON (Perfetto opens
    it), anything else JSON lines.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        self._render: Callable[[Record], str] = as_json_line
        self._open, self._between, self._close = header() + "\n", "\n", "\n"
        if suffix in (".txt", ".log"):
            self._render, self._open = as_text, ""
        elif suffix == ".json":
            self._render = as_chrome_event
            self._open, self._between, self._close = '{"traceEvents":[\n', ",\n", "\n]}\n"
        self._stream: Stream | None = None
        self._count = 0

    def __enter__(self) -> TraceFile:
        self._stream = Stream(self.path, self._open)
        return self

    def __call__(self, record: Record) -> None:
        if self._stream is None:
            raise ValueError(f"trace {self.path}: a record came while the file was not open")
        text = self._render(record)
        self._stream.write(f"{self._between}{text}" if self._count else text)
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stream is not None:
            ends = self._count or self._between == ",\n"
            self._stream.close(self._close if ends else "", failed=error is not None)
            self._stream = None
