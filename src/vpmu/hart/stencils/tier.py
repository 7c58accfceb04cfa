"""The stitched pages of one machine, and the memory for their code. Which pages are stitched is the engine's
own business (`sample` in stitch.py).
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from vpmu.hart import native, state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.machine_code import CodeArena
from vpmu.hart.memory import HostMemory
from vpmu.hart.stencils import holes
from vpmu.hart.stencils.known_pages import keep, known_pages
from vpmu.hart.stencils.table import shared_code, table

if TYPE_CHECKING:
    from vpmu.hart.memory import PhysicalMemory

ARENA = 64 << 20  # bytes: 3,000 pages as Linux has them; when it is full, all is begun again
SHARED = 1 << 16  # bytes for what the stencils of each variant share: some 600
SLICE = 4096  # instructions from one sample to the next, at least: a power of two


def _keep(shared: state.Block, learned: HostMemory) -> None:
    """Keep what the engines of a memory have learned of its pages."""
    keep(learned, *(shared.words[state.SHARED[name]] for name in ("learned_count", "learned_of")))


class Stitcher:
    """Has the engines of a memory stitch, from `start` on until the variant of the engine changes."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = weakref.proxy(memory)
        self._block = state.Block(state.CONTEXTS)  # of a hart that has nothing but its memory
        self._block.words[state.STATE["shared"]] = memory.shared.address
        self._scratch = HostMemory(holes.SCRATCH)
        self._arena = CodeArena(ARENA + SHARED)
        self._base = self._arena.reserve(ARENA)
        self._known = known = known_pages()
        self._learned = HostMemory(holes.MAX_LEARNED * holes.KNOWN_ROW)
        weakref.finalize(self, _keep, memory.shared, self._learned)
        words = memory.shared.words
        words[state.SHARED["learned"]] = self._learned.address
        if known is not None:
            for name, value in (
                ("known", known.index),
                ("known_mask", known.mask),
                ("known_rows", known.rows),
            ):
                words[state.SHARED[name]] = value
        self._table: HostMemory | None = None
        self._shared: dict[Counting, dict[str, int]] = {}  # addresses of their code
        self._engine: native.NativeEngine | None = None
        self._counting: Counting | None = None

    @property
    def works(self) -> bool:
        """Whether pages are stitched now: on hosts that there are no stencils for, none are."""
        return self._engine is not None

    def start(self) -> None:
        """From now on pages are stitched, with stencils of the variant that counts now."""
        counting = self._memory.counting
        if self._base is None or self._counting == counting:
            return
        self._counting, self._table = counting, table(counting)
        if self._table is None:
            return
        if counting not in self._shared:
            self._shared[counting] = places = {}
            for name, code in shared_code(self._table).items():
                place = self._arena.place(code)
                assert place is not None  # SHARED is enough for every variant
                places[name] = place
        for name, place in self._shared[counting].items():
            self._scratch.view.cast("Q")[holes.NUMBER[name]] = place
        self._engine = native.engine(counting)
        words = self._memory.shared.words
        for name, value in (
            ("stencils", self._table.address), ("stitch_scratch", self._scratch.address),
            ("stitched_base", self._base), ("stitched_end", self._base + ARENA),
            ("stitched_next", self._base), ("stitched_count", 0),
            ("stitch_slice", SLICE), ("stitch_shortest", SLICE),
            ("stitch_entries", holes.STITCH_ENTRIES),
        ):  # fmt: skip
            words[state.SHARED[name]] = value

    def stop(self) -> None:
        """All records are what they were, and no page is stitched: the variant changes."""
        if self._engine is not None:
            self._engine.unstitch(self._block.address, 0)
        self._memory.shared.words[state.SHARED["stencils"]] = 0
        self._counting = self._engine = None

    def unstitch(self, decoded: int) -> None:
        """The records of a page are what they were."""
        if self._engine is not None:
            self._engine.unstitch(self._block.address, decoded)
