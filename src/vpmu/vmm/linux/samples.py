"""Samples of the guest's `perf record`: the text of `perf script` as collapsed stacks, and those as a flame
graph.

Collapsed stacks are lines `comm;outermost;...;innermost weight`, the format of Brendan Gregg's flame graph
tools.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from html import escape
from zlib import crc32

_SAMPLE = re.compile(
    r"^(?P<comm>\S.*?) +\d+ +(?P<time>[\d.]+): +(?P<period>\d{1,20}) +(?P<event>\S+): *(?P<frame>.*)$"
)
_FRAME = re.compile(r"^(?P<ip>[0-9a-f]+) (?P<symbol>.*) \((?P<object>.*)\)$")

WIDTH, ROW, PADDING, TITLE = 1200, 17, 10, 34  # pixels of the flame graph
SMALLEST = 0.3  # pixels: narrower frames are left out
CHARACTER = 6.6  # pixels of one character of the 11 px font

Stack = tuple[str, ...]
"""Program name, then frames from the outermost to the innermost."""


@dataclass(slots=True)
class Samples:
    """Weight (sum of the periods) by stack, and how many samples there were."""

    stacks: Counter[Stack] = field(default_factory=Counter)
    count: int = 0
    event: str = ""

    @property
    def weight(self) -> int:
        """Events that all samples stand for."""
        return self.stacks.total()

    def collapsed(self) -> str:
        """The text format, one line per stack, sorted."""
        return "".join(f"{';'.join(stack)} {weight}\n" for stack, weight in sorted(self.stacks.items()))


def parse_script(text: str) -> Samples:
    """Read the output of `perf script -F comm,tid,time,period,event,ip,sym,dso`; lines of another form
    are skipped.
    """
    samples = Samples()
    comm, period = "", 0
    frames: list[str] = []

    def finish() -> None:
        if period and frames:
            samples.stacks[(comm, *reversed(frames))] += period
            samples.count += 1
        frames.clear()

    for line in text.splitlines():
        if line[:1].isspace() and (frame := _frame(line)):
            frames.append(frame)
        elif match := _SAMPLE.match(line.lstrip()):
            finish()
            comm, period = match["comm"].replace(";", ":"), int(match["period"])
            samples.event = samples.event or match["event"]
            if frame := _frame(match["frame"]):
                frames.append(frame)
    finish()
    return samples


def _frame(text: str) -> str:
    """The name of a frame: its symbol, or where there is none the file in brackets."""
    match = _FRAME.match(text.strip())
    if match is None:
        return ""
    symbol = re.sub(r"\+0x[0-9a-f]+$", "", match["symbol"])
    if symbol == "[unknown]":
        symbol = f"[{match['object'].strip('[]').rpartition('/')[2]}]"
    return symbol.replace(";", ":")


@dataclass(slots=True)
class _Node:
    weight: int = 0
    children: dict[str, _Node] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        return 1 + max((child.depth for child in self.children.values()), default=0)


def flame_graph(samples: Samples, title: str) -> str:
    """An SVG (no script in it): one box per frame, as wide as its share, its callees above it. Boxes tell
    more on hover.
    """
    root = _Node()
    for stack, weight in samples.stacks.items():
        root.weight += weight
        node = root
        for name in stack:
            node = node.children.setdefault(name, _Node())
            node.weight += weight
    height = TITLE + ROW * root.depth + PADDING
    boxes: list[str] = []
    _boxes("all", root, root.weight or 1, PADDING, height - PADDING - ROW, boxes)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">',
        '<rect width="100%" height="100%" fill="#fffdf7"/>',
        f'<text x="{WIDTH / 2:g}" y="22" text-anchor="middle" font-size="15">{escape(title)}</text>',
        *boxes,
        "</svg>\n",
    ])  # fmt: skip


def _boxes(name: str, node: _Node, total: int, left: float, top: int, out: list[str]) -> None:
    width = (WIDTH - 2 * PADDING) * node.weight / total
    if width < SMALLEST:
        return
    shown = (
        name if len(name) * CHARACTER < width - 4 else name[: max(int((width - 4) / CHARACTER) - 2, 0)] + ".."
    )
    label = f'<text x="{left + 3:.1f}" y="{top + 12}">{escape(shown)}</text>' if width > 4 * CHARACTER else ""
    tip = f"{name}: {node.weight:,} ({node.weight / total:.2%})"
    out.append(
        f'<g><title>{escape(tip)}</title><rect x="{left:.1f}" y="{top}" width="{max(width - 0.5, 0.1):.1f}" '
        f'height="{ROW - 1}" rx="1" fill="{_colour(name)}"/>{label}</g>'
    )
    for child, below in sorted(node.children.items()):
        _boxes(child, below, total, left, top - ROW, out)
        left += (WIDTH - 2 * PADDING) * below.weight / total


def _colour(name: str) -> str:
    """A warm colour that only depends on the name; unnamed code is grey."""
    if name.startswith("["):
        return "#d0d0c8"
    digest = crc32(name.encode())
    return f"#{205 + digest % 50:02x}{90 + (digest >> 8) % 120:02x}{(digest >> 16) % 60:02x}"
