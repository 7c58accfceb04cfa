"""Counts of what happens at every exit."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

_Key = TypeVar("_Key")


class Tally(Counter[_Key]):
    """A Counter that is written to as a dict is: four times as quick, since nothing is looked for in Python.
    What is not there cannot be deleted.
    """

    __delitem__ = dict.__delitem__  # type: ignore[assignment]
