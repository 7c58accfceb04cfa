"""`vpmu explain EVENT --on kvm:SUITE`: the functions of the real kernel that a guest's request passes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..spec.sbi import error_name
from .options import host_options
from .output import errno_name, print_json, say

if TYPE_CHECKING:
    from ..conform.real_path import RealPath
    from ..debug.call_tree import Called
    from ..spec.sbi_events import Event


NO_NAMES = "this kernel has no symbols (kallsyms): its functions cannot be told"


def explain_on(events: list[Event], args: argparse.Namespace) -> int:
    """Explain them; 0 where all are granted, 1 where one is refused, 4 where there is no such host."""
    from dataclasses import replace

    from ..conform.hooked import HookedHost
    from ..conform.kvm import VPMU
    from ..conform.real_path import follow
    from ..conform.target import PeerAbsent
    from ..conform.targets import host_options as named
    from ..conform.targets import is_kvm
    from ..vmm.linux.progress import Progress

    name = args.on if args.on is not None else "kvm"
    if not is_kvm(name):
        raise UsageError("--on", expected="kvm, kvm:SUITE", got=name)
    options = named(name, host_options(args))
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
        print(f"{host.target.facts.kernel.split(' #')[0]} on vpmu")
        if not host.kernel.functions:
            say(NO_NAMES)
        for event, path in paths:
            print()
            for line in lines(event, path, everything=args.records):
                say(line)
    return 0 if all(path.answers[0].error == 0 for _, path in paths) else 1


def telling(passed: Sequence[Called]) -> list[Called]:
    """Of the functions on a way those that tell something: the driver's, another layer than their caller's,
    an errno, or one of these below them.
    """
    from ..conform.real_path import ERRORS
    from ..debug.call_tree import DRIVER

    kept: set[int] = set()
    above: list[int] = []
    for number, one in enumerate(passed):
        while above and passed[above[-1]].depth >= one.depth:
            above.pop()
        other = not above or passed[above[-1]].layer != one.layer
        if other or one.layer == DRIVER or one.result in ERRORS:
            kept.update((*above, number))
        above.append(number)
    return [passed[number] for number in sorted(kept)]


def lines(event: Event, path: RealPath, *, everything: bool = False) -> list[str]:
    """For a person: one line for each function, the deeper the further in."""
    told = [f"{event.name}: the guest is answered {', '.join(str(answer) for answer in path.answers)}"]
    for stage in path.stages:
        shares = ", ".join(f"{layer} {own:,}" for layer, own in stage.layers.items())
        told.append(f"  {stage.name}: {stage.instructions:,} instructions of the host: {shares}")
        for one in stage.passed if everything else telling(stage.passed):
            name = "  " * one.depth + one.function
            told.append(f"    {one.layer:6} {name:46} {result_of(one):>12} {one.total:>8,}")
    refuser = path.refuser
    if refuser is not None:
        told.append(f"  {refuser.function} ({refuser.layer}) said no: {errno_name(-(refuser.result or 0))}")
    return told


def result_of(one: Called) -> str:
    """What it returned, in words."""
    from ..conform.real_path import VOID

    if one.result is None or one.function in VOID:
        return ""
    if one.layer == "sbi":
        return error_name(one.result)
    if -4096 < one.result < 0:
        return f"-{errno_name(-one.result)}"
    return "ok" if one.result == 0 else f"{one.result}" if 0 < one.result < 1 << 16 else "..."


def as_object(event: Event, path: RealPath) -> dict[str, object]:
    """For JSON."""
    return {
        "event": event.name, "answers": [str(answer) for answer in path.answers],
        "refused_by": path.refuser.function if path.refuser is not None else None,
        "stages": [
            {
                "call": stage.name, "answer": str(stage.answer), "instructions": stage.instructions,
                "layers": dict(stage.layers),
                "path": [
                    {"layer": one.layer, "function": one.function, "depth": one.depth, "result": one.result,
                     "instructions": one.total}
                    for one in stage.passed
                ],
            }
            for stage in path.stages
        ],
    }  # fmt: skip
