"""Variants of the native engine (apart from the generator, so that a cached engine loads without it)."""

from __future__ import annotations

from enum import Flag, auto

INEXACT = ("add", "mul", "div", "sqrt", "madd")
"""Operations whose results are asked about while NX is clear (generator/floating/inexact.py)."""
HOT_EXPORTS = (
    *("hot_load", "hot_store", "hot_resume", "hot_budget_spent"),
    *("stitched_original", "stitched_leave", "stitched_jump"),
    *(f"hot_inexact_{operation}_{suffix}" for suffix in ("f32", "f64") for operation in INEXACT),
)
"""Functions of an engine that the hot tier's regions call, and stencils."""


class Counting(Flag):
    """What the handlers count beside retired instructions, and the modes that they know; each combination
    is a module of its own.
    """

    NOTHING = 0
    CLASSES = auto()  # branches, loads, stores... (state.CLASS_COUNTERS)
    MISSES = auto()  # the modelled TLB and cache (state.MISS_COUNTERS)
    WHOLE = auto()  # no counting, but a hart with all its modes: M, HS, U, VS, VU (privileged/whole)
