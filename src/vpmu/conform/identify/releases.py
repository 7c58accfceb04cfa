"""Which releases have what was told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...profiles.behaviours import BEHAVIOURS
from ...profiles.profiles import IMPL_ID_KVM, IMPL_ID_OPENSBI, Profile, get_profile
from ...profiles.releases import parse_release, series_of
from ..agent import Identity
from .found import Told, depends_on_release

_LINUX = [f"6.{minor}" for minor in range(3, 20)] + [f"7.{minor}" for minor in range(4)]
_OPENSBI = [f"1.{minor}" for minor in range(1, 10)]


@dataclass(frozen=True, slots=True)
class Span:
    """Releases of one series that behave alike: from `first` on, until before `end` (empty: to its last)."""

    first: str
    end: str = ""

    @property
    def series(self) -> str:
        """`6.12`."""
        return series_of(self.first)


@dataclass(frozen=True, slots=True)
class Fit:
    """The profile that is nearest to what was told, how many told behaviours it does not have so, and all
    releases that are as near.
    """

    nearest: Profile
    distance: int
    releases: tuple[str, ...]


def spans(project: str) -> list[Span]:
    """All releases of `Linux` or `OpenSBI` in the known range, as spans that behave alike, in order."""
    series = _LINUX if project == "Linux" else _OPENSBI
    found = []
    for one in series:
        ends = {end for b in BEHAVIOURS.values() if b.project == project for end in (*b.stable, *b.brought)}
        starts = [one, *sorted((end for end in ends if series_of(end) == one), key=parse_release)]
        found += [Span(*pair) for pair in zip(starts, [*starts[1:], ""], strict=True)]
    return found


def fit_releases(identity: Identity, start: Profile, told: Sequence[Told]) -> Fit:
    """The releases whose profiles differ least from what was told; `start` where it is one of them."""
    kinds = {IMPL_ID_KVM: ("kvm", "Linux"), IMPL_ID_OPENSBI: ("opensbi", "OpenSBI")}
    if identity.impl_id not in kinds:
        return Fit(start, _distance(start, told), ())
    name, project = kinds[identity.impl_id]
    everything = spans(project)
    # The name of a series may stand for a later release of it: its first one is meant.
    zero = ".0" if project == "Linux" else ""
    profiles = [
        get_profile(f"{name}-{span.first}{zero if span.first == span.series else ''}") for span in everything
    ]
    distances = [_distance(profile, told) for profile in profiles]
    least = min(distances)
    nearest = start
    if _distance(start, told) > least:
        near = [profile for profile, distance in zip(profiles, distances, strict=True) if distance == least]
        nearest = min(near, key=lambda profile: _apart(profile.release, identity.release))
    fitting = [span for span, distance in zip(everything, distances, strict=True) if distance == least]
    return Fit(nearest, least, tuple(_in_words(everything, fitting)))


def _distance(profile: Profile, told: Sequence[Told]) -> int:
    return sum(profile.has(one.behaviour) != one.has for one in told if depends_on_release(one.behaviour))


def _apart(one: str, other: str) -> tuple[bool, int, int]:
    """How far two releases lie apart: another series is further than any stable release."""
    (a, b, c), (x, y, z) = ((*parse_release(text), 0)[:3] for text in (one, other))
    return (a, b) != (x, y), abs((a - x) * 20 + b - y), abs(c - z)


def _in_words(everything: Sequence[Span], fitting: Sequence[Span]) -> list[str]:
    """`6.13 to 6.14`, `6.12.117 or later of 6.12`, `7.2.9 to before 7.2.12`."""
    words: list[str] = []
    whole: list[str] = []
    for series in dict.fromkeys(span.series for span in everything):
        all_of_it = [span for span in everything if span.series == series]
        here = [span for span in fitting if span.series == series]
        if here == all_of_it:
            whole.append(series)
            continue
        words += _joined(whole)
        whole = []
        runs: list[Span] = []
        for span in here:
            if runs and runs[-1].end == span.first:
                runs[-1] = Span(runs[-1].first, span.end)
            else:
                runs.append(span)
        words += map(_span, runs)
    return words + _joined(whole)


def _joined(series: Sequence[str]) -> list[str]:
    return [series[0] if len(series) == 1 else f"{series[0]} to {series[-1]}"] if series else []


def _span(span: Span) -> str:
    return f"{span.first} to before {span.end}" if span.end else f"{span.first} or later of {span.series}"
