"""The outside world of an interactive boot: the keyboard, and real time while the guest sleeps.

Keys go to the guest as they are typed. Ctrl-A is the prefix, as in QEMU: Ctrl-A X leaves, Ctrl-A Ctrl-A sends
one. While every hart sleeps, the machine waits for a key in real time, so `sleep 1` takes a second; a guest
that computes runs as fast as it can.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpmu.vmm.machine import Machine

PREFIX, LEAVE = b"\x01", b"xX"
HELP = b"\r\nCtrl-A X  leave\r\nCtrl-A Ctrl-A  send Ctrl-A\r\n"
LONGEST_WAIT = 0.5  # seconds of sleep without a look at whether the run shall end


class Terminal:
    """A host (vmm.machine.Host) that types what comes on a file descriptor into the guest."""

    def __init__(self, machine: Machine, descriptor: int) -> None:
        self.machine, self._descriptor = machine, descriptor
        self._prefixed = self._closed = False

    def poll(self) -> None:
        """Take the keys that were typed."""
        while not self._closed and select.select([self._descriptor], [], [], 0)[0]:
            self._take()

    def idle(self, now: int, wake: int | None) -> int | None:
        """Wait for a key, until the guest's next timer at most."""
        if self._closed:
            return None
        wait = LONGEST_WAIT if wake is None else min(max(wake - now, 0) / 1e9, LONGEST_WAIT)
        started = time.monotonic_ns()
        if select.select([self._descriptor], [], [], wait)[0]:
            self._take()
        passed = now + time.monotonic_ns() - started
        return passed if wake is None else min(passed, wake)

    def _take(self) -> None:
        data = os.read(self._descriptor, 4096)
        if not data:
            self._closed = True
        out = bytearray()
        for byte in (bytes((value,)) for value in data):
            if not self._prefixed:
                self._prefixed = byte == PREFIX
                out += b"" if self._prefixed else byte
                continue
            self._prefixed = False
            if byte in LEAVE:
                self.machine.halt("left", "left with Ctrl-A X")
                return
            if byte == PREFIX:
                out += PREFIX
            else:
                sys.stdout.buffer.write(HELP)
                sys.stdout.buffer.flush()
        if out:
            self.machine.console_input(bytes(out))


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Put a terminal into raw mode, and back whatever happens. Anything but a terminal stays as it is."""
    if not os.isatty(descriptor):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    handler = signal.signal(signal.SIGTERM, _terminated)  # its default would leave the terminal raw
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, handler)


def _terminated(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
