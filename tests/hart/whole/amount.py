"""How much of the random tests runs: VPMU_ORACLE=N multiplies what the suite does by N."""

from __future__ import annotations

import os

FACTOR = int(os.environ.get("VPMU_ORACLE", "1"))


def seeds(number: int) -> range:
    """Seeds of that many batches."""
    return range(number * FACTOR)
