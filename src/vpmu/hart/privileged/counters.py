"""Counters that the hart answers itself, from what its PMU has published of them (hart/published.py)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def answered(number):
    """Whether counter `number` is published, and nobody wants to see it read."""
    return (load64(s.contexts + COUNTERS) >> number) & 1


def counter_value(number):
    """A published counter, without the instruction that reads it."""
    fold_counts()
    row = s.contexts + COUNTERS + 8 * COUNTER_ROW * (number + 1)
    value = load64(row)
    at = row + 24
    left = load64(row + 16)
    while left:
        term = load64(at)
        value += (term >> 32) * load64(s.contexts - CONTEXTS + (term & 0xFFFFFFFF))
        at += 8
        left -= 1
    return value & load64(row + 8)


def counter_value_after(number):
    """A published counter with the instruction that reads it, which will retire."""
    s.n_fold += 1
    value = counter_value(number)
    s.n_fold -= 1
    return value
