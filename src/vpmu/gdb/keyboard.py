"""A terminal beside a debugger: keys are taken between two pieces of a walk, and time passes as for who
types.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpmu.vmm.machine import Machine
    from vpmu.vmm.run_result import Host

PACE_NS = 50_000_000
"""Virtual time between two looks at the keyboard."""
SECONDS = 0.1
"""Real time between two looks while the guest waits."""


class Keyboard:
    """Whoever types into a machine. `typed` gets what comes while this looks; what the machine is given
    otherwise is a walk's, which does again what was typed.
    """

    def __init__(self, machine: Machine, typed: Callable[[bytes], None]) -> None:
        self._machine, self._typed, self._looking = machine, typed, False
        self.host: Host | None = None
        self._virtual = self._real = 0  # ns, when they were last looked at
        machine.console_input = self._input  # type: ignore[method-assign]

    def belongs_to(self, host: Host | None) -> None:
        """A run begins, with somebody at the keyboard or without."""
        self.host = host
        self._virtual, self._real = self._machine.turns.now(), time.monotonic_ns()

    def poll(self) -> None:
        """Take keys."""
        if self.host is not None:
            self._looking = True
            try:
                self.host.poll()
            finally:
                self._looking = False

    def keep_pace(self) -> None:
        """Take keys; where virtual time is ahead of real time, because the guest sleeps, wait for some."""
        if self.host is None:
            return
        self.poll()
        now, real = self._machine.turns.now(), time.monotonic_ns()
        ahead = (now - self._virtual) - (real - self._real)
        if ahead > PACE_NS // 10:
            self._looking = True
            try:
                self.host.idle(now, now + min(ahead, PACE_NS))
            finally:
                self._looking = False
        self._virtual, self._real = now, time.monotonic_ns()

    def _input(self, data: bytes) -> None:
        if self._looking:
            self._typed(data)
        else:
            type(self._machine).console_input(self._machine, data)
