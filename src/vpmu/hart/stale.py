"""Pages that a snapshot's image and a machine's memory still owe one another.

A restore writes no page. It marks those that the run before has changed as stale, and each gets its contents
from the image before anybody sees or changes it. Nor does taking a snapshot: it marks the pages that it
stores as unsaved, and each is copied into the image before anybody changes it.

The engine asks where it looks for the memory behind an address (`freshen` in privileged/caches.py): what it
has cached of addresses a restore forgets, and of writes a snapshot, so no access goes past that. Python asks
here: `PhysicalMemory` for the pages of an access, and `HostMemory.view`, through which all else goes, for all
pages at once.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vpmu.hart import state

if TYPE_CHECKING:
    from vpmu.hart.memory import HostMemory, PhysicalMemory

PAGE = 4096
_STALE, _UNSAVED = state.PAGE_STALE, state.PAGE_UNSAVED
_ONLY_STALE = bytes(int(flags & _STALE != 0) for flags in range(256))
_ONLY_UNSAVED = bytes(int(flags & _UNSAVED != 0) for flags in range(256))
_FRESH = bytes(flags & ~_STALE for flags in range(256))
_SAVED = bytes(flags & ~_UNSAVED for flags in range(256))
_WRITTEN = state.PAGE_DIRTY | state.PAGE_HASHED | _STALE
_BACK = bytes(
    (flags & state.PAGE_BASE and state.PAGE_BASE | state.PAGE_TOUCHED)
    | (flags & _WRITTEN and _STALE)
    | flags & _UNSAVED
    for flags in range(256)
)
"""From what is known of a page after a run to what is known of it once the machine is back where it was."""
_PART = 2048  # pages: a run changes what is known of few such parts


def runs(mask: bytes) -> Iterator[tuple[int, int]]:
    """[first, last) of each run of pages that are marked with a 1."""
    first = mask.find(1)
    while first >= 0:
        last = mask.find(0, first)
        if last < 0:
            last = len(mask)
        yield first, last
        first = mask.find(1, last)


def _copy(to: memoryview, source: memoryview, mask: bytes) -> None:
    """The pages that are marked."""
    for first, last in runs(mask):
        to[first * PAGE : last * PAGE] = source[first * PAGE : last * PAGE]


class Owed:
    """Pages that the image of a snapshot lacked when the next one was taken: that one has, or will get, the
    same.
    """

    def __init__(self, image: HostMemory, mask: bytes, later: HostMemory) -> None:
        self._image, self._mask, self._later = weakref.ref(image), mask, later
        image.settle = self.settle
        later.borrowers.add(self)

    def settle(self) -> None:
        """The image lacks them no more."""
        image = self._image()
        if image is not None:
            image.settle = None
            _copy(image.settled, self._later.view, self._mask)


class StalePages:
    """The stale and the unsaved pages of one memory. They are all of one backing, whose pages are numbered
    from `_origin` on, and page i of it belongs to page i of the image.
    """

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = weakref.ref(memory)
        self._words, self._flags = memory.shared.words, memory._flags
        self._backing: HostMemory | None = None
        self._image: HostMemory | None = None
        self._origin = 0
        self._back: list[bytes] = []  # what was known after the last `go_back`, in parts

    def of(self, backing: HostMemory) -> bool:
        """Whether pages of this backing are stale, or of none."""
        return self._backing is None or self._backing is backing

    def lend(self, backing: HostMemory, image: HostMemory, origin: int) -> None:
        """Pages of a backing, its own memory, are stale from now on where their flags say so."""
        if self._image is not image:
            self.save()
            if self._image is not None:
                self._image.borrowers.discard(self)
            _ = image.view  # whole
        self._backing, self._image, self._origin = backing, image, origin
        self._words[state.SHARED["stale"]] = image.address - backing.address & (1 << 64) - 1
        backing.settle = self.settle
        image.borrowers.add(self)

    def holds(self, image: HostMemory) -> bool:
        """Pages are stale or unsaved against this image; the slots are what they were when that began."""
        return self._image is image

    def go_back(self) -> None:
        """The machine, of which the backing is all the memory, is where it was when this image became its
        own: what a run has changed since is stale.
        """
        memory = self._memory()
        assert memory is not None
        view = self._flags.view[: memory._next_page]
        flags, back = bytes(view), self._back
        if len(back) * _PART < len(flags):
            back += [b""] * (-(-len(flags) // _PART) - len(back))
        for number, at in enumerate(range(0, len(flags), _PART)):
            part = flags[at : at + _PART]
            if part != back[number]:  # else it would become what it is
                view[at : at + _PART] = back[number] = part.translate(_BACK)

    def owe(self, backing: HostMemory, image: HostMemory, origin: int) -> None:
        """Pages of a backing, of which none is stale, are unsaved from now on where their flags say so: the
        image of a new snapshot is to get them.
        """
        before = self._image
        if before is not None and before.settle is not None:
            Owed(before, self._mask(_ONLY_UNSAVED), image)
        self.lend_nothing()
        self.lend(backing, image, origin)
        image.settle = self.save

    def lend_nothing(self) -> None:
        """Nobody owes anybody anything; flags that said so do not count any more."""
        if self._backing is not None and self._image is not None:
            self._words[state.SHARED["stale"]] = 0
            self._backing.settle = None
            self._image.borrowers.discard(self)
            self._backing = self._image = None

    def settle(self) -> None:
        """No page is stale or unsaved any more."""
        self.save()
        self.bring()
        self.lend_nothing()

    def bring(self) -> None:
        """No page is stale any more."""
        backing, image, memory = self._backing, self._image, self._memory()
        if backing is None or image is None:
            return
        mask = self._mask(_ONLY_STALE)
        if 1 not in mask:
            return
        self._clear(_FRESH)
        _copy(backing.settled, image.settled, mask)  # an image has what memory lacks
        if memory is not None:
            for first, last in runs(mask):
                memory.forget_code(self._origin + first, self._origin + last - 1)

    def save(self) -> None:
        """No page is unsaved any more."""
        backing, image = self._backing, self._image
        if backing is None or image is None or image.settle != self.save:
            return
        image.settle = None
        mask = self._mask(_ONLY_UNSAVED)
        self._clear(_SAVED)
        _copy(image.settled, backing.settled, mask)

    def settle_pages(self, first: int, last: int) -> None:
        """Pages `first` to `last`, by their numbers, are not stale or unsaved any more."""
        backing, image, memory = self._backing, self._image, self._memory()
        flags = bytes(self._flags.view[first : last + 1])
        stale, unsaved = flags.translate(_ONLY_STALE), flags.translate(_ONLY_UNSAVED)
        if backing is None or image is None or memory is None or not (1 in stale or 1 in unsaved):
            return
        self._flags.view[first : last + 1] = flags.translate(_FRESH).translate(_SAVED)
        here, there = (
            kept[(first - self._origin) * PAGE : (last + 1 - self._origin) * PAGE]
            for kept in (backing.settled, image.settled)
        )
        _copy(there, here, unsaved)
        _copy(here, there, stale)
        for at, end in runs(stale):
            memory.forget_code(first + at, first + end - 1)

    def _mask(self, which: bytes) -> bytes:
        """The pages of the backing that are marked so."""
        assert self._backing is not None
        flags = self._flags.view[self._origin : self._origin + self._backing.size // PAGE]
        return bytes(flags).translate(which)

    def _clear(self, table: bytes) -> None:
        assert self._backing is not None
        here = slice(self._origin, self._origin + self._backing.size // PAGE)
        self._flags.view[here] = bytes(self._flags.view[here]).translate(table)
