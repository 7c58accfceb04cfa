"""Where two runs part: the first call, the first count, the first instruction; what both did before, and the
behaviour that explains it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..brief import Brief
from ..debug.names import names_of
from ..debug.steps import _instruction
from ..debug.where import where
from ..profiles.profiles import Profile
from ..spec.sbi import Eid
from ..spec.sbi_functions import FUNCTIONS
from ..trace.recorder import Record, Recorder
from ..vmm.state_hash import pmu_digest
from .compare import MAX_RECORDS, Explained, Side, Told, _explain
from .difference import first_difference, first_that_matters
from .oracle import Oracle
from .parting import Changed, changes, comparable, part, same_parts
from .recipe import Recipe, Running

PMU_CALLS = frozenset(function.name for (eid, _), function in FUNCTIONS.items() if eid == Eid.PMU)
CONTEXT = 4
"""Calls that are shown before the one that differs."""


@dataclass(frozen=True, slots=True, repr=False)
class Call(Brief):
    """A call of the SBI, or a read of a counter: at which instruction of the run."""

    record: Record
    instruction: int
    pmu: str = ""
    """The hash of the hart's PMU behind a call of that extension."""


@dataclass(slots=True)
class Traced:
    """One whole run."""

    name: str
    side: Side
    calls: list[Call]
    counts: list[Call]

    @property
    def end(self) -> int:
        """Instructions of the whole run."""
        return self.side.result.instructions


@dataclass(frozen=True, slots=True)
class At:
    """A place in both runs: the calls there (None: there is none), lines about each side."""

    what: str
    calls: tuple[Call | None, Call | None]
    numbers: tuple[int, int]
    places: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    before: tuple[tuple[Call, ...], tuple[Call, ...]] = ((), ())


@dataclass(frozen=True, slots=True)
class Divergence:
    """What tells two runs apart; all None where nothing does."""

    guest: str
    first: Traced
    second: Traced
    any_call: At | None = None
    call: At | None = None
    """The first one that matters."""
    count: At | None = None
    kept: At | None = None
    """The first call behind which the layers below the guest hold another state of the PMU."""
    instruction: int | None = None
    """Up to it the states are the same."""
    changed: tuple[Changed, ...] = ()
    more: int = 0
    places: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    unlike: tuple[str, ...] = ()
    """Parts of the states that differ from the beginning."""
    explained: tuple[Explained, ...] = field(default=())

    @property
    def found(self) -> bool:
        """The runs part."""
        told = (self.any_call, self.count, self.kept, self.instruction)
        return any(one is not None for one in told)


def traced(recipe: Recipe, name: str, profile: Profile | None = None) -> Traced:
    """Do a run to its end, and take down its calls and the counts that the guest got."""
    calls: list[Call] = []
    counts: list[Call] = []

    def take(record: Record) -> None:
        if record.actor == "fault":
            return
        if record.layer == "sbi" or record.actor == "KVM_RUN":
            kept = pmu_digest(running.machine, record.hart) if record.actor in PMU_CALLS else ""
            calls.append(Call(record, running.at, kept))
        elif record.actor == "csr" and record.action == "read":
            counts.append(Call(record, running.at))

    recorder = Recorder(take)
    running = Running(recipe, recorder=recorder, profile=profile)
    oracle = Oracle(running.machine)
    oracle.attach()
    result = running.to()
    assert result is not None
    told = tuple(call.record for call in calls[:MAX_RECORDS])
    side = Side(running.machine.profile, result, told, tuple(map(str, oracle.findings)))
    return Traced(name, side, calls[:MAX_RECORDS], counts[:MAX_RECORDS])


def diverge(
    one: Recipe, two: Recipe, names: tuple[str, str], progress: Told = lambda what, share: None
) -> Divergence:
    """Run both and find where they part. Raises VpmuError for what cannot be run."""
    sides = []
    for recipe, name in zip((one, two), names, strict=True):
        progress(name, 0.0)
        sides.append(traced(recipe, name))
    first, second = sides
    records = [[call.record for call in side.calls] for side in sides]
    at = first_difference(*records)
    matters = first_that_matters(*records)
    counted = first_difference(*[[call.record for call in side.counts] for side in sides])
    any_call = None if at is None else _at(one, two, sides, (at, at), places=matters != (at, at))
    call = None if matters is None else _at(one, two, sides, matters, places=True)
    count = None if counted is None else _count(sides, counted)
    held = _kept(first, second)
    kept = None if held is None else _at(one, two, sides, held, places=True)
    found = Divergence(one.guest, first, second, any_call, call, count, kept)
    found = _state(one, two, found, progress)
    if found.found and first.side.profile.behaviours != second.side.profile.behaviours:
        found = replace(found, explained=_explained(one, found, held, progress))
    return found


