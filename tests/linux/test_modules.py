"""Modules of the fetched kernel: found, put in order, and brought; from a small archive without a network."""

from __future__ import annotations

import lzma
import struct
from pathlib import Path
from typing import Any

import pytest

from vpmu.errors import FileError, UnknownNameError, UsageError
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.cache import FetchError
from vpmu.vmm.linux.modules import (
    Modules,
    canonical,
    information,
    kernel_release,
    modules_of,
    parse,
    soft_needs,
    uncompressed,
)
from vpmu.vmm.linux.progress import Progress
from vpmu.vmm.linux.start import Mount, Root, archive

RELEASE = "6.99.1+deb13-riscv64"
FOLDER = f"usr/lib/modules/{RELEASE}/kernel"


def module(*words: str, release: str = RELEASE) -> bytes:
    """A relocatable ELF file with nothing but `.modinfo`."""
    info = b"".join(f"{word}\0".encode() for word in (*words, f"vermagic={release} SMP mod_unload riscv"))
    names = b"\0.modinfo\0.shstrtab\0"
    at = 64 + len(info) + len(names)
    out = b"\x7fELF\x02\x01\x01" + bytes(9)
    out += (
        struct.pack("<HHIQQQIHHHHHH", 1, 243, 1, 0, 0, at, 0, 64, 0, 0, 64, 3, 2) + info + names + bytes(64)
    )
    out += struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, 64, len(info), 0, 0, 1, 0)
    return out + struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, 64 + len(info), len(names), 0, 0, 1, 0)


FILES: dict[str, bytes | str] = {
    f"{FOLDER}/fs/ext9/ext9.ko.xz": lzma.compress(
        module("depends=jbd9,crc9", "softdep=pre: crc32z post: late")
    ),
    f"{FOLDER}/fs/jbd9.ko": module("depends="),
    f"{FOLDER}/lib/crc9.ko.xz": lzma.compress(module("depends=jbd9")),
    f"{FOLDER}/crypto/crc32z-generic.ko.xz": lzma.compress(
        module("alias=crypto-crc32z", "alias=crc32z", "alias=of:N*T*Cthis")
    ),
    f"{FOLDER}/a/one.ko": module("depends=two", "softdep=pre: not_there"),
    f"{FOLDER}/a/two.ko": module("depends=", "softdep=pre: one"),
    f"usr/lib/modules/{RELEASE}/modules.builtin": b"kernel/drivers/virtio/virtio-core.ko\n",
}


@pytest.fixture
def kernel(archive: Any) -> Any:
    """The archive, whose kernel has modules."""
    archive.stanzas = [one for one in archive.stanzas if f"Package: linux-image-{RELEASE}\n" not in one]
    archive.add(f"linux-image-{RELEASE}", FILES, section="kernel")
    archive.publish()
    return archive


def get(kernel: Any, tmp_path: Path, release: str = RELEASE) -> Modules:
    return modules_of(release, sources=[kernel.source], root=tmp_path / "root", progress=Progress(quiet=True))


def test_what_a_module_needs_comes_before_it(kernel: Any, tmp_path: Path) -> None:
    found = get(kernel, tmp_path)
    assert found.order(["ext9"]) == ["crc32z_generic", "jbd9", "crc9", "ext9"]
    assert found.order(["crc9", "ext9.ko", "crc32z"]) == ["jbd9", "crc9", "crc32z_generic", "ext9"]
    assert found.order(["one"]) == ["two", "one"]  # a circle of wishes
    assert found.order(["virtio_core"]) == []  # built in
    entries = {entry.name: entry.data for entry in cpio.read(found.archive(["crc9"]))}
    assert entries["vpmu/modules/order"] == b"jbd9\ncrc9\n"
    assert entries["vpmu/modules/crc9.ko"] == module("depends=jbd9")
    with pytest.raises(
        UnknownNameError, match=r"unknown module of Linux 6\.99\.1.*'ext8'; did you mean ext9"
    ):
        found.order(["ext8"])


