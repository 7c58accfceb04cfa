"""The guest's perf with files of the host: what `perf record` writes comes out, what `perf report` reads goes
in.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from vpmu.vmm.linux.files_out import sent

DATA = "/tmp/perf.data"
GUEST_INPUT = "root/perf.data"
"""Where a perf.data of the host's lies in the guest."""
SAMPLES = "samples"
READING = frozenset({"annotate", "buildid-list", "evlist", "report", "script"})
"""perf's commands that read a perf.data with -i."""
_FIELDS = "comm,tid,time,period,event,ip,sym,dso"

# perf record's options whose value is the next word (tools/perf/builtin-record.c).
_SHORT = frozenset("eprcCoFmtuGwDkj")
_LONG = frozenset({
    "event", "filter", "pid", "tid", "realtime", "cpu", "count", "freq", "mmap-pages", "call-graph", "cgroup",
    "delay", "uid", "branch-filter", "clockid", "proc-map-timeout", "affinity", "max-size", "control",
    "num-thread-synthesize", "debuginfod",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recording:
    """`perf record` as the host's user asked for it: perf's arguments without -o, and the file of -o."""

    arguments: tuple[str, ...]
    output: str | None

    @property
    def command(self) -> str:
        """A shell command: perf record with call graphs, then its samples as text and, where they are
        wanted, its data, each as a file that comes out.
        """
        graph = any(a in ("-g", "--call-graph") or a.startswith("--call-graph=") for a in self.arguments)
        record = shlex.join(["perf", "record", *([] if graph else ["-g"]), "-o", DATA, *self.arguments])
        out = f"perf script -i {DATA} -F {_FIELDS} 2>/dev/null | {sent(SAMPLES)}"
        if self.output is not None:
            out += f"; {sent('data')} < {DATA}"
        return f"{record}; status=$?; if [ -s {DATA} ]; then {out}; fi; exit $status"


def recording(arguments: Sequence[str]) -> Recording:
    """Take -o FILE out of what stands before the command that is recorded."""
    kept: list[str] = []
    output = None
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name == "--output":
            output = value if equals else words.pop(0) if words else ""
        elif word.startswith("-o") and not word.startswith("--"):
            output = word[2:] or (words.pop(0) if words else "")
        elif word == "--" or not word.startswith("-"):
            kept += [word, *words]
            break
        else:
            kept.append(word)
            if words and _takes_value(word):
                kept.append(words.pop(0))
    return Recording(tuple(kept), output)


def _takes_value(word: str) -> bool:
    if word.startswith("--"):
        return word[2:] in _LONG
    return len(word) == 2 and word[1] in _SHORT


def reading(
    arguments: Sequence[str], default: str | None, *, colour: bool = False
) -> tuple[list[str], str | None]:
    """perf's arguments with -i FILE exchanged for the guest's path of it, and the file; None where there is
    none to bring. `default`: the file where no -i names one. A report is plain text, as for a pipe.
    """
    words, found = list(arguments), default
    for index, word in enumerate(words):
        if word in ("-i", "--input") and index + 1 < len(words):
            found = words[index + 1]
            del words[index : index + 2]
            break
        if word.startswith("--input=") or (word.startswith("-i") and word[2:]):
            found = word.partition("=")[2] if word.startswith("--") else word[2:]
            del words[index]
            break
    if found is None:
        return words, None
    text: list[str] = []
    if words[0] == "report" and not {"--stdio", "--tui", "--gtk"} & set(words):
        text = ["--stdio", f"--stdio-color={'always' if colour else 'never'}"]
    return [words[0], *text, "-i", f"/{GUEST_INPUT}", *words[1:]], found
