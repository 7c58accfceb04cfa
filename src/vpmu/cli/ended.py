"""What a command says of a run that did not end well: where its harts are, what they did last, their loop."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..debug.where import Place
    from ..trace.recorder import Recorder
    from ..vmm.linux.trouble import Trouble
    from ..vmm.loader import LoadedImage
    from ..vmm.machine import Machine, RunResult

ENDLESS = frozenset({"budget", "timeout"})
"""Ends of a guest that would have gone on."""
DIED = frozenset({"kvm_run_failed", "host_lost", "hung"})
"""Ends whose last instructions say more."""


@dataclass(slots=True, eq=False)
class Ended:
    """Where a run ended; empty for one that ended well."""

    places: list[Place] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def show(self) -> None:
        """On standard error."""
        for line in [line for place in self.places for line in place.lines()] + self.notes:
            print(f"vpmu: {line}", file=sys.stderr)

    def as_object(self) -> dict[str, object]:
        """For `--json`."""
        return {"where": [place.as_object() for place in self.places], "notes": self.notes}


def ended(
    machine: Machine, loaded: LoadedImage | None, result: RunResult, args: argparse.Namespace,
    build: Callable[[Recorder], Machine] | None = None,
) -> Ended:  # fmt: skip
    """Look at a machine whose run is over. It is of no use behind this. `build` makes the machine of the run
    anew, where the run can be done again.
    """
    if result.ok or result.stop in ("exited", "left", "killed", "unready"):
        return Ended()
    from ..debug.names import names_of
    from ..debug.steps import again, loop_of
    from ..debug.where import where

    names = names_of(loaded, args.symbols)
    told = Ended(where(machine, names))
    if result.stop in DIED and build is not None:
        seen = again(build, result.instructions, names)
        if seen is not None:
            if seen.machine_mode:
                told.notes.append(f"{seen.machine_mode} (--firmware none runs it there)")
            told.notes += [f"last instructions: {seen.last[0]}", *(f"  {line}" for line in seen.last[1:])]
    elif result.stop in ENDLESS:
        loop = loop_of(machine, names)
        if loop is not None:
            told.notes.append(loop.line())
    return told


def kernel_trouble(loaded: LoadedImage, console: bytes | bytearray) -> Trouble | None:
    """What a kernel says of harm that it came to; None for a guest that is no kernel."""
    from ..vmm.loader import ImageKind

    if loaded.kind is not ImageKind.LINUX:
        return None
    from ..vmm.linux.trouble import trouble

    return trouble(console)
