"""The host's arithmetic is used where it does as IEEE 754 says, and nothing depends on it where it does not:
in a thread that rounds in another way, or flushes subnormal numbers to zero.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from vpmu.hart.isa.fd_rows import FdRow, execute

from .guest import boot
from .test_floating_point import COMPUTATIONS, operands, run_one

pytest.importorskip("llvmlite")

LIBRARY = ctypes.util.find_library("m")
ROUNDS = {"x86_64": {"down": 0x400, "up": 0x800, "to zero": 0xC00},
          "aarch64": {"up": 0x400000, "down": 0x800000, "to zero": 0xC00000}}  # fmt: skip
"""fesetround's numbers (fenv.h)."""
_FLUSHES, _MXCSR = 0x8040, 28
"""FTZ and DAZ of MXCSR, and where glibc's fenv_t has it."""


@contextmanager
def rounding(how: int) -> Iterator[None]:
    """In this thread."""
    library = ctypes.CDLL(LIBRARY)
    assert library.fesetround(how) == 0
    try:
        yield
    finally:
        library.fesetround(0)


@contextmanager
def flushing() -> Iterator[None]:
    """Subnormal operands and results are zero in this thread, as -ffast-math leaves it."""
    library = ctypes.CDLL(LIBRARY)
    environment = ctypes.create_string_buffer(64)
    assert library.fegetenv(environment) == 0
    (before,) = struct.unpack_from("<I", environment, _MXCSR)
    struct.pack_into("<I", environment, _MXCSR, before | _FLUSHES)
    assert library.fesetenv(environment) == 0
    try:
        yield
    finally:
        struct.pack_into("<I", environment, _MXCSR, before)
        library.fesetenv(environment)


def vectors(row: FdRow) -> list[tuple[tuple[int, int, int], int, tuple[int, int]]]:
    """Operands, flags, and what comes of them: computed before the host is made odd."""
    rng = random.Random(row.name)
    found = []
    for _ in range(60):
        values, flags = operands(rng, row), rng.choice((0, 1))
        value, raised = execute(row, *values, 0)
        found.append((values, flags, (value, flags | raised)))
    return found


@pytest.mark.skipif(LIBRARY is None, reason="no C library with fesetround")
@pytest.mark.parametrize("how", ["down", "up", "to zero"])
def test_another_rounding(how: str) -> None:
    if platform.machine() not in ROUNDS:
        pytest.skip(f"fesetround's numbers on {platform.machine()} are not known here")
    prepared = {row: vectors(row) for row in COMPUTATIONS}
    hart = boot("native")
    with rounding(ROUNDS[platform.machine()][how]):
        got = [
            (row.name, values, run_one(hart, row, values, flags, 0)[:2], expected)
            for row, rows in prepared.items()
            for values, flags, expected in rows
        ]
    assert [one for one in got if one[2] != one[3]] == []


@pytest.mark.skipif(platform.machine() != "x86_64" or LIBRARY is None, reason="MXCSR is x86-64's")
def test_subnormal_numbers_flushed_to_zero() -> None:
    prepared = {row: vectors(row) for row in COMPUTATIONS}
    hart = boot("native")
    with flushing():
        tiny = struct.unpack("<d", b"\1" + bytes(7))[0]
        assert tiny + tiny == 0, "the host was not made odd"
        got = [
            (row.name, values, run_one(hart, row, values, flags, 0)[:2], expected)
            for row, rows in prepared.items()
            for values, flags, expected in rows
        ]
    assert [one for one in got if one[2] != one[3]] == []
