"""The Debian guest that everything here boots: fetched if need be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmu.vmm.linux.fetch import DEFAULT_SUITE, DebianGuest, fetch

if TYPE_CHECKING:
    from vpmu.vmm.linux.progress import Progress


def debian_guest(suite: str = DEFAULT_SUITE, *, progress: Progress | None = None) -> DebianGuest:
    """The fetched guest, fetched now if it is not there; FetchError says what to pass instead."""
    return fetch(suite, progress=progress)
