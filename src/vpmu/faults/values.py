"""Values in fault plans: what each kind takes, from TOML (typed) or from an option (text)."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence

from ..errors import VpmuError
from ..spec.perf import EVENTS
from ..spec.sbi import U64, SbiError
from ..spec.sbi_events import event_by_name, standard_events
from ..spec.sbi_functions import FUNCTIONS, LEGACY

Range = tuple[int, int]
"""Both ends included."""

SNAPSHOT_PAGE = -1
"""The address that stands for the page which the guest has set by snapshot_set_shmem."""

_ERRNOS = {name: number for number, name in errno.errorcode.items()} | {"EOPNOTSUPP": errno.EOPNOTSUPP}
_TIMES = {"": 1, "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_FUNCTIONS = {function.name: key for key, function in FUNCTIONS.items()} | {
    function.name: (int(eid), -1) for eid, function in LEGACY.items()
}


class BadValue(Exception):
    """A value does not fit; `expected` says what would, `known` names to compare with where it is a name of
    that `kind`."""

    def __init__(self, expected: str, known: Sequence[str] = (), kind: str = "word") -> None:
        super().__init__(expected)
        self.expected, self.known, self.kind = expected, known, kind


def _integer(value: object, expected: str, low: int, high: int) -> int:
    if (
        isinstance(value, str)
        and re.fullmatch(r"-?(0[xX][0-9a-fA-F_]+|[0-9_]*[0-9])", value)
        and len(value) < 64
    ):
        try:
            value = int(value, 0)
        except ValueError:
            raise BadValue(expected) from None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadValue(expected)
    return value


def _natural(value: object) -> int:
    return _integer(value, "a number, zero or more", 0, U64)


def _positive(value: object) -> int:
    return _integer(value, "a number above zero", 1, U64)


def _number(value: object) -> int:
    return _integer(value, "a number of 64 bits", -(1 << 63), U64)


def _word(value: object) -> int:
    return _integer(value, "a number of 64 bits", -(1 << 63), U64) & U64


def _flag(value: object) -> bool:
    if value is True or (isinstance(value, str) and value in ("true", "")):
        return True
    raise BadValue("true (leave it out where it is not wanted)")


def _errno(value: object) -> int:
    if isinstance(value, str) and value.upper() in _ERRNOS:
        return _ERRNOS[value.upper()]
    if isinstance(value, str) and not re.fullmatch(r"\d+", value):
        raise BadValue("the name of an errno such as ENOENT", sorted(_ERRNOS), "errno")
    return _integer(value, "an errno, by name or from 1 to 4095", 1, 4095)


def _sbi(value: object) -> int:
    names = {error.name: int(error) for error in SbiError}
    if isinstance(value, str) and value.upper().removeprefix("SBI_ERR_") in names:
        return names[value.upper().removeprefix("SBI_ERR_")]
    if isinstance(value, str) and not re.fullmatch(r"-?\d+", value):
        raise BadValue("the name of an SBI error such as NOT_SUPPORTED", list(names), "SBI error")
    return _integer(value, "an SBI error, by name or number", -(1 << 63), (1 << 63) - 1)


def _time(value: object) -> int:
    found = (
        re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*(ns|us|ms|s|)", value) if isinstance(value, str) else None
    )
    if found is not None:
        return (
            int(float(found[1]) * _TIMES[found[2]]) if "." in found[1] else int(found[1]) * _TIMES[found[2]]
        )
    if isinstance(value, str):
        raise BadValue("virtual time such as 5000, 20us or 1.5ms")
    return _integer(value, "virtual time: nanoseconds, or a text such as 20us", 0, U64)


def _range(value: object) -> Range:
    if isinstance(value, str):
        low, dash, high = value.partition("-")
        first = _integer(low.strip(), "a number or a range such as 0x80200000-0x80201000", 0, U64)
        last = (
            _integer(high.strip(), "a number or a range such as 0x80200000-0x80201000", 0, U64)
            if dash
            else first
        )
    else:
        first = last = _integer(value, "a number or a range such as 0x80200000-0x80201000", 0, U64)
    if last < first:
        raise BadValue("a range whose end is not before its beginning")
    return first, last


def _calls(value: object) -> tuple[Range, ...]:
    items = value if isinstance(value, list) else value.split("+") if isinstance(value, str) else [value]
    if not items:
        raise BadValue("call numbers from 1 on: 3, 2-5, or a list of them")
    ranges = tuple(_range(item) for item in items)
    if any(first < 1 for first, _ in ranges):
        raise BadValue("call numbers from 1 on: 3, 2-5, or a list of them")
    return ranges


def _event(value: object) -> str:
    if isinstance(value, str) and (value in EVENTS or value == "*" or re.fullmatch("r[0-9a-f]{1,14}", value)):
        return value
    raise BadValue("the perf tool's name of an event, rHEX, or *", [*EVENTS, "*"], "event")


def _sbi_event(value: object) -> int:
    if isinstance(value, int):
        return _integer(value, "an event_idx", 0, (1 << 32) - 1)
    try:
        return event_by_name(str(value)).event_idx
    except VpmuError:
        known = list(standard_events())
        raise BadValue("an event: perf's name, fw:NAME or an event_idx", known, "event") from None


def _function(value: object) -> tuple[int, int]:
    if isinstance(value, str) and value in _FUNCTIONS:
        return _FUNCTIONS[value]
    raise BadValue("a function of the SBI such as counter_start", list(_FUNCTIONS), "SBI function")


def _choice(*known: str) -> Callable[[object], str]:
    def choose(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        raise BadValue(" or ".join(known), known)

    return choose


def _name(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\w.$:/-]{1,127}", value):
        return value
    raise BadValue("a name, or an address 0x...")


def _address(value: object) -> Range:
    if value == "snapshot":
        return SNAPSHOT_PAGE, SNAPSHOT_PAGE
    try:
        return _range(value)
    except BadValue:
        raise BadValue(
            "a guest physical address, a range, or snapshot (the page of snapshot_set_shmem)"
        ) from None


KINDS: dict[str, Callable[[object], object]] = {
    "natural": _natural,
    "positive": _positive,
    "number": _number,
    "word": _word,
    "flag": _flag,
    "errno": _errno,
    "sbi": _sbi,
    "time": _time,
    "range": _range,
    "calls": _calls,
    "event": _event,
    "sbi_event": _sbi_event,
    "function": _function,
    "state": _choice("error", "inactive"),
    "access": _choice("read", "write"),
    "address": _address,
    "name": _name,
}
"""Kind -> from a value of a plan to the one that is compared or used. Raises BadValue."""
