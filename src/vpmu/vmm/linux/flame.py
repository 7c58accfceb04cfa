"""A flame graph of collapsed stacks: an SVG that is a picture where scripts do not run (in a README), and is
zoomed and searched where they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from zlib import crc32

WIDTH, ROW, PADDING, TITLE = 1200, 17, 10, 60  # pixels; the script fits the width to the window
SMALLEST = 0.1  # pixels: narrower frames are left out
SHOWN = 0.3  # pixels: narrower frames wait for a zoom
CHARACTER = 6.6  # pixels of one character of the 11 px font

_STYLE = """
svg { color-scheme: light dark; }
.back { fill: #fffdf7; }
.title, .told { fill: #222; }
.f { cursor: pointer; }
.f text { fill: #111; pointer-events: none; }
.f:hover rect { stroke: #111; }
.around rect { opacity: .55; }
.hit rect { fill: #d98cff; }
@media (prefers-color-scheme: dark) {
  .back { fill: #161616; }
  .title, .told { fill: #eee; }
  .f:hover rect { stroke: #fff; }
}
"""


@dataclass(slots=True)
class _Node:
    weight: int = 0
    children: dict[str, _Node] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        return 1 + max((child.depth for child in self.children.values()), default=0)


def draw(stacks: Mapping[tuple[str, ...], int], title: str, told: str = "") -> str:
    """The SVG: one box per frame, as wide as its share, its callees above it; `told` stands under the title.
    A click zooms, Escape or the ground goes back, words in the field are found.
    """
    root = _Node()
    for stack, weight in stacks.items():
        root.weight += weight
        node = root
        for name in stack:
            node = node.children.setdefault(name, _Node())
            node.weight += weight
    height = TITLE + ROW * root.depth + PADDING
    boxes: list[str] = []
    _boxes("all", root, root.weight or 1, 0.0, height - PADDING - ROW, boxes)
    script = Path(__file__).with_suffix(".js").read_text("utf-8")
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">',
        f"<style>{_STYLE}</style>",
        '<rect class="back" width="100%" height="100%"/>',
        f'<text class="title" x="{WIDTH // 2}" y="22" text-anchor="middle" font-size="15">{_text(title)}'
        "</text>",
        f'<text class="told" x="{PADDING}" y="46">{_text(told)}</text>',
        *boxes,
        f"<script><![CDATA[\n{script}]]></script>",
        "</svg>\n",
    ])  # fmt: skip


def _boxes(name: str, node: _Node, total: int, at: float, top: int, out: list[str]) -> None:
    share = node.weight / total
    width = (WIDTH - 2 * PADDING) * share
    if width < SMALLEST:
        return
    left = PADDING + (WIDTH - 2 * PADDING) * at
    most = int((width - 4) / CHARACTER)
    shown = name if len(name) <= most else name[: most - 2] + ".." if most > 3 else ""
    tip = f"{name}: {node.weight:,} ({share:.2%})"
    hidden = ' style="display:none"' if width < SHOWN else ""
    out.append(
        f'<g class="f" data-x="{at:.6f}" data-w="{share:.6f}"{hidden}><title>{_text(tip)}</title>'
        f'<rect x="{left:.1f}" y="{top}" width="{max(width - 0.5, 0.1):.1f}" height="{ROW - 1}" rx="1" '
        f'fill="{_colour(name)}"/><text x="{left + 3:.1f}" y="{top + 12}">{_text(shown)}</text></g>'
    )
    for child, below in sorted(node.children.items()):
        _boxes(child, below, total, at, top - ROW, out)
        at += below.weight / total


def _text(text: str) -> str:
    """As XML can hold it: a program may have any bytes in its name."""
    return escape("".join(letter if letter.isprintable() else "?" for letter in text))


def _colour(name: str) -> str:
    """A warm colour that only depends on the name; unnamed code is grey."""
    if name.startswith("["):
        return "#d0d0c8"
    digest = crc32(name.encode())
    return f"#{205 + digest % 50:02x}{90 + (digest >> 8) % 120:02x}{(digest >> 16) % 60:02x}"
