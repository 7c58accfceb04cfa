"""What a loop may expect of its accesses: where a base register only steps on, the page of the last access
is most often that of the next one. The loop keeps it, and to compare with it is less than to look into the
engine's cache.
"""

from __future__ import annotations

from dataclasses import dataclass

from vpmu.hart.generator.convention import RD, RS1
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.regions.find import Region, Step, links
from vpmu.hart.regions.loops import innermost_loops
from vpmu.hart.regions.neighbours import PAGE_BYTES, WITHOUT_RESULT, places, reach

BLOCKS, STEPS = 4, 64  # of a loop that keeps pages
MOST = 8  # pages in a region: each is three of the host's registers


@dataclass(slots=True)
class KeptPage:
    """A page that a region remembers for a base register, for loads or for stores; `span`: how many bytes an
    access that asks for it has at most.
    """

    name: str
    span: int

    @property
    def bound(self) -> int:
        """An access begins less than this many bytes behind the page's first, or it is not in the page."""
        return PAGE_BYTES + 1 - self.span


def _steps(region: Region, loop: frozenset[int]) -> list[Step]:
    return [step for block in loop for step in region.blocks[block]]


def _is_tight(region: Region, loop: frozenset[int]) -> bool:
    """Whether a loop is small enough for the host's registers, and likely to go round more than once."""
    steps = _steps(region, loop)
    calls = any(links(step) or step.operation.row.kind is Kind.JALR for step in steps)
    return len(loop) <= BLOCKS and len(steps) <= STEPS and not calls


def _unsteady(steps: list[Step]) -> set[int]:
    """Registers that the steps of a loop change by more than adding a number."""
    return {
        step.record >> RD & 255
        for step in steps
        if step.operation.row.kind not in WITHOUT_RESULT
        and not (step.operation.row.name == "addi" and step.record >> RD & 255 == step.record >> RS1 & 255)
    }


def kept_pages(region: Region) -> dict[tuple[int, int, bool], KeptPage]:
    """The pages to keep, by block, base register, and whether for stores."""
    found: dict[tuple[int, int, bool], KeptPage] = {}
    pages: dict[tuple[int, bool], KeptPage] = {}
    for leader, loop in sorted(innermost_loops(region).items()):
        if not _is_tight(region, loop):
            continue
        unsteady = _unsteady(_steps(region, loop))
        block = region.blocks[leader]
        at = places(block)
        for position, (step, place) in enumerate(zip(block, at, strict=True)):
            register = step.record >> RS1 & 255
            if place is None or register in unsteady:
                continue
            low, high = reach(at, position) or (0, place.size)
            key = register, place.is_store
            if key not in pages:
                if len(pages) == MOST:
                    continue
                pages[key] = KeptPage(f"{'w' if place.is_store else 'r'}{register}", high - low)
            page = found[leader, *key] = pages[key]
            page.span = max(page.span, high - low)
    return found
