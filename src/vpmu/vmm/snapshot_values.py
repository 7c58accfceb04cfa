"""State as plain data: numbers, texts, and containers of nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping

from ..see.exits import Tally

State = dict[str, object]
_LEAVES = frozenset({int, bool, str, bytes, type(None), float})
_TABLES = (dict, Counter, Tally)
_SEEN: defaultdict[type, set[str]] = defaultdict(set)
"""Attributes that objects of a kind are known to have."""


def plain(value: object) -> bool:
    """True for numbers, texts, and containers of nothing else."""
    kind = type(value)
    if kind in _LEAVES or kind is bytearray:
        return True
    if kind in (list, tuple, set, frozenset, deque):
        return all(map(plain, value))  # type: ignore[call-overload]
    if kind in _TABLES:
        return all(plain(key) and plain(item) for key, item in value.items())  # type: ignore[attr-defined]
    return False


def copied(value: object) -> object:
    """A copy that shares nothing that can change."""
    kind = type(value)
    if kind in (list, set, deque, tuple, frozenset):
        return kind(map(copied, value))  # type: ignore[call-overload]
    if kind in _TABLES:
        return kind({key: copied(item) for key, item in value.items()})  # type: ignore[attr-defined, misc]
    return bytearray(value) if isinstance(value, bytearray) else value


def attributes(thing: object) -> State:
    """All plain attributes of an object."""
    held = ((name, getattr(thing, name)) for name in _names(thing))
    return {name: copied(value) for name, value in held if plain(value)}


def _names(thing: object) -> Iterable[str]:
    """What the object holds; one of a compiled class has no dictionary (compiled.py), its class knows."""
    named: Iterable[str] | None = getattr(type(thing), "__mypyc_attrs__", None)
    return vars(thing) if named is None else [name for name in named if name != "__dict__"]


def picked(thing: object, names: tuple[str, ...]) -> State:
    """These attributes of an object."""
    return {name: copied(getattr(thing, name)) for name in names}


def put(thing: object, values: Mapping[str, object]) -> None:
    """Set attributes to what `attributes` or `picked` gave. KeyError for one that the object has not."""
    seen = _SEEN[type(thing)]
    if not seen >= values.keys():
        for name in values:
            if not hasattr(thing, name) or callable(getattr(thing, name)):
                raise KeyError(name)
        seen.update(values)
    for name, value in values.items():
        if type(value) in _LEAVES:
            setattr(thing, name, value)
        elif not _alike(getattr(thing, name), value):
            setattr(thing, name, copied(value))


def _alike(own: object, saved: object) -> bool:
    """Whether nothing has to be copied: of most containers a run touches few, and to look is quicker."""
    if type(own) is not type(saved) or own != saved:
        return False
    return not isinstance(own, dict) or list(own) == list(saved)  # type: ignore[call-overload]
