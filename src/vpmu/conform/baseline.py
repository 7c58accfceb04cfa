"""Verdicts against those of a run before: what got worse, and what is better, new or gone.

A baseline is what `vpmu conform` wrote: JSON (`--json`) or JUnit XML (`--junit`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import FileError
from .target import Target
from .verdict import Outcome, Verdict

LAYER = "baseline"
EXPECTED = "what `vpmu conform` wrote with --json or --junit"
RANK = {
    Verdict.PASS: 0, Verdict.DIVERGENCE: 1, Verdict.SKIPPED: 2, Verdict.HOST_LOST: 3, Verdict.UNEXPECTED: 4,
    Verdict.LOST: 5,
}  # fmt: skip
"""The higher, the worse. A test that says nothing any more is worse than one that did."""
COARSE = {Verdict.LOST: Verdict.UNEXPECTED, Verdict.HOST_LOST: Verdict.DIVERGENCE}
KINDS = ("worse", "better", "changed", "new", "gone")
_DIVERGENCE = "known divergence: "
_SUITE = re.compile(r"vpmu\.conform\.([^.]+)\.(.+)")


@dataclass(frozen=True, slots=True)
class Before:
    """The verdict of a test then. `behaviours`: names of those that explained its divergences."""

    verdict: Verdict
    behaviours: tuple[str, ...] = ()
    reason: str = ""
    coarse: bool = False
    """Of JUnit XML, which has fewer verdicts (COARSE)."""


@dataclass(frozen=True, slots=True)
class Column:
    """One run of a baseline, by the identifiers of its tests."""

    profile: str
    tests: Mapping[str, Before]


@dataclass(frozen=True, slots=True)
class Change:
    """A test whose verdict is another one. `before` and `now` in words; "" where it is not there."""

    id: str
    before: str
    now: str
    reason: str = ""

    def __str__(self) -> str:
        what = f"{self.before or 'not there'} → {self.now or 'not there'}"
        return f"{self.id}: {what}" + (f": {self.reason}" if self.reason else "")


@dataclass(slots=True)
class Compared:
    """All that is not as it was. New tests are never worse: nobody knows how they were."""

    worse: list[Change] = field(default_factory=list)
    better: list[Change] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)
    """Neither: the same verdict for other known reasons."""
    new: list[Change] = field(default_factory=list)
    gone: list[Change] = field(default_factory=list)
    same: int = 0

    def lines(self) -> Iterator[str]:
        """For a person."""
        for name in KINDS:
            for change in getattr(self, name):
                if name != "new" or change.now != Verdict.PASS:
                    yield f"{name}: {change}"
        counted = (f"{len(getattr(self, name))} {name}" for name in KINDS)
        yield f"against the baseline: {', '.join(counted)}, {self.same} the same"

    def as_object(self) -> dict[str, object]:
        """For JSON."""
        return {
            **{
                name: [
                    {"id": one.id, "before": one.before, "now": one.now, "reason": one.reason}
                    for one in getattr(self, name)
                ]
                for name in KINDS
            },
            "same": self.same,
        }  # fmt: skip


def compare(columns: Sequence[tuple[Target, Sequence[Outcome]]], before: Sequence[Column]) -> Compared:
    """Each column against that of its profile; one against one whatever their profiles are: a build of the
    user's may be identified as another one.
    """
    found = Compared()
    by_profile = {column.profile: column for column in before}
    alone = len(columns) == len(before) == 1
    for target, outcomes in columns:
        column = before[0] if alone else by_profile.get(target.profile.name)
        prefix = "" if len(columns) == 1 else f"{target.profile.name} "
        known = {} if column is None else column.tests
        for outcome in outcomes:
            _compare(found, prefix, outcome, known.get(outcome.test.id))
        ids = {outcome.test.id for outcome in outcomes}
        found.gone += [
            Change(prefix + id_, str(was.verdict), "") for id_, was in known.items() if id_ not in ids
        ]
    return found


def _compare(found: Compared, prefix: str, outcome: Outcome, was: Before | None) -> None:
    name, now = prefix + outcome.test.id, str(outcome.verdict)
    if was is None:
        found.new.append(Change(name, "", now, outcome.reason))
        return
    verdict = COARSE.get(outcome.verdict, outcome.verdict) if was.coarse else outcome.verdict
    rank = RANK[verdict] - RANK[was.verdict]
    reason = outcome.reason or ", ".join(outcome.behaviours)
    more = sorted(set(outcome.behaviours) - set(was.behaviours))
    less = sorted(set(was.behaviours) - set(outcome.behaviours))
    if rank == 0 and more and less:  # one was in the way of the other
        found.changed.append(Change(name, ", ".join(was.behaviours), ", ".join(outcome.behaviours)))
    elif rank == 0 and verdict is Verdict.DIVERGENCE and more:
        found.worse.append(Change(name, str(was.verdict), now, f"also with {', '.join(more)}"))
    elif rank > 0:
        found.worse.append(Change(name, str(was.verdict), now, reason))
    elif rank < 0 or (verdict is Verdict.DIVERGENCE and less):
        found.better.append(Change(name, str(was.verdict), now, f"no more {', '.join(less)}" if less else ""))
    else:
        found.same += 1


def read(path: str | Path) -> list[Column]:
    """The columns of a baseline. Raises FileError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FileError.from_os_error(path, error) from None
    columns = _junit(path, data) if data.lstrip().startswith(b"<") else _json(path, data)
    if not any(column.tests for column in columns):
        raise FileError(path, "a baseline without tests", expected=EXPECTED, layer=LAYER)
    return columns


def _json(path: str | Path, data: bytes) -> list[Column]:
    try:
        content = json.loads(data)
        runs = content.get("runs", [content])
        return [
            Column(
                str(run["profile"]),
                {
                    str(one["id"]): Before(
                        Verdict(one["verdict"]), tuple(filter(None, str(one["behaviour"] or "").split(", "))),
                        str(one["reason"]),
                    )
                    for one in run["results"]
                },
            )
            for run in runs
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FileError(path, "no baseline", expected=EXPECTED, got="something else", layer=LAYER) from None


def _junit(path: str | Path, data: bytes) -> list[Column]:
    from xml.etree import ElementTree

    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise FileError(path, "no baseline", expected=EXPECTED, got="XML with a DTD", layer=LAYER)
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        raise FileError(path, "no baseline", expected=EXPECTED, got="damaged XML", layer=LAYER) from None
    columns = []
    for suite in root.iter("testsuite"):
        named = _SUITE.fullmatch(suite.get("name", ""))
        if named is not None:
            tests = {case.get("name", ""): _case(case) for case in suite.iter("testcase")}
            columns.append(Column(named[2], tests))
    return columns


def _case(case: object) -> Before:
    from xml.etree.ElementTree import Element

    assert isinstance(case, Element)
    failure, skipped, text = case.find("failure"), case.find("skipped"), case.findtext("system-out", "")
    if failure is not None:
        return Before(Verdict.UNEXPECTED, (), failure.get("message", ""), coarse=True)
    if skipped is not None:
        return Before(Verdict.SKIPPED, (), skipped.get("message", ""), coarse=True)
    if text.startswith(_DIVERGENCE):
        names = re.findall(r"([a-z][a-z0-9-]*)(?: \([^)]*\))?(?:, |$)", text.removeprefix(_DIVERGENCE))
        return Before(Verdict.DIVERGENCE, tuple(names), coarse=True)
    return Before(Verdict.PASS, coarse=True)
