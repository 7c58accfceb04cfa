"""`vpmu explain EVENT --on kvm:SUITE`: the functions of the real kernel that a guest's request passes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..spec.sbi import error_name
from .output import errno_name, print_json, say

if TYPE_CHECKING:
    from ..conform.real_path import Passed, RealPath
    from ..spec.sbi_events import Event


def explain_on(events: list[Event], args: argparse.Namespace) -> int:
    """Explain them; 0 where all are granted, 1 where one is refused, 4 where there is no such host."""
    from dataclasses import replace

    from ..conform.hooked import HookedHost
    from ..conform.kvm import VPMU
    from ..conform.real_path import follow
    from ..conform.target import PeerAbsent
    from ..conform.targets import host_options, is_kvm
    from ..vmm.linux.progress import Progress

    if not is_kvm(args.on):
        raise UsageError("--on", expected="kvm, kvm:SUITE", got=args.on)
    options = host_options(args.on)
    try:
        host = HookedHost(replace(options, on=options.on or VPMU, progress=Progress(quiet=args.json)))
    except PeerAbsent as absent:
        say(f"skip: {absent.what}")
        return absent.exit_status
    everything = (1 << 41) - 1 & ~2
    paths = [(event, follow(host, event.event_idx, event.event_data, everything)) for event in events]
    if args.json:
        print_json({"kernel": host.target.facts.kernel, "events": [as_object(*path) for path in paths]})
    else:
        print(f"{host.target.facts.kernel.split(' #')[0]} on vpmu\n")
        for event, path in paths:
            for line in lines(event, path):
                say(line)
    return 0 if all(path.answers[0].error == 0 for _, path in paths) else 1


def lines(event: Event, path: RealPath) -> list[str]:
    """For a person: one line for each function, the deeper the further in."""
    told = [f"{event.name}: the guest is answered {', '.join(str(answer) for answer in path.answers)}"]
    for one in path.passed:
        name = "  " * one.depth + one.function
        told.append(f"    {one.layer:6} {name:46} {result_of(one):>12} {one.instructions:>8,}")
    refuser = path.refuser
    if refuser is not None:
        told.append(f"    {refuser.function} ({refuser.layer}) said no: {errno_name(-(refuser.result or 0))}")
    return told


def result_of(one: Passed) -> str:
    """What it returned, in words."""
    if one.result is None:
        return ""
    if one.layer == "sbi":
        return error_name(one.result)
    if -4096 < one.result < 0:
        return f"-{errno_name(-one.result)}"
    return "ok" if one.result == 0 else f"{one.result}" if 0 < one.result < 1 << 16 else "pointer"


def as_object(event: Event, path: RealPath) -> dict[str, object]:
    """For JSON."""
    return {
        "event": event.name, "answers": [str(answer) for answer in path.answers],
        "refused_by": path.refuser.function if path.refuser is not None else None,
        "path": [
            {"layer": one.layer, "function": one.function, "depth": one.depth, "result": one.result,
             "instructions": one.instructions}
            for one in path.passed
        ],
    }  # fmt: skip
