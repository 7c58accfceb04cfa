"""The guest's root: busybox, perf with the libraries it really loads, and our init, as cpio archives."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from vpmu.hart.digest import sha256
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.cache import FetchError
from vpmu.vmm.linux.execution import init_script

LIBRARY_FOLDER = "usr/lib/riscv64-linux-gnu"
LIBRARY_FOLDERS = (LIBRARY_FOLDER, "usr/lib", "lib/riscv64-linux-gnu", "lib")
BUSYBOX, PERF = "usr/bin/busybox", "usr/bin/perf"
NEEDED_APPLETS = frozenset({"sh", "mount", "stty", "setsid", "cttyhack", "poweroff", "sleep", "dmesg"})


LAYOUT = "1"
"""Changes with the rules below; with the text of init it makes the recipe."""

_DIRECTORIES = ("dev", "proc", "sys", "run", "tmp", "var/tmp", "root", "etc", "bin", LIBRARY_FOLDER)
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\n"
_GROUP = b"root:x:0:\n"


def recipe() -> str:
    """Names the build rules: archives of one recipe and the same packages are the same bytes."""
    return sha256(LAYOUT.encode() + b"\0" + init_script()).hexdigest()[:16]


def extract(package: Path, wanted: Callable[[str], bool], *, first: bool = False) -> dict[str, bytes]:
    """Regular files of a .deb by path, symlinks among them followed; with `first` stops after one file."""
    import subprocess
    import tarfile

    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    process = subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if not wanted(name):
                    continue
                if member.issym() or member.islnk():
                    # A symlink's target is relative to its folder, a hard link's to the root.
                    folder = PurePosixPath(name).parent if member.issym() else PurePosixPath()
                    links[name] = str(folder / member.linkname).lstrip("/")
                elif member.isfile() and (stream := archive.extractfile(member)) is not None:
                    files[name] = stream.read()
                    if first:
                        break
    except (tarfile.TarError, EOFError) as error:
        raise FetchError(f"the package {package.name} cannot be unpacked: {error}") from error
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    for name in links:
        target = name
        for _ in range(8):  # a longer chain is a loop
            if target not in links:
                break
            target = links[target]
        if target in files:
            files[name] = files[target]
    return files


def is_kernel_image(name: str) -> bool:
    """Whether a path in a package of the kernel is the kernel: in boot, since Linux 7.2 with its modules."""
    path = PurePosixPath(name)
    return path.name.startswith("vmlinu") and name.startswith(("boot/", "usr/lib/modules/", "lib/modules/"))


def kernel_image(packages: Sequence[Path]) -> bytes:
    """The uncompressed kernel Image out of the packages of a kernel; FetchError when there is none."""
    for package in packages:
        for name, image in extract(package, is_kernel_image, first=True).items():
            return uncompressed_image(image, f"{package.name}: {name}")
    names = ", ".join(package.name for package in packages)
    raise FetchError(f"no kernel in {names}", expected="boot/vmlinux* or usr/lib/modules/*/vmlinuz")


def uncompressed_image(image: bytes, name: str) -> bytes:
    """The Image itself of one that may be compressed (see `unpack`), or in an EFI zboot; FetchError where it
    is none.
    """
    from vpmu.vmm.linux.unpack import packing, unpacked, without_zboot

    image = without_zboot(image, name)
    kind = packing(image)
    if kind is not None:
        image = unpacked(image, kind, name)
    if image[0x38:0x3C] != b"RSC\x05":
        # magic2 of Documentation/arch/riscv/boot-image-header.rst
        raise FetchError(f"{name} is not a RISC-V Image", expected="RSC\\x05 at 0x38",
                         got=repr(image[0x38:0x3C]))  # fmt: skip
    return image


def is_library(name: str) -> bool:
    """A path where Debian's dynamic linker finds libraries, or the linker itself."""
    path = PurePosixPath(name)
    return str(path.parent) in LIBRARY_FOLDERS and ".so" in path.name


