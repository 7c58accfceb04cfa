"""The booted Debian that is kept: a command in it starts from its prompt, without the boot.

Snapshots lie in the cache folder, one for each description of a machine, the last few of them. They are only
an answer that comes sooner: one that does not fit any more is made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vpmu.errors import VpmuError
from vpmu.vmm.linux.cache import default_root

if TYPE_CHECKING:
    from vpmu.vmm.linux.fetch import DebianGuest
    from vpmu.vmm.linux.progress import Progress
    from vpmu.vmm.linux.session import LinuxSession
    from vpmu.vmm.machine import Machine

KEPT = 4
"""Snapshots in the cache."""
Build = Callable[[Callable[[bytes], None], str], "Machine"]
"""(console_out, bootargs) -> a machine with an interrupt controller, without faults."""


def kept_session(
    guest: DebianGuest, described: object, build: Build, progress: Progress
) -> tuple[LinuxSession, bool]:
    """A session at the guest's prompt, and whether it was booted now. `described`: by its repr, what the
    machine of `build` is like. A session that was kept is for one command (`LinuxSession.from_snapshot`
    with `once`). Raises BootError.
    """
    from vpmu.vmm.linux.session import LinuxSession
    from vpmu.vmm.snapshot_file import load

    folder = default_root() / "sessions"
    path = folder / f"{_key(guest, described)}.snapshot"
    if path.exists():
        try:
            return LinuxSession.from_snapshot(load(path, ours=True), once=True), False
        except VpmuError:
            path.unlink(missing_ok=True)
    progress.step("booting the guest, once: the next command goes on from here")
    session = LinuxSession.boot(build, guest.kernel_image(), guest.initramfs())
    _keep(session, folder, path)
    progress.finish()
    return session, True


def _keep(session: LinuxSession, folder: Path, path: Path) -> None:
    """Save the snapshot, and let go of the oldest ones. A cache that cannot be written is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        session.snapshot.save(path)
        kept = sorted(folder.glob("*.snapshot"), key=lambda file: file.stat().st_mtime)
        for old in kept[:-KEPT]:
            old.unlink(missing_ok=True)
    except (OSError, VpmuError):
        return


def _key(guest: DebianGuest, described: object) -> str:
    from vpmu.vmm.linux.session import WAIT

    files = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in (guest.kernel, guest.initrd)
    ]
    return hashlib.sha256(repr((files, described, WAIT)).encode()).hexdigest()[:20]