def test_they_are_fetched_once(kernel: Any, tmp_path: Path) -> None:
    get(kernel, tmp_path)
    kernel.folder.rename(kernel.folder.with_name("gone"))
    assert get(kernel, tmp_path).order(["jbd9"]) == ["jbd9"]


def test_a_kernel_that_is_not_there_any_more(kernel: Any, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"has Linux 6\.1\.0-old no longer.*--refresh"):
        get(kernel, tmp_path, "6.1.0-old")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (module("depends=", release="6.1.0"), "module of another kernel: expected 6.99.1.*got 6.1.0"),
        (b"no ELF", "is no module"),
        (b"\xfd7zXZ broken", "cannot be uncompressed"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "expected xz or gzip, got zstd"),
    ],
)
def test_files_that_are_no_module_of_it(content: bytes, message: str, archive: Any, tmp_path: Path) -> None:
    archive.stanzas = [one for one in archive.stanzas if f"Package: linux-image-{RELEASE}\n" not in one]
    archive.add(f"linux-image-{RELEASE}", {f"{FOLDER}/bad.ko": content}, section="kernel")
    archive.publish()
    with pytest.raises(FetchError, match=message):
        get(archive, tmp_path)
    assert not (tmp_path / "root" / "modules-trixie" / "modules.zip").exists()


def test_a_damaged_store_is_said(kernel: Any, tmp_path: Path) -> None:
    found = get(kernel, tmp_path)
    found.store.write_bytes(b"damaged")
    with pytest.raises(FileError, match="the store of modules is damaged"):
        found.archive(["jbd9"])
    again = get(kernel, tmp_path)  # its manifest does not agree: it is fetched anew
    assert again.archive(["jbd9"])


def test_words() -> None:
    assert (canonical("virtio-mmio.ko"), canonical("9p")) == ("virtio_mmio", "9p")
    assert soft_needs("pre: a b post: c pre: d") == ["a", "b", "d"]
    assert soft_needs("a") == []
    assert information(module("a=b=c", "a=d"), "x")["a"] == ["b=c", "d"]
    assert uncompressed(b"plain", "x") == b"plain"
    assert kernel_release(b"..Linux version 6.1.2-x (me) ..") == "6.1.2-x"
    assert kernel_release(b"nothing") is None
    assert parse("ext4, 9p,ext4") == ("ext4", "9p")
    for text in ("", "a b", "a,,b", "../x", "a/b"):
        with pytest.raises(UsageError, match="a kernel module"):
            parse(text)


@pytest.mark.parametrize(
    ("arguments", "root"),
    [
        ("quiet", None),
        ("root=/dev/vda", "/dev/vda ext4 ro /sbin/init"),
        ("ro root=/dev/vda1 rw rootfstype=btrfs rootflags=subvol=a,noatime init=/bin/sh",
         "/dev/vda1 btrfs rw,subvol=a,noatime /bin/sh"),
    ],
)  # fmt: skip
def test_a_root_as_kernel_arguments_name_it(arguments: str, root: str | None) -> None:
    found = Root.of(arguments)
    assert (found and str(found)) == root


def test_a_root_by_another_name() -> None:
    with pytest.raises(UsageError, match="expected a device such as /dev/vda, got 'UUID=1'"):
        Root.of("root=UUID=1")


def test_what_the_script_reads() -> None:
    entries = {entry.name: entry for entry in cpio.read(archive(Root.of("root=/dev/vda"), [
        Mount("vpmu0", "/root/a b"), Mount("vpmu1", "/mnt", readonly=True),
    ]))}  # fmt: skip
    assert entries["vpmu/root"].data == b"/dev/vda ext4 ro /sbin/init\n"
    first, second = entries["vpmu/shares"].data.decode().splitlines()
    assert first.split(" ", 2) == ["vpmu0", "trans=virtio,version=9p2000.L,msize=131072", "/root/a b"]
    assert second.split(" ", 2)[1].endswith(",ro")
    assert entries["vpmu/start"].mode & 0o111
    assert "vpmu/shares" not in {entry.name for entry in cpio.read(archive(None, []))}
