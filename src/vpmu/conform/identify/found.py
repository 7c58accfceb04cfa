"""What an identification found, as text and as an object."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...profiles.behaviour import Behaviour
from ...profiles.behaviours import B
from ...profiles.opensbi_behaviours import OB
from ...profiles.profiles import Profile

if TYPE_CHECKING:
    from ..agent import Identity
    from .releases import Fit

WIDTH = 80
_OF_THE_BUILD = frozenset({B.LEGACY_NOT_BUILT, B.CSR_ILLEGAL_WITHOUT_CONFIG})
_OF_THE_HART = frozenset({OB.OPENSBI_FIXED_COUNTER_FALLBACK, OB.OPENSBI_FIXED_COUNTER_UNUSED})
"""With Smcntrpmf OpenSBI falls back to cycle and instret after 65bb705f as well."""


def depends_on_release(behaviour: Behaviour) -> bool:
    """False for what the host kernel's configuration or the hart decides."""
    return behaviour not in _OF_THE_BUILD | _OF_THE_HART and behaviour.project != "QEMU"


@dataclass(frozen=True, slots=True)
class Told:
    """One behaviour. `reason`: why it could not be told; then `has` is what the release would have. `tests`:
    the sequences whose answers tell it.
    """

    behaviour: Behaviour
    has: bool
    reason: str = ""
    tests: tuple[str, ...] = ()

    @property
    def sure(self) -> bool:
        """It was told."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class Fix:
    """A commit that ended behaviours. `there`: None where its behaviours could not be told."""

    commit: str
    subject: str
    behaviours: tuple[str, ...]
    there: bool | None


@dataclass(frozen=True, slots=True)
class Found:
    """Which implementation it is. `profile` has what was told, and the rest as the nearest release."""

    identity: Identity
    description: str
    profile: Profile
    fit: Fit
    told: tuple[Told, ...]

    @property
    def unfit(self) -> tuple[Told, ...]:
        """What was told and is not so in the nearest release."""
        nearest = self.fit.nearest
        return tuple(
            one for one in self.told
            if one.sure and depends_on_release(one.behaviour) and nearest.has(one.behaviour) != one.has
        )  # fmt: skip

    @property
    def untold(self) -> tuple[Told, ...]:
        """What could not be told."""
        return tuple(one for one in self.told if not one.sure)

    @property
    def fixes(self) -> tuple[Fix, ...]:
        """Every commit that ended a behaviour, in the order of the behaviours."""
        by_commit: dict[str, list[Told]] = {}
        for one in self.told:
            if one.behaviour.until and one.behaviour.commit:
                by_commit.setdefault(one.behaviour.commit, []).append(one)
        return tuple(_fix(commit, ended) for commit, ended in by_commit.items())

    def lines(self) -> Iterator[str]:
        """The report, in lines of at most 80 columns."""
        yield from _wrapped(f"{self.description.split('; expected:')[0]}")
        yield f"implementation   {self.identity}"
        fits = "; ".join(self.fit.releases)
        if self.fit.distance:
            nearest = fits or self.fit.nearest.name
            yield from _wrapped(f"none fits; nearest {nearest}", "release          ")
        elif fits:
            yield from _wrapped(fits, "release          ")
        yield f"nearest profile  {self.fit.nearest.name}"
        sure = [one for one in self.told if one.sure]
        yield f"told             {len(sure)} of {len(self.told)} behaviours"
        for there, title in ((True, "fixes it has"), (False, "fixes it lacks")):
            fixes = [fix for fix in self.fixes if fix.there is there]
            if fixes:
                yield f"\n{title}"
            for fix in fixes:
                yield from _wrapped(f"{fix.commit} {fix.subject or '(subject not recorded)'}", "  ", 4)
                if not there or not fix.subject:
                    yield from _wrapped(f"{'ends' if there else 'has'} {', '.join(fix.behaviours)}", "    ")
        yield from _named("fit no release", [
            f"{one.behaviour.name}: {'has it' if one.has else 'lacks it'}, {self.fit.nearest.name} "
            f"{'lacks' if one.has else 'has'} it" for one in self.unfit
        ])  # fmt: skip
        ended = {name for fix in self.fixes if fix.there is not None for name in fix.behaviours}
        others = [one.behaviour.name for one in sure if one.has and one.behaviour.name not in ended]
        yield from _named("other behaviours it has", [", ".join(others)] if others else [])
        reasons: dict[str, list[str]] = {}
        for one in self.untold:
            commit = f" ({one.behaviour.commit})" if one.behaviour.until and one.behaviour.commit else ""
            reasons.setdefault(one.reason, []).append(one.behaviour.name + commit)
        yield from _named("could not be told", [f"{why}: {', '.join(who)}" for why, who in reasons.items()])

    def as_object(self) -> dict[str, object]:
        """The object of `--json`."""
        return {
            "description": self.description,
            "implementation": {
                "id": self.identity.impl_id, "version": self.identity.impl_version,
                "release": self.identity.release, "known": self.identity.known, "text": str(self.identity),
            },
            "nearest": self.fit.nearest.name,
            "distance": self.fit.distance,
            "releases": list(self.fit.releases),
            "fixes": [
                {"commit": fix.commit, "subject": fix.subject or None, "behaviours": list(fix.behaviours),
                 "there": fix.there} for fix in self.fixes
            ],
            "behaviours": [
                {"name": one.behaviour.name, "has": one.has if one.sure else None, "told": one.sure,
                 "reason": one.reason or None, "tests": list(one.tests)} for one in self.told
            ],
            "unfit": [one.behaviour.name for one in self.unfit],
            "untold": [one.behaviour.name for one in self.untold],
        }  # fmt: skip


def _fix(commit: str, ended: Sequence[Told]) -> Fix:
    # What the hart may decide as well says something only where it is gone.
    sure = [one.has for one in ended if one.sure and (depends_on_release(one.behaviour) or not one.has)]
    there = None if not sure else not any(sure)
    return Fix(commit, ended[0].behaviour.subject, tuple(one.behaviour.name for one in ended), there)


def _named(title: str, texts: Sequence[str]) -> Iterator[str]:
    if texts:
        yield f"\n{title}"
        for text in texts:
            yield from _wrapped(text, "  ", 4)


def _wrapped(text: str, first: str = "", indent: int | None = None) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=" " * (len(first) if indent is None else indent),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
