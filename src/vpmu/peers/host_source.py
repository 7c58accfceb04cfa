"""What a KVM host on our own hart boots: a kernel, its KVM module, a root for the monitor to start in.

Of a Debian suite (vpmu.peers.host_image) or the user's own build. The monitor needs nothing of a root, so an
own kernel needs no file beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from ..brief import Brief
from ..errors import ImageError
from ..vmm import elf
from ..vmm.linux import cpio
from ..vmm.linux.boot import read_initrd
from ..vmm.linux.cache import FetchError, default_root
from ..vmm.linux.unpack import packing, unpacked, without_zboot
from ..vmm.loader import read_file
from .host_image import MODULE, HostImage

MAX_IMAGE = 512 << 20
OWN_FOLDER = "kvm-host-own"
_BANNER = re.compile(rb"Linux version (\S+) \(")
_VERMAGIC = re.compile(rb"(?:^|\0)vermagic=([^\0]+)\0")
_DEPENDS = re.compile(rb"(?:^|\0)depends=([^\0]+)\0")
_PE_MACHINES = {0x14C: "x86", 0x8664: "x86-64", 0xAA64: "AArch64", 0x6264: "LoongArch"}
IMAGE = "a RISC-V Image (plain, packed, EFI zboot) or ELF vmlinux"


@dataclass(frozen=True, slots=True)
class HostSource:
    """Where the files of a host are, and where its snapshot is kept."""

    kernel: Path
    module: Path | None
    """kvm.ko, plain or compressed; None: KVM is built in, or `archive` has it."""
    initrd: Path | None
    """A root that is put before the monitor's; None: nothing is needed."""
    archive: Path | None
    """The root of a fetched host, of which the module is taken."""
    folder: Path
    release: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    firmware: Path | None = None
    """Real firmware below the host; None: modelled."""

    @property
    def files(self) -> list[Path]:
        """All that the host depends on."""
        return [path for path in (*self._parts, self.firmware) if path is not None]

    @property
    def _parts(self) -> tuple[Path | None, ...]:
        return self.kernel, self.module, self.initrd, self.archive

    def read(self) -> HostFiles:
        """The content, checked. Raises FileError, ImageError."""
        kernel = kernel_image(self.kernel)
        module = None
        if self.module is not None:
            module = kvm_module(self.module, release_of(kernel))
        elif self.archive is not None:
            entries = cpio.read(self.archive.read_bytes())
            module = next(bytes(entry.data) for entry in entries if entry.name == MODULE)
        return HostFiles(kernel, module, b"" if self.initrd is None else read_initrd(self.initrd))


@dataclass(frozen=True, slots=True, repr=False)
class HostFiles(Brief):
    """The bytes of a kernel's Image, of its module, and of the user's initrd (empty: none)."""

    kernel: bytes
    module: bytes | None
    initrd: bytes


def of_suite(image: HostImage) -> HostSource:
    """A fetched host."""
    return HostSource(
        image.kernel, None, None, image.initrd, image.kernel.parent, image.release, image.versions
    )


def own(kernel: str | Path, module: str | Path | None = None, initrd: str | Path | None = None) -> HostSource:
    """The user's build; its files are looked at when it boots. Raises FileError for one that is not there."""
    paths = [None if path is None else Path(path) for path in (kernel, module, initrd)]
    for path in paths:
        if path is not None:
            try:
                path.stat()
            except OSError as error:
                raise ImageError.from_os_error(path, error) from None
    assert paths[0] is not None
    return HostSource(paths[0], paths[1], paths[2], None, default_root() / OWN_FOLDER)


def kernel_image(path: Path) -> bytes:
    """A RISC-V kernel: Image (also packed, or EFI zboot), or ELF vmlinux. Raises FileError and ImageError."""
    data = read_file(path)
    if data.startswith(elf.MAGIC):
        try:
            image = flat_image(elf.parse(data), data)
        except elf.ElfError as error:
            what = f"no kernel for this hart: {error.what}"
            raise ImageError(path, what, expected=error.expected, got=error.got) from None
    elif (foreign := _foreign(data)) is not None:
        raise ImageError(path, "no kernel for this hart", expected=IMAGE, got=foreign)
    else:
        image = _unpacked_image(path, data)
    if release_of(image) is None:
        raise ImageError(path, "no Linux kernel", expected="`Linux version ...` in it", got="none")
    return image


