"""A limit in real time: a run ends after so many seconds, whatever the guest does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
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


@contextmanager
def stall_timeout(machine: Machine, seconds: float, progress: Callable[[], int]) -> Iterator[None]:
    """A run of the machine inside this ends with stop `timeout` where `progress()` has stayed the same for
    `seconds`, or for less than twice as long.
    """
    over = threading.Event()

    def watch() -> None:
        seen = progress()
        while not over.wait(seconds):
            before, seen = seen, progress()
            if seen == before:
                machine.halt("timeout", f"nothing for {seconds:g} seconds of real time")
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        machine.turns.unhalt()
