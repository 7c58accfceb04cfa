"""The state of a hart, and of its PMU's counters, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..hart import state as layout
from ..hart.events import HartEvent, Mode
from ..hart.hart import Hart
from ..hart.pmu import PhysicalPmu, Selector
from .snapshot_values import State, picked

_MODEL_STATE = layout.MODEL_DTLB_READ
"""From here on a context holds state of the guest (modelled TLB and cache, counts); before it, the engine's
caches of host addresses.
"""
_NOTHING = b"\xff" * _MODEL_STATE
_FEW = 100  # entries that are emptied one by one
_PMP = layout.CONTEXTS + layout.PMP
"""Where a hart with all its modes has its physical memory protection."""
_PHYSICAL = ("base", "mark", "running", "overflow")


def _context_starts(hart: Hart) -> range:
    """Offsets of the translation contexts in the hart's block."""
    return range(layout.CONTEXTS, layout.CONTEXTS + hart.contexts * layout.CONTEXT_SIZE, layout.CONTEXT_SIZE)


def hart_state(hart: Hart) -> State:
    """Registers, clock, counts, and the modelled TLBs and caches."""
    raw = hart.words.cast("B")
    ctx = (hart.get("ctx") - hart.get("contexts")) // layout.CONTEXT_SIZE
    models = [
        bytes(raw[start + _MODEL_STATE : start + layout.CONTEXT_SIZE]) for start in _context_starts(hart)
    ]
    return {
        "words": bytes(raw[: layout.CONTEXTS]),
        "context": ctx,
        "models": models,
        "pmp": bytes(raw[_PMP : _PMP + layout.PMP_SIZE]) if hart.whole else b"",
    }


def put_hart(hart: Hart, state: Mapping[str, object]) -> None:
    """Set a hart to a state; its caches of host addresses are empty afterwards."""
    words, models, context = state["words"], state["models"], state["context"]
    assert isinstance(words, bytes)
    assert isinstance(models, list)
    assert isinstance(context, int)
    pmp = state["pmp"]
    assert isinstance(pmp, bytes)
    if len(pmp) != (layout.PMP_SIZE if hart.whole else 0):
        raise ValueError("physical memory protection of a hart")
    sizes = [len(words), *map(len, models)]
    model = layout.CONTEXT_SIZE - _MODEL_STATE
    if sizes != [layout.CONTEXTS, *[model] * hart.contexts] or not 0 <= context < hart.contexts:
        raise ValueError("state of a hart")
    _refuse_impossible(memoryview(words).cast("Q"), hart.whole)
    keep = {name: hart.get(name) for name in ("contexts", "shared", "epoch")}
    raw = hart.words.cast("B")
    raw[: layout.CONTEXTS] = words
    for number, content in enumerate(models):
        start = layout.CONTEXTS + number * layout.CONTEXT_SIZE
        raw[start + _MODEL_STATE : start + layout.CONTEXT_SIZE] = content
    if hart.whole:
        raw[_PMP : _PMP + len(pmp)] = pmp
    for name, value in keep.items():
        hart.set(name, value)
    hart.set("ctx", keep["contexts"] + context * layout.CONTEXT_SIZE)
    hart.set("dbase", 0)
    forget_translations(hart)


def _refuse_impossible(words: memoryview, whole: bool) -> None:
    """ValueError for words that no hart can hold (the engines rely on it)."""
    pc, mode, satp, frm = (words[layout.STATE[name]] for name in ("pc", "mode", "satp", "frm"))
    if (
        pc & 1
        or mode not in (layout.USER, layout.SUPERVISOR, layout.MACHINE)
        or satp >> 60 not in ((0, 8, 9, 10) if whole else (0, 8, 9))
        or frm > 7
    ):
        raise ValueError("state of a hart")


def forget_translations(hart: Hart, *, writes_only: bool = False) -> None:
    """Empty the engine's caches of host addresses, which are no state of the guest: nothing that counts
    changes.
    """
    hart.forget_extent()
    words, origin = hart.words, hart.get("contexts") - layout.CONTEXTS
    lists = _filled_lists(hart)
    if max(words[at] for at in lists) <= _FEW:  # they are named (privileged/caches.py)
        for at in lists:
            for entry in words[at + 1 : at + 1 + words[at]]:
                words[entry - origin >> 3] = layout.INVALID_TAG
            words[at] = 0
        return
    first, last = (layout.TLB_WRITE, layout.TLB_FETCH) if writes_only else (0, _MODEL_STATE)
    raw, nothing = words.cast("B"), _NOTHING[: last - first]
    for start in _context_starts(hart):
        raw[start + first : start + last] = nothing
    if not writes_only:
        for at in lists:
            words[at] = 0


def _filled_lists(hart: Hart) -> list[int]:
    """The words where lists begin of what is filled of the engine's caches."""
    first = layout.CONTEXTS + (layout.WHOLE_FILLED if hart.whole else layout.GUEST_FILLED)
    return [first + kind * layout.FILLED_SIZE >> 3 for kind in range(3 if hart.whole else 1)]


def physical_state(pmu: PhysicalPmu) -> State:
    """Counters of the hart, who runs, and who has asked for what. Whether and when somebody has read a
    counter is nothing of it: all are brought up to date.
    """
    for counter in pmu._running:
        pmu._advance(counter)
    counters = {
        index: {
            **picked(counter, _PHYSICAL),
            "selector": [str(event) for event in counter.selector],
            "counted": [str(event) for event in counter.counted],
            "modes": int(counter.modes),
        }
        for index, counter in pmu._counters.items()
    }
    return {
        "counters": counters,
        "order": [counter.index for counter in pmu._running],
        "requests": list(pmu._requests),
        "holders": [[[str(event) for event in what], index] for what, index in pmu._holders.items()],
    }


@cache
def _selector(*names: str) -> Selector:
    return tuple(map(HartEvent, names))


_modes = cache(Mode)


def put_physical(pmu: PhysicalPmu, state: Mapping[str, object]) -> None:
    """Set the counters of a hart to a state."""
    counters, order, holders = state["counters"], state["order"], state["holders"]
    assert isinstance(counters, dict)
    assert isinstance(order, list)
    assert isinstance(holders, list)
    for index, saved in counters.items():
        counter = pmu._counters[index]
        for name in _PHYSICAL:
            setattr(counter, name, saved[name])
        counter.selector, counter.counted = _selector(*saved["selector"]), _selector(*saved["counted"])
        counter.modes = _modes(saved["modes"])
    pmu._running[:] = [pmu._counters[index] for index in order]
    pmu._requests[:] = state["requests"]  # type: ignore[call-overload]
    pmu.quiet.until = 0
    pmu._holders = {_selector(*what): index for what, index in holders}
    for counter in pmu._counters.values():
        counter.held = counter.selector if pmu._holders.get(counter.selector) == counter.index else None
    pmu._wanted = {}
    for counter in pmu._running:
        for event in counter.counted:
            pmu._wanted[event] = pmu._wanted.get(event, 0) + 1
    pmu._want()
    pmu.publish(pmu.published)  # what the engine reads of counters follows from them
