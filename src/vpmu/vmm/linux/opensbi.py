"""`vpmu fetch opensbi`: Debian's OpenSBI for 64 bits, through APT, in the cache folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpmu.vmm.linux.cache import Cache, FetchError, Manifest, fetching, suite_cache
from vpmu.vmm.linux.fetch import DEFAULT_SUITE, WORK, choose_in_archive, download

if TYPE_CHECKING:
    from vpmu.vmm.linux.apt import Package, PrivateApt
    from vpmu.vmm.linux.progress import Progress
    from vpmu.vmm.linux.sources import AptSource

PACKAGE, FILE = "opensbi", "fw_dynamic.bin"
INSIDE = "usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"
RECIPE = "opensbi-1"


@dataclass(frozen=True, slots=True)
class OpenSbi:
    """A fetched firmware and its version."""

    path: Path
    version: str


def opensbi(
    suite: str = DEFAULT_SUITE,
    *,
    refresh: bool = False,
    sources: Sequence[AptSource] | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
) -> OpenSbi:
    """The firmware of a Debian suite, fetched now if it is not there. Raises FetchError."""
    cache = suite_cache("opensbi", suite, root)
    found = _current(cache)
    if found is not None and not refresh:
        return _firmware(cache, found)
    with fetching(cache, progress) as (lock, shown):
        found = _current(cache)
        if found is None or refresh:
            found = _fetch(cache, lock, suite, sources, shown)
    shown.finish()
    return _firmware(cache, found)


def fetched_opensbi(suite: str = DEFAULT_SUITE) -> Path:
    """The file of a firmware that is there, or is fetched now."""
    return opensbi(suite).path


def _current(cache: Cache) -> Manifest | None:
    found = cache.current()
    return found if found and found.recipe == RECIPE else None


def _firmware(cache: Cache, manifest: Manifest) -> OpenSbi:
    return OpenSbi(cache.folder / FILE, manifest.release)


def _fetch(
    cache: Cache, lock: int, suite: str, sources: Sequence[AptSource] | None, progress: Progress
) -> Manifest:
    from vpmu.vmm.linux import initramfs

    def choose(apt: PrivateApt) -> Package:
        [package] = apt.show([PACKAGE])
        return package

    work = cache.folder / WORK
    work.mkdir(exist_ok=True)
    apt, package = choose_in_archive(work, lock, suite, sources, progress, choose)
    [deb] = download(cache, apt, [package], progress, f"OpenSBI {package.version}")
    files = initramfs.extract(deb, lambda name: name == INSIDE)
    if INSIDE not in files:
        raise FetchError(f"the package {PACKAGE} of suite {suite}", expected=INSIDE, got="no such file")
    results = {FILE: cache.write(FILE, files[INSIDE])}
    manifest = Manifest(RECIPE, package.version, {PACKAGE: package.version}, results)
    cache.commit(manifest)
    shutil.rmtree(work)
    return manifest
