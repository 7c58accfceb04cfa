"""`--check`: every count that reaches the guest is held against what the hart did, and a wrong one is said at
once, with the layer that made it and the instruction at which the guest got it.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..campaign.oracle import Finding, Oracle
    from ..debug.names import Names
    from ..vmm.loader import LoadedImage
    from ..vmm.machine import Machine

WRONG = 3
"""Exit status of a run whose guest got a count that is not what the hart did."""


class Check:
    """What `--check` has seen of one run."""

    def __init__(self, symbols: str | None, *, quiet: bool) -> None:
        self.symbols, self.quiet = symbols, quiet
        self.oracle: Oracle | None = None
        self.wrong: list[dict[str, object]] = []
        self._machine: Machine | None = None
        self._names: Names | None = None
        self._loaded: LoadedImage | None = None

    def watch(self, machine: Machine, loaded: LoadedImage | None) -> Oracle:
        """The oracle of a machine, which tells this what it finds."""
        from ..campaign.oracle import Oracle

        self._machine, self._loaded = machine, loaded
        self.oracle = Oracle(machine, self.found)
        return self.oracle

    def found(self, finding: Finding) -> None:
        """The guest has just been told a wrong count."""
        from ..campaign.oracle import layer_of
        from ..debug.names import names_of

        assert self._machine is not None
        machine, vcpu = self._machine, self._machine.vcpus[finding.hart]
        if self._names is None:
            self._names = names_of(self._loaded, self.symbols)
        layer, why = layer_of(machine, finding)
        pc, name = vcpu.hart.pc, self._names.of(vcpu, vcpu.hart.pc)
        self.wrong.append({
            "layer": layer, "why": why, "hart": finding.hart, "pc": pc, "symbol": name,
            "instruction": machine.instructions, "virtual_ns": finding.time, "counter": finding.counter,
            "event": finding.event, "way": finding.way, "told": finding.told, "truth": finding.truth,
        })  # fmt: skip
        if not self.quiet:
            at = f"{pc:#x}" + (f" ({name})" if name else "")
            print(
                f"vpmu: check: {layer}: {finding}; {why}; hart {finding.hart} at pc {at},"
                f" instruction {machine.instructions:,}", file=sys.stderr, flush=True,
            )  # fmt: skip

    def show(self) -> None:
        """The line that sums it up."""
        print(f"vpmu: check: {self}", file=sys.stderr)

    def __str__(self) -> str:
        values = 0 if self.oracle is None else self.oracle.values
        if self.wrong:
            return f"{len(self.wrong)} wrong of {values:,} counts that reached the guest"
        if not values:
            return "no count reached the guest that could be checked"
        return f"{values:,} counts reached the guest, each as the hart did"

    def status(self, status: int) -> int:
        """The exit status of a run that would have this one: WRONG, unless its host went down."""
        from ..errors import HOST_LOST_STATUS

        return WRONG if self.wrong and status != HOST_LOST_STATUS else status

    def as_object(self) -> dict[str, object]:
        """For `--json`."""
        values = 0 if self.oracle is None else self.oracle.values
        return {"check": {"values": values, "wrong": self.wrong}}


def checking(args: argparse.Namespace) -> Check | None:
    """What `--check` asks for; None without it. UsageError where nobody knows what the hart did."""
    if not args.check:
        return None
    if args.perf != "model":
        raise UsageError("--check with --perf host", expected="the modelled host PMU", got="real counters")
    return Check(args.symbols, quiet=args.json)
