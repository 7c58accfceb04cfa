"""Tests of guests: the pytest plugin (`vpmu.testing.plugin`)."""

from __future__ import annotations