def _kept(one: Traced, two: Traced) -> tuple[int, int] | None:
    """The first call of the PMU extension that leaves another state of the PMU, as an index in each."""
    calls = [[(number, call) for number, call in enumerate(side.calls) if call.pmu] for side in (one, two)]
    for (at, left), (there, right) in zip(*calls, strict=False):
        if (left.record.actor, left.record.args) != (right.record.actor, right.record.args):
            return None  # from here on they are asked for other things
        if left.pmu != right.pmu:
            return at, there
    return None


def _explained(
    one: Recipe, found: Divergence, held: tuple[int, int] | None, progress: Told
) -> tuple[Explained, ...]:
    """The behaviours that make a difference here; where the guest sees none, those of the layers below."""
    first, second = found.first, found.second
    others: list[Traced] = []

    def run(profile: Profile) -> Side:
        others.append(traced(one, profile.name, profile))
        return others[-1].side

    explained = sorted(_explain(first.side, second.side, run, progress), key=lambda one_of: one_of.weight)
    if explained or held is None:
        return tuple(explained)
    base = first.side.profile.behaviours
    name = first.calls[held[0]].record.actor
    for other in others:
        (behaviour,) = base ^ other.side.profile.behaviours
        if other.calls[held[0]].pmu == second.calls[held[1]].pmu:
            what = f"the state of the PMU behind call {held[0] + 1} ({name}) is that of {second.name}"
            explained.append(Explained(behaviour, behaviour in base, what))
    return tuple(explained)


def _state(one: Recipe, two: Recipe, found: Divergence, progress: Told) -> Divergence:
    """Bisect to the instruction after which the states are no more the same."""
    left, right = Running(one), Running(two)
    other = found.first.side.profile.behaviours != found.second.side.profile.behaviours
    parts = comparable(left, right, visible=other)
    unlike = tuple(sorted(_visible(left, other) - parts))
    ends = min(found.first.end, found.second.end)
    high = ends
    if found.any_call is not None:
        known = [call.instruction for call in found.any_call.calls if call is not None]
        high = min(ends, max(known) + 2) if known else ends
    same = same_parts(parts)
    if not parts or high <= 0:
        return replace(found, unlike=unlike)
    ended = Running(one), Running(two)
    for running in ended:
        running.to(high)
    if same(*ended):  # the calls part, the states do not: whoever answers them has not told the guest yet
        if found.first.end == found.second.end:
            return replace(found, unlike=unlike)
        high = ends + 1
    low, left, right = part(left, right, high, same, progress)
    changed, more = changes(left, right, parts)
    places = _place(one, low), _place(two, low)
    return replace(found, instruction=low, changed=changed, more=more, places=places, unlike=unlike)


def _visible(running: Running, other: bool) -> frozenset[str]:
    return comparable(running, running, visible=other)


def _at(one: Recipe, two: Recipe, sides: list[Traced], numbers: tuple[int, int], *, places: bool) -> At:
    calls = tuple(
        side.calls[number] if number < len(side.calls) else None
        for side, number in zip(sides, numbers, strict=True)
    )
    before = tuple(
        tuple(side.calls[max(0, number - CONTEXT) : number])
        for side, number in zip(sides, numbers, strict=True)
    )
    where_ = tuple(
        _place(recipe, call.instruction, of_call=True) if call is not None and places else ()
        for recipe, call in zip((one, two), calls, strict=True)
    )
    what = next((call.record.actor for call in calls if call is not None), "the end")
    return At(what, calls, numbers, where_, before)  # type: ignore[arg-type]


def _count(sides: list[Traced], number: int) -> At:
    calls = tuple(side.counts[number] if number < len(side.counts) else None for side in sides)
    return At("counter", calls, (number, number))  # type: ignore[arg-type]


def _place(recipe: Recipe, instruction: int, *, of_call: bool = False) -> tuple[str, ...]:
    """Where a run is at an instruction: the next one, and for each hart who called whom."""
    told, running = "", Running(recipe)
    names, machine = names_of(running.loaded, None), running.machine
    for at in (instruction - 1, instruction) if of_call else (instruction,):
        running.to(at)
        told = _instruction(machine.vcpus[machine.turns.current], names)
        if "ecall" in told:
            break
    lines = [f"next: {told}"]
    return (*lines, *(line for place in where(machine, names) for line in place.lines()))
