"""Compile what a guest's boot runs often, once, so that every later boot begins with it (`docs/engine.md`).

A boot alone compiles its hottest pages beside the guest, so it takes some ten boots until all is there. Here
the boot waits for the compiler instead: some seconds, and a user's first boot is as fast as the tenth.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vpmu.errors import VpmuError
from vpmu.hart.codegen_flags import Counting
from vpmu.vmm.linux.boot import LinuxBoot

if TYPE_CHECKING:
    from vpmu.vmm.linux.fetch import DebianGuest
    from vpmu.vmm.linux.progress import Progress

COMMANDS = (
    "perf stat -e cycles,instructions true",
    "dmesg | grep -i pmu; perf stat ls /",
    "i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i+1)); done",
    "perf list hw; perf bench sched pipe -l 2000",
)
"""What the boots run: they differ, so samples fall on other instructions of the same pages, and processes are
made and switched, as by all that runs in a guest.
"""
CHUNK = 50_000
"""Instructions from a sample to the next: a quarter of the usual finds half as many regions again."""
MAX_INSTRUCTIONS = 10_000_000_000


def compile_boot(guest: DebianGuest, progress: Progress) -> int:
    """Boot the guest and compile everything that a sample finds, until little is new; how many regions.

    0 where that has been done, where there is no compiler, and where nothing can be kept.
    """
    if find_spec("llvmlite") is None:
        return 0
    from vpmu.hart.code_cache import make_folder, store
    from vpmu.hart.region_compiler import region_cache

    mark = _mark(guest)
    try:
        make_folder(mark.parent)
    except OSError:
        return 0
    if mark.exists():
        return 0
    regions = 0
    for number, command in enumerate(COMMANDS, 1):
        progress.step(f"compiling what the guest's boot runs often: boot {number} of {len(COMMANDS)}")
        try:
            new, failure = _boot_and_compile(guest, command, progress)
        except VpmuError as error:
            new, failure = 0, str(error)
        if failure is not None:  # the guest is there all the same; who boots it will be told
            progress.step(f"nothing is compiled: {failure}")
            progress.finish(complete=False)
            return regions
        regions += new
    region_cache(Counting.NOTHING).pack()
    progress.finish()
    store(mark, f"{guest.release}\n".encode())
    return regions


def _boot_and_compile(guest: DebianGuest, command: str, progress: Progress) -> tuple[int, str | None]:
    """Regions that were compiled, and why the guest did not come to its end."""
    from vpmu.hart import hart
    from vpmu.hart.hot_tier import HotTier

    boot = LinuxBoot(guest.kernel_image(), guest.initramfs(), command=command)
    machine = boot.machine()
    tier = machine.memory.hot_tier = HotTier(machine.memory, eager=True)
    machine.serial.hold()
    usual, hart.CHUNK = hart.CHUNK, CHUNK
    try:
        outcome = boot.run(max_instructions=MAX_INSTRUCTIONS)
    finally:
        hart.CHUNK = usual
    tier.finish(progress.update)
    return tier.compiled, outcome.failure


def _mark(guest: DebianGuest) -> Path:
    """A file that stands for a guest beside the regions of the engine."""
    from vpmu.hart.native import region_folder

    digest = hashlib.sha256(repr((guest.release, guest.versions, guest.initrd.stat().st_size)).encode())
    return region_folder(Counting.NOTHING) / f"boot-{digest.hexdigest()[:16]}"
