"""What a debugger's user asks of vpmu itself: gdb's `monitor COMMAND`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vpmu.errors import UnknownNameError, UsageError
from vpmu.gdb.tables import counters, level, profile, rules
from vpmu.hart.memory import MemoryFault
from vpmu.trace.recorder import NULL
from vpmu.travel.stops import Stops
from vpmu.travel.travel import Traveller
from vpmu.vmm.catch import KINDS, Catch, parse_catch

if TYPE_CHECKING:
    from vpmu.gdb.debugged import Debugged
    from vpmu.see.guest_hart import GuestHart

LAST_CALLS = 10
TRACED = 1_000_000
MOST_RECORDS = 200
MOST_BYTES = 4096
_SBI = Stops(catches=frozenset({Catch("sbi")}))


class Monitor:
    """The commands of one server."""

    def __init__(self, debugged: Debugged) -> None:
        self._debugged = debugged
        self._commands: dict[str, tuple[Callable[[str, GuestHart], str], str]] = {
            "help": (self._help, "these lines"),
            "where": (self._where, "where every hart is: level, mode, symbol, callers, last trap"),
            "mode": (self._mode, "what the hart runs now: host kernel, guest kernel, firmware or a program"),
            "counters": (self._counters, "the guest's counters, and those of the hart below them"),
            "sbi": (self._sbi, "[N]: the last N SBI calls before here"),
            "trace": (self._trace, "[N]: what all layers did in the last N instructions"),
            "profile": (self._profile, "which implementation answers the guest, and how it behaves"),
            "faults": (self._faults, "the rules of the fault plan, and how often each has fired"),
            "catch": (self._catch, f"[WHAT]: stop at this too: {', '.join(KINDS)} (`catch help` says more)"),
            "uncatch": (
                self._uncatch,
                "[WHAT]: do not stop at this any more; without WHAT: at nothing caught",
            ),
            "position": (self._position, "instructions since power-on: here, the first, the furthest"),
            "goto": (self._goto, "INSTRUCTION: the next continue or reverse-continue goes there"),
            "phys": (self._phys, "ADDRESS [BYTES]: physical memory of the guest"),
        }

    def answer(self, line: str, vcpu: GuestHart) -> str:
        """The text for one line. VpmuError for what is no command."""
        name, _, rest = line.strip().partition(" ")
        if name not in self._commands:
            raise UnknownNameError("command of the monitor", name, self._commands)
        return self._commands[name][0](rest.strip(), vcpu)

    def _help(self, rest: str, vcpu: GuestHart) -> str:
        return "\n".join(f"monitor {name:9} {what}" for name, (_, what) in self._commands.items())

    def _where(self, rest: str, vcpu: GuestHart) -> str:
        from vpmu.debug.where import where

        machine = self._debugged.machine
        lines: list[str] = []
        for place in where(machine, self._debugged.names):
            first, *more = place.lines()
            lines += [
                f"{first} ({level(machine, machine.vcpus[place.hart])})",
                *(f"  {line}" for line in more),
            ]
        return "\n".join(lines)

    def _mode(self, rest: str, vcpu: GuestHart) -> str:
        return level(self._debugged.machine, vcpu)

    def _counters(self, rest: str, vcpu: GuestHart) -> str:
        return "\n".join(counters(self._debugged.machine, vcpu))

    def _profile(self, rest: str, vcpu: GuestHart) -> str:
        return "\n".join(profile(self._debugged.machine))

    def _faults(self, rest: str, vcpu: GuestHart) -> str:
        return "\n".join(rules(self._debugged.machine)) or "no fault plan (--inject)"

    def _sbi(self, rest: str, vcpu: GuestHart) -> str:
        most = _count(rest, LAST_CALLS)
        with self._debugged.attention():
            found = self._reversible().last(_SBI, most)
        calls = [f"instruction {hit.position:,}: {hit.words}" for hit in found]
        return "\n".join(reversed(calls)) or "no SBI call before here"

    def _trace(self, rest: str, vcpu: GuestHart) -> str:
        from vpmu.trace.views import as_text

        instructions, recorder = _count(rest, TRACED), self._debugged.machine.recorder
        traveller = self._reversible()
        if recorder is NULL:
            raise UsageError(
                "trace", expected="a machine that was built for a debugger (--gdb)", got="another one"
            )
        begin = max(traveller.position - instructions, traveller.first)

        def enable(on: bool) -> None:
            recorder.enabled = on

        recorder.records.clear()
        with self._debugged.attention():
            traveller.again(begin, enable)
        records = recorder.records[-MOST_RECORDS:]
        left = len(recorder.records) - len(records)
        lines = [as_text(record).rstrip("\n") for record in records]
        recorder.records.clear()
        if left:
            lines.insert(0, f"({left} records before these)")
        return "\n".join(lines) or f"nothing in the last {instructions:,} instructions"

    def _catch(self, rest: str, vcpu: GuestHart) -> str:
        caught = self._debugged.points.catches
        if rest == "help":
            return "\n".join(f"monitor catch {kind} {what}" for kind, what in KINDS.items())
        if rest:
            caught.add(parse_catch(rest))
        return "caught: " + (", ".join(sorted(map(str, caught))) or "nothing")

    def _uncatch(self, rest: str, vcpu: GuestHart) -> str:
        caught = self._debugged.points.catches
        if rest:
            caught.discard(parse_catch(rest))
        else:
            caught.clear()
        return self._catch("", vcpu)

    def _position(self, rest: str, vcpu: GuestHart) -> str:
        traveller = self._debugged.traveller
        return (
            f"instruction {traveller.position:,}, {self._debugged.machine.turns.now():,} ns; "
            f"the first is {traveller.first:,}, the furthest {traveller.furthest:,}"
        )

    def _goto(self, rest: str, vcpu: GuestHart) -> str:
        traveller = self._debugged.traveller
        to = _count(rest.replace(",", "").replace("_", ""), None, least=0)
        low = traveller.first if isinstance(traveller, Traveller) else traveller.position
        if to < low:
            raise UsageError("goto", expected=f"instruction {low} or later", got=to)
        self._debugged.walk.destination = to
        return f"the next continue or reverse-continue goes to instruction {to:,}"

    def _phys(self, rest: str, vcpu: GuestHart) -> str:
        words = rest.split()
        if not 1 <= len(words) <= 2:
            raise UsageError("phys", expected="ADDRESS [BYTES]", got=rest or "nothing")
        at, size = _count(words[0], None, least=0), min(_count(" ".join(words[1:]), 64), MOST_BYTES)
        try:
            data = self._debugged.machine.memory.read(at, size)
        except MemoryFault:
            raise UsageError(
                "physical memory", expected="addresses of memory", got=f"{size} bytes at {at:#x}"
            ) from None
        return "\n".join(f"{at + i:#x}: {data[i : i + 16].hex(' ', 4)}" for i in range(0, len(data), 16))

    def _reversible(self) -> Traveller:
        traveller = self._debugged.traveller
        if isinstance(traveller, Traveller):
            return traveller
        raise UsageError(
            "this run cannot go back", expected="a run that can be done again", got=traveller.why
        )


def _count(text: str, default: int | None, least: int = 1) -> int:
    if not text and default is not None:
        return default
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not least <= value < 1 << 64:
        raise UsageError("number", expected=f"{least} or more", got=text or "nothing")
    return value
