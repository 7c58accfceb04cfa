"""Say which implementation answers: which fixes it has and lacks, each with its commit, which behaviours fit
no release, and which release and profile are nearest.

TARGET as for conform: `kvm` (this machine's KVM, or a Debian host on vpmu's own hart; with --host-kernel
your own build), `kvm:SUITE`, `qemu` (its
OpenSBI), `opensbi:FILE` (firmware on vpmu), `serial:DEVICE`, `agent` and `in-process` (vpmu itself under
--profile). Each behaviour is told by sequences to which an implementation with it and one without it answer
differently, as the model says. `--save FILE` writes the profile as TOML, which is taken wherever a profile's
name is.

Exit status 0 where all that was told fits a release, 1 where something fits none or the target was lost, 2
where it does not come up, 4 where it cannot be had on this machine.
"""

from __future__ import annotations

import argparse

from ..files import write_file
from .options import Subparsers, add_host_options, add_json, host_options
from .output import print_json
from .parser import out_file


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu identify`."""
    parser = subparsers.add_parser("identify", description=__doc__)
    parser.add_argument("target", metavar="TARGET", help="what to identify")
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="profile of our own machines: a name or a TOML file (default kvm-7.2)",
    )
    parser.add_argument(
        "--host-pmu",
        default="qemu-virt",
        metavar="NAME",
        help="host PMU of our own machines and of the model (default %(default)s)",
    )
    parser.add_argument("--save", metavar="FILE", type=out_file, help="write the found profile as TOML")
    add_host_options(parser)
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Identify the target, print what was found; the exit status."""
    from ..conform.identify.fit import identify
    from ..conform.target import Target, TargetLost
    from ..conform.targets import OURS, open_target
    from ..errors import UsageError
    from ..profiles.profiles import DEFAULT_PROFILE
    from ..profiles.toml_file import as_toml

    profile = args.profile
    if args.target not in OURS and profile is not None:
        raise UsageError("--profile", expected=f"the target {' or '.join(OURS)}", got=args.target)
    if args.save is not None and not args.save.endswith(".toml"):
        raise UsageError("--save", expected="a name that ends in .toml", got=args.save)
    if args.target in OURS:
        profile = profile or DEFAULT_PROFILE
    host = host_options(args)
    opened = [open_target(args.target, profile, args.host_pmu, host=host)]

    def reopen() -> Target:
        opened[-1].close()
        opened.append(open_target(args.target, profile, args.host_pmu, host=host))
        return opened[-1]

    try:
        found = identify(opened[0], args.host_pmu, reopen)
    except TargetLost as lost:
        lost.exit_status = 1
        raise
    finally:
        opened[-1].close()
    if args.save is not None:
        write_file(args.save, as_toml(found.profile, found.profile.summary))
    if args.json:
        print_json(found.as_object())
    else:
        print("\n".join(found.lines()))
    return 1 if found.unfit else 0
