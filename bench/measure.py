"""Running a program and what it costs: process CPU time (user and system, children included) and wall
time.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEMORY = "128M"
TIMEOUT = 600
"""Seconds after which a run is given up."""


class BenchError(Exception):
    """A measured program failed: its output would be the time of something else."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one run."""

    cpu: float
    wall: float


@dataclass(frozen=True, slots=True)
class Runner:
    """A way to run an ELF file."""

    name: str
    command: Callable[[Path], list[str]]


def vpmu_command(*arguments: str) -> list[str]:
    """The command line of vpmu, by this interpreter."""
    return [sys.executable, "-m", "vpmu", *arguments]


def runners() -> list[Runner]:
    """vpmu, and QEMU in both of its ways to keep time, where it is installed."""
    found = [Runner("vpmu", lambda image: vpmu_command("run", "-q", "-m", MEMORY, str(image)))]
    qemu = shutil.which("qemu-system-riscv64")
    if qemu is not None:
        machine = [qemu, "-machine", "virt", "-m", MEMORY, "-display", "none", "-serial", "stdio"]
        machine += ["-monitor", "none", "-no-reboot"]
        found.append(
            Runner("qemu -icount", lambda image: [*machine, "-icount", "shift=0", "-kernel", str(image)])
        )
        found.append(Runner("qemu", lambda image: [*machine, "-kernel", str(image)]))
    return found


def measure(
    command: Sequence[str], *, expect: str = "", environment: Mapping[str, str] | None = None
) -> Cost:
    """Run `command` to its end. BenchError where it fails or `expect` is not in its output."""
    variables = {**os.environ, "PYTHONPATH": python_path(), **(environment or {})}
    before, started = children(), time.perf_counter()
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=variables,
        timeout=TIMEOUT,
        check=False,
    )
    wall, after = time.perf_counter() - started, children()
    if done.returncode != 0 or expect not in done.stdout:
        tail = " | ".join(done.stdout.splitlines()[-3:])
        raise BenchError(f"{' '.join(command)}: status {done.returncode}, expected {expect!r} in: {tail}")
    return Cost(after - before, wall)


def children() -> float:
    """CPU seconds of all programs that have been run so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def python_path() -> str:
    """The path by which this interpreter finds vpmu, for the ones that it starts."""
    import vpmu

    return str(Path(vpmu.__path__[0]).parent)


def best(costs: Sequence[Cost]) -> Cost:
    """The least CPU time and the least wall time: what disturbs a run only ever adds."""
    return Cost(min(cost.cpu for cost in costs), min(cost.wall for cost in costs))
