"""Finding a region: what is reachable from a hot instruction by branches inside its page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache

from vpmu.hart import state
from vpmu.hart.generator.convention import DISTANCE, IMM, RD, RS1
from vpmu.hart.generator.floating import formats
from vpmu.hart.generator.operations import OPERATIONS, Operation
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.isa.table import INSTRUCTIONS
from vpmu.hart.semantics import signed
from vpmu.hart.semantics.syntax import parse_expression

MAX_INSTRUCTIONS = 160  # compile time grows faster than the region: about 0.5 ms an instruction at this size
LONGEST = 288  # with the straight line that was begun before: a loop that was unrolled is one block
LONG, STRETCH = 208, 256  # a region longer than this ends, in a straight line, at a multiple of so many bytes
_NOT_IN_REGIONS = (*state.SPECIAL_OPERATIONS, "fence.i")
_STRAIGHT = (Kind.VALUE, Kind.LOAD, Kind.STORE, Kind.AMO, Kind.FP, Kind.FP_LOAD, Kind.FP_STORE, Kind.NOP)
FLOATING = (Kind.FP, Kind.FP_LOAD, Kind.FP_STORE)
JUMPS = (Kind.BRANCH, Kind.JAL, Kind.JALR)


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a region: its offset in the page and its record, taken apart."""

    offset: int
    record: int

    @property
    def operation(self) -> Operation:
        return OPERATIONS[(self.record & state.HANDLERS - 1) >> 1]

    @property
    def length(self) -> int:
        return 4 if self.record & 1 else 2

    @property
    def imm(self) -> int:
        return signed(self.record >> IMM, 24)

    @property
    def target(self) -> int:
        """Offset of an in-page branch's target."""
        return self.offset + 2 * signed(self.record >> DISTANCE, 12)

    @property
    def behind(self) -> int:
        return self.offset + self.length


@dataclass(slots=True)
class Region:
    """Blocks by the offset of their first instruction, and the offsets at which the region may be entered.
    `flat`: most of what it reaches is likely to be as far from the host's memory as the rest (access.py).
    """

    blocks: dict[int, list[Step]] = field(default_factory=dict)
    entries: list[int] = field(default_factory=list)
    flat: bool = False

    @property
    def steps(self) -> list[Step]:
        return [step for block in self.blocks.values() for step in block]


@cache
def prepare() -> None:
    """Parse what regions are made of, so that the compiling thread has nothing left to parse (syntax.py)."""
    for row in INSTRUCTIONS:
        if row.kind in (Kind.VALUE, Kind.BRANCH, Kind.AMO):
            parse_expression(row.semantics)
    for text in formats.texts():
        parse_expression(text)


def _is_left_out(step: Step) -> bool:
    """System instructions, and those that a hart can lack, so that a region depends on its page alone."""
    row = step.operation.row
    return (row.kind not in _STRAIGHT and row.kind not in JUMPS) or bool(row.needs)


