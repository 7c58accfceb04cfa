"""Debian packages by name in the fetched guest: `--install strace,trace-cmd`.

A package comes with all that it depends on, through the same private APT as the guest, as one archive behind
the initramfs. What a package would do when it is installed (maintainer scripts, services, alternatives) is
not done: its files lie there. Manuals, documentation and translations stay out.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vpmu.errors import UsageError
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.cache import Cache, FetchError, Manifest, fetching, suite_cache
from vpmu.vmm.linux.fetch import DEFAULT_SUITE, WORK, choose_in_archive, download

if TYPE_CHECKING:
    from vpmu.vmm.linux.apt import Package, PrivateApt
    from vpmu.vmm.linux.progress import Progress
    from vpmu.vmm.linux.sources import AptSource

ARCHIVE = "packages.cpio"
LAYOUT = "packages-1"
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
"""Debian Policy 5.6.7."""
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")
MERGED = {"lib": "usr/lib", "sbin": "bin", "usr/sbin": "usr/bin"}
"""Folders that are links in the guest's root (vpmu.vmm.linux.initramfs.build), and where they lead."""


@dataclass(frozen=True, slots=True)
class Installed:
    """Packages for a guest: the archive, and the version of each that is in it."""

    archive: Path
    versions: dict[str, str]


def parse(text: str) -> tuple[str, ...]:
    """Names of packages, separated by commas. UsageError for what cannot be one."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if not NAME.fullmatch(name):
            raise UsageError("a Debian package", expected="a name such as strace", got=repr(name))
    return names


def packages(
    names: Sequence[str], suite: str = DEFAULT_SUITE, *, sources: Sequence[AptSource] | None = None,
    root: Path | None = None, progress: Progress | None = None,
) -> Installed:  # fmt: skip
    """The archive of packages of a suite, fetched now if need be; `sources` and `root` as for `fetch`.
    Raises FetchError.
    """
    chosen = sorted(set(names))
    digest = hashlib.sha256(",".join(chosen).encode()).hexdigest()[:16]
    folder = suite_cache("packages", suite, root).folder / digest
    cache = Cache(folder)
    found = cache.current()
    if found is None or found.recipe != LAYOUT:
        with fetching(cache, progress) as (lock, shown):
            found = cache.current()
            if found is None or found.recipe != LAYOUT:
                found = _fetch(cache, lock, suite, sources, chosen, shown)
        shown.finish()
    return Installed(folder / ARCHIVE, dict(found.versions))


def _fetch(
    cache: Cache,
    lock: int,
    suite: str,
    sources: Sequence[AptSource] | None,
    names: Sequence[str],
    progress: Progress,
) -> Manifest:
    work = cache.folder / WORK
    work.mkdir(exist_ok=True)

    def choose(apt: PrivateApt) -> list[Package]:
        apt.show(names)  # its message names the ones that are not there
        everything: set[str] = set()
        for name in names:
            everything |= {name, *apt.closure(name)}
        return apt.show(sorted(everything))

    apt, chosen = choose_in_archive(work, lock, suite, sources, progress, choose)
    debs = download(cache, apt, chosen, progress, ", ".join(names))
    progress.step("unpacking")
    entries: dict[str, cpio.Entry] = {}
    for number, deb in enumerate(debs):
        for entry in contents(deb):
            entries[entry.name] = entry
        progress.update(number / len(debs))
    results = {ARCHIVE: cache.write(ARCHIVE, cpio.write(entries.values()))}
    made = Manifest(LAYOUT, suite, {package.name: package.version for package in chosen}, results)
    cache.commit(made)
    shutil.rmtree(work)
    return made


def contents(deb: Path) -> Iterator[cpio.Entry]:
    """Files and links of a package, where they lie in the guest's root. FetchError: it is damaged."""
    process = subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(deb)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    seen: dict[str, cpio.Entry] = {}
    try:
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                name = placed(member.name)
                plain = member.name.removeprefix("./").strip("/")
                if member.issym() and plain in {*MERGED, *MERGED.values()}:
                    continue  # of base-files: the guest's root has its own
                if not name or name.startswith(tuple(f"{folder}/" for folder in LEFT_OUT)):
                    continue
                entry = None
                if member.issym():
                    entry = cpio.symlink(name, member.linkname)
                elif member.islnk():  # hard links are copies here
                    first = seen.get(placed(member.linkname))
                    entry = None if first is None else cpio.Entry(name, first.mode, first.data)
                elif member.isfile() and (stream := tar.extractfile(member)) is not None:
                    data = stream.read()
                    entry = cpio.Entry(name, stat.S_IFREG | stat.S_IMODE(member.mode), data)
                if entry is not None:
                    seen[name] = entry
                    yield entry
    except (tarfile.TarError, EOFError, cpio.CpioError) as error:
        raise FetchError(f"the package {deb.name} cannot be unpacked: {error}") from None
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def placed(name: str) -> str:
    """A path of a package in the guest's root, "" for the root itself."""
    path = PurePosixPath(name.removeprefix("./").lstrip("/"))
    for folder, target in MERGED.items():
        if path.is_relative_to(folder):
            path = PurePosixPath(target) / path.relative_to(folder)
            break
    return "" if path == PurePosixPath() else str(path)
