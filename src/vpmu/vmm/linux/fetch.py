"""Bring the Debian guest: find, download, unpack, build, declare complete. A second call finds it done.

What only a download needs (APT, unpacking) is imported when there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from vpmu.vmm.linux import initramfs
from vpmu.vmm.linux.cache import Cache, FetchError, Manifest, Result, fetching, suite_cache

if TYPE_CHECKING:
    from vpmu.vmm.linux.apt import Package, PrivateApt
    from vpmu.vmm.linux.progress import Progress
    from vpmu.vmm.linux.sources import AptSource
from vpmu.vmm.loader import map_file

DEFAULT_SUITE = "trixie"
# What else an archive calls a release. A mirror that is being synchronised can have it whole under one name
# and torn under the other.
ALIASES = ("stable", "oldstable", "testing", "unstable")
KERNEL_METAPACKAGE = "linux-image-riscv64"
PERF_PACKAGE = "linux-perf"
BUSYBOX_PACKAGE = "busybox-static"

KERNEL, INITRD, TINY_INITRD = "Image", "perf.cpio", "tiny.cpio"
RESULT_BYTES = 100 << 20  # kernel and both archives, rounded up
WORK = "work"
Chosen = TypeVar("Chosen")


class DebianGuest(NamedTuple):
    """A fetched guest: kernel Image and initramfs with perf; `tiny_initrd` holds only busybox.

    `release` is the kernel's (`uname -r`), `versions` maps package names to versions.
    """

    kernel: Path
    initrd: Path
    versions: dict[str, str]
    tiny_initrd: Path
    release: str
    fetched: bool = False
    """True when this call did something."""

    def kernel_image(self) -> memoryview:
        """The kernel's bytes, not copied: the cache never changes a file, it puts another in its place."""
        return map_file(self.kernel)

    def initramfs(self, *, tiny: bool = False) -> memoryview:
        """The bytes of an initramfs, not copied."""
        return map_file(self.tiny_initrd if tiny else self.initrd)


class Plan(NamedTuple):
    """What to download."""

    kernel: list[Package]
    """See kernel_packages."""
    perf: Package
    busybox: Package
    libraries: list[Package]

    @property
    def packages(self) -> list[Package]:
        return [self.busybox, self.perf, *self.libraries, *self.kernel]

    @property
    def release(self) -> str:
        return self.kernel[0].name.removeprefix("linux-image-")

    @property
    def versions(self) -> dict[str, str]:
        return {package.name: package.version for package in (self.kernel[0], self.perf, self.busybox)}


def debian_guest(suite: str = DEFAULT_SUITE, *, progress: Progress | None = None) -> DebianGuest:
    """The Debian guest that everything here boots: fetched now if it is not there; FetchError says what to
    pass instead.
    """
    return fetch(suite, progress=progress)


def fetch(
    suite: str = DEFAULT_SUITE,
    *,
    refresh: bool = False,
    sources: Sequence[AptSource] | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
) -> DebianGuest:
    """Fetch what is missing of the guest; `refresh` also asks the archive for newer versions.

    `sources` stands for the machine's own APT sources, `root` for the cache root. FetchError, in one line, if
    it cannot be done.
    """
    cache = suite_cache("debian", suite, root)
    found = cache.current()
    if found and not refresh and found.recipe == initramfs.recipe():
        return _guest(cache, found)
    with fetching(cache, progress) as (lock, shown):
        return _fetch(cache, lock, suite, refresh, sources, shown)


def _fetch(
    cache: Cache,
    lock: int,
    suite: str,
    refresh: bool,
    sources: Sequence[AptSource] | None,
    progress: Progress,
) -> DebianGuest:
    import shutil

    found = cache.current()  # another fetch may just have done it
    if found and found.recipe != initramfs.recipe():
        progress.step("building the initramfs anew")
        found = _rebuild(cache, found)
        if not refresh:
            progress.finish()
            return _guest(cache, found, fetched=True)
    if found and not refresh:
        return _guest(cache, found)
    work = cache.folder / WORK
    work.mkdir(exist_ok=True)
    apt, plan = choose_in_archive(work, lock, suite, sources, progress, _choose)
    if not (found and found.release == plan.release and found.versions == plan.versions):
        found = _download_and_build(cache, apt, plan, progress)
        fetched = True
    else:
        fetched = False
    shutil.rmtree(work)
    progress.finish()
    return _guest(cache, found, fetched=fetched)


def choose_in_archive(
    work: Path,
    lock: int,
    suite: str,
    sources: Sequence[AptSource] | None,
    progress: Progress,
    choose: Callable[[PrivateApt], Chosen],
) -> tuple[PrivateApt, Chosen]:
    """What `choose` finds in the first of the machine's archives that has it, signed. Raises FetchError."""
    import shutil

    from vpmu.vmm.linux.sources import debian_sources, machine_sources

    if sources is None:
        if shutil.which("apt-config") is None:
            raise FetchError("fetching Debian needs APT, which is not on this machine")
        sources = machine_sources()
    candidates = debian_sources(sources, suite)
    if not candidates:
        raise FetchError("this machine's APT sources name no Debian archive (--sources FILE: another list)")
    failure: FetchError | None = None
    for source in candidates:
        try:
            apt = _read_index(work, lock, source, suite, progress)
            progress.step("choosing packages")
            return apt, choose(apt)
        except FetchError as error:
            failure = failure or error  # the likeliest archive's reason is the one to tell
    assert failure is not None
    raise failure


