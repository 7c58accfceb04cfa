"""A run that goes one way only: one with a fault plan, or with this machine's own counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vpmu.errors import MachineError
from vpmu.travel.stops import Installed, Stops
from vpmu.travel.travel import ASKED, LOOK, NOTHING, Arrival

if TYPE_CHECKING:
    from vpmu.vmm.machine import Machine


class OneWay:
    """The forward half of a Traveller."""

    def __init__(self, machine: Machine, why: str) -> None:
        self.machine, self.why = machine, why
        self.asked: Callable[[], bool] = bool
        self.pace: int | None = None

    @property
    def position(self) -> int:
        """Instructions since power-on."""
        return self.machine.instructions

    @property
    def furthest(self) -> int:
        """Here."""
        return self.position

    first = furthest

    def onwards(self, stops: Stops = NOTHING, limit: int | None = None) -> Arrival:
        """On to the next hit, the end of the run, or `limit` (a position)."""
        installed = Installed(self.machine, stops)
        installed.attach()
        try:
            while limit is None or self.position < limit:
                left = LOOK if limit is None else min(limit - self.position, LOOK)
                installed.forget()
                result = self.machine.run(left, self.pace)
                if installed.last is not None:
                    return Arrival("hit", installed.last)
                if result.stop not in ("budget", ASKED):
                    return Arrival("end", end=result)
                if self.asked():
                    return Arrival("interrupted")
            return Arrival("there")
        finally:
            installed.detach()

    def step(self, hart: int | None = None, stops: Stops = NOTHING) -> Arrival:
        """One instruction on: of that hart, or of any."""
        harts = self.machine.vcpus
        retired = None if hart is None else harts[hart].hart.instructions
        while True:
            arrival = self.onwards(stops, self.position + 1)
            if arrival.why != "there" or hart is None or harts[hart].hart.instructions != retired:
                return arrival
            if self.asked():
                return Arrival("interrupted")

    def goto(self, position: int) -> Arrival:
        """To a position ahead. MachineError for one behind."""
        if position < self.position:
            raise MachineError("a run that cannot go back", expected=f"instruction {self.position} or later",
                               got=position)  # fmt: skip
        return self.onwards(NOTHING, position)

    def feed(self, data: bytes) -> None:
        """Console input now."""
        type(self.machine).console_input(self.machine, data)

    def keep(self) -> None:
        """Nothing to keep."""
