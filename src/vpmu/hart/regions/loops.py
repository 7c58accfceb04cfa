"""The loops of a region."""

from __future__ import annotations

from vpmu.hart.isa.instruction import Kind
from vpmu.hart.regions.find import JUMPS, Region, links


def successors(region: Region) -> dict[int, list[int]]:
    """Where each block of a region goes on inside it; behind a call, where the call returns."""
    found: dict[int, list[int]] = {}
    for leader, block in region.blocks.items():
        last = block[-1]
        kind = last.operation.row.kind
        ways = [last.target] if kind in JUMPS and last.operation.in_page else []
        if kind is Kind.BRANCH or kind not in JUMPS or links(last):
            ways.append(last.behind)
        found[leader] = [way for way in ways if way in region.blocks]
    return found


def innermost_loops(region: Region) -> dict[int, frozenset[int]]:
    """The smallest loop that each block is in, as its blocks; blocks in no loop are left out."""
    ways = successors(region)
    before: dict[int, list[int]] = {leader: [] for leader in region.blocks}
    for leader, others in ways.items():
        for other in others:
            before[other].append(leader)
    found: dict[int, frozenset[int]] = {}
    for leader, others in ways.items():
        for head in others:
            if head > leader:
                continue
            loop, work = {head}, [leader]
            while work:
                block = work.pop()
                if block not in loop:
                    loop.add(block)
                    work += before[block]
            for block in loop:
                if block not in found or len(loop) < len(found[block]):
                    found[block] = frozenset(loop)
    return found
