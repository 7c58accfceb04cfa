"""The user's own kernel and module, as files: what is taken, and what one line says of what is not."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.errors import ImageError, VpmuError
from vpmu.peers.host_source import decompressed, kernel_image, kvm_module, own, release_of

RELEASE = "6.99.1-test"
BANNER = f"Linux version {RELEASE} (somebody@somewhere) #1 SMP\0".encode()


def image(body: bytes = BANNER) -> bytes:
    """A RISC-V Image of no code: the header of Documentation/arch/riscv/boot-image-header.rst."""
    header = struct.pack("<II4Q", 0, 0, 0x200000, 0x1000, 0, 2)
    return header.ljust(0x38, b"\0") + b"RSC\x05" + bytes(4) + body


def elf_file(machine: int = 243, kind: int = 2, *, content: bytes = b"") -> bytes:
    """An ELF file with two segments at physical addresses from 0 on, as vmlinux has them."""
    content = content or image()
    half = 0x40
    link = 0xFFFFFFFF80000000
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = struct.pack("<16sHHIQQQIHHHHHH", ident, kind, machine, 1, link, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    at = 64 + 2 * 56
    parts = ((0, half), (half, len(content) - half))
    table = b"".join(
        struct.pack("<IIQQQQQQ", 1, 5, at + offset, link + offset, offset, size, size + 64, 4096)
        for offset, size in parts
    )
    return head + table + content


def module(release: str = RELEASE, depends: str = "", machine: int = 243) -> bytes:
    modinfo = f"\0license=GPL\0depends={depends}\0vermagic={release} SMP mod_unload riscv\0".encode()
    return elf_file(machine, 1, content=bytes(0x80)) + modinfo


def zboot(kind: str, payload: bytes) -> bytes:
    """An EFI zboot image (drivers/firmware/efi/libstub/zboot-header.S)."""
    head = b"MZ\0\0zimg" + struct.pack("<II", 64, len(payload)) + bytes(8)
    return (head + kind.encode()).ljust(64, b"\0") + payload


def lzma_alone(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_ALONE)


SIZE = struct.pack("<I", len(image()))
PACKINGS = {
    "plain": bytes, "gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress,
    "zboot, gzip": lambda data: zboot("gzip", gzip.compress(data)),
    "zboot, xz": lambda data: zboot("xzkern", lzma.compress(data) + SIZE),
    "zboot, lzma": lambda data: zboot("lzma", lzma_alone(data) + SIZE),
    "zboot, zstd": lambda data: zboot("zstd22", zstd(data) + SIZE),
    "zstd": lambda data: zstd(data),
}  # fmt: skip


def zstd(data: bytes) -> bytes:
    if shutil.which("zstd") is None:
        pytest.skip("no zstd here")
    return subprocess.run(["zstd", "-qc"], input=data, check=True, capture_output=True).stdout


@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_an_image_is_taken(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "Image"
    path.write_bytes(pack(image()))  # type: ignore[operator]
    assert kernel_image(path) == image()
    assert release_of(kernel_image(path)) == RELEASE


def test_an_elf_kernel_is_laid_out_by_its_physical_addresses(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(elf_file())
    assert kernel_image(path) == image()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (elf_file(62), "expected RISC-V, got x86-64"),
        (elf_file(kind=1), "got a relocatable object"),
        (elf_file(content=bytes(0x100)), "expected the header of a RISC-V Image"),
        (bytes(0x38) + b"ARM\x64" + bytes(100), "got an arm64 Image"),
        (bytes(0x202) + b"HdrS" + bytes(100), "got an x86 bzImage"),
        (b"MZ" + bytes(0x3A) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<H", 0xAA64), "for AArch64"),
        (image(b"nothing"), "expected `Linux version"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "cannot be uncompressed"),
        (gzip.compress(image(), mtime=0)[:-20], "it ends too early"),
        (gzip.compress(b"something else", mtime=0), "got a packed file with 14 bytes that begin with 73 6f"),
        (zboot("lz4", b""), "EFI zboot image: its compression: expected gzip, xz, lzma, bzip2, zstd,"),
        (zboot("gzip", gzip.compress(image(), mtime=0))[:-30], "EFI zboot image: expected"),
        (b"", "got an empty file"),
    ],
)
def test_what_is_no_kernel_is_one_line(
    tmp_path: Path, data: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(data)
    assert main(["host", "--host-kernel", str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("vpmu: error: loader: ")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("pack", [bytes, lzma.compress, gzip.compress], ids=["plain", "xz", "gz"])
def test_a_module_is_unpacked(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "kvm.ko"
    path.write_bytes(pack(module()))  # type: ignore[operator]
    assert kvm_module(path, RELEASE) == module()


def test_a_zstd_module_is_unpacked(tmp_path: Path) -> None:
    if shutil.which("zstd") is None:
        pytest.skip("no zstd here")
    path = tmp_path / "kvm.ko"
    path.write_bytes(module())
    subprocess.run(["zstd", "-q", str(path)], check=True)
    packed = tmp_path / "kvm.ko.zst"
    assert decompressed(packed, packed.read_bytes()) == module()
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(ImageError, match="cannot be uncompressed"):
        decompressed(packed, packed.read_bytes())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (module("6.12.1"), f"a module of another kernel: expected vermagic {RELEASE}, got 6.12.1"),
        (module(depends="irqbypass"), "a module that needs others: expected KVM alone, got irqbypass"),
        (module(machine=62), "another architecture: expected RISC-V, got x86-64"),
        (elf_file(), "not a kernel module: expected a vermagic"),
        (b"text", "not a kernel module: expected an ELF file"),
        (b"\xfd7zXZ\x00junk", "cannot be uncompressed"),
    ],
)
def test_what_is_no_module_is_one_line(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "kvm.ko"
    path.write_bytes(data)
    with pytest.raises(VpmuError) as caught:
        kvm_module(path, RELEASE)
    assert said in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        own(tmp_path / "Image")


@pytest.mark.parametrize(
    "arguments",
    [
        ["host", "--kvm-module", "kvm.ko"],
        ["host", "in-process"],
        ["host", "kvm:trixie@qemu"],
        ["host", "kvm:trixie", "--host-kernel", "Image"],
        ["peers", "kvm", "--on", "qemu", "--host-kernel", "Image"],
        ["peers", "kvm", "--suite", "sid", "--host-kernel", "Image"],
        ["conform", "--host-kernel", "Image"],
        ["identify", "in-process", "--on", "vpmu"],
        ["replay", "t.txt", "--on", "agent"],
    ],
)
def test_options_that_do_not_go_together(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Image").write_bytes(image())
    (tmp_path / "t.txt").write_text("")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("vpmu: error: ")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kvm", "hello"], "two of PROFILE, kvm:SUITE and --host-kernel"),
        (["kvm", "kvm:sid", "kvm", "hello"], "got 3 and 0 --host-kernel"),
        (["kvm", "kvm:sid", "hello", "--host-kernel", "Image"], "got 2 and 1 --host-kernel"),
        (["hello", "--host-kernel", "Image", "--host-kernel", "Image", "--kvm-module", "t.ko"], "1 for 2"),
        (["kvm", "kvm-7.2", "hello", "--max-instructions", "5"], "--max-instructions"),
        (["kvm", "kvm-7.2", "hello", "--host-pmu", "none"], "--host-pmu"),
        (["kvm:trixie@qemu", "kvm-7.2", "hello"], "a host on vpmu"),
        (["kvm", "kvm-7.1000x", "hello"], "kvm-7.1000x"),
        (["kvm-6.9", "hello"], "two profiles or kvm:SUITE, and GUEST"),
    ],
)
def test_sides_of_a_comparison_that_make_no_sense(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
