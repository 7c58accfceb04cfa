"""While the guest goes, a thread waits for somebody who wants something, and interrupts the run then:
however long the next few instructions may take.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

AGAIN = 0.1
"""Seconds after which a run that nobody has looked at yet is interrupted again."""


class Readable(Protocol):
    """What select takes."""

    def fileno(self) -> int:
        """Its descriptor; -1 where it is closed."""


@contextmanager
def attention(sources: Sequence[Readable], interrupt: Callable[[], None]) -> Iterator[None]:
    """Inside this, `interrupt` is called in another thread while there is something to read."""
    wake, waker = os.pipe()
    watched: list[int | Readable] = [wake, *sources]

    def watch() -> None:
        while True:
            try:
                if wake in select.select(watched, [], [])[0]:
                    return
            except (OSError, ValueError):  # one was closed: who closed it knows
                return
            interrupt()
            if select.select([wake], [], [], AGAIN)[0]:
                return

    thread = threading.Thread(target=watch, daemon=True, name="vpmu-gdb")
    thread.start()
    try:
        yield
    finally:
        os.write(waker, b".")
        thread.join()
        os.close(wake)
        os.close(waker)
