"""Two drawings in SVG, both over virtual time: the calls of a run, and what was counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from ..campaign.oracle import FAR, Finding
from ..trace.recorder import LAYERS, Record
from ..trace.views import show

KEY = (
    '<p class="key"><i style="background:var(--soft)"></i>record of a layer'
    '<i style="background:var(--wrong)"></i>refused<i style="background:var(--lost)"></i>fault</p>'
)
COUNTS_KEY = (
    '<p class="key"><i style="background:var(--good)"></i>what the hart did'
    '<i style="background:var(--wrong)"></i>what the guest read</p>'
)
MAX_EVENTS = 4
WIDTH, PHONE, LEFT, RIGHT = 980, 340, 60, 20
"""Of a drawing on a desk and on a phone, and of the margins beside its axis."""


def both(draw: Callable[[int], str]) -> str:
    """A drawing in both widths: the page shows the one that fits."""
    desk, phone = draw(WIDTH), draw(PHONE)
    return desk and f'<div class="desk">{desk}</div><div class="phone">{phone}</div>'


def place(time: int, first: int, last: int, width: int) -> int:
    """Where a time lies on the axis from `first` to `last`."""
    return LEFT + (time - first) * (width - LEFT - RIGHT) // max(last - first, 1)


def timeline(records: Sequence[Record]) -> str:
    """The records of a run on virtual time, one line per layer; the words of each appear under the
    pointer.
    """
    return both(lambda width: _timeline(records, width)) + KEY if records else ""


def _timeline(records: Sequence[Record], width: int) -> str:
    layers = [layer for layer in LAYERS if any(record.layer == layer for record in records)]
    first, last = records[0].time, max(record.time for record in records)
    step = 26
    height = step * len(layers) + 30
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="calls over virtual time" style="width:{width}px">'
    ]
    for row, layer in enumerate(layers):
        y = 18 + step * row
        parts.append(f'<text x="4" y="{y + 4}">{escape(layer)}</text>')
        parts.append(f'<path d="M{LEFT} {y}H{width - 10}" stroke="currentColor" stroke-opacity=".25"/>')
    seen: dict[tuple[str, int], int] = {}
    for record in records:
        x = place(record.time, first, last, width)
        slot = seen[record.layer, x] = seen.get((record.layer, x), -1) + 1
        y = 18 + step * layers.index(record.layer)
        colour = "--lost" if record.actor == "fault" else "--wrong" if _refused(record) else "--soft"
        words = f"{record.time} ns {record.layer} {record.actor} {record.action} {show(record.result)}"
        parts.append(
            f'<circle cx="{x + 3 * min(slot, 20)}" cy="{y}" r="4" style="fill:var({colour})">'
            f"<title>{escape(words)}</title></circle>"
        )
    parts.append(f'<text x="{LEFT}" y="{height - 4}">{first:,} ns</text>')
    parts.append(f'<text x="{width - 12}" y="{height - 4}" text-anchor="end">{last:,} ns</text></svg>')
    return "".join(parts)


def _refused(record: Record) -> bool:
    result = record.result
    if isinstance(result, tuple):
        return bool(result) and isinstance(result[0], int) and result[0] != 0
    return record.action in ("refuse", "refused", "kvm-run-error") or (
        isinstance(result, str) and result in ("error", "inactive")
    )


def counts(samples: Sequence[Finding], first: int, last: int) -> str:
    """Every value that reached the guest, over virtual time, beside what the hart had done by then; one
    drawing for each counter. `samples`: in the order of their time. `first` to `last`, in ns: the axis, the
    same as that of the timeline of the records.
    """
    series: dict[tuple[int, int, str], list[Finding]] = {}
    for sample in samples:
        if sample.way != "overflow" and first <= sample.time <= last:
            series.setdefault((sample.hart, sample.counter, sample.event), []).append(sample)
    wrong = [key for key, points in series.items() if any(point.told != point.truth for point in points)]
    drawn = both(
        lambda width: "".join(_counts(key, series[key], first, last, width) for key in wrong[:MAX_EVENTS])
    )
    return drawn + COUNTS_KEY if drawn else ""


def _counts(key: tuple[int, int, str], points: Sequence[Finding], first: int, last: int, width: int) -> str:
    top, height = 34, 112
    far = min(min(point.told, point.truth) for point in points)
    low = far if far >= FAR else 0
    most = max(1, *(max(point.told, point.truth) - low for point in points))
    since = f", from {low:#x} on" if low else ""
    parts = [
        f'<svg viewBox="0 0 {width} {height + 8}" role="img" aria-label="counts" style="width:{width}px">',
        f'<text x="4" y="12">{escape(key[2])}, counter {key[1]}{since}</text>',
        f'<path d="M{LEFT} {top}V{height}H{width - RIGHT}" fill="none" stroke="currentColor" '
        'stroke-opacity=".3"/>',
    ]
    places = [place(point.time, first, last, width) for point in points]
    scale = (height - top) / most
    heights = [
        [height - int((value - low) * scale) for value in (point.truth, point.told)] for point in points
    ]
    for x, (did, told) in zip(places, heights, strict=True):
        parts.append(
            f'<path d="M{x} {did}V{told}" stroke="currentColor" stroke-opacity=".4" stroke-dasharray="2 3"/>'
        )
    for side, (colour, what) in enumerate((("--good", "did"), ("--wrong", "read"))):
        line = "L".join(f"{x} {ys[side]}" for x, ys in zip(places, heights, strict=True))
        parts.append(f'<path d="M{line}" fill="none" style="stroke:var({colour})" stroke-width="2"/>')
        for x, ys, point in zip(places, heights, points, strict=True):
            value = (point.truth, point.told)[side]
            parts.append(
                f'<circle cx="{x}" cy="{ys[side]}" r="4" style="fill:var({colour})">'
                f"<title>{point.time:,} ns: {what} {value - low:,}</title></circle>"
            )
    anchor, x = ("end", places[-1] - 9) if places[-1] > width // 2 else ("start", places[-1] + 9)
    end = points[-1]
    did, told = heights[-1]
    upper = min(did, told) - 6
    lower = max(max(did, told) - 6, upper + 13)
    above, below = (("did", end.truth), ("read", end.told))[:: 1 if did < told else -1]
    for y, (what, value) in ((upper, above), (lower, below)):
        parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{what} {value - low:,}</text>')
    return "".join(parts) + "</svg>"
