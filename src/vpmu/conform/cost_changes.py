"""Two tables of costs against each other: which calls cost more, which less, and in which functions."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FileError
from .costs import Cost

SCHEMA, VERSION = "vpmu-costs", 1
_PARTS = re.compile(r"(\.(constprop|isra|part|cold)(\.\d+)?)+$")
"""What a compiler puts behind a function's name."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Instructions of one thing, before and after."""

    layer: str
    name: str
    before: int
    after: int

    @property
    def by(self) -> int:
        """More instructions than before; negative: fewer."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class CostChange:
    """One call: what it cost and costs, None where one of the tables does not have it. `layers` and
    `functions` that differ, the most first.
    """

    name: str
    before: int | None
    after: int | None
    layers: tuple[Changed, ...] = ()
    functions: tuple[Changed, ...] = ()

    @property
    def by(self) -> int:
        """More instructions than before."""
        return 0 if self.before is None or self.after is None else self.after - self.before

    def as_object(self) -> dict[str, object]:
        """For JSON."""

        def told(changes: Sequence[Changed]) -> list[dict[str, object]]:
            return [
                {"layer": one.layer, "name": one.name, "before": one.before, "after": one.after}
                for one in changes
            ]

        return {
            "call": self.name, "before": self.before, "after": self.after,
            "layers": told(self.layers), "functions": told(self.functions),
        }  # fmt: skip


def as_document(kernel: str, costs: Sequence[Cost]) -> dict[str, object]:
    """A table as the object of `--json`, which is also a baseline."""
    return {
        "schema": SCHEMA, "version": VERSION, "kernel": kernel, "calls": [cost.as_object() for cost in costs]
    }  # fmt: skip


def read_document(path: str | Path) -> tuple[str, list[Cost]]:
    """The kernel and the costs of a file that `as_document` made. Raises FileError."""
    expected = "what `vpmu costs --json` prints"
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise FileError.from_os_error(path, error) from None
    except (ValueError, RecursionError):
        raise FileError(path, "no table of costs", expected=expected, got="no JSON", layer="costs") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise FileError(path, "no table of costs", expected=expected, got="other JSON", layer="costs")
    if content.get("version") != VERSION:
        got = content.get("version")
        raise FileError(path, "table of costs", expected=f"version {VERSION}", got=got, layer="costs")
    try:
        return str(content["kernel"]), [_cost(one) for one in content["calls"]]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise FileError(path, "a table of costs that is damaged", expected=expected, layer="costs") from None


def _cost(one: Mapping[str, object]) -> Cost:
    layers, functions = one["layers"], one["functions"]
    if not isinstance(layers, dict) or not isinstance(functions, list):
        raise TypeError("a cost")
    return Cost(
        str(one["call"]), _number(one["instructions"]), {str(k): _number(v) for k, v in layers.items()},
        {
            (str(row["layer"]), str(row["function"])): (_number(row["calls"]), _number(row["instructions"]))
            for row in functions
        },
    )  # fmt: skip


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("a number of instructions")
    return value


def changes(before: Sequence[Cost], after: Sequence[Cost]) -> Iterator[CostChange]:
    """Every call of either table, in order; functions by their names in the sources."""
    old = {cost.name: cost for cost in before}
    new = {cost.name: cost for cost in after}
    for name in [*new, *(name for name in old if name not in new)]:
        one, two = old.get(name), new.get(name)
        if one is None or two is None:
            yield CostChange(name, None if one is None else one.total, None if two is None else two.total)
            continue
        yield CostChange(
            name, one.total, two.total,
            _differing(_by_layer(one), _by_layer(two)), _differing(_by_name(one), _by_name(two)),
        )  # fmt: skip


def _by_layer(cost: Cost) -> dict[tuple[str, str], int]:
    return {("", layer): own for layer, own in cost.layers.items()}


def _by_name(cost: Cost) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for (layer, function), (_, own) in cost.functions.items():
        found[layer, _PARTS.sub("", function)] += own
    return found


def _differing(one: Mapping[tuple[str, str], int], two: Mapping[tuple[str, str], int]) -> tuple[Changed, ...]:
    names = [*two, *(name for name in one if name not in two)]
    found = [Changed(*name, one.get(name, 0), two.get(name, 0)) for name in names]
    return tuple(sorted((row for row in found if row.by), key=lambda row: -abs(row.by)))
