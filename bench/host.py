"""A Debian KVM host from power-on to a working /dev/kvm: vpmu (firmware modelled, or real) against QEMU.

    python bench/host.py [--rounds N] [--suite trixie] [--qemu PROGRAM]

Pairs, one after the other, each of CPU and wall time; the ratios' medians count. QEMU runs without icount.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vpmu.peers.host_image import MODULE, HostImage, host_image
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.boot import FAST_BOOT

MARK = b"KVM IS THERE"
INIT = f"""#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
insmod /{MODULE}
[ -c /dev/kvm ] && echo {MARK.decode()}
poweroff -f
"""
ARGUMENTS = f"earlycon=sbi console=ttyS0 {FAST_BOOT} quiet rdinit=/vpmu/init"
MEMORY = 512


def root_of(image: HostImage) -> bytes:
    ours = cpio.write([cpio.file("vpmu/init", INIT.encode(), 0o755)])
    return cpio.append(image.initrd.read_bytes(), ours)


def on_vpmu(image: HostImage, root: bytes, firmware: Path | None) -> bytes:
    """The console of a host on vpmu; in a process of its own, so that its start counts."""
    code = (
        "import sys; from vpmu.vmm.machine import Machine; from vpmu.vmm.loader import ImageKind\n"
        f"firmware = {str(firmware)!r} if {firmware is not None} else None\n"
        "options = {'firmware': firmware} if firmware else {'profile': 'opensbi-1.6'}\n"
        f"m = Machine(host_pmu='full', isa=('h', 'sstc', 'sscofpmf'), memory={MEMORY << 20}, plic=True,\n"
        f"            mmu='riscv,sv48', bootargs={ARGUMENTS!r}, **options)\n"
        "kernel, root = (open(name, 'rb').read() for name in sys.argv[1:])\n"
        "m.load(kernel, kind=ImageKind.LINUX, initrd=[root])\n"
        "m.run(max_instructions=6_000_000_000)\n"
        "sys.stdout.buffer.write(m.console.output)\n"
    )
    with tempfile.NamedTemporaryFile() as file:
        file.write(root)
        file.flush()
        command = [sys.executable, "-c", code, str(image.kernel), file.name]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def on_qemu(program: str, image: HostImage, root: bytes) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        file.write(root)
        file.flush()
        command = [
            program, "-machine", "virt", "-cpu", "rv64,h=true,sscofpmf=true", "-m", f"{MEMORY}M",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
            "-kernel", str(image.kernel), "-initrd", file.name, "-append", ARGUMENTS,
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True)
        return done.stdout


def timed(run: Callable[[], bytes]) -> tuple[float, float]:
    """(wall, CPU) seconds of a run that reaches /dev/kvm."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    console = run()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert MARK in console, console[-400:].decode(errors="replace")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--suite", default="trixie")
    parser.add_argument("--qemu", default="qemu-system-riscv64")
    parser.add_argument("--firmware", type=Path, help="real firmware below vpmu's host")
    args = parser.parse_args()
    image = host_image(args.suite)
    root = root_of(image)
    version = subprocess.run([args.qemu, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    print(f"Linux {image.release}; {version.splitlines()[0]}, without icount; {os.cpu_count()} CPUs")
    timed(lambda: on_vpmu(image, root, args.firmware))  # fills the cache of compiled code
    ratios: list[tuple[float, float]] = []
    for _ in range(args.rounds):
        ours, theirs = (
            timed(lambda: on_vpmu(image, root, args.firmware)),
            timed(lambda: on_qemu(args.qemu, image, root)),
        )
        ratios.append((ours[0] / theirs[0], ours[1] / theirs[1]))
        print(f"vpmu {ours[0]:.2f} s ({ours[1]:.2f} CPU)   QEMU {theirs[0]:.2f} s ({theirs[1]:.2f} CPU)   "
              f"{ratios[-1][0]:.2f}x ({ratios[-1][1]:.2f}x)")  # fmt: skip
    wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"median: {wall:.2f}x of QEMU's wall time, {cpu:.2f}x of its CPU time")


if __name__ == "__main__":
    main()
