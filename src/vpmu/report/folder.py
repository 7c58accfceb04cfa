"""One page over a folder of results: what every run, campaign, conformance run and comparison came to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from .found import COLOUR_WORDS, KINDS, MARK, Found
from .html import page as whole_page
from .html import tools


def page(name: str, target: Path, found: Sequence[Found], damaged: Sequence[tuple[Path, str]] = ()) -> str:
    """The page; its links are from `target`, the file that it goes to."""
    return whole_page(f"Results: {name}", _body(target.absolute().parent, found, damaged))


def _body(base: Path, found: Sequence[Found], damaged: Sequence[tuple[Path, str]]) -> Iterator[str]:
    yield f"<meta {MARK}>"
    kinds = [kind for kind in KINDS if any(one.kind == kind for one in found)]
    seen = Counter(colour for one in found for colour in {colour for colour, _ in one.chips})
    sums = " ".join(
        f'<span class="v {colour}">{seen[colour]:,} {words}</span>'
        for colour, words in COLOUR_WORDS.items()
        if seen[colour]
    )
    yield f"<p>{len(found):,} results {sums}</p>"
    words = [word for word in COLOUR_WORDS.values() if any(word in one.words for one in found)]
    yield tools({"kind": kinds, "verdict": words}, "name, event, reason…")
    yield (
        '<div class="wide"><table class="stack" id="tests"><thead><tr><th>result</th><th>kind</th>'
        "<th>verdict</th><th>what</th></tr></thead><tbody>"
    )
    for kind in kinds:
        yield from (_row(base, one) for one in found if one.kind == kind)
    yield "</tbody></table></div>"
    if damaged:
        yield "<h2>Cannot be read</h2><ul>"
        yield from (
            f"<li><code>{escape(_from(base, path))}</code>: {escape(why)}</li>" for path, why in damaged
        )
        yield "</ul>"


def _row(base: Path, one: Found) -> str:
    link = quote(_from(base, one.page or one.path))
    name = escape(_from(base, one.path))
    chips = " ".join(f'<span class="v {colour}">{escape(words)}</span>' for colour, words in one.chips)
    what = escape(one.what)
    if one.more:
        inside = one.more.replace("{}", link) if one.kind == "flame graph" else one.more
        what = f"<details><summary>{what or 'open'}</summary>{inside}</details>"
    verdicts = escape("|".join(sorted(one.words)))
    return (
        f'<tr data-kind="{one.kind}" data-verdict="{verdicts}">'
        f'<th scope="row"><a href="{link}">{name}</a></th>'
        f'<td data-head="kind">{one.kind}</td><td data-head="verdict">{chips}</td>'
        f'<td data-head="what">{what}</td></tr>'
    )


def _from(base: Path, path: Path) -> str:
    return os.path.relpath(path, base)
