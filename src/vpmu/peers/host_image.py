"""What a KVM host boots: Debian's riscv64 kernel, and a root with its KVM module, busybox and Python.

Brought through APT and kept in the cache folder as the Linux guest is (vpmu.vmm.linux.fetch). The monitor and
the agent are not in it: they are appended when the host is started.
"""

from __future__ import annotations

import lzma
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from vpmu.vmm.linux import cpio, initramfs
from vpmu.vmm.linux.apt import Package, PrivateApt
from vpmu.vmm.linux.cache import Cache, FetchError, Manifest, fetching, suite_cache
from vpmu.vmm.linux.fetch import (
    BUSYBOX_PACKAGE,
    DEFAULT_SUITE,
    KERNEL,
    WORK,
    choose_in_archive,
    download,
    kernel_packages,
)
from vpmu.vmm.linux.progress import Progress
from vpmu.vmm.linux.sources import AptSource

INITRD = "host.cpio"
LAYOUT = "kvm-host-2"
"""Changes with what the root holds: an archive of another layout is built anew."""
MODULE = "vpmu/kvm.ko"
INTERPRETER = "usr/bin/python3"
EXTENSION_MODULES = ("_ctypes", "mmap", "termios")
"""What the monitor imports of the modules that are shared objects."""
PACKAGES = ("ctypes", "encodings", "sysconfig")
"""And of those that are folders."""
_DIRECTORIES = ("dev", "proc", "sys", "tmp", "bin", "root")


@dataclass(frozen=True, slots=True)
class HostImage:
    """A fetched host: kernel Image, root, the kernel's release and the packages' versions."""

    kernel: Path
    initrd: Path
    release: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to download."""

    kernel: list[Package]
    """See vpmu.vmm.linux.fetch.kernel_packages."""
    busybox: Package
    python: list[Package]
    """Interpreter, its minimal library, its whole library."""
    libraries: list[Package]

    @property
    def packages(self) -> list[Package]:
        return [self.busybox, *self.python, *self.libraries, *self.kernel]

    @property
    def release(self) -> str:
        return self.kernel[0].name.removeprefix("linux-image-")

    @property
    def versions(self) -> dict[str, str]:
        return {package.name: package.version for package in (self.kernel[0], self.busybox, self.python[0])}


def host_image(
    suite: str = DEFAULT_SUITE,
    *,
    refresh: bool = False,
    sources: Sequence[AptSource] | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
) -> HostImage:
    """The host of a Debian suite, fetched now if it is not there, or if `refresh` finds a newer one.

    `sources` stands for the machine's own APT sources, `root` for the cache root. Raises FetchError.
    """
    cache = suite_cache("kvm-host", suite, root)
    found = _current(cache)
    if found and not refresh:
        return _image(cache, found)
    with fetching(cache, progress) as (lock, shown):
        found = _current(cache)
        if found is None or refresh:
            found = _fetch(cache, found, partial(_planned, cache, lock, suite, sources), shown)
    shown.finish()
    return _image(cache, found)


def _current(cache: Cache) -> Manifest | None:
    found = cache.current()
    return found if found and found.recipe == LAYOUT else None


def _image(cache: Cache, manifest: Manifest) -> HostImage:
    return HostImage(cache.folder / KERNEL, cache.folder / INITRD, manifest.release, dict(manifest.versions))


def _planned(
    cache: Cache, lock: int, suite: str, sources: Sequence[AptSource] | None, progress: Progress
) -> tuple[PrivateApt, Plan]:
    work = cache.folder / WORK
    work.mkdir(exist_ok=True)
    return choose_in_archive(work, lock, suite, sources, progress, choose)


def choose(apt: PrivateApt) -> Plan:
    """The packages of a host. Raises FetchError."""
    names = set(apt.closure("python3-minimal")) | set(apt.closure("libpython3-stdlib"))
    python = []
    for pattern in (r"python3\.\d+-minimal", r"libpython3\.\d+-minimal", r"libpython3\.\d+-stdlib"):
        found = [name for name in names if re.fullmatch(pattern, name)]
        if len(found) != 1:
            raise FetchError(f"the packages of Python in suite {apt.suite}", expected=pattern, got=found)
        python += found
    busybox, *others = apt.show([BUSYBOX_PACKAGE, *python, *sorted(names - set(python))])
    libraries = [p for p in others[3:] if initramfs.is_debian_library(p.section, p.architecture)]
    return Plan(kernel_packages(apt, "binary", "modules"), busybox, others[:3], libraries)


def _fetch(
    cache: Cache,
    found: Manifest | None,
    planned: partial[tuple[PrivateApt, Plan]],
    progress: Progress,
) -> Manifest:
    apt, plan = planned(progress)
    if found is None or (found.release, found.versions) != (plan.release, plan.versions):
        what = f"Linux {plan.release} and Python"
        debs = download(cache, apt, plan.packages, progress, what)
        progress.step("building the host's root")
        image, files = unpack(plan, debs)
        results = {KERNEL: cache.write(KERNEL, image), INITRD: cache.write(INITRD, build(files))}
        found = Manifest(LAYOUT, plan.release, plan.versions, results)
        cache.commit(found)
    shutil.rmtree(cache.folder / WORK)
    return found


def unpack(plan: Plan, debs: Sequence[Path]) -> tuple[bytes, dict[str, bytes]]:
    """The kernel and the files of the root from the packages' files. Raises FetchError."""
    parts = len(plan.kernel)
    busybox_deb, *middle = debs[:-parts]
    files = initramfs.extract(busybox_deb, lambda name: name == initramfs.BUSYBOX)
    if initramfs.BUSYBOX not in files:
        raise FetchError(f"{busybox_deb.name} holds no {initramfs.BUSYBOX}")
    files |= python_files(middle[:3], middle[3:])
    kernel: dict[str, bytes] = {}
    for deb in debs[-parts:]:
        kernel |= initramfs.extract(deb, is_kernel_file)
    modules = [name for name in kernel if "/kvm.ko" in name]
    images = [name for name in kernel if "/vmlinu" in name]
    if len(modules) != 1 or len(images) != 1:
        raise FetchError(f"Linux {plan.release}", expected="a kernel and its KVM module", got=sorted(kernel))
    module = kernel[modules[0]]
    module = lzma.decompress(module) if modules[0].endswith(".xz") else module
    needed = re.findall(rb"\0depends=([^\0]+)", module)
    if needed:
        raise FetchError(
            f"KVM of Linux {plan.release} needs a module that is not there", got=needed[0].decode()
        )
    files[MODULE] = module
    return initramfs.uncompressed_image(kernel[images[0]], images[0]), files


