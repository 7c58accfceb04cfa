"""Verdicts as KTAP (version 1), JUnit XML and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ..junit import Case, document
from ..profiles.behaviours import BEHAVIOURS
from .target import Target
from .verdict import Outcome, Verdict

NUMBERS = "references: F is for vpmu faults show F10; O7 and 2.8 are in docs/sources.md"
"""Where to look up what `citation` cites."""
_FAILED = (Verdict.UNEXPECTED, Verdict.LOST)


def passed(outcomes: Sequence[Outcome]) -> bool:
    """True where nothing was unexpected."""
    return not any(outcome.verdict in _FAILED for outcome in outcomes)


def exit_status(columns: Sequence[Sequence[Outcome]]) -> int:
    """1 where something was unexpected, else 0: a host that is known to be lost is no news."""
    return 0 if all(passed(outcomes) for outcomes in columns) else 1


def totals(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many tests have each verdict."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    return {str(verdict): counts[verdict] for verdict in Verdict if counts[verdict]}


def citation(name: str) -> str:
    """`name (commit, reference)` of a behaviour."""
    behaviour = BEHAVIOURS[name]
    where = ", ".join(part for part in (behaviour.commit, behaviour.reference) if part)
    return f"{name} ({where})" if where else name


def ktap(target: Target, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Lines of a KTAP report. A known divergence is `ok` with its citation as a diagnostic."""
    yield "KTAP version 1"
    yield f"# {target.description}"
    yield f"1..{len(outcomes)}"
    for number, outcome in enumerate(outcomes, 1):
        title = f"{outcome.test.id} {outcome.test.title}".replace("#", "number ")
        if outcome.verdict in _FAILED:
            yield f"not ok {number} {title}"
            yield f"# {outcome.verdict}: {outcome.reason}"
            for line in _calls(outcome):
                yield f"#   {line}"
        elif outcome.verdict is Verdict.SKIPPED:
            yield f"ok {number} {title} # SKIP {outcome.reason}"
        else:
            yield f"ok {number} {title}"
            if outcome.behaviours:
                kind = Verdict.HOST_LOST if outcome.verdict is Verdict.HOST_LOST else Verdict.DIVERGENCE
                yield f"# {kind}: {', '.join(citation(name) for name in outcome.behaviours)}"
    if any(outcome.behaviours for outcome in outcomes):
        yield f"# {NUMBERS}"
    yield f"# {in_words(outcomes)}"


def in_words(outcomes: Sequence[Outcome]) -> str:
    """`445 tests: 340 pass, 95 known divergence, 10 skipped`."""
    return f"{len(outcomes)} tests: " + ", ".join(
        f"{number} {name}" for name, number in totals(outcomes).items()
    )


def _calls(outcome: Outcome) -> Iterator[str]:
    for number, (call, result) in enumerate(zip(outcome.calls, outcome.results, strict=False)):
        expected = f"   expected {outcome.notes[number]}" if number in outcome.notes else ""
        yield f"{call.script(outcome.results)} => {result}{expected}"


def as_object(target: Target, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The object of `--json`."""
    return {
        "target": target.name,
        "description": target.description,
        "profile": target.profile.name,
        "totals": totals(outcomes),
        "results": [outcome.as_object() for outcome in outcomes],
    }


def junit(columns: Sequence[tuple[Target, Sequence[Outcome]]]) -> str:
    """A JUnit XML document, one suite per target; known divergences pass, with their citation as output."""
    return document(
        [
            (
                f"vpmu.conform.{target.name}.{target.profile.name}",
                [_case(target.profile.name, outcome) for outcome in outcomes],
            )
            for target, outcomes in columns
        ]
    )


def _case(profile: str, outcome: Outcome) -> Case:
    group, name = f"conform.{profile}", outcome.test.id
    if outcome.verdict in _FAILED:
        return Case(group, name, failure=outcome.reason, text="\n".join(_calls(outcome)))
    if outcome.verdict is Verdict.SKIPPED:
        return Case(group, name, skipped=outcome.reason)
    cited = ", ".join(map(citation, outcome.behaviours))
    return Case(group, name, text=f"known divergence: {cited}" if cited else "")
