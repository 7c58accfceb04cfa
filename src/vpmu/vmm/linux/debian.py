"""The Debian guest that everything here boots: fetched if need be, and compiled once (compiled.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmu.vmm.linux.fetch import DEFAULT_SUITE, DebianGuest, fetch

if TYPE_CHECKING:
    from vpmu.vmm.linux.progress import Progress


def debian_guest(suite: str = DEFAULT_SUITE, *, progress: Progress | None = None) -> DebianGuest:
    """The fetched guest, fetched now if it is not there; FetchError says what to pass instead."""
    guest = fetch(suite, progress=progress)
    if guest.fetched:
        compile_for(guest, progress)
    return guest


def compile_for(guest: DebianGuest, progress: Progress | None = None) -> None:
    """Compile what the guest's boot runs often, if this engine has not yet."""
    from vpmu.vmm.linux.compiled import compile_boot
    from vpmu.vmm.linux.progress import Progress

    compile_boot(guest, progress or Progress())
