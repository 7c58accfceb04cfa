"""Walk a run in both directions, by instructions and from one happening to the next.

A position is a number of retired instructions of all harts. The state of a machine there is the one that a
run with that limit ends in, however it was reached, since a run is a function of its inputs: to go back is to
restore a moment before it and to run on to it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vpmu.errors import MachineError
from vpmu.travel.console import OnceConsole
from vpmu.travel.ring import Ring
from vpmu.travel.stops import Hit, Installed, Stops

if TYPE_CHECKING:
    from vpmu.vmm.catch import Catcher
    from vpmu.vmm.machine import Machine, RunResult

BUDGET = 512 << 20
"""Bytes for moments, where nobody says otherwise."""
INTERVAL = 25_000_000
"""Instructions from one moment to the next on new ground: less than 0.1 s."""
LOOK = 5_000_000
"""Instructions between two looks at who may want the walk to end."""
ASKED = "asked"
"""RunResult.stop of a run that was interrupted (Turns.interrupt) to have a look at once."""
STEPS_BACK = (1 << 20, 1 << 16, 1 << 12, 1 << 8)
"""Before a position that was gone back to moments are kept: who steps back once does it again."""
NOTHING = Stops()


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a walk ended: `why` is "there", "hit", "end", "beginning" or "interrupted"."""

    why: str
    hit: Hit | None = None
    end: RunResult | None = None


@dataclass(slots=True)
class _Searched:
    """Hits of one set of stops behind `low` and up to `high`, in order. (Something can be met in coming to a
    position, as an overflow is, or there: a walk that begins at one has only the second.)
    """

    low: int
    high: int
    hits: list[Hit] = field(default_factory=list)


