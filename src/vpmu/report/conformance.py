"""The matrix: one HTML page without anything outside it. Rows are tests, columns are targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from ..conform.report import NUMBERS, citation
from ..conform.target import Target
from ..conform.verdict import Outcome, Verdict
from .html import page, tools

Column = tuple[Target, Sequence[Outcome]]

SIGNS = {
    Verdict.PASS: ("good", "pass", "as the specification says"),
    Verdict.DIVERGENCE: (
        "soft",
        "known",
        "not as it says, a known behaviour of the profile",
    ),
    Verdict.HOST_LOST: (
        "lost",
        "host lost",
        "the host goes down, as the profile says",
    ),
    Verdict.UNEXPECTED: ("lost", "UNEXPECTED", "neither"),
    Verdict.SKIPPED: ("none", "skip", "the target lacks what the test needs"),
    Verdict.LOST: ("hung", "LOST", "the target was gone"),
}
"""Verdict -> class in the style, the word in a cell, and what it means."""


def matrix(columns: Sequence[Column], *, title: str = "SBI PMU conformance") -> str:
    """The page; every column has the same tests in the same order."""
    return page(title, _body(columns))


def _body(columns: Sequence[Column]) -> Iterator[str]:
    seen = Counter(outcome.verdict for _, outcomes in columns for outcome in outcomes)
    for target, outcomes in columns:
        counts = Counter(outcome.verdict for outcome in outcomes)
        sums = " ".join(_chip(verdict, f"{counts[verdict]} {SIGNS[verdict][1]}") for verdict in counts)
        yield f"<p><b>{escape(target.description)}</b>: {len(outcomes)} tests {sums}</p>"
    yield "<h2>Tests</h2>"
    legend = ", ".join(f"{_chip(verdict)} {escape(SIGNS[verdict][2])}" for verdict in SIGNS if seen[verdict])
    yield f'<p class="key">{legend}. A cell opens the calls behind it; {escape(NUMBERS)}.</p>'
    words = [SIGNS[verdict][1] for verdict in SIGNS if seen[verdict]]
    yield tools({"verdict": words}, "test, call, behaviour…")
    heads = "".join(
        f"<th>{escape(target.name)}<br><code>{escape(target.profile.name)}</code></th>"
        for target, _ in columns
    )
    names = [escape(target.profile.name if len(columns) > 1 else target.name) for target, _ in columns]
    yield (
        '<div class="matrix"><div class="wide"><table class="stack" id="tests"><thead><tr><th>test</th>'
        f"{heads}</tr></thead><tbody>"
    )
    for outcomes in zip(*(column for _, column in columns), strict=True):
        test = outcomes[0].test
        found = "|".join(sorted({SIGNS[outcome.verdict][1] for outcome in outcomes}))
        cells = "".join(
            f'<td data-head="{name}">{_cell(outcome)}</td>'
            for name, outcome in zip(names, outcomes, strict=True)
        )
        yield (
            f'<tr data-verdict="{found}"><th scope="row">{escape(test.id)}<span>{escape(test.title)}'
            f'<br><i class="muted">{escape(test.spec)}</i></span></th>{cells}</tr>'
        )
    yield "</tbody></table></div></div>"


def _chip(verdict: Verdict, text: str = "") -> str:
    colour, word, _ = SIGNS[verdict]
    return f'<span class="v {colour}">{text or word}</span>'


def _cell(outcome: Outcome) -> str:
    parts: list[str] = []
    if outcome.reason:
        parts.append(f"<p>{escape(outcome.reason)}</p>")
    if outcome.behaviours:
        parts.append(_list(citation(name) for name in outcome.behaviours))
    lines = []
    for number, (call, result) in enumerate(zip(outcome.calls, outcome.results, strict=False)):
        note = f"   (specification: {outcome.notes[number]})" if number in outcome.notes else ""
        lines.append(f"{call.script(outcome.results)} => {result}{note}")
    if lines:
        parts.append(f"<pre>{escape(chr(10).join(lines))}</pre>")
    return f"<details><summary>{_chip(outcome.verdict)}</summary>{''.join(parts)}</details>"


def _list(items: Iterable[str]) -> str:
    return "".join(f"<p>{escape(item)}</p>" for item in items)
