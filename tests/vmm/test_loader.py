"""The loader: what goes where for each kind of image, and one clear line for each file that is none."""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmu import payloads
from vpmu.errors import FileError, ImageError, VpmuError
from vpmu.vmm import elf
from vpmu.vmm.loader import LINUX_MAGIC, ImageKind, load_image, read_file

RAM, SIZE = 0x80000000, 64 << 20
CODE = bytes.fromhex("73000000") * 4  # ecall


def make_elf(
    segments: list[tuple[int, bytes, int]],
    *,
    entry: int = 0x80200000,
    machine: int = 243,
    elf_class: int = 2,
    order: int = 1,
    kind: int = 2,
    virtual_offset: int = 0,
    headers: int | None = None,
) -> bytes:
    """An ELF executable with these (address, data, size in memory) segments."""
    count = len(segments) if headers is None else headers
    ident = b"\x7fELF" + bytes([elf_class, order, 1]) + bytes(9)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, kind, machine, 1, entry, 64, 0, 0, 64, 56, count, 64, 0, 0
    )
    offset = 64 + 56 * len(segments)
    table, body = b"", b""
    for address, data, size in segments:
        position = offset + len(body)
        table += struct.pack(
            "<IIQQQQQQ", 1, 5, position, address + virtual_offset, address, len(data), size, 4
        )
        body += data
    return header + table + body


def make_linux(
    *, text_offset: int = 0x200000, image_size: int = 0x4000, flags: int = 0, length: int = 0x1000
) -> bytes:
    """A kernel Image without an EFI stub."""
    header = struct.pack("<IIQQQIIQQ", 0x6F, 0, text_offset, image_size, flags, 2, 0, 0, 0) + LINUX_MAGIC
    return header + bytes(length - len(header))


def test_elf_goes_where_it_is_linked() -> None:
    image = load_image(make_elf([(0x80200000, CODE, 16), (0x80300000, b"data", 0x1000)]), RAM, SIZE)
    assert image.kind is ImageKind.ELF
    assert image.segments == [(0x80200000, CODE), (0x80300000, b"data")]
    assert image.zeroes == [(0x80300004, 0xFFC)]
    assert image.entry == 0x80200000
    assert image.end == 0x80301000


def test_elf_linked_at_virtual_addresses_starts_at_the_physical_entry() -> None:
    virtual = 0xFFFFFFFF00000000
    image = load_image(
        make_elf([(0x80200000, CODE, 16)], entry=virtual + 0x80200004, virtual_offset=virtual), RAM, SIZE
    )
    assert image.entry == 0x80200004
    assert image.segments == [(0x80200000, CODE)]


def test_flat_image_goes_two_mebibytes_above_the_start_of_ram(tmp_path: Path) -> None:
    file = tmp_path / "payload.bin"
    file.write_bytes(CODE)
    image = load_image(file, RAM, SIZE)
    assert (image.kind, image.segments, image.entry) == (ImageKind.FLAT, [(0x80200000, CODE)], 0x80200000)
    assert load_image(file, 0x88000000, 4 << 20, address=0x88000000).segments == [(0x88000000, CODE)]


def test_linux_image_goes_to_its_text_offset_and_reserves_its_memory() -> None:
    data = make_linux(text_offset=0x400000, image_size=0x4000, length=0x1000)
    image = load_image(data, RAM, SIZE)
    assert image.kind is ImageKind.LINUX
    assert image.entry == 0x80400000
    assert image.segments == [(0x80400000, data)]
    assert image.zeroes == [(0x80401000, 0x3000)]


@pytest.mark.parametrize("name", sorted(set(payloads.names()) - {"kvm-monitor"}))  # a program of Linux
def test_bundled_payloads_load(name: str) -> None:
    if name.startswith("mailbox"):
        image = load_image(payloads.path(name), 0x88000000, 4 << 20, address=0x88000000)
        assert image.segments[0][0] == image.entry == 0x88000000
    else:
        image = load_image(payloads.path(name))
        assert image.kind is (ImageKind.ELF if payloads.path(name).suffix == ".elf" else ImageKind.FLAT)
        assert image.entry == 0x80200000


def test_symbols_of_a_payload() -> None:
    symbols = load_image(payloads.path("counting")).symbols()
    assert symbols["_start"] == 0x80200000
    assert symbols["_start"] < symbols["trap_vector"] < symbols["main"]
    assert not [name for name in symbols if name.startswith("$") or name.endswith(".c")]
    assert load_image(CODE, kind=ImageKind.FLAT).symbols() == {}


