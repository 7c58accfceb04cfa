"""How long a step of a recorded table may take.

`w 0` would loop 2^64 times, and an operand beyond a table of the payload's lets it jump anywhere: what no
recording holds must end here as well.
"""

from __future__ import annotations

from typing import Any

from ..see.exits import BudgetExit, VcpuExit

INSTRUCTIONS, EXITS, MAX_LINES = 1 << 28, 1 << 13, 256
"""Of a step: instructions, exits to the kernel or to the monitor, lines that it prints. The longest recorded
step takes 2 million instructions.
"""
SLICE = 1 << 16


class Patience:
    """Runs a vCPU as `vcpu.run` does, within the limits of a step, or of so many that run in one go; `begin`
    starts anew.
    """

    def __init__(self, vcpu: Any, steps: int = 1) -> None:
        self._vcpu = vcpu
        self._most_instructions, self._most_exits = INSTRUCTIONS + (steps << 22), EXITS + (steps << 6)
        self.begin()

    @property
    def lost(self) -> str:
        """What is said of a step that has not ended."""
        return f"no result within {self._most_instructions:,} instructions and {self._most_exits:,} exits"

    def begin(self) -> None:
        """A step begins."""
        self._instructions = self._most_instructions
        self._exits = self._seen() + self._most_exits

    def _seen(self) -> int:
        return sum(self._vcpu.exits.values())

    def run(self) -> VcpuExit:
        """KVM_RUN; BudgetExit once the step has had its share. KvmRunError."""
        while self._instructions > 0 and self._seen() < self._exits:
            before = self._vcpu.hart.instructions
            exit_: VcpuExit = self._vcpu.run(max_instructions=SLICE)
            self._instructions -= self._vcpu.hart.instructions - before
            if not isinstance(exit_, BudgetExit):
                return exit_
        return BudgetExit()
