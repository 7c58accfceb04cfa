"""Traces from files: JSON lines, as `--trace FILE` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from ..errors import FileError
from .recorder import Record
from .views import SCHEMA, SCHEMA_VERSION, header

EXPECTED = "a trace as JSON lines (vpmu run IMAGE --trace FILE.jsonl)"


MAX_LINE = 16 << 20
"""Bytes of a record, at most."""
MAX_VALUES, MAX_DEPTH = 100_000, 16


class Trace:
    """The records of a trace, one after the other. `cut` is the line in which it ends too early, once it has
    been read; what comes before is whole. FileError names a line that is no record.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.cut: int | None = None

    def __iter__(self) -> Iterator[Record]:
        try:
            with Path(self.path).open("rb") as stream:
                yield from self._records(stream)
        except OSError as error:
            raise FileError.from_os_error(self.path, error) from None
        except ValueError as error:  # a NUL in the name
            raise FileError(repr(str(self.path)), str(error)) from None

    def _records(self, stream: IO[bytes]) -> Iterator[Record]:
        head = stream.readline(MAX_LINE)
        if head and not head.endswith(b"\n") and header().encode().startswith(head):
            self.cut = 1
            return
        _check_header(self.path, head)
        number = 1
        while line := stream.readline(MAX_LINE):
            number += 1
            try:
                record = record_of(json.loads(line))
            except (ValueError, KeyError, TypeError, RecursionError):
                if not line.endswith(b"\n") and len(line) < MAX_LINE:
                    self.cut = number
                    return
                raise FileError(
                    self.path, "damaged trace: not a record", line=number, layer="trace"
                ) from None
            yield record


def read_trace(path: str | Path) -> Trace:
    """A trace from a file; nothing is read before its records are asked for."""
    return Trace(path)


def _check_header(path: str | Path, line: bytes) -> None:
    try:
        header = json.loads(line)
        schema, version = header["schema"], header["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FileError(path, "not a trace", expected=EXPECTED, line=1, layer="trace") from None
    if (schema, version) != (SCHEMA, SCHEMA_VERSION):
        raise FileError(path, "trace", expected=f"{SCHEMA} {SCHEMA_VERSION}", got=f"{schema} {version}",
                        layer="trace")  # fmt: skip


def _check_values(values: list[object]) -> None:
    """ValueError for what no record holds: numbers of more than 64 bits, or too much in one another."""
    total = 0
    for _ in range(MAX_DEPTH):
        total += len(values)
        if any(isinstance(value, int) and not -(1 << 63) <= value < 1 << 64 for value in values):
            raise ValueError("a number of more than 64 bits")
        inside = [value.values() if isinstance(value, dict) else value
                  for value in values if isinstance(value, dict | list)]  # fmt: skip
        values = [value for some in inside for value in some]
    if values or total > MAX_VALUES:
        raise ValueError("too much in one another")


def record_of(value: Mapping[str, object]) -> Record:
    """The record of one line. KeyError, TypeError or ValueError for what is none."""
    time, hart, args = value["time"], value["hart"], value.get("args", {})
    words = (value["layer"], value["actor"], value["action"])
    if type(time) is not int or type(hart) is not int or not isinstance(args, dict):
        raise TypeError("time and hart are numbers, args is a table")
    if not 0 <= time < 1 << 64 or not 0 <= hart < 1 << 32:
        raise ValueError("a time of 64 bits, a hart of 32")
    if not all(isinstance(word, str) for word in words):
        raise TypeError("layer, actor and action are words")
    result = value.get("result")
    _check_values([args, result])
    called = value["layer"] == "sbi" and value["action"] == "call" and not isinstance(result, str)
    if called and not (isinstance(result, list) and [type(item) for item in result] == [int, int]):
        raise TypeError("an answer of the SBI is two numbers, or the name of an exit")
    # JSON has no tuples: an answer of the SBI is a list of two
    answer = tuple(result) if isinstance(result, list) else result
    layer, actor, action = map(str, words)
    return Record(time, hart, layer, actor, action, args, answer)
