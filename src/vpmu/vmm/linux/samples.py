"""Samples of the guest's `perf record`: the text of `perf script` as collapsed stacks, and those as a flame
graph.

Collapsed stacks are lines `comm;outermost;...;innermost weight`, the format of Brendan Gregg's flame graph
tools.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from .flame import draw

_SAMPLE = re.compile(
    r"^(?P<comm>\S.*?) +\d+ +(?P<time>[\d.]+): +(?P<period>\d{1,20}) +(?P<event>\S+): *(?P<frame>.*)$"
)
_FRAME = re.compile(r"^(?P<ip>[0-9a-f]+) (?P<symbol>.*) \((?P<object>.*)\)$")

Stack = tuple[str, ...]
"""Program name, then frames from the outermost to the innermost."""


@dataclass(slots=True)
class Samples:
    """Samples of one event: weight (sum of the periods) by stack, and how many there were."""

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


def parse_script(text: str) -> list[Samples]:
    """Read the output of `perf script -F comm,tid,time,period,event,ip,sym,dso`: the samples of each event,
    in the order in which the events come. Lines of another form are skipped.
    """
    by_event: dict[str, Samples] = {}
    comm, period, event = "", 0, ""
    frames: list[str] = []

    def finish() -> None:
        if period and frames:
            samples = by_event.setdefault(event, Samples(event=event))
            samples.stacks[(comm, *reversed(frames))] += period
            samples.count += 1
        frames.clear()

    for line in text.splitlines():
        if line[:1].isspace() and (frame := _frame(line)):
            frames.append(frame)
        elif match := _SAMPLE.match(line.lstrip()):
            finish()
            comm, period = match["comm"].replace(";", ":"), int(match["period"])
            event = match["event"]
            if frame := _frame(match["frame"]):
                frames.append(frame)
    finish()
    return list(by_event.values())


def _frame(text: str) -> str:
    """The name of a frame: its symbol, or where there is none the file in brackets."""
    match = _FRAME.match(text.strip())
    if match is None:
        return ""
    symbol = re.sub(r"\+0x[0-9a-f]+$", "", match["symbol"])
    if symbol == "[unknown]":
        symbol = f"[{match['object'].strip('[]').rpartition('/')[2]}]"
    return symbol.replace(";", ":")


def flame_graph(samples: Samples, title: str) -> str:
    """An SVG: see `flame.draw`."""
    return draw(samples.stacks, title, f"{samples.weight:,} {samples.event}, {samples.count:,} samples")
