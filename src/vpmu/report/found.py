"""What lies in a folder of results: each kind of file that vpmu writes, known by what is in it, and said in
a row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape, unescape
from pathlib import Path
from re import search
from typing import Any

from ..campaign.verdict import Verdict
from ..conform.verdict import Verdict as Suite
from ..errors import FileError
from ..files import read_bytes
from ..trace.read import Trace
from ..trace.recorder import Record
from .conformance import SIGNS
from .drawings import timeline
from .html import COLOURS, table, verdict

LARGEST = 256 << 20
"""Bytes of a file that are looked at."""
DRAWN = 600
"""Records of a trace that are drawn."""
LINES = 40
"""Of what a guest printed: its last ones."""
_CLASSES: Mapping[str, str] = {verdict: colour for verdict, (colour, _, _) in SIGNS.items()}
"""Verdicts of the conformance suite -> class in the style."""
_HARMLESS = (Suite.PASS, Suite.DIVERGENCE, Suite.SKIPPED)
_GOOD_ENDS = ("shutdown", "reset", "exited")
_SAMPLE = 1 << 16
"""Bytes of a page or a picture in which it says what it is."""

Chip = tuple[str, str]
"""Class in the style, words."""


@dataclass(frozen=True, slots=True)
class Found:
    """One result. `kind` is a section of the page; `chips` what is seen at a glance, `more` HTML to open."""

    path: Path
    kind: str
    what: str
    chips: Sequence[Chip] = ()
    more: str = ""
    page: Path | None = field(default=None)
    """A page of its own, beside it."""

    @property
    def words(self) -> set[str]:
        """What it can be filtered by: the kinds of verdict."""
        return {COLOUR_WORDS[colour] for colour, _ in self.chips}


COLOUR_WORDS = {
    "good": "good", "soft": "known or degraded", "wrong": "wrong", "hung": "hung", "lost": "lost or failed",
    "none": "nothing said",
}  # fmt: skip
KINDS = ("campaign", "conformance", "comparison", "catalogue", "run", "flame graph", "trace", "tests", "page")
"""Sections, in this order."""


def look(folder: Path) -> tuple[list[Found], list[tuple[Path, str]]]:
    """(results, damaged ones with the reason) below a folder, by name. Others are passed over, and so is
    what a campaign keeps in its own folder. FileError for a folder that cannot be read.
    """
    found: list[Found] = []
    damaged: list[tuple[Path, str]] = []
    for path in _files(folder):
        try:
            one = _of_file(path)
        except FileError as error:
            damaged.append((path, str(error).partition(": ")[2].removeprefix(f"{path}: ")))
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
            damaged.append((path, "not as vpmu writes it"))
        else:
            if one is not None:
                found.append(one)
    return found, damaged


def _files(folder: Path) -> Iterator[Path]:
    """Files in the order of their names, a campaign's folder by its plan alone; links to folders are not
    followed.
    """
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise FileError.from_os_error(folder, error) from None
    if folder / "plan.json" in inside and folder / "journal.jsonl" in inside:
        yield folder / "plan.json"
        return
    for path in inside:
        if path.is_dir():
            if not path.is_symlink():
                yield from _files(path)
        elif path.is_file():
            yield path


def _of_file(path: Path) -> Found | None:
    reader = READERS.get(path.suffix.lower())
    if reader is None or path.stat().st_size > LARGEST:
        return None
    return reader(path)


# --- JSON, as --json prints it


def _json(path: Path) -> Found | None:
    if path.name == "plan.json" and (path.parent / "journal.jsonl").exists():
        return _campaign(path)
    try:
        told = json.loads(read_bytes(path))
    except ValueError:
        return None
    if not isinstance(told, dict):
        return None
    for keys, reader in SHAPES:
        if keys <= told.keys():
            return reader(path, told)
    return None


def _campaign(path: Path) -> Found:
    folder = path.parent
    results = [json.loads(line) for line in _lines(folder / "results.jsonl")]
    counts = Counter(str(result["verdict"]) for result in results)
    chips = [(COLOURS[name][0], f"{counts[name]:,} {COLOURS[name][1]}") for name in COLOURS if counts[name]]
    own = folder / "report.html"
    what = f"{len(results):,} run{'s' * (len(results) != 1)}" if results else "stopped before its end"
    return Found(folder, "campaign", what, chips, page=own if own.exists() else None)


def _lines(path: Path) -> list[bytes]:
    return read_bytes(path).splitlines() if path.exists() else []


def _conformance(path: Path, told: dict[str, Any]) -> Found:
    totals: Counter[str] = Counter()
    rows = []
    for run in told["runs"]:
        totals.update(run["totals"])
        rows += [
            (escape(run["target"]), escape(one["id"]), escape(one["title"]), escape(one["reason"] or ""))
            for one in run["results"]
            if one["verdict"] not in _HARMLESS
        ]
    chips = [(_CLASSES.get(name, "lost"), f"{number:,} {name}") for name, number in totals.items()]
    runs = told["runs"]
    what = str(runs[0]["description"]) if len(runs) == 1 else f"{len(runs)} targets or profiles"
    return Found(path, "conformance", what, chips, table(["target", "test", "", "why"], rows) if rows else "")


def _comparison(path: Path, told: dict[str, Any]) -> Found:
    rows = [
        (escape(row["what"]), escape(str(row["first"])), escape(str(row["second"])))
        for row in told["rows"]
        if row["first"] != row["second"]
    ]
    explained = [str(one["name"]) for one in told["behaviours"]]
    what = f"explained by {', '.join(explained)}" if explained else ""
    chip = ("soft", f"{len(rows)} differences") if told["changed"] else ("good", "the same")
    return Found(path, "comparison", what, [chip], table(["", "first", "second"], rows) if rows else "")


def _divergence(path: Path, told: dict[str, Any]) -> Found:
    what = f"{told['guest']}: {told['first']} and {told['second']}"
    call = (told["first_call"] or {}).get("what") if told["parted"] else None
    chip = ("soft", f"part at {call}" if call else "part") if told["parted"] else ("good", "the same")
    return Found(path, "comparison", what, [chip], _pre(json.dumps(told, indent=1)))


def _catalogue(path: Path, told: dict[str, Any]) -> Found:
    counts = Counter(str(one["verdict"]) for one in told["results"])
    chips = [
        (COLOURS[name][0] if name in COLOURS else "lost", f"{number} {name}")
        for name, number in counts.items()
    ]
    rows = [
        (escape(one["id"]), escape(one["profile"]), escape(one["title"]), verdict(one["verdict"]))
        for one in told["results"]
    ]
    scenarios = len({one["id"] for one in told["results"]})
    more = table(["scenario", "profile", "", "verdict"], rows)
    return Found(path, "catalogue", f"{scenarios} scenario{'s' * (scenarios != 1)}", chips, more)


def _run(path: Path, told: dict[str, Any]) -> Found:
    chips = [_end(told)]
    wrong = told.get("wrong")
    if isinstance(wrong, list) and wrong:
        chips.append(("wrong", f"{len(wrong)} wrong counts"))
    what = f"{told['instructions']:,} instructions"
    if told.get("reason"):
        what += f"; {told['reason']}"
    more = ""
    if isinstance(told.get("counters"), list):
        more += table(["event", "count"], [_counter(one) for one in told["counters"]])
    console = str(told.get("console") or told.get("output") or "")
    if console:
        more += _pre("\n".join(console.splitlines()[-LINES:]))
    return Found(path, "run", what, chips, more)


def _end(told: Mapping[str, Any]) -> Chip:
    stop = str(told["stop"])
    if told.get("fixed_by"):
        return COLOURS[Verdict.HOST_LOST]
    if told.get("kvm_run_errno") is not None:
        return ("lost", f"KVM_RUN: {told.get('kvm_run_errno_name') or told['kvm_run_errno']}")
    if stop in ("hung", "idle", "budget"):
        return ("hung", stop)
    failed = told.get("status") or told.get("exit_status") or told.get("reset_reason")
    return ("good" if stop in _GOOD_ENDS and not failed else "lost", stop.replace("_", " "))


def _counter(one: Mapping[str, Any]) -> tuple[str, str]:
    value = f"{one['value']:,}" if one["value"] is not None else f"&lt;{escape(one['status'])}&gt;"
    return escape(one["event"]), value


SHAPES: tuple[tuple[set[str], Callable[[Path, dict[str, Any]], Found]], ...] = (
    ({"runs", "results"}, _conformance),
    ({"changed", "rows", "behaviours"}, _comparison),
    ({"parted", "first_call", "guest"}, _divergence),
    ({"results"}, _catalogue),
    ({"stop", "instructions"}, _run),
)
"""Keys that a command's JSON has, and who reads it; the first that fits."""

