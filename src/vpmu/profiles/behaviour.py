"""One behaviour: what it is, which commit brought or ended it, and in which releases it is there."""

from __future__ import annotations

from dataclasses import dataclass, field

from .releases import Release, parse_release


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Behaviour:
    """One difference. `since` and `until` are releases of `project`: the first that has it, the first that
    has it no longer. Stable releases of older series follow: `brought` has those that have it from then on as
    well, `stable` those that ended it as well.

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
    brought: tuple[str, ...] = ()
    name: str = field(default="", init=False)

    def __set_name__(self, owner: type, name: str) -> None:
        object.__setattr__(self, "name", name.lower().replace("_", "-"))

    @property
    def subject(self) -> str:
        """Subject of `commit`, empty where none is known."""
        from .commits import COMMITS  # a run cites nothing

        return COMMITS.get(self.commit, "")

    def in_release(self, release: Release) -> bool:
        """Whether this release of `project` behaves so."""
        series = release[:2]

        def reached(stable: tuple[str, ...]) -> bool:
            return any(start[:2] == series and start <= release for start in map(parse_release, stable))

        if self.since and parse_release(self.since) > release and not reached(self.brought):
            return False
        if self.until and parse_release(self.until) <= series:
            return False
        return not reached(self.stable)

    def __repr__(self) -> str:
        return f"{'B' if self.project == 'Linux' else 'OB'}.{self.name.upper().replace('-', '_')}"
