"""What a run leaves behind on the clock, and what the clock says in between."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def end_run():
    """Credit what was retired to the counts and the clock; the reason of the stop. `s.n` are left."""
    fold_counts()
    if s.passing and s.exit != STOP_BREAKPOINT and (s.n != s.n_start or s.passing != s.pc | 1):
        s.passing = 0
    if s.watched and s.exit != STOP_WATCHPOINT and (s.n != s.n_start or s.watched != s.pc | 1):
        s.watched = 0
    s.time_ns += s.n_start - s.n
    s.n_start = s.n
    return s.exit


def now():
    """The `time` CSR: one instruction is one nanosecond, one tick is TICK_NS of them."""
    return udiv(s.time_ns + s.n_start - s.n, TICK_NS)