BAD = {
    "empty": (b"", "empty file"),
    "text": (b"int main() { return 0; }\n" * 40, "got a text file"),
    "script": (b"#!/bin/sh\nexit 0\n", "got a script"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(100), "got a gzip file (decompress it first)"),
    "xz": (b"\xfd7zXZ\x00" + bytes(100), "got an xz file"),
    "snapshot": (b"vpmu-snapshot\r\n\0" + bytes(100), "got a snapshot of vpmu"),
    "PE": (b"MZ" + bytes(100), "got a PE file without the RISC-V Image header"),
    "zboot": (b"MZ\0\0zimg" + bytes(100), "got a compressed kernel"),
    "32-bit": (
        make_elf([(0x80200000, CODE, 16)], elf_class=1),
        "wrong ELF class: expected 64-bit, got 32-bit",
    ),
    "big-endian": (
        make_elf([(0x80200000, CODE, 16)], order=2),
        "wrong ELF byte order: expected little-endian, got big-endian",
    ),
    "x86-64": (
        make_elf([(0x80200000, CODE, 16)], machine=62),
        "wrong ELF machine: expected RISC-V, got x86-64",
    ),
    "unknown machine": (
        make_elf([(0x80200000, CODE, 16)], machine=0x1234),
        "expected RISC-V, got e_machine 4660",
    ),
    "object file": (make_elf([(0x80200000, CODE, 16)], kind=1), "got a relocatable object (not linked)"),
    "no segment": (make_elf([]), "nothing to load: expected at least one PT_LOAD segment, got none"),
    "only zeros": (make_elf([(0x80200000, b"", 64)]), "nothing to load"),
    "below RAM": (
        make_elf([(0x1000, CODE, 16)], entry=0x1000),
        "segment outside RAM: expected inside 0x80000000..0x83ffffff (64 MiB of RAM), got 0x1000..0x100f",
    ),
    "bss beyond RAM": (make_elf([(0x80200000, CODE, 1 << 40)]), "segment outside RAM"),
    "entry outside RAM": (make_elf([(0x80200000, CODE, 16)], entry=0x40), "entry outside RAM"),
    "truncated header": (
        make_elf([(0x80200000, CODE, 16)])[:40],
        "truncated ELF header: expected 64 bytes, got 40",
    ),
    "truncated table": (make_elf([(0x80200000, CODE, 16)])[:100], "truncated ELF file: program headers"),
    "truncated segment": (
        make_elf([(0x80200000, CODE, 16)])[:-1],
        "truncated ELF file: segment 0: expected 136 bytes, got 135",
    ),
    "more headers than file": (make_elf([(0x80200000, CODE, 16)], headers=60000), "truncated ELF file"),
    "flat too large": (b"\x13\0\0\0" * (16 << 20), "image does not fit"),
    "big-endian kernel": (make_linux(flags=1), "wrong byte order of the kernel"),
    "kernel too large": (make_linux(image_size=1 << 30), "image does not fit"),
    "truncated kernel header": (make_linux()[:0x3C], "truncated Linux Image header"),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD.keys())
def test_bad_images_are_refused_in_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "image"
    file.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        load_image(file, RAM, SIZE)
    text = str(caught.value)
    assert message in text
    assert text.startswith(f"loader: {file}: ")
    assert "\n" not in text
    assert caught.value.exit_status == 2


def test_truncated_efi_kernel_is_refused() -> None:
    """The Image header cannot tell: what is missing may be .bss. The section table of the stub can."""
    pe = b"PE\0\0" + struct.pack("<HHIIIHH", 0x5064, 1, 0, 0, 0, 0, 0)
    section = struct.pack("<8sIIII16x", b".text", 0x3000, 0x1000, 0x2000, 0x1000)
    data = bytearray(make_linux(length=0x3000))
    data[0:2] = b"MZ"
    struct.pack_into("<I", data, 0x3C, 0x40)
    data[0x40 : 0x40 + len(pe + section)] = pe + section
    assert load_image(bytes(data), RAM, SIZE).kind is ImageKind.LINUX
    with pytest.raises(ImageError, match=r"truncated kernel: expected 12288 bytes, got 12287"):
        load_image(bytes(data[:-1]), RAM, SIZE)


def test_the_kind_asked_for_must_be_the_kind_found() -> None:
    with pytest.raises(ImageError, match="expected a RISC-V Linux Image, got a ELF executable"):
        load_image(make_elf([(0x80200000, CODE, 16)]), RAM, SIZE, kind=ImageKind.LINUX)


def test_anything_is_a_flat_image_for_one_who_says_so() -> None:
    assert load_image(b"#!/bin/sh", RAM, SIZE, kind=ImageKind.FLAT).segments == [(0x80200000, b"#!/bin/sh")]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"^file: .*/absent: No such file or directory$"):
        load_image(tmp_path / "absent")
    with pytest.raises(FileError, match="Is a directory"):
        load_image(tmp_path)
    with pytest.raises(FileError, match="not a file name"):
        load_image("a\0b")


def test_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("builtins.open", refuse)  # a mode of 0 does not stop root
    with pytest.raises(FileError, match=r"^file: secret: Permission denied$"):
        load_image("secret")


def test_endless_file_is_refused() -> None:
    with pytest.raises(FileError, match="/dev/zero: a device: expected a file"):
        read_file("/dev/zero")


def test_too_large_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("vpmu.vmm.loader.MAX_FILE_SIZE", 1 << 20)
    file = tmp_path / "large"
    file.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(FileError, match="too large: expected <= 1 MiB"):
        read_file(file)


@given(st.binary(max_size=300), st.integers(0, 200), st.integers(0, 255))
def test_damaged_elf_files_never_do_worse_than_an_error(tail: bytes, position: int, byte: int) -> None:
    data = bytearray(make_elf([(0x80200000, CODE, 16), (0x80300000, b"data", 64)]) + tail)
    data[position % len(data)] = byte
    with suppress(VpmuError):
        image = load_image(bytes(data), RAM, SIZE)
        for gpa, segment in image.segments:
            assert RAM <= gpa <= gpa + len(segment) <= RAM + SIZE
        image.symbols()


def test_segments_without_size_are_left_out() -> None:
    assert len(elf.parse(make_elf([(0, b"", 0), (0x80200000, CODE, 16)])).segments) == 1


def test_a_folder_does_not_hide_a_payload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`vpmu new guest hello` makes a folder of that name."""
    from vpmu.payloads import find_image

    monkeypatch.chdir(tmp_path)
    bundled = find_image("hello")
    (tmp_path / "hello").mkdir()
    (tmp_path / "mine").mkdir()
    assert find_image("hello") == bundled
    assert find_image("mine") == Path("mine")  # which says that it is a folder
    (tmp_path / "counting").write_bytes(b"\x13\0\0\0")
    assert find_image("counting") == Path("counting")
