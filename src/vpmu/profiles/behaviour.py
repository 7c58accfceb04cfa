"""One behaviour: what it is, which commit brought or ended it, and in which releases it is there."""

from __future__ import annotations

from dataclasses import dataclass, field

from .commits import COMMITS
from .releases import Release, parse_release


@dataclass(frozen=True, slots=True, eq=False)
class Behaviour:
    """One difference. `since` and `until` are releases of `project`: the first that has it, the first that
    has it no longer; `stable`: releases of older series that ended it as well.

    `commit` ended it or, where that commit is not known or it has not ended, brought it; empty where neither
    is known. `name` is the name of its attribute in B, in lower case with hyphens.
    """

    summary: str
    commit: str
    since: str
    until: str
    reference: str
    project: str = "Linux"
    stable: tuple[str, ...] = ()
    name: str = field(default="", init=False)

    def __set_name__(self, owner: type, name: str) -> None:
        object.__setattr__(self, "name", name.lower().replace("_", "-"))

    @property
    def subject(self) -> str:
        """Subject of `commit`, empty where none is known."""
        return COMMITS.get(self.commit, "")

    def in_release(self, release: Release) -> bool:
        """Whether this release of `project` behaves so."""
        series = release[:2]
        if self.since and parse_release(self.since) > release:
            return False
        if self.until and parse_release(self.until) <= series:
            return False
        return not any(end[:2] == series and end <= release for end in map(parse_release, self.stable))

    def __repr__(self) -> str:
        return f"{'B' if self.project == 'Linux' else 'OB'}.{self.name.upper().replace('-', '_')}"
