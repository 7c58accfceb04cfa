"""How much of the random tests runs: VPMU_ORACLE=N multiplies what the suite does by N."""

from __future__ import annotations

import os

FACTOR = int(os.environ.get("VPMU_ORACLE", "1"))
LONG = 120 if FACTOR == 1 else 1200
"""The longest turn between two comparisons: many programs pay less for comparing."""


def seeds(number: int) -> range:
    """Seeds of that many batches."""
    return range(number * FACTOR)
