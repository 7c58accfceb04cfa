"""Traces from files: JSON lines, as `--trace FILE` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import FileError
from .recorder import Record
from .views import SCHEMA, SCHEMA_VERSION

EXPECTED = "a trace as JSON lines (vpmu run IMAGE --trace FILE.jsonl)"


def read_trace(path: str | Path) -> Iterator[Record]:
    """The records of a trace, one after the other. FileError names the line that is none."""
    try:
        with Path(path).open("rb") as stream:
            _check_header(path, stream.readline())
            for number, line in enumerate(stream, 2):
                try:
                    yield record_of(json.loads(line))
                except (ValueError, KeyError, TypeError, RecursionError):
                    what = "damaged trace: not a record" if line.endswith(b"\n") else "truncated trace"
                    raise FileError(path, what, line=number, layer="trace") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            raise FileError.from_os_error(path, error) from None
        raise FileError(repr(str(path)), str(error)) from None


def _check_header(path: str | Path, line: bytes) -> None:
    try:
        header = json.loads(line)
        schema, version = header["schema"], header["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FileError(path, "not a trace", expected=EXPECTED, line=1, layer="trace") from None
    if (schema, version) != (SCHEMA, SCHEMA_VERSION):
        raise FileError(path, "trace", expected=f"{SCHEMA} {SCHEMA_VERSION}", got=f"{schema} {version}",
                        layer="trace")  # fmt: skip


def record_of(value: Mapping[str, object]) -> Record:
    """The record of one line. KeyError, TypeError or ValueError for what is none."""
    time, hart, args = value["time"], value["hart"], value.get("args", {})
    words = (value["layer"], value["actor"], value["action"])
    if type(time) is not int or type(hart) is not int or not isinstance(args, dict):
        raise TypeError("time and hart are numbers, args is a table")
    if not all(isinstance(word, str) for word in words):
        raise TypeError("layer, actor and action are words")
    result = value.get("result")
    # JSON has no tuples: an answer of the SBI is a list of two
    answer = tuple(result) if isinstance(result, list) else result
    layer, actor, action = map(str, words)
    return Record(time, hart, layer, actor, action, args, answer)