class Traveller:
    """A machine that can be walked. It is at `position`; `end` is how its run ended, once that is known.

    `budget`: bytes for what is kept to go back. MachineError where a machine cannot be walked: real
    counters, a fault plan, too small a budget. `anew`: one with a fault plan can, too; whoever goes back does
    its run again.
    """

    def __init__(self, machine: Machine, budget: int = BUDGET, *, anew: bool = False) -> None:
        self.machine = machine
        self.console = OnceConsole(machine.console)
        self.ring = Ring(machine, budget, lambda: self.console.sent, anew=anew)
        self.listening: list[Catcher] = []
        """Catchers that hear all of the walk, whatever it stops at."""
        self.end: tuple[int, RunResult] | None = None
        self.asked: Callable[[], bool] = bool
        """Asked between two pieces of a walk: whether it shall end."""
        self.pace: int | None = None
        """Virtual ns after which it is asked at the latest, where somebody waits in real time."""
        self._inputs: list[tuple[int, bytes]] = []
        self._given = 0
        self._furthest = machine.instructions
        self._searched: dict[Stops, list[_Searched]] = {}
        self._met: tuple[Stops, Hit] | None = None  # where it stands, if something was met there

    # --- where it is

    @property
    def position(self) -> int:
        """Instructions since power-on."""
        return self.machine.instructions

    @property
    def first(self) -> int:
        """The beginning of what can be walked."""
        return self.ring.first

    @property
    def furthest(self) -> int:
        """How far the run has come at all."""
        return self._furthest

    # --- forwards

    def onwards(self, stops: Stops = NOTHING, limit: int | None = None) -> Arrival:
        """On to the next hit, the end of the run, or `limit` (a position)."""
        with self._installed(stops) as installed:
            while True:
                here = self.position
                to = here + INTERVAL if limit is None else min(here + INTERVAL, limit)
                arrival = self._advance(to, installed)
                self._furthest = max(self._furthest, self.position)
                if arrival.why != "there":
                    return arrival
                if limit is not None and self.position >= limit:
                    return arrival
                if self.position - self.ring.before(self.position) >= INTERVAL:
                    self.ring.take()
                if self.asked():
                    return Arrival("interrupted")

    def step(self, hart: int | None = None, stops: Stops = NOTHING) -> Arrival:
        """One instruction on: of that hart, or of any."""
        if hart is None:
            return self.onwards(stops, self.position + 1)
        retired = self.machine.vcpus[hart].hart.instructions
        while True:
            arrival = self.onwards(stops, self.position + 1)
            if arrival.why != "there" or self.machine.vcpus[hart].hart.instructions != retired:
                return arrival
            if self.asked():
                return Arrival("interrupted")

    def feed(self, data: bytes) -> None:
        """Console input at this instruction; a walk that comes by again meets it again."""
        self.changed()
        self._inputs.append((self.position, data))

    def changed(self) -> None:
        """Somebody has changed the state here, or will: what was known of all behind it is void."""
        here = self.position
        self.ring.forget_after(here)
        del self._inputs[self._given :]
        self._furthest, self.end = here, None
        for searched in self._searched.values():
            searched[:] = [part for part in searched if part.high < here]

    def keep(self) -> None:
        """Somebody has changed registers or memory here: a walk that comes by again finds that."""
        self.changed()
        self.ring.pin()
        self._met = None

    # --- to a place

    def goto(self, position: int) -> Arrival:
        """To a position, on known or new ground. MachineError for one before the beginning."""
        self._met_nothing()
        here = self.position
        moment = self.ring.before(position)
        if not (here < position and moment <= here) or position == moment:
            self._restore(moment)
        if position <= self._furthest and not self._approach(position):
            return Arrival("interrupted")
        return self.onwards(NOTHING, position)

    def back(self, instructions: int = 1) -> Arrival:
        """So many instructions back."""
        to = self.position - instructions
        if self._met is not None and self._met[1].order and instructions == 1:
            to = self.position  # behind an ECALL, a trap: back to before it
        if to < self.first:
            self.goto(self.first)
            return Arrival("beginning")
        return self.goto(to)

    def step_back(self, hart: int | None = None) -> Arrival:
        """One instruction back: of that hart, or of any."""
        if hart is None or len(self.machine.vcpus) == 1:
            return self.back()
        retired = self.machine.vcpus[hart].hart.instructions
        while True:
            arrival = self.back()
            if arrival.why != "there" or self.machine.vcpus[hart].hart.instructions != retired:
                return arrival
            if self.asked():
                return Arrival("interrupted")

    def backwards(self, stops: Stops) -> Arrival:
        """Back to the last hit before here."""
        bound = self._bound(stops)
        while True:
            hit, low = self._known(stops, bound)
            if hit is not None:
                return self.to_hit(stops, hit)
            if low <= self.first:
                self.goto(self.first)
                return Arrival("beginning")
            if not self._search(stops, self.ring.before(low - 1), low):
                return Arrival("interrupted")

    def last(self, stops: Stops, most: int) -> list[Hit]:
        """The last hits before here, the newest first. It comes back to where it stands."""
        found: list[Hit] = []
        bound = self._bound(stops)
        with self._returning():
            while len(found) < most:
                hit, low = self._known(stops, bound)
                if hit is not None:
                    found.append(hit)
                    bound = hit.position, hit.order
                elif low <= self.first or not self._search(stops, self.ring.before(low - 1), low):
                    break
        return found

    def again(self, position: int, during: Callable[[bool], None]) -> None:
        """Do what led from an earlier position to here once more; `during` is told when it begins and when
        it is over.
        """
        here = self.position
        with self._returning():
            self.goto(position)
            during(True)
            try:
                self.onwards(NOTHING, here)
            finally:
                during(False)

    def to_hit(self, stops: Stops, hit: Hit) -> Arrival:
        """To a hit that a walk with the same stops has met."""
        arrival = self.goto(max(hit.position - 1, self.first))
        if arrival.why == "interrupted":
            return arrival
        with self._installed(stops) as installed:
            while True:
                arrival = self._advance(hit.position + 1, installed)
                met = arrival.hit
                if met is None or (met.position, met.order) >= (hit.position, hit.order):
                    return arrival

    # --- inside

    @contextmanager
    def _returning(self) -> Iterator[None]:
        """Whatever is done inside, it comes back to where it stands, and to what it has met there."""
        here, met, asked = self.position, self._met, self.asked
        try:
            yield
        finally:
            self.asked = bool
            if met is None:
                self.goto(here)
            else:
                self.to_hit(*met)
            self.asked = asked

    @contextmanager
    def _installed(self, stops: Stops) -> Iterator[Installed]:
        installed = Installed(self.machine, stops)
        installed.attach()
        try:
            yield installed
        finally:
            installed.detach()

    def _advance(self, to: int, installed: Installed) -> Arrival:
        """Run to a position, or to what is met on the way; moments that are passed are used. Who may want the
        walk to end is asked.
        """
        machine = self.machine
        while (here := self.position) < to:
            self._give(here)
            bounds = [to, here + LOOK]
            following = self.ring.after(here)
            if following is not None:
                bounds.append(following)
            if self._given < len(self._inputs):
                bounds.append(self._inputs[self._given][0])
            if self.end is not None:
                if here >= self.end[0]:
                    return Arrival("end", end=self.end[1])
                bounds.append(self.end[0])
            self._met = None
            installed.forget()
            result = machine.run(max(min(bounds) - here, 1), self.pace)
            if installed.last is not None:
                self._met = installed.stops, installed.last
                return Arrival("hit", installed.last)
            if result.stop not in ("budget", ASKED):
                if self.end is None:
                    self.end = self.position, result
                self._furthest = max(self._furthest, self.position)
                return Arrival("end", end=result)
            if self.ring.pass_by():
                self.console.sent = self.ring.note()
            looks = result.stop == ASKED or self.pace is not None or self.position < to
            if looks and self.asked():
                return Arrival("interrupted")
        return Arrival("there")

    def _give(self, here: int) -> None:
        """Input that came at this instruction."""
        while self._given < len(self._inputs) and self._inputs[self._given][0] <= here:
            self.machine.console_input(self._inputs[self._given][1])
            self._given += 1

    def _met_nothing(self) -> None:
        self._met = None

    def _restore(self, moment: int) -> None:
        for catcher in reversed(self.listening):
            catcher.detach()
        self.ring.restore(moment)
        for catcher in self.listening:
            catcher.attach()
        self.console.sent = self.ring.note()
        self._given = bisect_left(self._inputs, moment, key=lambda given: given[0])

    def _approach(self, position: int) -> bool:
        """On the way to a position behind: keep moments nearer and nearer to it. False where it was asked to
        end.
        """
        for distance in STEPS_BACK:
            before = position - distance
            if before - self.position >= distance:
                if self.onwards(NOTHING, before).why == "interrupted":
                    return False
                self.ring.take()
        return True

    def _bound(self, stops: Stops) -> tuple[int, int]:
        """A hit must be before this (position, order) to be behind us."""
        if self._met is None:
            return self.position, 0
        known, hit = self._met
        return (hit.position, hit.order) if known == stops else (hit.position, 0)

    def _known(self, stops: Stops, bound: tuple[int, int]) -> tuple[Hit | None, int]:
        """The last known hit before a bound, and down to which position there is certainly none."""
        low = bound[0] if bound[1] else bound[0] - 1
        parts = self._searched.get(stops, [])
        while True:
            part = next((part for part in parts if part.low < low <= part.high), None)
            if part is None:
                return None, low
            found = bisect_left(part.hits, bound, key=lambda hit: (hit.position, hit.order))
            if found:
                return part.hits[found - 1], part.low
            low = part.low

    def _search(self, stops: Stops, low: int, high: int) -> bool:
        """Meet everything behind `low` and up to `high`; of the beginning what is met there too. False where
        it was asked to end.
        """
        if self.goto(low).why == "interrupted":
            return False
        part = _Searched(low, high)
        with self._installed(stops) as installed:
            while True:
                arrival = self._advance(high + 1, installed)
                if arrival.why == "interrupted":
                    return False
                if arrival.hit is None or arrival.hit.position > high:
                    break
                if arrival.hit.position > low or low == self.first:
                    part.hits.append(arrival.hit)
        self._searched.setdefault(stops, []).append(part)
        return True


def travel(machine: Machine, budget: int = BUDGET, *, anew: bool = False) -> Traveller:
    """A traveller on a machine whose run begins here. MachineError where it cannot be walked."""
    if machine.arguments["perf"] != "model":
        raise MachineError("time travel", expected="a modelled host PMU", got="this machine's own counters")
    return Traveller(machine, budget, anew=anew)