def perf_files(perf: bytes, libraries: Mapping[str, bytes]) -> dict[str, bytes]:
    """perf with what it loads, at its guest paths; see `with_libraries`."""
    return with_libraries({PERF: perf}, libraries)


def with_libraries(programs: Mapping[str, bytes], libraries: Mapping[str, bytes]) -> dict[str, bytes]:
    """Programs and libraries by guest path, their interpreters and the closure of the libraries they need.

    `libraries` holds candidates by package path. FetchError names a library that no package brought.
    """
    from vpmu.vmm.linux import elf

    by_name = {PurePosixPath(name).name: data for name, data in libraries.items()}
    files = dict(programs)
    done: set[str] = set()
    wanted: list[tuple[str, str]] = []
    for path, data in programs.items():
        name = PurePosixPath(path).name
        program = elf.dynamic(data)
        if program is None:
            raise FetchError(f"{name} of its package is not a RISC-V ELF program")
        if program.interpreter and (linker := PurePosixPath(program.interpreter).name) not in done:
            if linker not in by_name:
                raise FetchError(f"no package brought {name}'s program interpreter {program.interpreter}")
            files[f"usr/lib/{linker}"] = by_name[linker]
            done.add(linker)
        wanted += [(needed, name) for needed in program.needed]
    while wanted:
        name, user = wanted.pop()
        if name in done:
            continue
        done.add(name)
        library = elf.dynamic(by_name.get(name, b""))
        if library is None:
            raise FetchError(f"no package brought the library {name}, which {user} needs")
        files[f"{LIBRARY_FOLDER}/{name}"] = by_name[name]
        wanted += [(needed, user) for needed in library.needed]
    return files


def applets(busybox: bytes) -> list[str]:
    """The commands of a busybox, from the table of names in its binary (sorted, begins with `[` and `[[`)."""
    best: list[str] = []
    for match in re.finditer(rb"(?<=[^\x21-\x7e])(?:[\x21-\x7e]+\0){8,}", busybox):
        names = match[0].decode().split("\0")[:-1]
        if "sh" not in names or "mount" not in names:
            continue
        start = names.index("[") if "[" in names else 0
        end = next((i for i in range(start + 1, len(names)) if names[i] < names[i - 1]), len(names))
        if end - start > len(best):
            best = names[start:end]
    if missing := NEEDED_APPLETS - set(best):
        raise FetchError(f"busybox of the busybox-static package has no {', '.join(sorted(missing))}")
    return best


def build(files: Mapping[str, bytes]) -> bytes:
    """An initramfs of Debian's files (content by guest path, with busybox) and what makes them a system."""
    entries = [cpio.directory(name, 0o1777 if name.endswith("tmp") else 0o755) for name in _DIRECTORIES]
    for name, target in (("sbin", "bin"), ("lib", "usr/lib"), ("usr/sbin", "bin")):
        entries.append(cpio.symlink(name, target))
    entries += [cpio.character_device("dev/console", 5, 1), cpio.character_device("dev/null", 1, 3, 0o666)]
    entries += [cpio.file("etc/passwd", _PASSWD), cpio.file("etc/group", _GROUP)]
    entries.append(cpio.file("init", init_script(), 0o755))
    entries += [cpio.file(name, data, 0o755) for name, data in files.items()]
    taken = {entry.name for entry in entries}
    entries += [cpio.symlink(f"bin/{name}", f"../{BUSYBOX}") for name in applets(files[BUSYBOX])
                if f"bin/{name}" not in taken and "/" not in name]  # fmt: skip
    return cpio.write(entries)


def debian_files(archive: bytes) -> dict[str, bytes]:
    """The files of `build` back from its archive, to build it again by other rules without a download."""
    return {entry.name: entry.data for entry in cpio.read(archive)
            if stat.S_ISREG(entry.mode) and entry.name.startswith("usr/")}  # fmt: skip


def is_debian_library(section: str, architecture: str) -> bool:
    """Whether a package may hold a shared library: those are in section libs, built per architecture."""
    return section.rsplit("/", 1)[-1] == "libs" and architecture != "all"
