"""The guest goes, forwards or back, until something is there to be told: the answers to c, s, bc and bs.

A watched access is told when it is about to be done, or backwards about to be undone: debuggers of RISC-V
then take the step themselves and compare the bytes (gdbarch_have_nonsteppable_watchpoint).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmu.gdb.description import PC
from vpmu.gdb.points import ACCESS
from vpmu.gdb.session import Go, Session
from vpmu.travel.stops import Hit
from vpmu.travel.travel import NOTHING, Arrival, Traveller

if TYPE_CHECKING:
    from vpmu.gdb.forward import OneWay
    from vpmu.vmm.machine import RunResult

TRAP, INTERRUPTED = 5, 2
_SP = 2
_WATCHED = {access: {"w": b"watch", "r": b"rwatch", "rw": b"awatch"}[access] for access in ACCESS.values()}


class Walk:
    """Takes a machine where its debugger wants it. `destination`: a position that the next step or continue
    goes to.
    """

    def __init__(self, traveller: Traveller | OneWay, session: Session) -> None:
        self.traveller, self.session = traveller, session
        self.destination: int | None = None
        self.over: RunResult | None = None
        """How the run ended, once the debugger has been told."""
        self._behind: tuple[int, int] | None = None  # an access to be undone: where it was, where it stands
        self._came_back = False

    def go(self, go: Go, limit: int | None) -> Arrival:
        """Until the debugger has to be told something."""
        traveller, session = self.traveller, self.session
        if session.changed:
            session.changed = False
            traveller.keep()
        if self.destination is not None:
            to, self.destination = self.destination, None
            self._behind, self._came_back = None, True
            return traveller.goto(to)
        if go.how == "back":
            assert isinstance(traveller, Traveller)
            return self._back(traveller, go)
        if self._came_back:
            self._came_back = False
            for vcpu in traveller.machine.vcpus:
                vcpu.hart.set("watched", 0)  # an access that was undone is watched when it is done again
        self._behind = None
        if not go.step:
            return traveller.onwards(session.points.stops(), limit)
        here = traveller.machine.vcpus[go.hart].hart.pc
        return traveller.step(go.hart, session.points.stops(but=here))

    def _back(self, traveller: Traveller, go: Go) -> Arrival:
        self._came_back = True
        behind, self._behind = self._behind, None
        if go.step:
            return traveller.step_back(go.hart)
        stops = self.session.points.stops()
        if not stops:
            traveller.goto(traveller.first)
            return Arrival("beginning")
        if behind is not None and behind[1] == traveller.position:
            traveller.goto(behind[0])
        arrival = traveller.backwards(stops)
        if arrival.hit is not None and arrival.hit.kind == "watchpoint":
            traveller.step(arrival.hit.hart, NOTHING)
            self._behind = arrival.hit.position, traveller.position
        return arrival

    def told(self, go: Go, arrival: Arrival) -> list[bytes]:
        """The packets that say how it went."""
        session = self.session
        words: list[bytes] = []
        number, facts = TRAP, b""
        hit = arrival.hit
        if hit is not None:
            session.looks_at(hit.hart)
            facts = self._fact(hit)
            if hit.kind == "caught":
                words.append(said(hit.words))
        else:
            session.looks_at(go.hart if go.step else session.machine.turns.current)
            if arrival.why == "interrupted":
                number = INTERRUPTED
            elif arrival.why == "beginning":
                facts = b"replaylog:begin;"
            elif arrival.why == "end":
                facts = b"replaylog:end;"
        session.stopped = stop_reply(session, number, facts)
        return [*words, session.stopped]

    def _fact(self, hit: Hit) -> bytes:
        session = self.session
        if hit.kind == "watchpoint":
            return b"%s:%x;" % (_WATCHED[hit.access], hit.address)
        if hit.kind == "breakpoint":
            hardware = hit.address in session.hardware
            if hardware and session.says_hwbreak:
                return b"hwbreak:;"
            if not hardware and session.says_swbreak:
                return b"swbreak:;"
        return b""


def stop_reply(session: Session, number: int, facts: bytes) -> bytes:
    """A T packet: signal, thread, what it was, and the registers that are asked for first."""
    values = b"".join(b"%02x:%s;" % (one, session.shown(one)) for one in (PC, _SP))
    return b"T%02xthread:%x;%s%s" % (number, session.hart + 1, facts, values)


def said(text: str) -> bytes:
    """A line for the debugger's user."""
    return b"O" + f"vpmu: {text}\n".encode().hex().encode()
