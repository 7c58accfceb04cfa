"""What every test may use: the project's folders, and the tools that only some machines have."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Tests look into classes and exchange parts of them, which the compiled form of the rooms does not allow:
# tests/test_compiled.py has its own way to run them on it.
os.environ.setdefault("VPMU_PURE", "1")

# A busy machine is no failure: how long an example takes says nothing about the code.
settings.register_profile("vpmu", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vpmu")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by how many they are: those of a packer hold the time, and two workers that collect in
    two different seconds would have different tests.
    """
    return f"{argname}:{len(val)} bytes" if isinstance(val, bytes) and len(val) > 16 else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stitched", action="store_true", help="machine code of stencils (hart/stencils) from the first on"
    )


@pytest.fixture(autouse=True, scope="session")
def stitch_at_once(request: pytest.FixtureRequest) -> None:
    """With --stitched: every page that a test runs is stitched as soon as it is decoded."""
    if request.config.getoption("--stitched"):
        from vpmu.hart.memory import PhysicalMemory
        from vpmu.hart.stencils import tier

        tier.SLICE = 4
        set_up = PhysicalMemory.__init__

        def stitching(memory: PhysicalMemory) -> None:
            set_up(memory)
            memory.stitcher = tier.Stitcher(memory)

        PhysicalMemory.__init__ = stitching  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def project() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """``tool(name)``: the path of a program; the test is skipped where it is not installed."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find


@contextmanager
def _full_disk(size: int) -> Iterator[None]:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.fixture(scope="session")
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """``with full_disk(size)``: no file grows beyond that; then a write takes a part or fails."""
    return _full_disk
