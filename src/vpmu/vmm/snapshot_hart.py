"""The state of a hart, and of its PMU's counters, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..hart import state as layout
from ..hart.events import HartEvent, Mode
from ..hart.hart import Hart
from ..hart.host_caches import context_starts, forget_translations
from ..hart.pmu import PhysicalPmu, Selector
from .snapshot_values import State, picked

_MODEL_STATE = layout.MODEL_DTLB_READ
"""From here on a context holds state of the guest (modelled TLB and cache, counts); before it, the engine's
caches of host addresses.
"""
_PMP = layout.CONTEXTS + layout.PMP
"""Where a hart with all its modes has its physical memory protection."""
_PHYSICAL = ("base", "mark", "running", "overflow")


def hart_state(hart: Hart) -> State:
    """Registers, clock, counts, and the modelled TLBs and caches."""
    raw = hart.words.cast("B")
    ctx = (hart.get("ctx") - hart.get("contexts")) // layout.CONTEXT_SIZE
    models = [
        bytes(raw[start + _MODEL_STATE : start + layout.CONTEXT_SIZE]) for start in context_starts(hart)
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