def find_beginning(record_at: Callable[[int], int], offset: int) -> int:
    """Where the straight line of decoded instructions that leads to `offset` begins: of a function, its
    entry; of a long loop, its head.
    """
    sampled = aligned = offset
    for _ in range(MAX_INSTRUCTIONS // 2):
        before = [Step(offset - length, record_at(offset - length)) for length in (2, 4) if offset >= length]
        before = [step for step in before if step.record and step.behind == offset]
        if not before or before[0].operation.name in _NOT_IN_REGIONS:
            break
        kind = before[0].operation.row.kind
        if _is_left_out(before[0]) or (kind in JUMPS and kind is not Kind.BRANCH and not links(before[0])):
            break
        if before[0].offset // STRETCH < offset // STRETCH and aligned == sampled:
            aligned = offset
        offset = before[0].offset
    else:
        return find_head(record_at, sampled) or (aligned if aligned < sampled else offset)
    return offset


def find_head(record_at: Callable[[int], int], offset: int) -> int:
    """The target of the next branch behind `offset` that goes back to it or to before it; 0 where there is
    none near.
    """
    at = offset
    for _ in range(LONGEST):
        step = Step(at, record_at(at))
        if not step.record or step.operation.name in _NOT_IN_REGIONS or _is_left_out(step) or at >= 4094:
            return 0
        kind = step.operation.row.kind
        if kind in JUMPS and step.operation.in_page and step.target <= offset and not links(step):
            return step.target
        if kind is Kind.JALR or (kind is Kind.JAL and not links(step)):
            return 0
        at = step.behind
    return 0


class _Search:
    """What has been found of a region so far."""

    def __init__(self, record_at: Callable[[int], int]) -> None:
        self.record_at = record_at
        self.steps: dict[int, Step] = {}
        self.leaders: set[int] = set()
        self.backward: set[int] = set()  # targets of branches that go back
        self.resumed: set[int] = set()  # behind what leaves the region for a while
        self.calls: list[int] = []  # targets of calls in the page, to be followed when all else has been
        self.is_cut = False  # something that can be reached did not fit

    def begin(self, offsets: Iterable[int]) -> bool:
        """Follow everything from `offsets` on but calls; whether all of it did fit."""
        work = [*offsets]
        self.leaders.update(work)
        self.is_cut = False
        while work:
            offset = work.pop(0)
            if len(self.steps) < MAX_INSTRUCTIONS or offset in self.backward:
                self._straight(offset, work)
            elif offset not in self.steps:
                self.is_cut = True
        return not self.is_cut

    def _straight(self, offset: int, work: list[int]) -> None:
        """Follow one straight line; where it goes afterwards is added to `work`."""
        begun = offset
        while offset not in self.steps and 0 <= offset < 4094:
            length = len(self.steps)
            if length >= LONGEST or (length >= LONG and offset > begun and self._begins_stretch(offset)):
                self.is_cut = True
                return
            step = Step(offset, self.record_at(offset))
            kind = step.operation.row.kind
            if step.record == 0 or step.operation.name in _NOT_IN_REGIONS:
                return
            if _is_left_out(step):
                # left to its handler; the region may be entered again behind it
                if step.operation.name not in ("illegal", "sret"):
                    self.leaders.add(step.behind)
                    self.resumed.add(step.behind)
                    work.append(step.behind)
                return
            self.steps[offset] = step
            if kind in JUMPS:
                calls = kind is not Kind.BRANCH and links(step)
                if step.operation.in_page:
                    self.leaders.add(step.target)
                    (self.calls if calls else work).append(step.target)
                    if step.target <= offset:
                        self.backward.add(step.target)
                if kind is Kind.BRANCH or calls:
                    self.leaders.add(step.behind)
                    work.append(step.behind)
                    if calls:
                        self.resumed.add(step.behind)
                return
            offset = step.behind

    def _begins_stretch(self, offset: int) -> bool:
        """Whether this is the first instruction of a stretch of the page, of a straight line."""
        return any(
            before in self.steps
            and self.steps[before].behind == offset
            and before // STRETCH < offset // STRETCH
            for before in (offset - 2, offset - 4)
        )

    def find_more_leaders(self) -> None:
        """Where what did not fit may come back to: the targets of all branches of the page, and places that
        regions agree on in straight lines.
        """
        for offset in range(0, 4094, 2):
            if record := self.record_at(offset):
                step = Step(offset, record)
                if step.operation.row.kind in JUMPS and step.operation.in_page and step.target in self.steps:
                    self.leaders.add(step.target)
        self.leaders.update(offset for offset in self.steps if self._begins_stretch(offset))

    def follow_calls(self) -> None:
        """Take in the functions that are called and fit as a whole. Of one that does not, the rest would be
        left to the handlers at every call; alone, it is a region of its own.
        """
        while self.calls:
            target = self.calls.pop(0)
            if target in self.steps:
                continue
            before = [{*kept} for kept in (self.leaders, self.backward, self.resumed)]
            steps, calls = {**self.steps}, [*self.calls]
            if not self.begin([target]):
                self.steps, self.calls = steps, calls
                self.leaders, self.backward, self.resumed = before


def find_region(record_at: Callable[[int], int], start: int, hot: Iterable[int] = ()) -> Region:
    """The region around offset `start` of a page; `record_at(offset)` gives decoded records (0: not
    decoded). Where it calls or jumps to what only a register knows, what is `hot` in the page is taken in.
    """
    search = _Search(record_at)
    first = find_beginning(record_at, start)
    fits = search.begin([first])
    if start not in search.steps:
        fits = search.begin([start]) and fits
    search.follow_calls()
    if fits and any(_is_indirect(step) for step in search.steps.values()):
        others = [find_beginning(record_at, other) for other in hot]
        search.resumed.update(others)
        search.begin(others)
        search.follow_calls()
    is_part = not fits or find_beginning(record_at, first) != first
    if is_part:
        search.find_more_leaders()
    steps, leaders = search.steps, search.leaders
    region = Region()
    for leader in sorted(leaders):
        block: list[Step] = []
        offset = leader
        while offset in steps and (not block or offset not in leaders):
            block.append(steps[offset])
            if steps[offset].operation.row.kind in JUMPS:
                break
            offset = steps[offset].behind
        if block:
            region.blocks[leader] = block
    called = {
        step.target
        for step in steps.values()
        if step.operation.row.kind is Kind.JAL and step.operation.in_page and links(step)
    }
    # a sample inside of a block is no entry: it would part the block, and stencils get there as well
    entries = search.backward | search.resumed | called | ({start, first} & leaders)
    # the rest of a function is in other regions, and they lead back to any block of this one
    region.entries = sorted((leaders if is_part else entries) & region.blocks.keys())
    return region


def _is_indirect(step: Step) -> bool:
    """A jump or call to an address in a register, but no return."""
    returns = step.record >> RS1 & 255 == 1 and not links(step)
    return step.operation.row.kind is Kind.JALR and not returns


def links(step: Step) -> bool:
    """A call: the instruction behind it will be returned to."""
    return step.operation.row.kind in (Kind.JAL, Kind.JALR) and (step.record >> RD & 255) != state.SINK
