"""A walk through a run in words: to a place that has a name, and where that is.

    journey = Journey(travel(machine), names_of(loaded))
    journey.to("overflow")
    journey.back("pmu_sbi_ctr_start")
    print("\\n".join(journey.here().lines()))

A place is an instruction (12,345), `start`, `end`, something to catch (overflow, overflow:3, refusal,
sbi:PMU, csr:cycle, fault), the name of a function or an address, `watch:` and one of these with the number of
bytes, or `console:` and a text that the guest prints.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpmu.debug.counters import Count, counts
from vpmu.debug.names import Names
from vpmu.debug.steps import _instruction
from vpmu.debug.where import Place, where
from vpmu.errors import UnknownNameError, UsageError
from vpmu.hart.hart import GuestFault
from vpmu.travel.stops import Breakpoint, Stops, Watchpoint
from vpmu.travel.travel import Arrival
from vpmu.vmm.catch import KINDS, Catch, Catcher, Happening, parse_catch

if TYPE_CHECKING:
    from vpmu.travel.travel import Traveller
    from vpmu.vmm.run_result import RunResult

START, END, WATCH, CONSOLE = "start", "end", "watch", "console"
CALLS = 4
"""Calls before here that are told."""
_NUMBER = re.compile(r"(\d[\d_,]*)([kKMG]?)")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_WATCH = re.compile(r"watch:(?P<what>[^,]+)(?:,(?P<size>\d+))?(?:,(?P<access>r|w|rw))?")
_OFFSET = re.compile(r"(?P<name>[^+]+)(?:\+(?P<offset>0x[0-9a-f]+|\d+))?")


@dataclass(frozen=True, slots=True)
class Here:
    """Where a walk stands. `calls`: the last SBI calls before, the latest last, as (instruction, words)."""

    instruction: int
    furthest: int
    virtual_ns: int
    met: str
    following: str
    places: tuple[Place, ...]
    calls: tuple[tuple[int, str], ...]
    counts: tuple[Count, ...]
    end: RunResult | None

    def lines(self) -> list[str]:
        """For a person."""
        told = [f"instruction {self.instruction:,}, {self.virtual_ns / 1e9:.9f} s"]
        if self.met:
            told[0] += f": {self.met}"
        told += [f"  {line}" for place in self.places for line in place.lines()]
        told.append(f"  next: {self.following}")
        told += [f"  {count}" for count in self.counts]
        told += [f"  before: instruction {at:,}: {words}" for at, words in self.calls]
        return told

    def as_object(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "instruction": self.instruction, "furthest": self.furthest, "virtual_ns": self.virtual_ns,
            "met": self.met, "next": self.following, "where": [place.as_object() for place in self.places],
            "calls": [{"instruction": at, "call": words} for at, words in self.calls],
            "counters": [
                {"hart": one.hart, "counter": one.counter, "event": one.event, "value": one.value,
                 "state": one.state}
                for one in self.counts
            ],
            "stop": None if self.end is None else self.end.stop,
        }  # fmt: skip


class Journey:
    """A traveller that is told places by name, until `close`. `limit`: an instruction at which every walk
    forwards ends.
    """

    def __init__(self, traveller: Traveller, names: Names, limit: int | None = None) -> None:
        self.traveller, self.names, self.limit = traveller, names, limit
        self._said = bytearray()
        self._said_at: list[tuple[int, int]] = []  # (bytes of the console so far, instruction), in order
        traveller.console.also.append(self._hear)
        self._calls: dict[tuple[int, str], None] = {}
        self._met = ""
        self.arrived = True
        """The last step came to where it should."""
        self._listening = Catcher(traveller.machine, [Catch("sbi")], self._heard)
        self._listening.attach()
        traveller.listening.append(self._listening)

    def close(self) -> None:
        """Listen no more."""
        self.traveller.listening.remove(self._listening)
        self._listening.detach()
        self.traveller.console.also.remove(self._hear)

    # --- going

    def to(self, text: str) -> Arrival:
        """On to a place; an instruction may lie behind us. VpmuError for what is none."""
        number = instruction(text)
        if text == START:
            number = self.traveller.first
        if number is not None:
            arrival = self.traveller.goto(number)
        elif text == END:
            arrival = self.traveller.onwards(limit=self.limit)
        elif text.startswith(f"{CONSOLE}:"):
            arrival = self._to_said(text)
        else:
            arrival = self.traveller.onwards(self.stops(text), self.limit)
        return self._arrived(arrival, text)

    def back(self, text: str) -> Arrival:
        """Back to a place, or so many instructions. VpmuError for what is neither."""
        number = instruction(text)
        if text == END:
            raise UsageError("back", expected="something that lies behind us", got=text)
        if number is not None:
            arrival = self.traveller.back(number)
        elif text == START:
            arrival = self.traveller.goto(self.traveller.first)
        elif text.startswith(f"{CONSOLE}:"):
            arrival = self._back_to_said(text)
        else:
            arrival = self.traveller.backwards(self.stops(text))
        return self._arrived(arrival, text)

    def _to_said(self, text: str) -> Arrival:
        """On to where the guest has printed a text: a walk on new ground looks now and then."""
        traveller, begin, asked = self.traveller, self.traveller.position, self.traveller.asked
        wanted = _text(text)
        traveller.asked = lambda: self._printed(wanted, begin) is not None or asked()
        try:
            arrival: Arrival | None = None
            while self._printed(wanted, begin) is None:
                arrival = traveller.onwards(limit=self.limit)
                if arrival.why != "interrupted" or self._printed(wanted, begin) is None:
                    break
        finally:
            traveller.asked = asked
        found = self._printed(wanted, begin)
        if found is None:
            assert arrival is not None
            return arrival
        return traveller.goto(found)

    def _back_to_said(self, text: str) -> Arrival:
        wanted, here = _text(text), self.traveller.position
        at = len(self._said)
        while (at := self._said.rfind(wanted, 0, at)) >= 0:
            position = self._position(at + len(wanted))
            if position < here:
                return self.traveller.goto(position)
            at += len(wanted) - 1
        self.traveller.goto(self.traveller.first)
        return Arrival("beginning")

    def _printed(self, wanted: bytes, begin: int) -> int | None:
        """The first instruction behind `begin` at which a text is printed whole."""
        at = -1
        while (at := self._said.find(wanted, at + 1)) >= 0:
            position = self._position(at + len(wanted))
            if position > begin:
                return position
        return None

    def _position(self, sent: int) -> int:
        return self._said_at[bisect_left(self._said_at, sent, key=lambda said: said[0])][1]

    def _hear(self, data: bytes) -> None:
        self._said += data
        self._said_at.append((len(self._said), self.traveller.position))

    def _arrived(self, arrival: Arrival, text: str) -> Arrival:
        number, traveller = instruction(text), self.traveller
        there = arrival.why == "there" and (number is not None or text == START)
        if arrival.hit is not None:
            self._met, there = arrival.hit.words, True
        elif arrival.why == "end":
            result = arrival.end
            assert result is not None
            self._met = f"the end: {result.stop}{f', {result.reason}' if result.reason else ''}"
            there = text == END
        elif arrival.why == "beginning":
            self._met, there = "the beginning", number is not None
        elif arrival.why == "interrupted":
            self._met = "interrupted"
        elif text.startswith(f"{CONSOLE}:") and traveller.position != self.limit:
            self._met, there = f"the console has {text.partition(':')[2]!r}", True
        else:
            self._met = "" if there else "the limit"
        self.arrived = there
        if not there and number is None and arrival.why != "interrupted" and text not in (START, END):
            self._met += f"; no {text} on the way"
        return arrival

    # --- places

    def stops(self, text: str) -> Stops:
        """What a place by name is to a walk. VpmuError."""
        if text.partition(":")[0].partition(" ")[0] in KINDS:
            return Stops(catches=frozenset([parse_catch(text)]))
        if text.startswith(f"{WATCH}:"):
            found = _WATCH.fullmatch(text)
            if found is None:
                raise UsageError(
                    "watch", expected="watch:NAME,BYTES,ACCESS such as watch:jiffies,8,w", got=text
                )
            size = int(found["size"] or 8)
            address = self.address(found["what"])
            if not 1 <= size <= 4096:
                raise UsageError("bytes to watch", expected="1 to 4096", got=size)
            watch = Watchpoint(self.physical(address), size, found["access"] or "w", address)
            return Stops(watchpoints=frozenset([watch]))
        address = self.address(text)
        return Stops(frozenset([Breakpoint(self.physical(address) & ~1)]))

    def address(self, text: str) -> int:
        """The address of a symbol, `symbol+0x10`, or `0x...`, where it is now. UnknownNameError."""
        found = _OFFSET.fullmatch(text)
        if text[:2].lower() == "0x":
            try:
                return int(text, 16)
            except ValueError:
                found = None
        table = self.names.table
        symbol = table.find(found["name"]) if found is not None and table is not None else None
        if symbol is None or found is None:
            known = () if table is None else (one.name for one in table)
            raise UnknownNameError(
                "place", text, [START, END, *KINDS, f"{WATCH}:NAME", f"{CONSOLE}:TEXT", *known]
            )
        return symbol.address + int(found["offset"] or "0", 0)

    def physical(self, address: int) -> int:
        """Where an address lies in the machine's memory. UsageError where it lies nowhere."""
        lies = self.names.physical(address)
        if lies is not None:
            return lies
        machine = self.traveller.machine
        try:
            return machine.vcpus[machine.turns.current].hart.translate(address & ~1, 2) | address & 1
        except GuestFault:
            raise UsageError(
                f"address {address:#x}", expected="one that is mapped here", got="none"
            ) from None

    # --- where it is

    def here(self) -> Here:
        """Where it stands now; looking changes nothing."""
        traveller = self.traveller
        machine, position = traveller.machine, traveller.position
        vcpu = machine.vcpus[machine.turns.current]
        ended = traveller.end is not None and position >= traveller.end[0]
        known = sorted(self._calls)
        last = known[: bisect_right(known, position, key=lambda call: call[0])][-CALLS:]
        return Here(
            position, traveller.furthest, machine.time, self._met, _instruction(vcpu, self.names),
            tuple(where(machine, self.names)), tuple(last),
            tuple(count for one in machine.vcpus for count in counts(one)),
            traveller.end[1] if ended and traveller.end is not None else None,
        )  # fmt: skip

    def _heard(self, happening: Happening) -> None:
        self._calls[self.traveller.position, happening.words] = None


def instruction(text: str) -> int | None:
    """A number of instructions, `12,345` or `10M`; None for anything else."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    return int(found[1].replace("_", "").replace(",", "")) * _UNITS[found[2].upper()]


def _text(place: str) -> bytes:
    """What `console:TEXT` waits for. UsageError for nothing."""
    text = place.partition(":")[2].replace("\\n", "\n")
    if not text:
        raise UsageError("console", expected="console:TEXT", got=place)
    return text.encode("utf-8", "surrogateescape")
