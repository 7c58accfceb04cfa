"""Stale pages: a restore writes no page. It marks those that the run before has changed, and each gets its
contents from the snapshot's image before anybody sees or changes it.

The engine asks where it looks for the memory behind an address (`freshen` in privileged/caches.py): what it
has cached of addresses a restore forgets, so no access goes past that. Python asks here: `PhysicalMemory` for
the pages of an access, and `HostMemory.view`, through which all else goes, for all pages at once.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vpmu.hart import state

if TYPE_CHECKING:
    from vpmu.hart.memory import HostMemory, PhysicalMemory

PAGE = 4096
_STALE = state.PAGE_STALE
_ONLY_STALE = bytes(int(flags & _STALE != 0) for flags in range(256))
_FRESH = bytes(flags & ~_STALE for flags in range(256))
_WRITTEN = state.PAGE_DIRTY | state.PAGE_HASHED | _STALE
BACK = bytes(
    (flags & state.PAGE_BASE and state.PAGE_BASE | state.PAGE_TOUCHED) | (flags & _WRITTEN and _STALE)
    for flags in range(256)
)
"""From what is known of a page after a run to what is known of it once the machine is back where it was."""


def runs(mask: bytes) -> Iterator[tuple[int, int]]:
    """[first, last) of each run of pages that are marked with a 1."""
    first = mask.find(1)
    while first >= 0:
        last = mask.find(0, first)
        if last < 0:
            last = len(mask)
        yield first, last
        first = mask.find(1, last)


class StalePages:
    """The stale pages of one memory. They are all of one backing, whose pages are numbered from `_origin` on,
    and page i of it gets the contents of page i of the image.
    """

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = weakref.ref(memory)
        self._words, self._flags = memory.shared.words, memory._flags
        self._backing: HostMemory | None = None
        self._image: HostMemory | None = None
        self._origin = 0

    def of(self, backing: HostMemory) -> bool:
        """Whether pages of this backing are stale, or of none."""
        return self._backing is None or self._backing is backing

    def lend(self, backing: HostMemory, image: HostMemory, origin: int) -> None:
        """Pages of a backing, its own memory, are stale from now on where their flags say so."""
        if self._image is not None and self._image is not image:
            self._image.borrowers.discard(self)
        self._backing, self._image, self._origin = backing, image, origin
        self._words[state.SHARED["stale"]] = image.address - backing.address & (1 << 64) - 1
        backing.settle = self.settle
        image.borrowers.add(self)

    def settle(self) -> None:
        """No page is stale any more."""
        backing, image = self._backing, self._image
        if backing is None or image is None:
            return
        self._words[state.SHARED["stale"]] = 0
        self._backing = self._image = backing.settle = None
        image.borrowers.discard(self)
        memory, origin, pages = self._memory(), self._origin, backing.size // PAGE
        flags = bytes(self._flags.view[origin : origin + pages])
        self._flags.view[origin : origin + pages] = flags.translate(_FRESH)
        to, source = backing.view, image.view
        for first, last in runs(flags.translate(_ONLY_STALE)):
            to[first * PAGE : last * PAGE] = source[first * PAGE : last * PAGE]
            if memory is not None:
                memory.forget_code(origin + first, origin + last - 1)

    def settle_pages(self, first: int, last: int) -> None:
        """Pages `first` to `last`, by their numbers, are not stale any more."""
        backing, image, memory = self._backing, self._image, self._memory()
        flags = bytes(self._flags.view[first : last + 1])
        mask = flags.translate(_ONLY_STALE)
        if backing is None or image is None or memory is None or 1 not in mask:
            return
        self._flags.view[first : last + 1] = flags.translate(_FRESH)
        to, source, begin = backing.settled, image.view, first - self._origin
        for at, end in runs(mask):
            here, behind = (begin + at) * PAGE, (begin + end) * PAGE
            to[here:behind] = source[here:behind]
            memory.forget_code(first + at, first + end - 1)
