"""What the pages of a machine held at several moments: what did not change between two is kept once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from vpmu.hart.memory import PAGE, HostMemory
from vpmu.vmm.snapshot_pages import runs

ZERO = bytes(PAGE)
NUMBER_BITS = 24
"""A page is named by the number of its backing above the number of the page in it."""
COST = PAGE + 160
"""Bytes that one content of one page takes, with what Python keeps for it."""


def pages_of(masks: Sequence[bytes]) -> set[int]:
    """The names of the pages that are marked, by backing."""
    found: set[int] = set()
    for backing, mask in enumerate(masks):
        for first, last in runs(mask):
            found.update(range(backing << NUMBER_BITS | first, backing << NUMBER_BITS | last))
    return found


class PageHistory:
    """Contents of pages by moment (instructions since power-on). A page that has no content at or before a
    moment is zero there.
    """

    def __init__(self) -> None:
        self._moments: dict[int, list[int]] = {}
        self._contents: dict[int, list[bytes]] = {}
        self.bytes = 0

    def known(self) -> Iterable[int]:
        """All pages that have a content at any moment."""
        return self._moments.keys()

    def add(self, moment: int, pages: Iterable[int], backings: Sequence[HostMemory]) -> None:
        """Keep what these pages hold now, for a moment at which nothing is kept yet."""
        for page in pages:
            at = (page & (1 << NUMBER_BITS) - 1) * PAGE
            content = bytes(backings[page >> NUMBER_BITS].view[at : at + PAGE])
            if content == ZERO:
                content = ZERO
            else:
                self.bytes += COST
            moments = self._moments.setdefault(page, [])
            contents = self._contents.setdefault(page, [])
            place = bisect_left(moments, moment)
            moments.insert(place, moment)
            contents.insert(place, content)

    def put(self, moment: int, pages: Iterable[int], backings: Sequence[HostMemory]) -> None:
        """Make these pages hold what they held at a moment."""
        for page in pages:
            moments = self._moments.get(page)
            place = bisect_right(moments, moment) - 1 if moments else -1
            content = self._contents[page][place] if place >= 0 else ZERO
            at = (page & (1 << NUMBER_BITS) - 1) * PAGE
            backings[page >> NUMBER_BITS].view[at : at + PAGE] = content

    def drop(self, moment: int, pages: set[int], after: int, later: set[int]) -> None:
        """Forget a moment. What its pages held is from then on that of the moment `after`, where that has no
        content of its own (`later`: the pages that it has).
        """
        for page in pages:
            moments = self._moments[page]
            place = bisect_left(moments, moment)
            if page not in later:
                moments[place] = after
                continue
            del moments[place]
            if self._contents[page].pop(place) is not ZERO:
                self.bytes -= COST

    def forget_from(self, moment: int) -> None:
        """Forget everything at or behind a moment."""
        for page in list(self._moments):
            moments, contents = self._moments[page], self._contents[page]
            place = bisect_left(moments, moment)
            self.bytes -= COST * sum(content is not ZERO for content in contents[place:])
            del moments[place:], contents[place:]
            if not moments:
                del self._moments[page], self._contents[page]
