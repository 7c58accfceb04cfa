"""A run as a small file: its inputs, and hashes of its state on the way; and the same run done again, to see
whether it is the same, and where it is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import FileError, MachineError
from ..files import read_bytes, write_file
from ..vmm.state_hash import state_parts
from .parting import Changed, Told, changes, part, same_parts
from .recipe import Recipe, Running

FORMAT = 1
FIRST_INTERVAL = 1000
MOST_POINTS = 256
"""Hashes in a record: where there are more, every second one goes, and from then on they are twice as far
apart.
"""
MOST_BYTES = 16 << 20
SHORT = 8
"""Digits of the hash of a part."""


@dataclass(frozen=True, slots=True)
class Point:
    """The state at an instruction: its hash, and short ones of its parts in the order of `Recorded.parts`."""

    instruction: int
    hash: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record. The last point is the end of the run."""

    recipe: Recipe
    parts: tuple[str, ...]
    points: tuple[Point, ...]
    stop: str
    reason: str
    calls: int
    version: str = __version__

    @property
    def end(self) -> Point:
        """Where the run ended."""
        return self.points[-1]

    def save(self, path: str | Path) -> None:
        """Write it. FileError."""
        content = json.dumps({
            "recipe": self.recipe.as_object(), "parts": self.parts, "stop": self.stop, "reason": self.reason,
            "calls": self.calls,
            "points": [[point.instruction, point.hash, "".join(point.parts)] for point in self.points],
        }, separators=(",", ":"))  # fmt: skip
        head = f"vpmu-record {FORMAT} {self.version} {_check(content)}\n"
        write_file(path, f"{head}{content}\n")


@dataclass(frozen=True, slots=True)
class Verified:
    """What doing a record again has shown. `first`, `last`: the stretch in which the run is another one, None
    where it is the same; `instruction`: the last one up to which it is the same, where that could be found.
    """

    record: Recorded
    first: int | None = None
    last: int | None = None
    parts: tuple[str, ...] = ()
    instruction: int | None = None
    changed: tuple[Changed, ...] = ()
    more: int = 0
    against: str = ""
    why_not: str = ""

    @property
    def same(self) -> bool:
        """It is the same run."""
        return self.last is None


def _check(content: str) -> str:
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def point_of(running: Running) -> tuple[Point, tuple[str, ...]]:
    """The state of a run now, and the names of its parts."""
    parts = state_parts(running.machine)
    short = tuple(digest[:SHORT] for digest in parts.values())
    return Point(running.at, running.machine.state_hash(), short), tuple(parts)


