"""The tests, as data: one module per part of the PMU extension, each a table of `Test`."""

from __future__ import annotations

from .test import Test, load_suite

__all__ = ["Test", "load_suite"]