def _unpacked_image(path: Path, data: bytes) -> bytes:
    try:
        inside = decompressed(path, without_zboot(data, "it"))
    except FetchError as error:  # of a zboot: what is inside
        what = error.what.removeprefix("it: ")
        raise ImageError(path, what, expected=error.expected, got=error.got) from None
    if inside[0x38:0x3C] != b"RSC\x05":
        got = _kind(inside) if inside is data else f"a packed file with {_kind(inside)}"
        raise ImageError(path, "no kernel for this hart", expected=IMAGE, got=got)
    return inside


def flat_image(file: elf.Elf, data: bytes) -> bytes:
    """The Image of a vmlinux: its segments by their physical addresses, whose beginning is anything (objcopy
    -O binary). Raises ElfError where it has no Image's header.
    """
    loaded = [one for one in file.segments if one.file_size]
    start = min((one.physical for one in loaded), default=0)
    end = max((one.physical + one.file_size for one in loaded), default=0)
    if end - start > MAX_IMAGE:
        raise elf.ElfError("segments too far apart", f"{MAX_IMAGE >> 20} MiB", f"{end - start >> 20} MiB")
    image = bytearray(end - start)
    for one in loaded:
        at = one.physical - start
        image[at : at + one.file_size] = data[one.offset : one.offset + one.file_size]
    if image[0x38:0x3C] != b"RSC\x05":
        raise elf.ElfError("not a kernel", "the header of a RISC-V Image at its beginning", "none")
    return bytes(image)


def _foreign(data: bytes) -> str | None:
    """A kernel of another architecture, or packed in a way that only its boot loader knows."""
    if data[0x38:0x3C] == b"ARM\x64":
        return "an arm64 Image"
    if data[:2] == b"MZ" and data[4:8] != b"zimg" and data[0x38:0x3C] != b"RSC\x05":
        at = int.from_bytes(data[0x3C:0x40], "little")
        if data[at : at + 4] == b"PE\0\0":
            machine = int.from_bytes(data[at + 4 : at + 6], "little")
            return f"a PE file for {_PE_MACHINES.get(machine, hex(machine))}"
    if data[0x202:0x206] == b"HdrS":
        return "an x86 bzImage"
    return None


def _kind(data: bytes) -> str:
    if data.startswith(elf.MAGIC):
        return "an ELF file"
    return f"{len(data)} bytes that begin with {data[:4].hex(' ')}" if data else "an empty file"


def release_of(kernel: bytes) -> str | None:
    """`6.12.117+deb13-riscv64`, as the kernel's banner says it."""
    found = _BANNER.search(kernel)
    return found[1].decode("ascii", "replace") if found else None


def kvm_module(path: Path, release: str | None) -> bytes:
    """A kernel module as it is to be inserted. Raises FileError; ImageError: not one for this release."""
    data = decompressed(path, read_file(path))
    expected = "an ELF file, plain or .xz, .zst, .gz"
    if not data.startswith(elf.MAGIC):
        raise ImageError(path, "not a kernel module", expected=expected, got=_kind(data))
    machine = int.from_bytes(data[18:20], "little")
    if machine != elf.EM_RISCV:
        got = elf.machine_name(machine)
        raise ImageError(path, "a module of another architecture", expected="RISC-V", got=got)
    magic = _VERMAGIC.search(data)
    if magic is None:
        raise ImageError(path, "not a kernel module", expected="a vermagic in its .modinfo", got="none")
    built_for = magic[1].decode("ascii", "replace").split()[0]
    if release is not None and built_for != release:
        raise ImageError(path, "a module of another kernel", expected=f"vermagic {release}", got=built_for)
    depends = _DEPENDS.search(data)
    if depends is not None:
        got = depends[1].decode("ascii", "replace")
        raise ImageError(path, "a module that needs others", expected="KVM alone", got=got)
    return data


def decompressed(path: Path, data: bytes) -> bytes:
    """A file out of xz, gzip, zstd and the like; others as they are. Raises ImageError."""
    kind = packing(data)
    if kind is None:
        return data
    try:
        return unpacked(data, kind, "it")
    except FetchError as error:
        what = error.what.removeprefix("it ").removeprefix("it: ")
        raise ImageError(path, what, expected=error.expected, got=error.got) from None
