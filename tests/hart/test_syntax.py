"""Parsing on two threads at once, as the vCPU and the hot tier's compiler do."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator

import pytest

from vpmu.hart.syntax import parse_module

_SUM = "+".join(f"f(a[{i}], (b, c{i}))" for i in range(30))
_SOURCE = "\n".join(f"x = {_SUM}" for _ in range(20))


class _Slow:
    """Runs Python code when collected, which is where CPython may change threads inside a parse."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        for _ in range(50):
            pass


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads that change, and a collector that runs, as often as CPython lets them."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)


def test_two_threads_parse_without_disturbing_each_other(restless: None) -> None:
    errors: list[SystemError] = []

    def parse_often() -> None:
        for _ in range(20):
            for _ in range(50):
                _Slow()
            try:
                parse_module(_SOURCE)
            except SystemError as error:
                errors.append(error)

    threads = [threading.Thread(target=parse_often) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