# --- other files


def _trace(path: Path) -> Found | None:
    if not _beginning(path).startswith(b'{"schema": "vpmu-trace"'):
        return None
    trace = Trace(path)
    records = list(trace)
    layers = Counter(record.layer for record in records)
    wrong = sum(record.actor == "oracle" for record in records)
    chips = [("wrong", f"{wrong} wrong counts")] if wrong else []
    if trace.cut is not None:
        chips.append(("hung", "cut short"))
    what = f"{len(records):,} records: {', '.join(f'{number:,} {layer}' for layer, number in layers.items())}"
    return Found(path, "trace", what, chips, _drawn(records))


def _drawn(records: list[Record]) -> str:
    shown = [record for record in records if record.layer == "sbi"][:DRAWN]
    return timeline(shown) if shown else ""


def _flame_graph(path: Path) -> Found | None:
    text = _beginning(path).decode("utf-8", "replace")
    title = search(r'<text class="title"[^>]*>(.*?)</text>', text)
    if title is None:
        return None
    what = unescape(title[1])
    return Found(path, "flame graph", what, more=f'<img src="{{}}" alt="{escape(what)}">', page=path)


def _junit(path: Path) -> Found | None:
    from xml.etree import ElementTree

    data = read_bytes(path)
    if b"<testsuite" not in data[:400] or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        return None
    try:
        suites = list(ElementTree.fromstring(data).iter("testsuite"))
    except ElementTree.ParseError as error:
        raise FileError(path, "not XML", got=str(error)) from None
    numbers = {
        name: sum(int(suite.get(name, "0")) for suite in suites)
        for name in ("tests", "failures", "errors", "skipped")
    }
    bad = numbers["failures"] + numbers["errors"]
    chips = [("lost", f"{bad:,} failed")] if bad else [("good", "none failed")]
    if numbers["skipped"]:
        chips.append(("none", f"{numbers['skipped']:,} skipped"))
    return Found(path, "tests", f"{numbers['tests']:,} tests", chips)


def _page(path: Path) -> Found | None:
    text = _beginning(path).decode("utf-8", "replace")
    title = search(r"<title>(.*?)</title>", text)
    if title is None or "What every page looks like" not in text or MARK in text:
        return None
    return Found(path, "page", unescape(title[1]), page=path)


MARK = 'name="vpmu-report"'
"""In the page of a folder: it is not a result."""
READERS: Mapping[str, Callable[[Path], Found | None]] = {
    ".json": _json, ".jsonl": _trace, ".svg": _flame_graph, ".xml": _junit, ".html": _page,
}  # fmt: skip


def _beginning(path: Path) -> bytes:
    """What says what a file is; FileError."""
    try:
        with path.open("rb") as stream:
            return stream.read(_SAMPLE)
    except OSError as error:
        raise FileError.from_os_error(path, error) from None


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"
