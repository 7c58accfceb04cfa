"""A limit in real time: a run ends after so many seconds, whatever the guest does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpmu.vmm.machine import Machine


@contextmanager
def host_timeout(machine: Machine, seconds: float | None) -> Iterator[None]:
    """A run of the machine inside this ends with stop `timeout` after `seconds`; None: without such a limit.

    A thread halts it: a guest that never retires an instruction, or whose exits are slow, is never asked.
    """
    if seconds is None:
        yield
        return
    reason = f"{seconds:g} seconds of real time are over"
    watch = threading.Timer(seconds, machine.halt, ("timeout", reason))
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
        watch.join()
        machine.turns.unhalt()
