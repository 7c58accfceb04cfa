"""Pages: one file each, with nothing outside of it."""

from __future__ import annotations
