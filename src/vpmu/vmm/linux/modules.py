"""Modules of the fetched kernel on demand: what they need is found, and all comes as one archive.

Debian's package holds the modules and no modules.dep: that is made when it is installed. So what depmod
would read is read here, once: each module's own words of what it needs (`depends`, `softdep`) and is called
(`alias`).
"""

from __future__ import annotations

import json
import lzma
import re
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vpmu.errors import FileError, UnknownNameError, UsageError
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.cache import Cache, FetchError, Manifest, fetching, suite_cache
from vpmu.vmm.linux.fetch import DEFAULT_SUITE, WORK, choose_in_archive, download
from vpmu.vmm.linux.initramfs import extract

if TYPE_CHECKING:
    from vpmu.vmm.linux.apt import Package, PrivateApt
    from vpmu.vmm.linux.progress import Progress
    from vpmu.vmm.linux.sources import AptSource

STORE, INDEX = "modules.zip", "index.json"
LAYOUT = "modules-1"
LAYER = "module"
IN_GUEST = "vpmu/modules"
BUILTIN = "modules.builtin"
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_RELEASE = re.compile(rb"Linux version (\S+) \(")
_PATTERN = re.compile(r"[:*?\[]")
"""In an alias that stands for a device, not for a name."""


@dataclass(frozen=True, slots=True)
class Modules:
    """The modules of one kernel. `known`: name -> [path in the store, names that it needs]; `aliases`: other
    names; `builtin`: what the kernel has in itself.
    """

    release: str
    store: Path
    known: Mapping[str, tuple[str, tuple[str, ...]]]
    aliases: Mapping[str, str]
    builtin: frozenset[str]

    def order(self, names: Iterable[str]) -> list[str]:
        """The modules to load for these, each behind what it needs. UnknownNameError."""
        found: dict[str, None] = {}

        def visit(name: str, path: tuple[str, ...], *, needed: bool) -> None:
            name = self.aliases.get(name, name)
            if name in found or name in path or name in self.builtin:
                return
            if name not in self.known:
                if needed:
                    raise UnknownNameError(f"module of Linux {self.release}", name, self.known, layer=LAYER)
                return  # a `softdep` may name what there is not
            for other in self.known[name][1]:
                visit(other, (*path, name), needed=False)
            found[name] = None

        for name in names:
            visit(canonical(name), (), needed=True)
        return list(found)

    def archive(self, names: Iterable[str]) -> bytes:
        """Modules with what they need, uncompressed, and the order in which to load them (cpio)."""
        order = self.order(names)
        entries = [cpio.file(f"{IN_GUEST}/order", "".join(f"{name}\n" for name in order).encode())]
        try:
            with zipfile.ZipFile(self.store) as store:
                for name in order:
                    path = self.known[name][0]
                    entries.append(cpio.file(f"{IN_GUEST}/{name}.ko", uncompressed(store.read(path), path)))
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise FileError(self.store, f"the store of modules is damaged: {error}", layer=LAYER) from None
        return cpio.write(entries)


def canonical(name: str) -> str:
    """As the kernel writes the name of a module."""
    return name.removesuffix(".ko").replace("-", "_")


