"""A comparison of two profiles as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from ..campaign.compare import Comparison, Explained, Side
from ..trace.recorder import Record
from ..trace.views import as_text
from .drawings import timeline
from .html import page as whole_page
from .html import table

CONTEXT = 3
MAX_RECORDS = 600


def markdown(found: Comparison) -> str:
    """The comparison for a review."""
    return "\n".join(_markdown(found)) + "\n"


def _markdown(found: Comparison) -> Iterator[str]:
    one, two = found.first.profile.name, found.second.profile.name
    yield f"# {found.guest}: {one} against {two}\n"
    for rule in found.faults.rules:
        yield f"Fault: `{rule.source}`\n"
    if not found.changed:
        yield _same(found)
        return
    yield f"| | {one} | {two} | |\n|---|---|---|---|"
    for what, left, right in found.rows:
        yield f"| {what} | {left} | {right} | {'**differs**' if left != right else ''} |"
    yield ""
    if found.explained:
        yield f"**What explains it: `{found.explained[0].behaviour.name}`**, {_cited(found.explained[0])}\n"
    if found.parted is not None:
        yield f"## {_parted(found)}\n"
        for side, at in zip((found.first, found.second), found.parted, strict=True):
            yield f"{side.profile.name}:\n\n```"
            yield from (as_text(record) for record in around(side, at))
            yield "```\n"
    for side in (found.first, found.second):
        if side.findings:
            yield f"## Counts that are not what the hart did, in {side.profile.name}\n"
            yield from (f"* {finding}" for finding in side.findings[:20])
            yield ""
    if found.explained:
        yield "## Behaviours that explain it\n"
        yield f"| behaviour | in | what it is | commit | changed alone in {one} |\n|---|---|---|---|---|"
        for one_of in found.explained:
            behaviour = one_of.behaviour
            where = one if one_of.in_first else two
            yield (
                f"| `{behaviour.name}` | {where} | {behaviour.summary} "
                f"| `{behaviour.commit}` {behaviour.subject} | {one_of.change} |"
            )


def _same(found: Comparison) -> str:
    stop = found.first.result.stop
    if stop in ("budget", "timeout"):
        return f"Nothing differs as far as they ran: a limit ended both ({stop})."
    return "Nothing differs: same answers, same counts, same end."


def _cited(one: Explained) -> str:
    return f"{one.behaviour.commit} {one.behaviour.subject}".strip()


def _parted(found: Comparison) -> str:
    """The first difference that matters, as a headline: which call it is in each run."""
    assert found.parted is not None
    sides = (found.first, found.second)
    calls = [side.calls[at] for side, at in zip(sides, found.parted, strict=True) if at < len(side.calls)]
    name = calls[0].actor if calls else "the end"
    one, two = (f"number {at + 1}" if at < len(side.calls) else "never made"
                for side, at in zip(sides, found.parted, strict=True))  # fmt: skip
    return f"The first difference that matters: {name}, {one if one == two else f'{one} and {two}'}"


def around(side: Side, index: int) -> tuple[Record, ...]:
    """The calls before and after one."""
    return side.calls[max(0, index - CONTEXT) : index + CONTEXT + 1]


def page(found: Comparison) -> str:
    """The comparison as a page."""
    names = found.first.profile.name, found.second.profile.name
    return whole_page(f"{found.guest}: {names[0]} against {names[1]}", _body(found, names))


def _body(found: Comparison, names: tuple[str, str]) -> Iterator[str]:
    for rule in found.faults.rules:
        yield f"<p><code>--inject {escape(rule.source)}</code></p>"
    if not found.changed:
        yield f"<p>{_same(found)}</p>"
        return
    rows = (
        (escape(what), escape(left), escape(right) if left == right else f"<b>{escape(right)}</b>")
        for what, left, right in found.rows
    )
    yield table(["", *names], rows)
    if found.explained:
        best = found.explained[0]
        name = f"<b><code>{escape(best.behaviour.name)}</code></b>"
        yield f"<p>What explains it: {name}, {escape(_cited(best))}</p>"
    if found.parted is not None:
        yield f"<h2>{escape(_parted(found))}</h2>"
        for side, at in zip((found.first, found.second), found.parted, strict=True):
            text = "\n".join(as_text(record) for record in around(side, at))
            yield f"<p>{escape(side.profile.name)}</p><pre>{escape(text)}</pre>"
    yield "<h2>Calls over virtual time</h2>"
    for side in (found.first, found.second):
        yield f"<p>{escape(side.profile.name)}</p>{timeline(side.calls[:MAX_RECORDS])}"
        if side.findings:
            yield "<ul>" + "".join(f"<li>{escape(finding)}</li>" for finding in side.findings[:20]) + "</ul>"
    if found.explained:
        yield "<h2>Behaviours that explain it</h2>"
        yield table(
            ["behaviour", "in", "what it is", "commit", f"changed alone in {names[0]}"],
            (
                (
                    f"<code>{escape(one.behaviour.name)}</code>",
                    escape(names[0] if one.in_first else names[1]),
                    escape(one.behaviour.summary),
                    f"<code>{escape(one.behaviour.commit)}</code> {escape(one.behaviour.subject)}",
                    escape(one.change),
                )
                for one in found.explained
            ),
        )  # fmt: skip