def _read_index(work: Path, lock: int, source: AptSource, suite: str, progress: Progress) -> PrivateApt:
    """An archive's index of `suite`; under another of its names where the mirror is out of step on this."""
    import shutil

    from vpmu.vmm.linux.apt import MirrorOutOfStep, PrivateApt

    apt = PrivateApt(work, source, suite, lock)
    progress.step(f"reading the index of Debian {suite}")
    try:
        apt.update(progress.update)
        return apt
    except MirrorOutOfStep as torn:
        for alias in ALIASES:
            shutil.rmtree(work / "lists")
            apt = PrivateApt(work, source, alias, lock)
            progress.step(f"the mirror is being synchronised: trying {suite} under the name {alias}")
            try:
                apt.update(progress.update)
            except FetchError:
                continue
            if apt.codename() == suite:
                return apt
        raise torn


def kernel_packages(apt: PrivateApt, *parts: str) -> list[Package]:
    """The archive's default kernel: the package that is named after the release and those of its `parts`
    ("binary", "modules") into which Debian splits it since Linux 7.2. Raises FetchError.
    """
    [metapackage] = apt.show([KERNEL_METAPACKAGE])
    images = re.findall(r"\blinux-image-\d[^\s,|(]*", metapackage.depends)
    if not images:
        raise FetchError(f"{KERNEL_METAPACKAGE} depends on no kernel", got=metapackage.depends)
    [kernel] = apt.show([images[0]])
    split = re.findall(rf"\blinux-(?:{'|'.join(parts)})-\d[^\s,|(]*", kernel.depends)
    return [kernel, *(apt.show(split) if split else [])]


def _choose(apt: PrivateApt) -> Plan:
    closure = sorted(set(apt.closure(PERF_PACKAGE)) - {PERF_PACKAGE})
    perf, busybox, *others = apt.show([PERF_PACKAGE, BUSYBOX_PACKAGE, *closure])
    return Plan(kernel_packages(apt, "binary"), perf, busybox,
                [p for p in others if initramfs.is_debian_library(p.section, p.architecture)])  # fmt: skip


def download(
    cache: Cache, apt: PrivateApt, packages: Sequence[Package], progress: Progress, what: str
) -> list[Path]:
    """The packages' files, in their order, in the cache's working folder. Raises FetchError."""
    folder = cache.folder / WORK / "packages"
    folder.mkdir(exist_ok=True)
    expected = {package.file_name: package.size for package in packages}
    for path in folder.iterdir():
        if path.name not in expected:
            path.unlink()
    total = sum(expected.values())
    there = sum(path.stat().st_size for path in folder.iterdir())
    needed, free = total - there + RESULT_BYTES, cache.free_bytes()
    if free < needed:
        raise FetchError(f"not enough room in the cache folder {cache.folder}",
                         expected=f"{needed >> 20} MB", got=f"{free >> 20} MB")  # fmt: skip
    progress.step(f"downloading {what}: {len(expected)} packages, {total / 1e6:.0f} MB")
    return apt.download(packages, folder, progress.update)


def _download_and_build(cache: Cache, apt: PrivateApt, plan: Plan, progress: Progress) -> Manifest:
    what = f"Linux {plan.release}, perf and busybox"
    busybox_deb, perf_deb, *others = download(cache, apt, plan.packages, progress, what)
    library_debs, kernel_debs = others[: -len(plan.kernel)], others[-len(plan.kernel) :]

    progress.step("unpacking")
    busybox = initramfs.extract(busybox_deb, lambda name: name == initramfs.BUSYBOX).get(initramfs.BUSYBOX)
    perf = initramfs.extract(perf_deb, lambda name: name == initramfs.PERF).get(initramfs.PERF)
    if busybox is None or perf is None:
        raise FetchError(f"the packages of suite {apt.suite} hold no {initramfs.BUSYBOX} or {initramfs.PERF}")
    libraries: dict[str, bytes] = {}
    for number, deb in enumerate(library_debs):
        libraries |= initramfs.extract(deb, initramfs.is_library)
        progress.update(number / (len(library_debs) + 1))
    image = initramfs.kernel_image(kernel_debs)

    progress.step("building the initramfs")
    files = {initramfs.BUSYBOX: busybox, **initramfs.perf_files(perf, libraries)}
    results = {KERNEL: cache.write(KERNEL, image)} | _write_archives(cache, files)
    manifest = Manifest(initramfs.recipe(), plan.release, plan.versions, results)
    cache.commit(manifest)
    return manifest


def _rebuild(cache: Cache, found: Manifest) -> Manifest:
    files = initramfs.debian_files((cache.folder / INITRD).read_bytes())
    results = {**found.files} | _write_archives(cache, files)
    manifest = Manifest(initramfs.recipe(), found.release, found.versions, results)
    cache.commit(manifest)
    return manifest


def _write_archives(cache: Cache, files: dict[str, bytes]) -> dict[str, Result]:
    tiny = {initramfs.BUSYBOX: files[initramfs.BUSYBOX]}
    return {
        TINY_INITRD: cache.write(TINY_INITRD, initramfs.build(tiny)),
        INITRD: cache.write(INITRD, initramfs.build(files)),
    }


def _guest(cache: Cache, manifest: Manifest, *, fetched: bool = False) -> DebianGuest:
    folder = cache.folder
    return DebianGuest(folder / KERNEL, folder / INITRD, dict(manifest.versions), folder / TINY_INITRD,
                       manifest.release, fetched)  # fmt: skip