def is_kernel_file(name: str) -> bool:
    """Whether a path in a package of the kernel is the kernel itself or its KVM module."""
    path = PurePosixPath(name)
    return path.name.startswith("vmlinu") or (path.parent.name == "kvm" and path.name.startswith("kvm.ko"))


def python_files(python: Sequence[Path], libraries: Sequence[Path]) -> dict[str, bytes]:
    """An interpreter with as much of its library as the monitor needs, and what they load."""
    files: dict[str, bytes] = {}
    for package in python:
        files |= initramfs.extract(package, is_python_file)
    programs = {name: data for name, data in files.items() if data.startswith(b"\x7fELF")}
    brought: dict[str, bytes] = {}
    for package in libraries:
        brought |= initramfs.extract(package, initramfs.is_library)
    interpreters = [name for name in programs if name.startswith(INTERPRETER)]
    if len(interpreters) != 1:
        raise FetchError("the packages of Python", expected=f"one {INTERPRETER}.N", got=interpreters)
    files |= initramfs.with_libraries(programs, brought)
    files[INTERPRETER] = files.pop(interpreters[0])
    return files


def is_python_file(name: str) -> bool:
    """Whether a path in a package of Python belongs into the host's root."""
    path = PurePosixPath(name)
    if re.fullmatch(r"usr/bin/python3\.\d+", name):
        return True
    if not re.match(r"usr/lib/python3\.\d+/", name):
        return False
    inside = path.parts[3:]
    if inside[0] == "lib-dynload":
        return path.suffix == ".so" and path.name.split(".")[0] in EXTENSION_MODULES
    return path.suffix == ".py" and (len(inside) == 1 or inside[0] in PACKAGES)


def build(files: Mapping[str, bytes]) -> bytes:
    """The root as a cpio archive, without a first process (see vpmu.peers.kvm_host)."""
    entries = [cpio.directory(name) for name in _DIRECTORIES]
    entries += [cpio.symlink("lib", "usr/lib"), cpio.symlink("sbin", "bin")]
    entries.append(cpio.character_device("dev/console", 5, 1))
    entries += [cpio.file(name, data, 0o755) for name, data in files.items()]
    entries += [
        cpio.symlink(f"bin/{name}", f"../{initramfs.BUSYBOX}")
        for name in initramfs.applets(files[initramfs.BUSYBOX])
        if "/" not in name
    ]
    return cpio.write(entries)
