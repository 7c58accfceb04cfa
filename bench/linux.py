"""Boot Debian to the end of `perf stat -e cycles,instructions true`: vpmu against QEMU, same kernel,
initramfs and arguments.

``make bench-linux`` prints a table; ``--json`` the raw numbers. QEMU runs with ``-icount shift=0`` (the
peer with exact counts) and without. Runs alternate, so that a busy machine slows all of them; the medians
are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from measure import qemus
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.boot import DEFAULT_MEMORY, boot_arguments
from vpmu.vmm.linux.debian import compile_for, debian_guest
from vpmu.vmm.linux.execution import build_exec_archive, parse_exit_marker
from vpmu.vmm.linux.fetch import DebianGuest

COMMAND = "perf stat -e cycles,instructions true"
MACHINE = [
    "-M",
    "virt",
    "-cpu",
    "rv64,sscofpmf=true",
    "-m",
    f"{DEFAULT_MEMORY >> 20}M",
    "-nographic",
    "-no-reboot",
]
LIMIT = 300.0  # seconds that one boot may take


@dataclass
class Peer:
    """One way to boot, and what its runs took."""

    name: str
    command: list[str]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self) -> str:
        """Boot once, to the line that says that the command has ended; the console."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        console: list[str] = []
        ended = None
        for line in process.stdout:
            console.append(line)
            if parse_exit_marker(line) is not None and ended is None:
                ended = time.perf_counter() - started
                process.terminate()
            if time.perf_counter() - started > LIMIT:
                process.kill()
        process.wait()
        wall = time.perf_counter() - started if ended is None else ended
        if ended is None and self.name != "vpmu":
            raise SystemExit(
                f"{self.name}: the guest did not come to the end of its command:\n{''.join(console[-15:])}"
            )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.wall.append(wall)
        self.cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return "".join(console)


def peers(guest: DebianGuest, initrd: Path, programs: Mapping[str, str]) -> list[Peer]:
    """vpmu, and each QEMU in both ways."""
    arguments = boot_arguments(quiet=True)
    # What a user types. The guest is the one of the others: vpmu fetches and finds it by itself.
    ours = [sys.executable, "-m", "vpmu", "boot", "--json", "--exec", COMMAND]
    found = [Peer("vpmu", ours)]
    for version, program in programs.items():
        theirs = [program, *MACHINE, "-kernel", str(guest.kernel), "-initrd", str(initrd)]
        theirs += ["-append", arguments]
        exact = Peer(f"QEMU {version} -icount shift=0", [*theirs, "-icount", "shift=0"])
        found += [exact, Peer(f"QEMU {version}", theirs)]
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default %(default)s)")
    parser.add_argument(
        "--qemu", action="append", default=[], metavar="PROGRAM",
        help="this QEMU as well as those in PATH; may be repeated",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="raw numbers")
    args = parser.parse_args()
    programs = qemus(args.qemu)
    guest = debian_guest()
    compile_for(guest)  # as `vpmu fetch debian` does
    with tempfile.TemporaryDirectory() as folder:
        initrd = Path(folder) / "initrd.cpio"
        initrd.write_bytes(cpio.append(guest.initrd.read_bytes(), build_exec_archive(COMMAND)))
        everyone = peers(guest, initrd, programs)
        told = json.loads(everyone[0].run())  # warms the engine's caches
        everyone[0].wall.clear()
        everyone[0].cpu.clear()
        for _ in range(args.runs):
            for peer in everyone:
                peer.run()
    numbers = {peer.name: {"wall": peer.wall, "cpu": peer.cpu} for peer in everyone}
    if args.json:
        print(
            json.dumps(
                {"load": os.getloadavg(), "instructions": told["instructions"], "seconds": numbers}, indent=2
            )
        )
        return 0
    ours = everyone[0]
    print(f"{told['instructions']:,} guest instructions under vpmu")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs\n")
    print(f"{'':30}{'wall s':>8}{'CPU s':>8}{'vpmu takes, CPU':>17}{'rounds':>12}{'wall':>8}")
    for peer in everyone:
        wall, cpu = statistics.median(peer.wall), statistics.median(peer.cpu)
        each = [own / other for own, other in zip(ours.cpu, peer.cpu, strict=True)]
        print(
            f"{peer.name:30}{wall:8.2f}{cpu:8.2f}{statistics.median(ours.cpu) / cpu:16.2f}x"
            f"{min(each):7.2f}-{max(each):.2f}{statistics.median(ours.wall) / wall:7.2f}x"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
