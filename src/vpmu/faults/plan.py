"""Fault plans: rules as data.

When a rule fires is said in the words of Linux's fault injection (Documentation/fault-injection,
lib/fault-inject.c): `probability` in percent, `interval` (every n-th matching call), `times` (how often at
most,
-1 without end, which holds where a rule does not say, but for sites that only time leads to: once) and
`space` (a budget of bytes, or of calls where no bytes are moved, that must be used up first).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import UnknownNameError
from .sites import ALTERNATIVES, SITES, Site
from .values import KINDS, BadValue

WORDS: dict[str, tuple[int, int, int]] = {
    "probability": (0, 100, 100),
    "interval": (1, 1 << 62, 1),
    "times": (-1, 1 << 62, -1),
    "space": (0, 1 << 62, 0),
}
"""The kernel's words: least, most, and what holds where a rule does not say."""


class PlanError(Exception):
    """A rule does not hold together. `key` is the word in the file; `known` the names that it could have
    meant.
    """

    def __init__(self, what: str, *, key: str = "", expected: str | None = None, got: object = None,
                 known: Sequence[str] = ()) -> None:  # fmt: skip
        super().__init__(what)
        self.what, self.key, self.expected, self.got, self.known = what, key, expected, got, known


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: where, on what, what then, and how often. Values are those that `values.KINDS` gives."""

    site: str
    match: Mapping[str, object] = field(default_factory=dict, hash=False)
    effect: Mapping[str, object] = field(default_factory=dict, hash=False)
    probability: int = 100
    interval: int = 1
    times: int = -1
    space: int = 0
    source: str = ""
    """The rule as it was written, on one line."""

    @classmethod
    def build(cls, fields: Mapping[str, object]) -> Rule:
        """A rule from the words of a file: site, match, effect and the kernel's words. Raises PlanError."""
        for key in fields:
            if key not in ("site", "match", "effect", *WORDS):
                raise PlanError(f"unknown word {key!r}", key=key, known=["site", "match", "effect", *WORDS])
        name = fields.get("site")
        if name is None:
            raise PlanError("a rule without site", expected='site = "LAYER.ACTION"')
        if not isinstance(name, str) or name not in SITES:
            raise PlanError(f"unknown site {name!r}", key="site", known=list(SITES))
        site = SITES[name]
        match = _values(fields.get("match", {}), site.matches, "match", site)
        effect = _values(fields.get("effect", {}), site.effect, "effect", site)
        if not effect:
            raise PlanError(
                f"{name} without effect", key="effect", expected=f"one of {', '.join(site.effect)}"
            )
        if len(effect.keys() - ALTERNATIVES) > 1:
            raise PlanError("effects that exclude each other", key=list(effect)[1], expected="one of them",
                            got=", ".join(effect))  # fmt: skip
        if site.name == "host.call" and "function" not in match:
            raise PlanError("host.call without function", key="match", expected="match.function")
        counts = {}
        for word, (low, high, default) in WORDS.items():
            if word == "times" and site.timed:
                default = 1  # nothing but time passes there: without end it would happen at every exit
            value = fields.get(word, default)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise PlanError(word, key=word, expected=f"{low} to {high}", got=value)
            counts[word] = value
        if site.name == "guest.memory" and "address" not in match:
            raise PlanError("guest.memory without address", key="match", expected="match.address")
        return cls(name, match, effect, **counts, source=_source(name, fields))


def _values(given: object, known: Mapping[str, str], what: str, site: Site) -> dict[str, object]:
    if not isinstance(given, Mapping):
        raise PlanError(
            what, key=what, expected=f"a table such as {what} = {{ {next(iter(known))} = … }}", got=given
        )
    found: dict[str, object] = {}
    for key, value in given.items():
        if key not in known:
            raise PlanError(f"{site.name} has no {what} {key!r}", key=key, known=list(known))
        try:
            found[key] = KINDS[known[key]](value)
        except BadValue as error:
            if isinstance(value, str) and error.known:
                said = UnknownNameError(error.kind, value[:40], error.known).what
                raise PlanError(f"{what}.{key}: {said}", key=key) from None
            raise PlanError(f"{what}.{key}", key=key, expected=error.expected, got=value) from None
    return found


def _source(name: str, fields: Mapping[str, object]) -> str:
    parts = []
    for what in ("match", "effect"):
        table = fields.get(what, {})
        assert isinstance(table, Mapping)
        parts += [f"{key}={'true' if value is True else value}" for key, value in table.items()]
    parts += [f"{word}={fields[word]}" for word in WORDS if word in fields]
    return f"{name}:{','.join(parts)}"


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Rules, asked in their order: of those that match a call the first one that fires decides."""

    rules: tuple[Rule, ...] = ()
    name: str = ""
    summary: str = ""
    seed: int = 0

    def __bool__(self) -> bool:
        return bool(self.rules)

    def __add__(self, other: FaultPlan) -> FaultPlan:
        """Both plans as one; the first names it and gives the seed."""
        return FaultPlan(
            self.rules + other.rules,
            self.name or other.name,
            self.summary or other.summary,
            self.seed if self.rules else other.seed,
        )

    def with_seed(self, seed: int) -> FaultPlan:
        """The same rules, chosen with another seed."""
        return replace(self, seed=seed)
