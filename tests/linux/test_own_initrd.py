"""An initramfs of the user's own that is to run a command: said before the boot what it lacks."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.errors import ImageError
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.own_initrd import check, unpacked
from vpmu.vmm.loader import Buffer

from .conftest import elf


def archive(*entries: cpio.Entry, without: str = "") -> bytes:
    """A busybox system, with more entries, and without one."""
    links = [cpio.symlink(f"usr/bin/{name}", "busybox") for name in ("sh", "mount", "stty", "poweroff")]
    whole = [cpio.file("usr/bin/busybox", elf([]), 0o755), cpio.symlink("bin", "usr/bin"), *links, *entries]
    return cpio.write([entry for entry in whole if entry.name != without])


PACKERS: list[Callable[[bytes], bytes]] = [
    bytes, gzip.compress, bz2.compress, lzma.compress, lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    lambda data: cpio.write([cpio.file("kernel/x86/microcode", b"x")]) + gzip.compress(data),
]  # fmt: skip


@pytest.mark.parametrize("pack", PACKERS)
def test_a_busybox_is_enough_however_it_is_packed(pack: Callable[[bytes], bytes]) -> None:
    found = check("my.cpio", pack(archive()))
    assert found.known
    names = [entry.name for entry in found.additions()]
    assert names == ["dev", "proc", "root", "sys", "tmp", "dev/console"]
    assert (
        check("my.cpio", archive(cpio.directory("dev"), cpio.directory("tmp"))).additions()[0].name == "proc"
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (archive(without="usr/bin/sh"), "got no /bin/sh"),
        (archive(without="usr/bin/stty"), "got no stty"),
        (archive(without="usr/bin/busybox"), "got no /bin/sh, no mount, no stty, no poweroff"),
        (cpio.write([cpio.file("init", b"x")]), "got no /bin/sh, no mount"),
    ],
)
def test_what_is_missing_is_said(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match="this initramfs cannot run a command: expected /bin/sh") as caught:
        check("my.cpio", data)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        (b"\x7fELF\x02\x01\x01" + bytes(11) + b"\x3e\0" + bytes(60), "not a program for 64-bit RISC-V"),
        (elf([], "/lib/ld-musl-riscv64.so.1"), "needs /lib/ld-musl-riscv64.so.1, which is not there"),
    ],
)
def test_a_shell_that_cannot_run(shell: bytes, words: str) -> None:
    tools = [cpio.file(f"bin/{name}", elf([])) for name in ("mount", "stty", "poweroff")]
    with pytest.raises(ImageError, match=words):
        check("my.cpio", cpio.write([cpio.file("bin/sh", shell), *tools]))
    script = check("my.cpio", cpio.write([cpio.file("bin/sh", b"#!/bin/other"), *tools]))
    assert script.unfit_shell() is None


def test_loops_of_links_and_what_cannot_be_read() -> None:
    loop = cpio.write([cpio.symlink("bin/sh", "sh2"), cpio.symlink("bin/sh2", "sh")])
    with pytest.raises(ImageError, match="no /bin/sh"):
        check("my.cpio", loop)
    packed: Buffer = b"\x28\xb5\x2f\xfd" + bytes(100)
    assert not check("my.cpio", packed).known
    assert unpacked(gzip.compress(archive())[:-9] + b"damaged!!") is None


def test_the_command_line_says_it_before_the_boot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    initrd, kernel = tmp_path / "my.cpio", tmp_path / "Image"
    initrd.write_bytes(archive(without="usr/bin/poweroff"))
    kernel.write_bytes(bytes(0x38) + b"RSC\x05" + bytes(4096))
    assert main(["boot", "--kernel", str(kernel), "--initrd", str(initrd), "--exec", "true"]) == 2
    told = capsys.readouterr().err
    assert "my.cpio: this initramfs cannot run a command" in told
    assert told.count("\n") == 1
