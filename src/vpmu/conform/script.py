"""The language in which the suite's tests are written, one line per call:

    [NAME =] OPERATION ARGUMENT...  [-> EXPECTED]  [~ BEHAVIOUR: EXPECTED]...

Arguments are expressions over numbers, flag names, the target's facts (`target.probe`) and the NAMEs of
earlier lines; a NAME alone stands for that call's value (`Ref`), `bit(NAME)` for 1 << value. EXPECTED is one
or more alternatives joined by `|`: an SBI error name, a comparison (`= E`, `!= E`, `>= E`, `<= E`, `in
E..E`, `among E`: the value is an index in the set E), both, `trap`, `host lost`, or `any`. Without `->` an
SBI call must succeed, and nothing may trap. `~` says what is expected of an implementation with that
behaviour (profiles.behaviours).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import CodeType

from ..spec.sbi import U64, ConfigFlag, Eid, PmuFid, SbiError, StartFlag, StopFlag
from ..spec.sbi_events import FwEvent, HwEvent
from .calls import Call, Operand, Ref, Result

_PMU_CALLS = {
    "num": (PmuFid.NUM_COUNTERS, 0),
    "info": (PmuFid.COUNTER_GET_INFO, 1),
    "cfg": (PmuFid.COUNTER_CONFIG_MATCHING, 5),
    "start": (PmuFid.COUNTER_START, 4),
    "stop": (PmuFid.COUNTER_STOP, 3),
    "fwread": (PmuFid.COUNTER_FW_READ, 1),
    "fwhi": (PmuFid.COUNTER_FW_READ_HI, 1),
    "shmem": (PmuFid.SNAPSHOT_SET_SHMEM, 3),
    "evinfo": (PmuFid.EVENT_GET_INFO, 4),
}
_PLAIN = {
    "ecall": "e", "csr": "c", "work": "w", "load": "l", "store": "s", "fill": "f", "differ": "k", "ucsr": "u",
    "touch": "t", "wcsr": "W", "csrset": "C", "interrupts": "i", "reset": "R",
    "sipget": "G", "sipset": "S", "protect": "P", "unreclaimable": "M",
}  # fmt: skip
_FIXED_CALLS = {
    "timer": (int(Eid.TIME), 0, U64),
    "ipi": (int(Eid.IPI), 0, 1, 0),
    "fencei": (int(Eid.RFENCE), 0, 1, 0),
    "sfence": (int(Eid.RFENCE), 1, 1, 0, 0, U64),
    "sfenceasid": (int(Eid.RFENCE), 2, 1, 0, 0, U64, 1),
}

CONSTANTS: dict[str, int] = {
    **{flag.name: int(flag) for flags in (ConfigFlag, StartFlag, StopFlag) for flag in flags if flag.name},
    "CLEAR": int(ConfigFlag.CLEAR_VALUE),
    "SKIP": int(ConfigFlag.SKIP_MATCH),
    "AUTO": int(ConfigFlag.AUTO_START),
    "INIT": int(StartFlag.SET_INIT_VALUE),
    "SNAP": int(StopFlag.TAKE_SNAPSHOT),
    "CYCLES": int(HwEvent.CPU_CYCLES),
    "INSTRS": int(HwEvent.INSTRUCTIONS),
    **{f"FW_{event.name}": 0xF0000 | event for event in FwEvent},
    **{f"EID_{eid.name}": int(eid) for eid in Eid},
}
"""Names that every expression may use."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One thing that a call may give: an error, a trap, the end of the host, a comparison of its value, or
    several of these.
    """

    error: int | None = None
    trap: bool = False
    lost: bool = False
    comparison: str = ""
    operands: tuple[CodeType, ...] = ()


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a call may give: any of the alternatives; none: whatever it does is right."""

    text: str
    alternatives: tuple[Alternative, ...]

    def met(self, result: Result, names: Mapping[str, int]) -> bool:
        """Whether `result` is one of the alternatives; `names` gives the values of the expressions."""
        return not self.alternatives or any(_met(one, result, names) for one in self.alternatives)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a test."""

    text: str
    op: str
    name: str
    prefix: tuple[int, ...]
    arguments: tuple[CodeType, ...]
    references: tuple[tuple[str, bool] | None, ...]
    expected: Expectation
    divergences: tuple[tuple[tuple[str, ...], Expectation], ...] = field(default=())

    def call(self, facts: Mapping[str, int], places: Mapping[str, int]) -> Call:
        """The call for a target with these facts; `places`: which call each NAME is. Raises NameError."""
        operands: list[Operand] = list(self.prefix)
        for code, reference in zip(self.arguments, self.references, strict=True):
            if reference is not None and reference[0] in places:
                operands.append(Ref(places[reference[0]], bit=reference[1]))
            else:
                operands.append(evaluate(code, facts))
        return Call(self.op, tuple(operands))


def evaluate(code: CodeType, names: Mapping[str, int]) -> int:
    """The value of a compiled expression, unsigned 64 bits. NameError for a name that is not known."""
    scope = {**CONSTANTS, **names}
    return int(eval(code, {"__builtins__": {}}, scope)) & U64


_LINE = re.compile(r"(?:(?P<name>[a-z]\w*) = )?(?P<rest>.*)")
_BIT = re.compile(r"bit\((\w+)\)")
_NAME = re.compile(r"[a-z]\w*")


def parse(text: str) -> tuple[Step, ...]:
    """The steps of a test. Raises ValueError for a line that does not follow the language."""
    return tuple(_step(line.strip()) for line in text.strip().splitlines() if line.strip())


def _step(line: str) -> Step:
    head, *divergences = re.split(r"\s+~\s+", line)
    call, arrow, expected = head.partition("->")
    matched = _LINE.fullmatch(call.strip())
    assert matched is not None
    words = matched["rest"].split()
    operation, arguments = words[0], words[1:]
    prefix: tuple[int, ...] = ()
    if operation in _PMU_CALLS:
        fid, count = _PMU_CALLS[operation]
        prefix = (int(Eid.PMU), int(fid))
        if len(arguments) > count:
            raise ValueError(f"{line!r}: at most {count} arguments")
        op = "e"
        arguments += ["0"] * (count - len(arguments))
    elif operation in _FIXED_CALLS:
        op, prefix = "e", _FIXED_CALLS[operation]
    elif operation in _PLAIN:
        op = _PLAIN[operation]
    else:
        raise ValueError(f"{line!r}: unknown operation {operation!r}")
    default = "SUCCESS" if op == "e" else "value"
    return Step(
        text=head.strip(),
        op=op,
        name=matched["name"] or "",
        prefix=prefix,
        arguments=tuple(_compiled(_BIT.sub(r"\1", argument)) for argument in arguments),
        references=tuple(_reference(argument) for argument in arguments),
        expected=_expectation(expected.strip() if arrow else default),
        divergences=tuple(_divergence(part) for part in divergences),
    )


def _reference(argument: str) -> tuple[str, bool] | None:
    bit = _BIT.fullmatch(argument)
    if bit is not None:
        return bit[1], True
    return (argument, False) if _NAME.fullmatch(argument) else None


def _divergence(text: str) -> tuple[tuple[str, ...], Expectation]:
    names, colon, expected = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r}: expected BEHAVIOUR: EXPECTED")
    return tuple(name.strip() for name in names.split(",")), _expectation(expected.strip())


def _compiled(expression: str) -> CodeType:
    return compile(expression, expression, "eval")


_COMPARISON = re.compile(r"(!=|>=|<=|=|in|among)\s+(.+)")


def _expectation(text: str) -> Expectation:
    if text == "any":
        return Expectation(text, ())
    return Expectation(text, tuple(_alternative(part.strip()) for part in text.split(" | ")))


def _alternative(text: str) -> Alternative:
    if text == "trap":
        return Alternative(trap=True)
    if text == "host lost":
        return Alternative(lost=True)
    word, _, rest = text.partition(" ")
    error = None
    if word in SbiError.__members__:
        error, text = int(SbiError[word]), rest.strip()
    elif word == "value":
        text = rest.strip()
    if not text:
        return Alternative(error)
    matched = _COMPARISON.fullmatch(text)
    if matched is None:
        raise ValueError(f"{text!r}: expected an error name or a comparison")
    kind, operand = matched[1], matched[2]
    parts = operand.split("..") if kind == "in" else [operand]
    return Alternative(error, comparison=kind, operands=tuple(_compiled(part.strip()) for part in parts))


def _met(one: Alternative, result: Result, names: Mapping[str, int]) -> bool:
    if result.lost or one.lost:
        return bool(result.lost) and one.lost
    if result.errno is not None or (result.trap is not None) != one.trap:
        return False
    if one.trap:
        return True
    if one.error is not None and result.error != one.error:
        return False
    if not one.comparison:
        return True
    if one.error is None and result.error not in (None, SbiError.SUCCESS):
        return False
    value, (first, *more) = result.value, [evaluate(code, names) for code in one.operands]
    match one.comparison:
        case "=":
            return value == first
        case "!=":
            return value != first
        case ">=":
            return value >= first
        case "<=":
            return value <= first
        case "among":
            return value < 64 and bool(first >> value & 1)
    return first <= value <= more[0]
