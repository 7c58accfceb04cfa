"""The matrix: one HTML page without anything outside it. Rows are tests, columns are targets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from .report import citation, in_words
from .target import Target
from .verdict import Outcome, Verdict

Column = tuple[Target, Sequence[Outcome]]

_SIGN = {
    Verdict.PASS: ("p", "pass"),
    Verdict.DIVERGENCE: ("d", "known"),
    Verdict.UNEXPECTED: ("u", "UNEXPECTED"),
    Verdict.SKIPPED: ("s", "skip"),
    Verdict.LOST: ("u", "LOST"),
}
_STYLE = """
:root{color-scheme:light dark}body{font:15px/1.4
system-ui,sans-serif;margin:0;padding:1rem}h1{font-size:1.3rem;margin:0 0 .5rem}
.w{overflow:auto;max-height:85vh;border:1px solid #8886}table{border-collapse:collapse;width:100%}
th,td{padding:.25rem .5rem;border-bottom:1px solid #8884;text-align:left;vertical-align:top} thead
th{position:sticky;top:0;background:Canvas;z-index:2}th.t{position:sticky;left:0;background:Canvas;font-weight
th{position:sticky;top:0;background:Canvas;z-index:2}th.t{position:sticky;left:0;background:Canvas;font-weight
th{position:sticky;top:0;background:Canvas;z-index:2}th.t{position:sticky;left:0;background:Canvas;font-weight
th{position:sticky;top:0;background:Canvas;z-index:2}th.t{position:sticky;left:0;background:Canvas;font-weight
th{position:sticky;top:0;background:Canvas;z-index:2}th.t{position:sticky;left:0;background:Canvas;font-weight
th{position:sticky;top:0;background:Canvas;z-index:2}th.t{position:sticky;left:0;background:Canvas;font-weight:
"""


def matrix(columns: Sequence[Column], *, title: str = "SBI PMU conformance") -> str:
    """The page; every column has the same tests in the same order."""
    heads = "".join(
        f"<th>{escape(target.name)}<br><code>{escape(target.profile.name)}</code></th>"
        for target, _ in columns
    )
    rows = []
    for outcomes in zip(*(column for _, column in columns), strict=True):
        test = outcomes[0].test
        cells = "".join(f"<td>{_cell(outcome)}</td>" for outcome in outcomes)
        rows.append(
            f'<tr><th class="t" scope="row"><b>{escape(test.id)}</b><span>{escape(test.title)}'
            f"<br><i>{escape(test.spec)}</i></span></th>{cells}</tr>"
        )
    sums = "".join(
        f"<p><b>{escape(target.description)}</b>: {escape(in_words(outcomes))}</p>"
        for target, outcomes in columns
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{sums}"
        "<p>A cell opens the calls behind it.</p>"
        f'<div class="w"><table><thead><tr><th class="t">test</th>{heads}</tr></thead><tbody>'
        + "\n".join(rows)
        + "</tbody></table></div></body></html>\n"
    )


def _cell(outcome: Outcome) -> str:
    kind, word = _SIGN[outcome.verdict]
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
    return f'<details class="{kind}"><summary>{word}</summary>{"".join(parts)}</details>'


def _list(items: Iterable[str]) -> str:
    return "".join(f"<p>{escape(item)}</p>" for item in items)
