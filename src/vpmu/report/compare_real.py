"""A comparison of two real kernels as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from ..campaign.compare_real import Path, RealComparison, RealSide
from ..debug.call_tree import LIMIT, Called
from ..perf.event import errno_name
from ..spec.sbi import error_name
from ..trace.views import as_text
from .html import page as whole_page
from .html import table

CONTEXT = 3
SAME = "Nothing that the guest could tell differs: same answers, same counts, same end."
_COST_HEAD = "What only the hosts know"


def markdown(found: RealComparison) -> str:
    """The comparison for a review."""
    return "\n".join(_markdown(found)) + "\n"


def _markdown(found: RealComparison) -> Iterator[str]:
    one, two = found.first, found.second
    yield f"# {found.name}: {one.label} against {two.label}\n"
    for side in (one, two):
        yield f"* {side.label}: {side.kernel}"
    yield ""
    for rule in found.faults.rules:
        fired = f"{one.run.faults} and {two.run.faults} times"
        yield f"Fault: `{rule.source}` ({fired} in all)\n"
    if not found.changed:
        yield f"{SAME}\n"
    for head, rows in (("", found.rows), (_COST_HEAD, found.host_rows)):
        if not rows:
            continue
        if head:
            yield f"## {head}\n"
        yield f"| | {one.label} | {two.label} | |\n|---|---|---|---|"
        for what, left, right in rows:
            yield f"| {what} | {left} | {right} | {_differs(left, right)} |"
        yield ""
    if found.parted is not None:
        yield f"## {parted(found)}\n"
        for side, at in zip((one, two), found.parted, strict=True):
            yield f"{side.label}:\n\n```"
            yield from around(side, at)
            yield "```\n"
    if found.paths:
        yield "The hosts' functions on its way: what they return, and instructions with what they call\n"
        yield "```diff"
        yield from paths(found)
        yield "```"


def _differs(left: str, right: str) -> str:
    """`differs`; of two numbers by how much."""
    if left == right:
        return ""
    numbers = [text.partition(" ")[0].replace(",", "") for text in (left, right)]
    if all(number.isdigit() for number in numbers):
        by = int(numbers[1]) - int(numbers[0])
        return f"**{by:+,}**" if by else "**differs**"
    return "**differs**"


def parted(found: RealComparison) -> str:
    """The first difference that matters, as a headline."""
    assert found.parted is not None
    sides = found.first, found.second
    calls = [
        side.run.calls[at] for side, at in zip(sides, found.parted, strict=True) if at < len(side.run.calls)
    ]
    name = calls[0].actor if calls else "the end"
    numbers = [
        f"number {at + 1}" if at < len(side.run.calls) else "never made"
        for side, at in zip(sides, found.parted, strict=True)
    ]
    where = numbers[0] if numbers[0] == numbers[1] else " and ".join(numbers)
    return f"The first difference that matters: {name}, {where}"


def around(side: RealSide, index: int) -> list[str]:
    """The calls before and after one."""
    return [as_text(record) for record in side.run.calls[max(0, index - CONTEXT) : index + CONTEXT + 1]]


def paths(found: RealComparison) -> Iterator[str]:
    """The functions of both kernels, as a diff."""
    if found.cut:
        yield f"# a call takes more than {LIMIT:,} instructions: what follows is its beginning"
    for path in found.paths:
        called = path.function
        name = "  " * called.depth + called.function
        yield f"{path.mark} {called.layer:7} {name:52} {_told(path)}".rstrip()


def _told(path: Path) -> str:
    left, right = (None if one is None else _result(one) for one in (path.first, path.second))
    cells = [f"{one.total:,}" if one is not None else "" for one in (path.first, path.second)]
    results = left if left == right else " | ".join(text or "" for text in (left, right) if text is not None)
    numbers = cells[0] if cells[0] == cells[1] else " | ".join(cell for cell in cells if cell)
    return f"{results or '':>14} {numbers:>16}"


def _result(called: Called) -> str:
    """What a function returned, in words: an errno, a small number, or something else (a pointer)."""
    value = called.result
    if value is None:
        return ""
    if called.layer == "sbi":
        return error_name(value)
    if -4096 < value < 0:
        return f"-{errno_name(-value)}"
    return "ok" if value == 0 else str(value) if 0 < value < 1 << 16 else "…"


def page(found: RealComparison) -> str:
    """The comparison as a page."""
    return whole_page(f"{found.name}: {found.first.label} against {found.second.label}", _body(found))


def _body(found: RealComparison) -> Iterator[str]:
    one, two = found.first, found.second
    yield f"<p>{escape(one.label)}: {escape(one.kernel)}<br>{escape(two.label)}: {escape(two.kernel)}</p>"
    for rule in found.faults.rules:
        yield f"<p><code>--inject {escape(rule.source)}</code></p>"
    if not found.changed:
        yield f"<p>{SAME}</p>"
    for head, rows in (("", found.rows), (_COST_HEAD, found.host_rows)):
        if not rows:
            continue
        if head:
            yield f"<h2>{head}</h2>"
        yield table(
            ["", escape(one.label), escape(two.label)],
            (
                (escape(what), escape(left), escape(right) if left == right else f"<b>{escape(right)}</b>")
                for what, left, right in rows
            ),
        )
    if found.parted is not None:
        yield f"<h2>{escape(parted(found))}</h2>"
        for side, at in zip((one, two), found.parted, strict=True):
            text = "\n".join(around(side, at))
            yield f"<p>{escape(side.label)}</p><pre>{escape(text)}</pre>"
    if found.paths:
        text = "\n".join(paths(found))
        yield f"<p>The functions of the hosts on its way</p><pre>{escape(text)}</pre>"
