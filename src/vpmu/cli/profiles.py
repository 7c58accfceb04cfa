"""The profiles: implementations of the SBI PMU, and the behaviours in which they differ from the
specification.

Each behaviour has the commit that brought or ended it, its subject, and the releases that have it. PROFILE is
a name, also of a release that is not listed (kvm-6.12.117, opensbi-1.7), or a TOML file. `--with` and
`--without` of other commands switch behaviours by these names.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .options import Subparsers, add_json
from .output import print_json

if TYPE_CHECKING:
    from ..profiles.behaviour import Behaviour
    from ..profiles.profiles import Profile

WIDTH = 80
INDENT = "    "


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu profiles`."""
    parser = subparsers.add_parser("profiles", description=__doc__)
    parser.add_argument(
        "profiles", nargs="*", metavar="PROFILE", help="these profiles only, with their behaviours"
    )
    parser.add_argument(
        "--isa", action="store_true", help="what the harts of a guest have under each profile"
    )
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the profiles; always 0."""
    from ..profiles.behaviours import BEHAVIOURS
    from ..profiles.profiles import PROFILES, get_profile

    chosen = [get_profile(name) for name in args.profiles] or list(PROFILES.values())
    behaviours = list(BEHAVIOURS.values())
    if args.profiles:
        behaviours = [
            behaviour for behaviour in behaviours if any(profile.has(behaviour) for profile in chosen)
        ]
    if args.isa:
        print_isa(chosen, args.json)
        return 0
    if args.json:
        print_json(
            {
                "profiles": [profile_object(p) for p in chosen],
                "behaviours": [behaviour_object(b) for b in behaviours],
            }
        )
        return 0
    for profile in chosen:
        head = f"{profile.name:<13} SBI {sbi_version(profile)} {len(profile.behaviours):>3}  "
        print_wrapped(profile.summary, head, " " * len(head))
    print()
    print_behaviours(chosen, behaviours)
    return 0


def print_isa(chosen: Sequence[Profile], as_json: bool) -> None:
    """What a guest has under each profile: always, by default, and where `--isa` says so."""
    from ..vmm import isa

    found = {
        profile.name: {
            "always": sorted(isa.ALWAYS - isa.unnamed(profile)), "default": sorted(isa.DEFAULT_ISA),
            "on request": sorted(isa.of_guests(profile) - isa.DEFAULT_ISA),
        }
        for profile in chosen
    }  # fmt: skip
    if as_json:
        print_json(found)
        return
    print_wrapped(f"all: rv64imafdc {' '.join(name for name in sorted(isa.ALWAYS) if len(name) > 1)}", "")
    for name, kinds in found.items():
        print_wrapped(
            f"{name}: {' '.join(kinds['default'])}; with --isa: {' '.join(kinds['on request'])}", ""
        )


def print_behaviours(chosen: Sequence[Profile], behaviours: Sequence[Behaviour]) -> None:
    """Every behaviour: which of the chosen profiles have it, in which releases, and by which commit."""
    for behaviour in behaviours:
        print(behaviour.name)
        print_wrapped(behaviour.summary)
        having = [profile.name for profile in chosen if profile.has(behaviour)]
        if len(chosen) > 1:
            print_wrapped(f"in: {', '.join(having) or 'none of these'}", further=INDENT + "    ")
        if said := releases(behaviour):
            print_wrapped(said)
        if behaviour.commit:
            print_cited(behaviour)


def print_wrapped(text: str, first: str = INDENT, further: str = INDENT) -> None:
    """Print in lines of at most WIDTH columns."""
    print(textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=further, break_long_words=False,
        break_on_hyphens=False,
    ))  # fmt: skip


def print_cited(behaviour: Behaviour) -> None:
    """Print the commit and its subject; on one line where a program reads it, so that it finds them."""
    if sys.stdout.isatty():
        print_wrapped(cited(behaviour))
    else:
        print(INDENT + cited(behaviour))


def cited(behaviour: Behaviour) -> str:
    """`commit ("subject")`, or the commit where its subject is not recorded."""
    return f'{behaviour.commit} ("{behaviour.subject}")' if behaviour.subject else behaviour.commit


def releases(behaviour: Behaviour) -> str:
    """`Linux 6.3 to before 7.3; of the stable releases not from 7.2.9 on`, `since Linux 6.10`, or nothing."""
    project = behaviour.project
    if behaviour.since and behaviour.until:
        said = f"{project} {behaviour.since} to before {behaviour.until}"
    elif behaviour.until:
        said = f"{project} before {behaviour.until}"
    else:
        said = f"since {project} {behaviour.since}" if behaviour.since else ""
    if behaviour.brought:
        said += f"; of the stable releases from {' and '.join(behaviour.brought)} on"
    if behaviour.stable:
        said += f"; of the stable releases not from {' and '.join(behaviour.stable)} on"
    return said


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
        "project": behaviour.project,
        "since": behaviour.since or None,
        "until": behaviour.until or None,
        "stable": list(behaviour.stable),
        "brought": list(behaviour.brought),
        "reference": behaviour.reference or None,
    }
