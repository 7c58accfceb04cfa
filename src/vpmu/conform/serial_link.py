"""A board on a serial line: the agent runs there already (started by its boot loader, in S mode)."""

from __future__ import annotations

import os
import select
import termios
import tty

from ..profiles.profiles import Profile
from .agent import AgentTarget
from .target import TargetError, TargetLost

WAIT = 2.0
"""Seconds for an answer before the first repetition."""
DEFAULT_SPEED = 115200


class SerialLink:
    """A terminal device in raw mode: 8 bits, no parity, no flow control. Raises TargetError where it cannot
    be opened.
    """

    def __init__(self, device: str, speed: int = DEFAULT_SPEED) -> None:
        code = getattr(termios, f"B{speed}", None)
        if code is None:
            raise TargetError("serial speed", expected="one that this system has, such as 115200", got=speed)
        try:
            self._fd = os.open(device, os.O_RDWR | os.O_NOCTTY)
        except OSError as error:
            raise TargetError(f"{device} cannot be opened: {error.strerror}") from None
        try:
            tty.setraw(self._fd)
            settings = termios.tcgetattr(self._fd)
            settings[4] = settings[5] = code
            settings[2] = settings[2] & ~termios.CRTSCTS | termios.CLOCAL | termios.CREAD
            termios.tcsetattr(self._fd, termios.TCSANOW, settings)
            termios.tcflush(self._fd, termios.TCIOFLUSH)
        except termios.error as error:
            os.close(self._fd)
            raise TargetError(f"{device} is no serial line: {error.args[-1]}") from None

    def send(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            raise TargetLost(f"the serial line is gone: {error.strerror}") from None

    def receive(self, patience: float) -> bytes:
        ready, _, _ = select.select([self._fd], [], [], WAIT * patience)
        if not ready:
            return b""
        try:
            data = os.read(self._fd, 4096)
        except OSError as error:
            raise TargetLost(f"the serial line is gone: {error.strerror}") from None
        if not data:
            raise TargetLost("the serial line is gone")
        return data

    def close(self) -> None:
        os.close(self._fd)


def serial_target(name: str, profile: str | Profile | None = None) -> AgentTarget:
    """`serial:DEVICE` or `serial:DEVICE@SPEED`. Raises TargetError."""
    device, _, speed = name.removeprefix("serial:").partition("@")
    if speed and not speed.isdigit():
        raise TargetError("serial speed", expected="a number", got=speed)
    link = SerialLink(device, int(speed) if speed else DEFAULT_SPEED)
    try:
        return AgentTarget(link, name, f"agent at {device}", profile=profile, slack=20_000)
    except BaseException:
        link.close()
        raise
