"""Where the registers of a region live: in the hart's state or, on islands of blocks, in the host's.

Code that runs through once is best left with the state: each block loads what it reads and stores what it
writes, and a region can be entered and left anywhere at no cost. On an island registers stay in the host's
from block to block: a loop, or all of a region of a payload, whose loops go through calls. What may be read
before it is written is loaded where an island is entered; what may have been written since is stored where it
is left; and what is stored there, but written on another path only, has to be loaded, too. Sets of registers
are integers, a bit for each number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vpmu.hart import state
from vpmu.hart.generator.convention import RD, RS1, RS2, RS3
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.isa.rv64fd import FD_BY_NAME
from vpmu.hart.regions.find import JUMPS, Region, Step, links
from vpmu.hart.regions.loops import innermost_loops

_RETURN_ADDRESS = 1
_NO_REGISTERS = 1 | 1 << state.SINK  # x0, and where it is written


def numbers(registers: int) -> Iterator[int]:
    """The numbers of the registers in a set, the least first."""
    while registers:
        lowest = registers & -registers
        yield lowest.bit_length() - 1
        registers ^= lowest


def reads(step: Step) -> int:
    """The registers that a step reads."""
    return _set(step.record >> shift & 255 for shift in (RS1, RS2, RS3)[: 3 if _is_fused(step) else 2])


def writes(step: Step) -> int:
    """The register that a step writes, as a set."""
    return _set([step.record >> RD & 255])


def written(steps: Iterable[Step]) -> int:
    """What some steps write."""
    found = 0
    for step in steps:
        found |= writes(step)
    return found


def _set(registers: Iterable[int]) -> int:
    found = 0
    for number in registers:
        found |= 1 << number
    return found & ~_NO_REGISTERS


def _is_fused(step: Step) -> bool:
    row = step.operation.row
    return row.kind is Kind.FP and len(FD_BY_NAME[row.name].sources) == 3


def _read_first(block: list[Step]) -> int:
    """What a block reads before it writes it."""
    found = done = 0
    for step in block:
        found |= reads(step) & ~done
        done |= writes(step)
    return found


def returns(step: Step) -> bool:
    """A jump to what the register for return addresses holds."""
    is_jump = step.operation.row.kind is Kind.JALR and not links(step)
    return is_jump and step.record >> RS1 & 255 == _RETURN_ADDRESS


def return_sites(region: Region) -> list[int]:
    """Where a return inside the region may lead: behind calls that stay in it, or may."""
    found = set()
    for block in region.blocks.values():
        last = block[-1]
        if links(last) and last.behind in region.blocks:
            stays = last.operation.in_page and last.target in region.blocks
            if stays or last.operation.row.kind is Kind.JALR:
                found.add(last.behind)
    return sorted(found)


def ways_on(region: Region) -> dict[int, list[int]]:
    """The blocks that may come behind each block, without leaving the region."""
    sites, found = return_sites(region), {}
    for leader, block in region.blocks.items():
        last = block[-1]
        kind = last.operation.row.kind
        if kind is Kind.JALR:
            ways = sites if returns(last) else region.entries
        else:
            ways = [last.target] if kind in JUMPS and last.operation.in_page else []
            if kind not in JUMPS or kind is Kind.BRANCH:
                ways.append(last.behind)
        found[leader] = [way for way in ways if way in region.blocks]
    return found


class Island:
    """Blocks of a region, by their leaders. When a block begins, `dirty` may have been written since the
    island was entered, and `wanted` has to have its value. Where it is `all_alike`, what is written anywhere
    counts as written everywhere: few ways out are left, which is what LLVM makes the better code of.
    """

    def __init__(
        self, blocks: dict[int, list[Step]], ways: dict[int, list[int]], *, all_alike: bool = False
    ) -> None:
        self._ways = {leader: [way for way in ways[leader] if way in blocks] for leader in blocks}
        self._written = {leader: written(block) for leader, block in blocks.items()}
        everything = written(step for block in blocks.values() for step in block)
        self.dirty = dict.fromkeys(blocks, everything if all_alike else 0)
        self._forward()
        self.wanted = {leader: _read_first(block) | self.dirty[leader] for leader, block in blocks.items()}
        self._backward()

    def _forward(self) -> None:
        work = list(self.dirty)
        while work:
            leader = work.pop()
            dirty = self.dirty[leader] | self._written[leader]
            for way in self._ways[leader]:
                if dirty & ~self.dirty[way]:
                    self.dirty[way] |= dirty
                    work.append(way)

    def _backward(self) -> None:
        """What a block stores where it is left it has written, or it was dirty at its beginning."""
        changed = True
        while changed:
            changed = False
            for leader in reversed(self.wanted):
                behind = 0
                for way in self._ways[leader]:
                    behind |= self.wanted[way]
                wanted = self.wanted[leader] | behind & ~self._written[leader]
                changed |= wanted != self.wanted[leader]
                self.wanted[leader] = wanted


def islands(region: Region) -> dict[int, Island]:
    """The island of each block that is on one."""
    ways = ways_on(region)
    if region.flat:
        return dict.fromkeys(region.blocks, Island(region.blocks, ways, all_alike=True))
    found: dict[int, Island] = {}
    for loop in sorted(set(innermost_loops(region).values()), key=len):
        if loop.isdisjoint(found) and _is_closed(region, loop):
            island = Island({leader: region.blocks[leader] for leader in sorted(loop)}, ways)
            found |= dict.fromkeys(loop, island)
    return found


def _is_closed(region: Region, loop: frozenset[int]) -> bool:
    """Whether a loop calls nothing."""
    last = [region.blocks[leader][-1] for leader in loop]
    return not any(links(step) or step.operation.row.kind is Kind.JALR for step in last)
