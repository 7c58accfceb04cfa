"""Running a program and what it costs: process CPU time (user and system, children included) and wall
time.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEMORY = "128M"
QEMU = "qemu-system-riscv64"
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


def qemus(more: Sequence[str] = ()) -> dict[str, str]:
    """Every QEMU for RISC-V in PATH, and `more`: its version -> its program."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    programs = [shutil.which(QEMU, path=folder) for folder in folders if folder]
    found: dict[str, str] = {}
    for program in [*filter(None, programs), *more]:
        try:
            told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise BenchError(f"{program} does not say its version: {error}") from error
        version = re.search(r"version (\d[\d.]*)", told)
        if version is None:
            raise BenchError(f"{program}: expected a QEMU, got {told.splitlines()[:1]}")
        found.setdefault(version[1], program)
    return found


def runners(programs: Mapping[str, str]) -> list[Runner]:
    """vpmu, and each QEMU (`qemus`) in both of its ways to keep time."""
    found = [Runner("vpmu", lambda image: vpmu_command("run", "-q", "-m", MEMORY, str(image)))]
    for version, program in programs.items():
        machine = [program, "-machine", "virt", "-m", MEMORY, "-display", "none", "-serial", "stdio"]
        machine += ["-monitor", "none", "-no-reboot"]
        for name, options in ((f"qemu {version} -icount", ["-icount", "shift=0"]), (f"qemu {version}", [])):
            found.append(Runner(name, partial(_kernel, [*machine, *options])))
    return found


def _kernel(command: list[str], image: Path) -> list[str]:
    return [*command, "-kernel", str(image)]


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
