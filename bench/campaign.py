"""Campaigns: runs a second with one worker and with two, and how long a booted Linux takes to be restored and
forked.

``make bench-campaign`` prints a table; ``--json`` the raw numbers. The runs are those of `campaigns/*.toml`,
through the command line, with one worker and with two in turns; the medians are compared. In `linux` chance
decides many runs alike, which are made once; in `linux-apart` every run is made. Linux is left out where
Debian is not fetched.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vpmu.vmm.linux.cache import Cache, default_root

PLANS = Path(__file__).parent / "campaigns"
BARS = {
    "payload runs a second and core": 1500.0, "linux-apart": 16.0, "two workers, times one": 1.8,
    "restore of Linux, ms": 0.3, "fork, ms": 2.0,
}  # fmt: skip
APART = 50  # runs of which no two are alike
COMMAND = "perf stat -e cycles,instructions true"


def apart() -> str:
    """A plan of runs of which no two are alike: in each, another user of the host takes a counter later."""
    head = f"""name = "every run another one"
profiles = ["kvm-7.2"]
host_pmus = ["full"]
guests = ["linux: {COMMAND}"]
seeds = 1
"""
    fault = """[[fault]]
name = "starved {0}"
inject = ["perf.starve:counters=1,after={0}us"]
"""
    return head + "".join(fault.format(number) for number in range(1, APART + 1))


def measure(plan: Path, workers: int) -> dict[str, float | str]:
    """One campaign, without the search for cases: runs a second, and the hash of its results."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "vpmu", "campaign", str(plan), "-j", str(workers), "-o", folder]
        told = subprocess.run([*command, "--json", "--no-cases"], capture_output=True, text=True, check=True)
    result = json.loads(told.stdout)
    return {"rate": result["runs"] / result["seconds"], "seconds": result["seconds"], "hash": result["hash"]}


def campaigns(plans: list[Path], rounds: int) -> dict[str, dict[int, list[dict[str, float | str]]]]:
    """Every plan with one worker and with two, in turns."""
    numbers: dict[str, dict[int, list[dict[str, float | str]]]] = {}
    for plan in plans:
        measure(plan, 1)  # warms the engine's caches
        found = numbers[plan.stem] = {1: [], 2: []}
        for _ in range(rounds):
            for workers in found:
                found[workers].append(measure(plan, workers))
    return numbers


def restore_and_fork_ms(rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds that a booted Debian takes to be brought back after a command, and to be forked."""
    from vpmu import Machine
    from vpmu.vmm.linux.boot import DEFAULT_MEMORY
    from vpmu.vmm.linux.fetch import debian_guest
    from vpmu.vmm.linux.session import LinuxSession

    debian = debian_guest()
    session = LinuxSession.boot(
        lambda sink, bootargs: Machine(
            host_pmu="full", memory=DEFAULT_MEMORY, console_out=sink, bootargs=bootargs, plic=True
        ),
        debian.kernel_image(),
        debian.initramfs(),
    )
    restored, forked = [], []
    for _ in range(rounds):
        session.run(COMMAND)
        started = time.perf_counter()
        session.restore()
        restored.append((time.perf_counter() - started) * 1e3)
        started = time.perf_counter()
        session.snapshot.machine()
        forked.append((time.perf_counter() - started) * 1e3)
    return restored, forked


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="raw numbers")
    args = parser.parse_args()
    has_linux = Cache(default_root() / "debian-trixie").current() is not None
    with tempfile.TemporaryDirectory() as folder:
        plans = [PLANS / "payload.toml"]
        if has_linux:
            plans += [PLANS / "linux.toml", Path(folder) / "linux-apart.toml"]
            plans[-1].write_text(apart())
        numbers = campaigns(plans, args.rounds)
    restores, forks = restore_and_fork_ms(max(args.rounds, 5)) if has_linux else ([], [])
    if args.json:
        print(json.dumps({"load": os.getloadavg(), "campaigns": numbers, "restore_ms": restores,
                          "fork_ms": forks}, indent=2))  # fmt: skip
        return 0
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs\n")
    print(f"{'campaign':12}{'1 worker, runs/s':>18}{'2 workers':>12}{'times':>8}  results")
    for name, found in numbers.items():
        one, two = (statistics.median(float(run["rate"]) for run in found[workers]) for workers in (1, 2))
        hashes = {str(run["hash"])[:16] for runs in found.values() for run in runs}
        print(f"{name:12}{one:18.1f}{two:12.1f}{two / one:8.2f}  {' '.join(sorted(hashes))}")
    if restores:
        print(f"\na booted Linux is restored in {statistics.median(restores):.2f} ms, "
              f"forked in {statistics.median(forks):.2f}")  # fmt: skip
    print("\nbars: " + "; ".join(f"{name} {bar:g}" for name, bar in BARS.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
