"""What all pages share: style, the frame, tables, and two drawings in SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ..campaign.verdict import Verdict
from ..trace.recorder import LAYERS, Record
from ..trace.views import show

COLOURS: dict[str, tuple[str, str]] = {
    Verdict.AS_SPECIFIED: ("good", "as specified"),
    Verdict.DEGRADED: ("soft", "degraded gracefully"),
    Verdict.DEVIATES: ("soft", "deviates"),
    Verdict.SILENTLY_WRONG: ("wrong", "silently wrong"),
    Verdict.GUEST_HUNG: ("hung", "guest hung"),
    Verdict.GUEST_LOST: ("lost", "guest lost"),
    Verdict.UNEXPECTED: ("lost", "unexpected"),
}
"""Verdict -> class in the style, and its words: colour is never the only sign."""

_STYLE = """
:root{color-scheme:light dark;--line:#8885;--good:#2e9e5b;--soft:#3f7fd0;--wrong:#d98a00;--hung:#9a55c9;
--lost:#d0383b}
*{box-sizing:border-box}body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;padding:1rem
1.25rem;max-width:92rem}
h1{font-size:1.45rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .5rem}p{margin:.3rem 0}
.wide{overflow:auto;border:1px solid var(--line);border-radius:6px}table{border-collapse:collapse;width:100%}
th,td{padding:.35rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{position:sticky;top:0;background:Canvas}tbody th{font-weight:600}tr:last-child>*{border-bottom:0}
.v{display:inline-block;border-radius:4px;padding:.05rem .45rem;margin:.1rem .2rem .1rem 0;color:#fff;
font-size:.85rem;white-space:nowrap}.good{background:var(--good)}.soft{background:var(--soft)}
.wrong{background:var(--wrong)}.hung{background:var(--hung)}.lost{background:var(--lost)}
details>summary{cursor:pointer}pre{white-space:pre-wrap;margin:.4rem 0;font-size:.85rem}
code,pre{font-family:ui-monospace,monospace}.case{border:1px solid var(--line);border-left:5px solid
var(--wrong);
border-radius:6px;padding:.6rem .9rem;margin:.7rem
0}.tools{display:flex;gap:.6rem;flex-wrap:wrap;margin:.6rem 0}
input,select{font:inherit;padding:.25rem .5rem}svg{max-width:100%;height:auto;display:block;margin:.4rem 0}
svg text{font:11px system-ui,sans-serif;fill:CanvasText}.muted{opacity:.7}.diff td{background:#d98a0022}
"""
_SCRIPT = """
const text=document.querySelector('#find'),verdict=document.querySelector('#verdict'),
profile=document.querySelector('#profile'),count=document.querySelector('#shown');
function filter(){let n=0;for(const row of document.querySelectorAll('#runs tbody tr')){
const on=(!text.value||row.textContent.toLowerCase().includes(text.value.toLowerCase()))
&&(!verdict.value||row.dataset.verdict===verdict.value)&&(!profile.value||row.dataset.profile===profile.value);
row.hidden=!on;n+=on}count.textContent=n+' shown'}
for(const one of [text,verdict,profile])if(one)one.addEventListener('input',filter);
for(const cell of document.querySelectorAll('[data-show]'))cell.addEventListener('click',()=>{
const [p,f,v]=JSON.parse(cell.dataset.show);profile.value=p;verdict.value=v;text.value=f;filter();
document.querySelector('#runs').scrollIntoView({behavior:'smooth'})});if(text)filter();
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + f"\n<script>{_SCRIPT}</script></body></html>\n"
    )


def verdict(name: object, text: object = None) -> str:
    """A verdict as a coloured word."""
    colour, words = COLOURS.get(str(name), ("lost", str(name)))
    return f'<span class="v {colour}">{escape(str(words if text is None else text))}</span>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are HTML already, the first of each row is its head."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def timeline(records: Sequence[Record], width: int = 980) -> str:
    """The records of a run on virtual time, one line per layer; the words of each appear under the
    pointer.
    """
    if not records:
        return ""
    layers = [layer for layer in LAYERS if any(record.layer == layer for record in records)]
    first, last = records[0].time, max(record.time for record in records)
    span, left, step = max(last - first, 1), 60, 26
    height = step * len(layers) + 30
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="calls over virtual time">']
    for row, layer in enumerate(layers):
        y = 18 + step * row
        parts.append(f'<text x="4" y="{y + 4}">{escape(layer)}</text>')
        parts.append(f'<path d="M{left} {y}H{width - 10}" stroke="currentColor" stroke-opacity=".25"/>')
    seen: dict[tuple[str, int], int] = {}
    for record in records:
        x = left + (record.time - first) * (width - left - 20) // span
        slot = seen[record.layer, x] = seen.get((record.layer, x), -1) + 1
        y = 18 + step * layers.index(record.layer)
        colour = "--lost" if record.actor == "fault" else "--wrong" if _refused(record) else "--soft"
        words = f"{record.time} ns {record.layer} {record.actor} {record.action} {show(record.result)}"
        parts.append(
            f'<circle cx="{x + 3 * min(slot, 20)}" cy="{y}" r="4" style="fill:var({colour})">'
            f"<title>{escape(words)}</title></circle>"
        )
    parts.append(f'<text x="{left}" y="{height - 4}">{first:,} ns</text>')
    parts.append(f'<text x="{width - 12}" y="{height - 4}" text-anchor="end">{last:,} ns</text></svg>')
    return "".join(parts)


def _refused(record: Record) -> bool:
    result = record.result
    if isinstance(result, tuple):
        return bool(result) and isinstance(result[0], int) and result[0] != 0
    return record.action in ("refuse", "refused", "kvm-run-error") or (
        isinstance(result, str) and result in ("error", "inactive")
    )


def bars(pairs: Sequence[tuple[str, int, int]], width: int = 520) -> str:
    """What the guest read against what the hart did, a pair of bars each."""
    most = max((max(abs(told), abs(truth)) for _, told, truth in pairs), default=0) or 1
    step, left = 34, 190
    height = step * len(pairs) + 6
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="counts">']
    for row, (name, told, truth) in enumerate(pairs):
        y = 4 + step * row
        parts.append(f'<text x="4" y="{y + 17}">{escape(name[:32])}</text>')
        for offset, value, colour, what in ((0, told, "--wrong", "read"), (14, truth, "--good", "did")):
            length = max(1, abs(value) * (width - left - 130) // most)
            parts.append(
                f'<rect x="{left}" y="{y + offset}" width="{length}" height="11" style="fill:var({colour})"/>'
                f'<text x="{left + length + 5}" y="{y + offset + 10}">{what} {value:,}</text>'
            )
    return "".join([*parts, "</svg>"])
