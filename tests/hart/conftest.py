"""The native engine is built in a process of its own first: IR that LLVM dies of must not take the tests
with it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from vpmu.hart.codegen_flags import Counting
from vpmu.hart.stencils import tier

_BUILD = """
import sys
from vpmu.hart import codegen_flags, native
native.engine(codegen_flags.Counting(int(sys.argv[1])))
"""


@pytest.fixture(scope="session")
def built_engine() -> None:
    """Every variant of the native engine is in the cache and linked once."""
    for counting in (Counting.NOTHING, Counting.CLASSES, Counting.MISSES, Counting.CLASSES | Counting.MISSES):
        run = subprocess.run(
            [sys.executable, "-c", _BUILD, str(counting.value)], capture_output=True, text=True, timeout=120
        )
        assert run.returncode == 0, f"{counting}: status {run.returncode}\n{run.stderr[-2000:]}"


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are stitched after some 16 instructions."""
    monkeypatch.setattr(tier, "SLICE", 16)
