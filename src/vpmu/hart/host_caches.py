"""The engine's caches of host addresses (docs/engine.md), emptied from Python: no state of the guest."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from vpmu.hart import state

if TYPE_CHECKING:
    from vpmu.hart.hart import Hart

_NO_EXTENT = memoryview(bytes(state.EXTENT_SIZE)).cast("Q")
_FEW = 100  # entries that are emptied one by one


def context_starts(hart: Hart) -> range:
    """Offsets of the translation contexts in the hart's block."""
    first, size = state.CONTEXTS, state.CONTEXT_SIZE
    return range(first, first + hart.contexts * size, size)


def empty(hart: Hart, first: int, last: int) -> None:
    """Empty what lies from one byte of each context to another, and the extent (privileged/extent.py)."""
    for start in context_starts(hart):
        ctypes.memset(hart.block.address + start + first, 0xFF, last - first)
    forget_extent(hart)


def forget_extent(hart: Hart) -> None:
    """Forget what loads know of more than a page."""
    first = state.CONTEXTS + (state.WHOLE_EXTENT if hart.whole else state.GUEST_EXTENT)
    hart.words[first // 8 : (first + state.EXTENT_SIZE) // 8] = _NO_EXTENT


def forget_translations(hart: Hart, *, writes_only: bool = False) -> None:
    """Empty the caches and nothing that counts, or those of stores; few entries are named in lists
    (privileged/caches.py).
    """
    words, origin = hart.words, hart.get("contexts") - state.CONTEXTS
    lists = _filled_lists(hart)
    if max(words[at] for at in lists) <= _FEW:
        for at in lists:
            for entry in words[at + 1 : at + 1 + words[at]]:
                words[entry - origin >> 3] = state.INVALID_TAG
            words[at] = 0
        forget_extent(hart)
    elif writes_only:
        empty(hart, state.TLB_WRITE, state.TLB_FETCH)
    else:
        empty(hart, 0, state.MODEL_DTLB_READ)
        for at in lists:
            words[at] = 0


def _filled_lists(hart: Hart) -> list[int]:
    """The words where lists begin of what is filled of the caches."""
    first = state.CONTEXTS + (state.WHOLE_FILLED if hart.whole else state.GUEST_FILLED)
    lists = state.WHOLE_FILLED_LISTS if hart.whole else state.GUEST_FILLED_LISTS
    return [first + kind * state.FILLED_SIZE >> 3 for kind in range(lists)]