def record(
    recipe: Recipe, *, first: int = 0, last: int | None = None, interval: int = 0,
    told: Callable[[int], None] = lambda instruction: None,
) -> Recorded:  # fmt: skip
    """Do a run and take down hashes: of all of it, or of the stretch from `first` to `last`. `told` hears how
    far it is. VpmuError.
    """
    recipe = recipe.complete()
    running = Running(recipe)
    step = interval or FIRST_INTERVAL
    if last is not None and not interval:
        step = max(1, -(-(last - first) // MOST_POINTS))
    points: list[Point] = []
    target = first or step
    while running.to(target) is None and (last is None or running.at < last):
        points.append(point_of(running)[0])
        told(running.at)
        if len(points) >= MOST_POINTS and not interval and last is None:
            points = points[1::2]
            step *= 2
        target = running.at + step
    result = running.to()
    assert result is not None
    point, names = point_of(running)
    calls = sum(result.sbi_calls.values())
    return Recorded(recipe, names, (*points, point), result.stop, result.reason, calls)


def load(path: str | Path, *, any_version: bool = False) -> Recorded:
    """Read a record. FileError: it is none, it is damaged, or of another version."""
    data = read_bytes(path, "record", MOST_BYTES)
    head, _, content = data.partition(b"\n")
    words = head.split()
    if len(words) != 4 or words[0] != b"vpmu-record":
        raise FileError(path, "not a record of vpmu", expected="vpmu-record", got=repr(head[:16])[1:],
                        layer="record")  # fmt: skip
    number, version = (word.decode("ascii", "replace") for word in words[1:3])
    if number != str(FORMAT) or (version != __version__ and not any_version):
        raise FileError(path, "a record of another vpmu", expected=f"{__version__}, format {FORMAT}",
                        got=f"{version}, format {number}", layer="record")  # fmt: skip
    text = content.rstrip(b"\n").decode("utf-8", "replace")
    if _check(text) != words[3].decode("ascii", "replace"):
        raise FileError(path, "damaged", expected="the digest in its first line", got="another one",
                        layer="record")  # fmt: skip
    try:
        return _read(json.loads(text), version)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise FileError(path, "a record that makes no sense", got=f"{type(error).__name__}: {error}"[:80],
                        layer="record") from None  # fmt: skip


def _read(content: dict[str, Any], version: str) -> Recorded:
    names = tuple(map(str, content["parts"]))
    points, before = [], -1
    for instruction, digest, parts in content["points"]:
        if not isinstance(instruction, int) or instruction < before or len(parts) != SHORT * len(names):
            raise ValueError(f"point {instruction!r}"[:40])
        before = instruction
        short = tuple(parts[at : at + SHORT] for at in range(0, len(parts), SHORT))
        points.append(Point(instruction, str(digest), short))
    points[-1]
    return Recorded(
        Recipe.of(content["recipe"]), names, tuple(points), str(content["stop"]), str(content["reason"]),
        int(content["calls"]), version,
    )  # fmt: skip


Runs = Callable[[Recipe], Running]


def verify(
    recorded: Recorded, *, engine: str | None = None, progress: Told = lambda what, share: None,
    runs: Runs = Running,
) -> Verified:  # fmt: skip
    """Do the run again, on this engine or the record's, and hold it against the record. Where it is another
    one and the other engine's is not, both are brought to the instruction at which they part. VpmuError.
    """
    recipe = recorded.recipe if engine is None else replace(recorded.recipe, engine=engine)
    running, before = runs(recipe), 0
    for number, point in enumerate(recorded.points):
        progress("run", number / len(recorded.points))
        running.to(None if point is recorded.end else point.instruction)
        here, names = point_of(running)
        if here == point and names == recorded.parts:
            before = point.instruction
            continue
        if here.instruction != point.instruction:
            parts: tuple[str, ...] = ("instructions",)
        else:
            parts = tuple(
                name for name, one, two in zip(recorded.parts, point.parts, here.parts, strict=False)
                if one != two
            )  # fmt: skip
        found = Verified(recorded, before, max(point.instruction, here.instruction), parts)
        return _bisected(found, recipe, runs, point, progress)
    result = running.result
    if result is None or (result.stop, result.reason) != (recorded.stop, recorded.reason):
        return Verified(recorded, before, before, ("the end",))
    return Verified(recorded)


def _bisected(found: Verified, recipe: Recipe, runs: Runs, point: Point, progress: Told) -> Verified:
    """To the instruction, against the engine that does what was recorded."""
    other = replace(recipe, engine="reference" if recipe.engine == "native" else "native")
    assert found.first is not None
    assert found.last is not None
    against = Running(other)
    against.to(point.instruction)
    if point_of(against)[0].hash != point.hash:
        return replace(found, why_not=f"the {other.engine} engine does not what was recorded either")
    try:
        one, two = Running(other), runs(recipe)
        one.to(found.first)
        two.to(found.first)
        last, one, two = part(one, two, found.last, same_parts(None), progress)
    except MachineError as error:
        return replace(found, why_not=str(error))
    changed, more = changes(one, two, None)
    return replace(found, instruction=last, changed=changed, more=more, against=f"the {other.engine} engine")
