"""OpenSBI on QEMU as a target: the agent runs in S mode, its serial line is QEMU's standard input and
output.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from ..payloads import path
from ..profiles.profiles import Profile
from .agent import AgentTarget
from .target import TargetError, TargetLost

PROGRAM = "qemu-system-riscv64"
MEMORY = 128 << 20
MEMORY_BASE = 0x80000000
WAIT = 2.0
_OPTIONS = (
    "-machine",
    "virt",
    "-cpu",
    "rv64,sscofpmf=true",
    "-smp",
    "1",
    "-m",
    f"{MEMORY >> 20}M",
    "-icount",
    "shift=0,sleep=off",
    "-display",
    "none",
    "-monitor",
    "none",
    "-serial",
    "stdio",
    "-no-reboot",
)


def _die_with_parent() -> None:
    """In the child: be killed when the parent dies, however it dies (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class ProcessLink:
    """The standard input and output of a process. `command` is killed at `close`. `wait`: seconds for an
    answer before the first repetition.
    """

    def __init__(self, command: list[str], wait: float = WAIT) -> None:
        self._wait = wait
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            preexec_fn=_die_with_parent,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, data: bytes) -> None:
        try:
            while data:
                data = data[self._to.write(data) or 0 :]
        except BrokenPipeError:
            raise TargetLost(self._last_words()) from None

    def receive(self, patience: float) -> bytes:
        ready, _, _ = select.select([self._from], [], [], self._wait * patience)
        if not ready:
            return b""
        data = os.read(self._from.fileno(), 65536)
        if not data:
            raise TargetLost(self._last_words())
        return data

    def _last_words(self) -> str:
        self._process.kill()
        _, errors = self._process.communicate()
        lines = errors.decode(errors="replace").strip().splitlines()
        lines = [line for line in lines if "fatal" in line] or lines  # QEMU dumps registers behind it
        return f"{Path(str(self._process.args[0])).name} ended" + (f": {lines[-1]}" if lines else "")  # type: ignore[index]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def version(program: str) -> str:
    """`QEMU 7.2.22`: the first line of --version, shortened. Raises TargetError where the program does not
    run.
    """
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        raise TargetError(f"{program} --version failed: {error}") from None
    words = done.stdout.split()
    return f"QEMU {words[3]}" if len(words) > 3 else done.stdout.strip()


def qemu_target(profile: str | Profile | None = None) -> AgentTarget:
    """QEMU's virt machine with its OpenSBI and the agent. Raises TargetError where QEMU is not installed."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise TargetError(
            f"{PROGRAM} is not installed", expected="the package qemu-system-misc, with opensbi"
        )
    name = version(program)
    link = ProcessLink([program, *_OPTIONS, "-kernel", str(path("agent"))])
    try:
        return AgentTarget(link, "qemu", name, profile=profile, memory_end=MEMORY_BASE + MEMORY, slack=20_000)
    except BaseException:
        link.close()
        raise
