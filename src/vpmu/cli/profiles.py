"""The profiles: implementations of the SBI PMU, and the behaviours in which they differ from the
specification.

Each behaviour has the commit that brought or ended it, its subject, and the Linux releases that have it. A
`+` marks what a profile has. `--with` and `--without` of other commands switch behaviours by these names.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .options import Subparsers, add_json
from .output import print_json, table

if TYPE_CHECKING:
    from ..kvm.behaviours import Behaviour
    from ..kvm.profiles import Profile


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu profiles`."""
    parser = subparsers.add_parser("profiles", description=__doc__)
    parser.add_argument(
        "profiles", nargs="*", metavar="PROFILE", help="these profiles only, with their behaviours"
    )
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the profiles; always 0."""
    from ..kvm.behaviours import BEHAVIOURS
    from ..kvm.profiles import PROFILES, get_profile

    chosen = [get_profile(name) for name in args.profiles] or list(PROFILES.values())
    behaviours = list(BEHAVIOURS.values())
    if args.profiles:
        behaviours = [
            behaviour for behaviour in behaviours if any(profile.has(behaviour) for profile in chosen)
        ]
    if args.json:
        print_json(
            {
                "profiles": [profile_object(p) for p in chosen],
                "behaviours": [behaviour_object(b) for b in behaviours],
            }
        )
        return 0
    heads = ("profile", "SBI", "behaviours", "")
    rows = [(p.name, sbi_version(p), len(p.behaviours), p.summary) for p in chosen]
    print(table(heads, rows, right=frozenset({2})))
    print()
    print_behaviours(chosen, behaviours)
    return 0


def print_behaviours(chosen: Sequence[Profile], behaviours: Sequence[Behaviour]) -> None:
    """Every behaviour: which of the chosen profiles have it, since when, until when, and by which commit."""
    for behaviour in behaviours:
        have = " ".join(f"+{p.name}" if p.has(behaviour) else "-" * (len(p.name) + 1) for p in chosen)
        print(f"{behaviour.name}")
        print(f"    {behaviour.summary}")
        print(f"    {have}   {releases(behaviour)}")
        if behaviour.commit:
            subject = f' ("{behaviour.subject}")' if behaviour.subject else ""
            print(f"    {behaviour.commit}{subject}")


def releases(behaviour: Behaviour) -> str:
    """`Linux 6.3 to before 6.10`, `since Linux 6.10`, `OpenSBI before 1.7`, or nothing."""
    project = behaviour.project
    if behaviour.since and behaviour.until:
        return f"{project} {behaviour.since} to before {behaviour.until}"
    if behaviour.until:
        return f"{project} before {behaviour.until}"
    return f"since {project} {behaviour.since}" if behaviour.since else ""


def sbi_version(profile: Profile) -> str:
    """The specification version that BASE reports."""
    return f"{profile.sbi_version >> 24}.{profile.sbi_version & 0xFFFFFF}"


def profile_object(profile: Profile) -> dict[str, object]:
    """One profile of `--json`."""
    return {
        "name": profile.name,
        "summary": profile.summary,
        "sbi_version": sbi_version(profile),
        "impl_id": profile.impl_id,
        "impl_version": profile.impl_version,
        "behaviours": sorted(behaviour.name for behaviour in profile.behaviours),
    }


def behaviour_object(behaviour: Behaviour) -> dict[str, object]:
    """One behaviour of `--json`."""
    return {
        "name": behaviour.name,
        "summary": behaviour.summary,
        "commit": behaviour.commit or None,
        "subject": behaviour.subject or None,
        "since": behaviour.since or None,
        "until": behaviour.until or None,
        "reference": behaviour.reference or None,
    }
