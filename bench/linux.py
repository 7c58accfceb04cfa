"""Debian on vpmu and on QEMU, same kernel, initramfs and arguments: the boot to the end of `perf stat`, and
programs in the guest.

``make bench-linux`` prints a table; ``--json`` the raw numbers. QEMU runs with ``-icount shift=0`` (the
peer with exact counts) and without. Runs alternate, so that a busy machine slows all of them; the medians
are compared, and the least and the most that a round said. A program's time is net: that of the same round's
boot with `true` is taken off. vpmu is run some times first (``--warm``), so that what it compiles is kept;
the row "cold" has the engine itself, and nothing that a run of the guest has left.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from measure import qemus
from vpmu.hart.native import cache_directory
from vpmu.hart.stencils import known_pages
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.boot import DEFAULT_MEMORY, boot_arguments
from vpmu.vmm.linux.execution import build_exec_archive, parse_exit_marker
from vpmu.vmm.linux.fetch import DebianGuest, debian_guest

COMMAND = "perf stat -e cycles,instructions true"
NOTHING = "true"
PROGRAMS = {
    "shell loop": "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done",
    "sched pipe": "perf bench sched pipe -l 20000",
    "gzip": "for i in 1 2 3 4; do gzip -c /bin/busybox | wc -c; done",
    "awk": 'busybox awk \'BEGIN { for (i = 0; i < 300000; i++) { a[i % 1000] += i * 3; s += length(i "") }'
    " print s, a[7] }'",
}
"""What runs in the guest besides the boot: processes, switches between them, programs that compute."""
BOOT, COLD, BASE = "boot", "boot, cold", "boot, true"
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
    """One way to boot with one command, and what its runs took."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
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
            env={**os.environ, **self.environment},
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
        failed = process.returncode != 0 if self.name == "vpmu" else ended is None
        if failed:
            raise SystemExit(
                f"{self.name}: the guest did not come to the end of its command:\n{''.join(console[-15:])}"
            )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.wall.append(wall)
        self.cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return "".join(console)


def ours(command: str) -> Peer:
    """What a user types. The guest is the one of the others: vpmu fetches and finds it by itself."""
    return Peer("vpmu", [sys.executable, "-m", "vpmu", "boot", "--json", "--exec", command])


def theirs(guest: DebianGuest, initrd: Path, programs: Mapping[str, str]) -> list[Peer]:
    """Each QEMU in both of its ways."""
    found = []
    for version, program in programs.items():
        line = [program, *MACHINE, "-kernel", str(guest.kernel), "-initrd", str(initrd)]
        line += ["-append", boot_arguments(quiet=True)]
        found.append(Peer(f"QEMU {version} -icount", [*line, "-icount", "shift=0"]))
        found.append(Peer(f"QEMU {version}", line))
    return found


class Cold(Peer):
    """vpmu with a cache of its own that holds the guest and the engine, and nothing that a run has left."""

    def __init__(self, guest: DebianGuest, folder: Path) -> None:
        super().__init__("vpmu", ours(COMMAND).command, {"XDG_CACHE_HOME": str(folder)})
        self._engine = folder / "vpmu" / "engine"
        self._engine.mkdir(parents=True, mode=0o700)
        home = guest.kernel.parent
        (folder / "vpmu" / home.name).symlink_to(home, target_is_directory=True)
        for kept in cache_directory().glob("*.o"):
            shutil.copy2(kept, self._engine)

    def run(self) -> str:
        for regions in self._engine.glob("*.regions"):
            shutil.rmtree(regions)
        (self._engine / known_pages.path().name).unlink(missing_ok=True)
        return super().run()


def workloads(guest: DebianGuest, folder: Path, programs: Mapping[str, str], only: list[str]) -> Workloads:
    """The peers by workload; vpmu's are the first."""
    wanted = {BOOT: COMMAND, BASE: NOTHING, **PROGRAMS}
    if only:
        needed = {*only, *([BASE] if any(name in PROGRAMS for name in only) else [])}
        wanted = {name: command for name, command in wanted.items() if name in needed}
    found: Workloads = {}
    for number, (name, command) in enumerate(wanted.items()):
        initrd = folder / f"{number}.cpio"
        initrd.write_bytes(cpio.append(guest.initrd.read_bytes(), build_exec_archive(command)))
        found[name] = [ours(command), *theirs(guest, initrd, programs)]
    if BOOT in found and (not only or COLD in only):
        found[COLD] = [Cold(guest, folder / "cold")]
    return found


Workloads = dict[str, list[Peer]]


def net(found: Workloads, name: str, number: int, which: str) -> list[float]:
    """Seconds of each round of a peer, less those of `true` for a program."""
    spent: list[float] = getattr(found[name][number], which)
    if name not in PROGRAMS:
        return spent
    return [own - base for own, base in zip(spent, getattr(found[BASE][number], which), strict=True)]


def show(found: Workloads) -> None:
    """The table."""
    print(f"{'':12}{'':24}{'wall s':>8}{'CPU s':>8}{'vpmu takes, CPU':>17}{'rounds':>12}{'wall':>8}")
    for name in found:
        own = net(found, name, 0, "cpu"), net(found, name, 0, "wall")
        for number, peer in enumerate(found[name] if name != COLD else found[BOOT]):
            of = BOOT if name == COLD and number else name
            spent = net(found, of, number, "cpu"), net(found, of, number, "wall")
            each = [one / other for one, other in zip(own[0], spent[0], strict=True)]
            times = [statistics.median(took) for took in (*own, *spent)]
            print(
                f"{name if number == 0 else '':12}{peer.name:24}{times[3]:8.2f}{times[2]:8.2f}"
                f"{times[0] / times[2]:16.2f}x{min(each):7.2f}-{max(each):.2f}{times[1] / times[3]:7.2f}x"
            )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="rounds (default %(default)s)")
    parser.add_argument(
        "--warm", type=int, default=3, help="runs of vpmu before the first round (default %(default)s)"
    )
    parser.add_argument(
        "--only", action="append", default=[], choices=[BOOT, COLD, *PROGRAMS], metavar="WORKLOAD",
        help=f"this alone ({', '.join([BOOT, COLD, *PROGRAMS])}); may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--qemu", action="append", default=[], metavar="PROGRAM",
        help="this QEMU as well as those in PATH; may be repeated",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="raw numbers")
    args = parser.parse_args()
    programs = qemus(args.qemu)
    guest = debian_guest()
    only = [*args.only, *([BOOT] if COLD in args.only else [])]
    instructions: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        found = workloads(guest, Path(folder), programs, only)
        for name, peers in found.items():
            for _ in range(max(args.warm, 1) if name != COLD else 1):
                instructions[name] = json.loads(peers[0].run())["instructions"]
            peers[0].wall.clear()
            peers[0].cpu.clear()
        for _ in range(args.runs):
            for peers in found.values():
                for peer in peers:
                    peer.run()
    if args.json:
        seconds = {
            name: {peer.name: {"wall": peer.wall, "cpu": peer.cpu} for peer in peers}
            for name, peers in found.items()
        }
        print(
            json.dumps({"load": os.getloadavg(), "instructions": instructions, "seconds": seconds}, indent=2)
        )
        return 0
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs; guest instructions of the boot:")
    print(", ".join(f"{name} {number:,}" for name, number in instructions.items()), end="\n\n")
    show(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
