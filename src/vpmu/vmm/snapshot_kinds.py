"""Kinds of values in the state of a machine, and what a value that is none of a kind is refused with."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from .devicetree import PLIC_SOURCES

U64, BYTE = (1 << 64) - 1, 255
FAR = 1 << 62
"""Counts and times that no run reaches: what is added to them stays below 2^64."""
SOURCES = (1 << PLIC_SOURCES + 1) - 1
MOST = {
    "_rx": BYTE, "_mcr": BYTE, "_ier": BYTE, "_fcr": BYTE, "_lcr": BYTE, "_msr_delta": BYTE, "_scr": BYTE,
    "_divisor": 0xFFFF, "_line": SOURCES, "_pending": SOURCES, "_claimed": SOURCES, "_enable": SOURCES,
    "_priority": 7, "_threshold": 7, "_input": BYTE, "mp_state": 10, "stalled": FAR, "overflows": FAR,
    "_serial": FAR, "created": FAR, "leaked": FAR, "host_log_lines": FAR, "_index": 63, "fw_started": 63,
    "_noisy": 63, "_started_at": 63, "fw_values": 63, "active": 0xFFFFFFFF, "event_idx": 0xFFFFFFFF,
    "last_overflow": 63,
}  # fmt: skip
"""The largest value of a number, by the name of what holds it; 2^64 - 1 of any other."""
OPTIONAL = frozenset({"_rx", "timer", "_index", "steal_time_area", "address", "active", "last_overflow"})
"""Numbers that may be None."""
CONSTANT = frozenset({"hart_id", "num_hw", "num_fw", "num_counters_total", "available", "_contexts"})
"""What a machine never changes."""


class Senseless(Exception):
    """What no machine can have been in: where, and what it is."""

    def __init__(self, where: str, expected: str, got: object) -> None:
        super().__init__(where)
        self.where, self.expected, self.got = where, expected, got


def attributes_like(where: str, template: Mapping[str, object], values: Mapping[str, object]) -> None:
    """Values of the same names and kinds as those of an object."""
    expect(
        values.keys() <= template.keys(), where, ", ".join(map(str, template)), ", ".join(map(str, values))
    )
    for name, value in values.items():
        if name in CONSTANT:
            expect(value == template[name], f"{where}: {name}", str(template[name]), value)
        _like(f"{where}: {name}", name, template[name], value)


def _like(where: str, name: str, template: object, value: object) -> None:
    if name in OPTIONAL and value is None:
        return
    if isinstance(template, bool):
        expect(isinstance(value, bool), where, "true or false", value)
    elif isinstance(template, int) or (template is None and name in OPTIONAL):
        within(where, value, 0, MOST.get(name, U64))
    elif template is None or isinstance(template, str):
        expect(type(value) is type(template), where, type(template).__name__, value)
    elif isinstance(template, bytes | bytearray):
        same = type(value) is type(template) and (name == "_output" or len(value) == len(template))
        expect(same, where, f"{len(template)} bytes", value)
    else:
        expect(type(value) is type(template), where, type(template).__name__, value)
        if isinstance(template, list | tuple):
            assert isinstance(value, list | tuple)
            expect(len(value) == len(template), where, f"{len(template)} values", len(value))
            for old, new in zip(template, value, strict=True):
                _like(where, name, old, new)
        elif isinstance(value, dict):
            for key, item in value.items():
                within(where, key, 0, MOST.get(name, U64))
                within(where, item, 0, U64)
        elif isinstance(value, set | frozenset | deque):
            for item in value:
                within(where, item, 0, MOST.get(name, U64))


def expect(right: object, where: str, expected: str, got: object) -> None:
    """Refuse what is not right. Senseless."""
    if not right:
        raise Senseless(where, expected, got)


def within(where: str, value: object, least: int, most: int) -> None:
    """An integer in a range, both ends included. Senseless."""
    if not isinstance(value, int) or not least <= value <= most:
        raise Senseless(where, str(most) if least == most else f"{least} to {most}", value)


def row(where: str, value: object, count: int) -> tuple[int, ...]:
    """So many numbers of 64 bits. Senseless."""
    if not isinstance(value, list | tuple) or len(value) != count:
        raise Senseless(where, f"{count} numbers", value)
    for item in value:
        within(where, item, 0, U64)
    return tuple(value)


def items(where: str, value: object, count: int | None = None) -> list[object]:
    """A list, of that length. Senseless."""
    if not isinstance(value, list) or (count is not None and len(value) != count):
        raise Senseless(where, "a list" if count is None else f"a list of {count}", value)
    return value


def table(where: str, value: object) -> dict[Any, Any]:
    """A table. Senseless."""
    if not isinstance(value, dict):
        raise Senseless(where, "a table", value)
    return value


def tally(where: str, value: object, kind: type) -> None:
    """Counts by name, or by three numbers. Senseless."""
    for key, times in table(where, value).items():
        fits = type(key) is kind and (not isinstance(key, tuple) or [type(part) for part in key] == [int] * 3)
        expect(fits, where, "counts", key)
        within(where, times, 0, FAR)