def parse(text: str) -> tuple[str, ...]:
    """Names of modules, separated by commas. UsageError for what cannot be one."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError("a kernel module", expected="a name such as ext4", got=repr(name), layer=LAYER)
    return names


def kernel_release(image: bytes | memoryview) -> str | None:
    """`uname -r` of a kernel Image; None where it does not say so."""
    found = _RELEASE.search(image)
    return None if found is None else found[1].decode("ascii", "replace")


def modules_of(
    release: str, suite: str = DEFAULT_SUITE, *, sources: Sequence[AptSource] | None = None,
    root: Path | None = None, progress: Progress | None = None,
) -> Modules:  # fmt: skip
    """The modules of the kernel of that release in a suite, fetched now if need be; `sources` and `root` as
    for `fetch`. Raises FetchError.
    """
    cache = suite_cache("modules", suite, root)
    found = cache.current()
    if not _fits(found, release):
        with fetching(cache, progress) as (lock, shown):
            found = cache.current()
            if not _fits(found, release):
                _fetch(cache, lock, release, suite, sources, shown)
        shown.finish()
    try:
        index = json.loads((cache.folder / INDEX).read_bytes())
        known = {name: (path, tuple(needs)) for name, (path, needs) in index["modules"].items()}
        return Modules(release, cache.folder / STORE, known, index["aliases"], frozenset(index["builtin"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(
            cache.folder / INDEX, f"the index of modules is damaged: {error}", layer=LAYER
        ) from None


def _fits(found: Manifest | None, release: str) -> bool:
    return found is not None and (found.recipe, found.release) == (LAYOUT, release)


def _fetch(
    cache: Cache, lock: int, release: str, suite: str, sources: Sequence[AptSource] | None, progress: Progress
) -> None:
    work = cache.folder / WORK
    work.mkdir(exist_ok=True)

    def choose(apt: PrivateApt) -> list[Package]:
        try:
            [kernel] = apt.show([f"linux-image-{release}"])
        except FetchError as error:
            if "has no" not in error.what:
                raise
            raise FetchError(
                f"suite {suite} has Linux {release} no longer, so its modules are not to be had: vpmu fetch "
                f"debian --suite {suite} --refresh brings the kernel of now"
            ) from None
        split = re.findall(r"\blinux-modules-\d[^\s,|(]*", kernel.depends)
        return apt.show(split) if split else [kernel]

    apt, chosen = choose_in_archive(work, lock, suite, sources, progress, choose)
    debs = download(cache, apt, chosen, progress, f"the modules of Linux {release}")
    progress.step("reading the modules")
    files: dict[str, bytes] = {}
    for deb in debs:
        files |= extract(deb, is_module)
    results = {}
    store, index = BytesIO(), _index(files, release, progress)
    with zipfile.ZipFile(store, "w") as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), data)
    results[STORE] = cache.write(STORE, store.getvalue())
    results[INDEX] = cache.write(INDEX, json.dumps(index).encode())
    cache.commit(Manifest(LAYOUT, release, {one.name: one.version for one in chosen}, results))
    shutil.rmtree(work)


def is_module(name: str) -> bool:
    """Whether a path in a package is a module, or the list of those that are built in."""
    path = PurePosixPath(name)
    return "/modules/" in name and (".ko" in path.suffixes or path.name == BUILTIN)


def _index(files: Mapping[str, bytes], release: str, progress: Progress) -> dict[str, object]:
    modules: dict[str, list[object]] = {}
    aliases: dict[str, str] = {}
    builtin: list[str] = []
    for number, (path, data) in enumerate(sorted(files.items())):
        name = PurePosixPath(path).name
        if name == BUILTIN:
            builtin += [canonical(PurePosixPath(line).name) for line in data.decode().split()]
            continue
        words = information(uncompressed(data, path), path)
        version = words.get("vermagic", [""])[0].partition(" ")[0]
        if version != release:
            raise FetchError(f"{path} is a module of another kernel", expected=release, got=version or "none")
        own = canonical(name.partition(".ko")[0])
        needs = [canonical(other) for text in words.get("depends", []) for other in text.split(",") if other]
        soft = [canonical(other) for text in words.get("softdep", []) for other in soft_needs(text)]
        modules[own] = [path, [*soft, *needs]]
        for alias in words.get("alias", []):
            if not _PATTERN.search(alias):
                aliases.setdefault(canonical(alias), own)
        progress.update(number / len(files))
    if not modules:
        raise FetchError(f"the packages of Linux {release} hold no modules")
    return {"modules": modules, "builtin": builtin,
            "aliases": {alias: own for alias, own in aliases.items() if alias not in modules}}  # fmt: skip


def soft_needs(text: str) -> list[str]:
    """What is to be loaded before: the names behind `pre:` (modprobe.d(5))."""
    found, before = [], False
    for word in text.split():
        if word in ("pre:", "post:"):
            before = word == "pre:"
        elif before:
            found.append(word)
    return found


def uncompressed(data: bytes, name: str) -> bytes:
    """A module out of .xz or .gz; others as they are. FetchError."""
    try:
        if data.startswith(b"\xfd7zXZ"):
            return lzma.decompress(data)
        if data.startswith(b"\x1f\x8b"):
            import gzip

            return gzip.decompress(data)
    except (lzma.LZMAError, OSError, EOFError) as error:
        raise FetchError(f"{name} cannot be uncompressed: {error}") from None
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        raise FetchError(f"{name}: the compression of a module", expected="xz or gzip", got="zstd")
    return data


def information(module: bytes, name: str) -> dict[str, list[str]]:
    """The words of a module's `.modinfo`, by key. FetchError: it is no module."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        section = ELFFile(BytesIO(module)).get_section_by_name(".modinfo")
        words = b"" if section is None else section.data()
    except (ELFError, ValueError, KeyError) as error:
        raise FetchError(f"{name} is no module: {error}") from None
    found: dict[str, list[str]] = {}
    for word in words.decode("utf-8", "replace").split("\0"):
        key, _, value = word.partition("=")
        found.setdefault(key, []).append(value)
    return found
