"""Scripted guests: one line, one step, one answer; what each profile must answer stands behind a bar.

    config iTLB-loads counters=3    | SUCCESS 3
    start 3 value=100               | SUCCESS; spec-3.0: FAILED
    work 1000
    read 3                          | 100; spec-3.0: illegal

An expectation is a list of clauses; the last one whose selector fits the profile counts. A selector is a
behaviour (`snapshot`: what has it, `!snapshot`: what has it not), a profile, `kvm` (all of KVM), `kvm<6.12`
or `kvm>=6.10`, or several of these with commas, of which one must fit; without one it fits all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import VpmuError
from ..profiles.behaviours import BEHAVIOURS
from ..profiles.profiles import Profile
from ..profiles.releases import parse_release, series_of
from ..spec.sbi import U64

RAM, SIZE = 0x80000000, 1 << 20
ROM = 0x90000000
NAMES = {
    "page": RAM + 0x8000, "page2": RAM + 0x9000, "table": RAM + 0xA000, "hole": 0x40000000, "rom": ROM,
    "uart": 0x10000000, "end": RAM + SIZE, "none": U64, "ram": RAM,
}  # fmt: skip


class ScriptError(VpmuError):
    """A line of a script makes no sense."""

    layer = "script"


@dataclass(frozen=True, slots=True)
class Step:
    """One line: what to do, and the clauses (selector, answer) behind the bar."""

    text: str
    words: tuple[str, ...]
    clauses: tuple[tuple[str, str], ...]

    def expected(self, profile: Profile) -> str | None:
        """What this profile must answer; None where the script does not say."""
        found = None
        for selector, answer in self.clauses:
            if not selector or any(selects(part, profile) for part in selector.split(",")):
                found = answer
        return None if found == "-" else found


@dataclass(frozen=True, slots=True)
class Answered:
    """One step that was done."""

    step: str
    expected: str | None
    observed: str

    @property
    def held(self) -> bool:
        """The answer is the expected one, where one is expected. A `~` before it stands for a part of the
        answer.
        """
        if self.expected is None:
            return True
        if self.expected.startswith("~"):
            return self.expected[1:] in self.observed
        return self.expected == self.observed


def selects(selector: str, profile: Profile) -> bool:
    """Whether a selector fits: by the profile's behaviours, or by whose release it is."""
    project = profile.base.partition("-")[0]
    if selector.removeprefix("!") in BEHAVIOURS:
        return profile.has(BEHAVIOURS[selector.removeprefix("!")]) != selector.startswith("!")
    if selector in (profile.name, profile.base, f"{project}-{series_of(profile.release)}"):
        return True
    found = re.fullmatch(r"([a-z]+)(?:(<|>=)(\d+\.\d+))?", selector)
    if found is None or found[1] != project:
        return False
    if found[2] is None:
        return True
    here, there = parse_release(profile.release)[:2], parse_release(found[3])
    return here < there if found[2] == "<" else here >= there


def number(text: str) -> int:
    """A number, a name of `NAMES`, or a sum or difference of these, modulo 2^64."""
    total = 0
    for sign, word in re.findall(r"([+-]?)([^+-]+)", text):
        value = (
            NAMES[word] if word in NAMES else 1 << int(word[2:]) if word.startswith("2^") else int(word, 0)
        )
        total += -value if sign == "-" else value
    return total & U64


def counters(text: str) -> tuple[int, int]:
    """(base, mask) of `3`, `3-5`, `3,5` or `BASE:MASK`."""
    if ":" in text:
        base, mask = text.split(":")
        return number(base), number(mask)
    indices: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        indices += range(int(first), int(last or first) + 1)
    return min(indices), sum(1 << index - min(indices) for index in indices)


def read_options(words: Sequence[str], *known: str) -> dict[str, str]:
    found = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in known:
            raise ValueError(f"unknown word {word!r}; known: {', '.join(known)}")
        found[key] = value
    return found
