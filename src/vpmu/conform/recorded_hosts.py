"""What in a recorded table its host decided, as data: real KVM on our own hart answers these lines otherwise
(`recorded_hosts.toml`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..files import read_toml
from ..vmm.replay_report import Disagreement

DATA = Path(__file__).with_name("recorded_hosts.toml")
DIGEST = 16
NOTHING = "(nothing)"
_VALUE = re.compile(r"=> (0x[0-9a-f]+|0) \(")


@dataclass(frozen=True, slots=True)
class Decided:
    """Why a line is the recorded host's, and what the answer is held to all the same: a pattern, or how far a
    number may be from the recorded one.
    """

    why: str
    got: str = ""
    by: int = 0

    def allows(self, line: Disagreement) -> bool:
        """Whether the answer is one of those that it explains."""
        got = NOTHING if line.got is None else line.got
        if self.got:
            return re.search(self.got, got) is not None
        told, recorded = _VALUE.search(got), _VALUE.search(line.recorded)
        return bool(told and recorded) and abs(int(told[1], 16) - int(recorded[1], 16)) <= self.by  # type: ignore[index]


@lru_cache(maxsize=1)
def decided() -> dict[tuple[str, int], Decided]:
    """All of it: (beginning of the table's SHA-256, number of the line) -> why."""
    content, _ = read_toml(DATA, "replay")
    found: dict[tuple[str, int], Decided] = {}
    for host in content["host"]:  # type: ignore[attr-defined]
        why = Decided(host["why"], host.get("got", ""), host.get("by", 0))
        for lines in host["lines"]:
            found |= {(lines["table"], number): why for number in lines["numbers"]}
    return found


def explained(lines: list[Disagreement]) -> dict[int, str]:
    """Number of a line -> why it is the recorded host's, of lines of one table."""
    if not lines:
        return {}
    digest = hashlib.sha256(Path(lines[0].path).read_bytes()).hexdigest()[:DIGEST]
    known = {line.line: decided().get((digest, line.line)) for line in lines}
    return {
        line.line: why.why for line in lines if (why := known[line.line]) is not None and why.allows(line)
    }
