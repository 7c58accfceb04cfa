"""What all pages share: style, the frame, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from ..campaign.verdict import Verdict

COLOURS: dict[str, tuple[str, str]] = {
    Verdict.AS_SPECIFIED: ("good", "as specified"),
    Verdict.DEGRADED: ("soft", "degraded gracefully"),
    Verdict.DEVIATES: ("soft", "deviates"),
    Verdict.SILENTLY_WRONG: ("wrong", "silently wrong"),
    Verdict.GUEST_HUNG: ("hung", "guest hung"),
    Verdict.GUEST_LOST: ("lost", "guest lost"),
    Verdict.HOST_LOST: ("lost", "host lost"),
    Verdict.UNEXPECTED: ("lost", "unexpected"),
}
"""Verdict -> class in the style, and its words: colour is never the only sign."""

_HERE = Path(__file__).parent
STYLE, SCRIPT = (_HERE / "style.css").read_text("utf-8"), (_HERE / "page.js").read_text("utf-8")


def page(title: str, body: Iterable[str]) -> str:
    """A whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{STYLE}</style></head><body><h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + f"\n<script>\n{SCRIPT}</script></body></html>\n"
    )


def tools(choices: Mapping[str, Iterable[str]], find: str) -> str:
    """The row of filters of a page: words to find, and a choice for each kind of word in its rows' data."""
    selects = "".join(
        f'<select id="{kind}" data-of="{kind}" aria-label="{kind}"><option value="">every {kind}</option>'
        + "".join(f"<option>{escape(word)}</option>" for word in words)
        + "</select>"
        for kind, words in choices.items()
    )
    return (
        f'<div class="tools"><input id="find" type="search" placeholder="find: {escape(find)}" '
        f'aria-label="find">{selects}<button id="all" type="button">show all</button>'
        '<span id="shown" class="muted"></span></div>'
    )


def verdict(name: object, text: object = None) -> str:
    """A verdict as a coloured word."""
    colour, words = COLOURS.get(str(name), ("lost", str(name)))
    return f'<span class="v {colour}">{escape(str(words if text is None else text))}</span>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are HTML already, the first of each row is its head. On a narrow screen each row becomes
    a list, its cells named by their heads.
    """
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>'
        + "".join(
            f'<td data-head="{escape(name)}">{cell}</td>' for name, cell in zip(heads[1:], rest, strict=True)
        )
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="wide"><table class="stack"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
