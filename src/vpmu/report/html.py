"""What all pages share: style, the frame, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ..campaign.verdict import Verdict

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
input,select{font:inherit;padding:.25rem .5rem}.draw{overflow-x:auto}
svg{display:block;margin:.4rem 0;height:auto;flex:none}
svg text{font:11px system-ui,sans-serif;fill:CanvasText}th code{font-weight:400}
.muted{opacity:.7}.diff td{background:#d98a0022}
.key{font-size:.8rem;margin:.2rem 0}.key i{display:inline-block;width:.7rem;height:.7rem;border-radius:50%;
margin:0 .3rem 0 .8rem;vertical-align:baseline}.key i:first-child{margin-left:0}
@media(max-width:760px){body{padding:.7rem}.stack thead,#runs thead{display:none}
.stack tr,#runs tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--line)}
.stack td,.stack th,#runs td{display:block;border:0;padding:.15rem .6rem}
.stack td[data-head]:before,#runs td[data-head]:before{content:attr(data-head);display:inline-block;
min-width:5.5rem;opacity:.7}#runs tr[hidden]{display:none}.tools>*{flex:1 1 40%}
pre{overflow-wrap:anywhere}ul{padding-left:1.1rem}}
"""
_SCRIPT = """
const text=document.querySelector('#find'),verdict=document.querySelector('#verdict'),
profile=document.querySelector('#profile'),count=document.querySelector('#shown'),
reset=document.querySelector('#all');let cell=null;
function filter(){let n=0;for(const row of document.querySelectorAll('#runs tbody tr')){const d=row.dataset;
const on=(!text.value||row.textContent.toLowerCase().includes(text.value.toLowerCase()))
&&(!verdict.value||d.verdict===verdict.value)&&(!profile.value||d.profile===profile.value)
&&(!cell||(d.fault===cell[1]&&d.guest===cell[3]&&d.host_pmu===cell[4]));
row.hidden=!on;n+=on}count.textContent=n+' shown'+(cell?': '+cell[3]+', fault '+cell[1]:'')}
if(text){for(const one of [text,verdict,profile])one.addEventListener('input',filter);
reset.addEventListener('click',()=>{cell=null;text.value=verdict.value=profile.value='';filter()});
for(const link of document.querySelectorAll('[data-show]')){const open=()=>{
cell=JSON.parse(link.dataset.show);
profile.value=cell[0];verdict.value=cell[2];text.value='';filter();
document.querySelector('#runs').scrollIntoView()};link.addEventListener('click',open);
link.addEventListener('keydown',event=>{if(event.key==='Enter')open()})}filter()}
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
