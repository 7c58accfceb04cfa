"""The payloads in the package are what their sources give."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vpmu import payloads
from vpmu.errors import UnknownNameError
from vpmu.vmm.loader import load_image

MAILBOX_BASE = 0x88000000


@pytest.fixture(scope="module")
def guests(project: Path) -> SimpleNamespace:
    """The build script, as a module."""
    return SimpleNamespace(**runpy.run_path(str(project / "guests" / "build.py")))


def compiler(guests: SimpleNamespace, kind: str) -> Any:
    found = guests.toolchain.find_gcc() if kind == "gcc" else guests.toolchain.find_zig()
    if found is None:
        pytest.skip(f"no {kind} for RISC-V here")
    return found


def test_every_payload_has_its_source_and_nothing_else_is_shipped(guests: SimpleNamespace) -> None:
    shipped = {payloads.path(name).name for name in payloads.names()}
    assert shipped == {payload.file for payload in guests.ALL}


def test_the_compiler_that_built_them_gives_the_same_bytes(guests: SimpleNamespace, tmp_path: Path) -> None:
    gcc = compiler(guests, "gcc")
    built_with = (guests.PAYLOADS / guests.BUILT_WITH).read_text().strip()
    if gcc.version != built_with:
        pytest.skip(f"the payloads were built with {built_with}, here is {gcc.version}")
    for payload in guests.ALL:
        assert payload.build(gcc, tmp_path).read_bytes() == (guests.PAYLOADS / payload.file).read_bytes()


@pytest.mark.parametrize("kind", ["gcc", "ziglang"])
def test_any_compiler_gives_the_mailbox_payload_that_was_recorded(
    guests: SimpleNamespace, tmp_path: Path, kind: str
) -> None:
    found = compiler(guests, kind)
    for payload in guests.ALL:
        if payload.file.startswith("mailbox"):
            assert (
                payload.build(found, tmp_path).read_bytes() == (guests.PAYLOADS / payload.file).read_bytes()
            )


def test_ziglang_builds_every_payload(guests: SimpleNamespace, tmp_path: Path) -> None:
    zig = compiler(guests, "ziglang")
    for payload in guests.ALL:
        image = payload.build(zig, tmp_path)
        if image.suffix == ".elf":
            assert load_image(image).entry == 0x80200000


def test_nothing_of_the_building_machine_is_in_a_payload(guests: SimpleNamespace) -> None:
    for payload in guests.ALL:
        data = (guests.PAYLOADS / payload.file).read_bytes()
        assert not re.search(rb"/(?!dev/|proc/|sys/|vpmu/)[a-z]+/[a-z]+", data), payload.file


def csr_reads(image: bytes) -> dict[int, int]:
    """Address to CSR number of every `csrr a0, csr` that a `ret` follows."""
    words = [int.from_bytes(image[i : i + 4], "little") for i in range(0, len(image) // 4 * 4, 4)]
    return {
        MAILBOX_BASE + 4 * i: word >> 20
        for i, (word, after) in enumerate(pairwise(words))
        if word & 0xFFFFF == 0x02573 and after == 0x00008067
    }


@pytest.mark.parametrize(
    ("name", "size", "table", "entries"), [("mailbox", 1544, 0x430, 37), ("mailbox-first", 684, 0x198, 34)]
)
def test_the_mailbox_payloads_lie_as_the_recorded_ones(
    name: str, size: int, table: int, entries: int
) -> None:
    image = payloads.path(name).read_bytes()
    assert len(image) == size
    numbers = [*range(0xC00, 0xC20), 0xDA0, 0x144, 0x104, 0x106, 0x120]
    reads = csr_reads(image)
    assert {MAILBOX_BASE + table + 8 * i: numbers[i] for i in range(entries)}.items() <= reads.items()


def test_every_recorded_trap_is_at_an_instruction_that_reads_that_csr(project: Path) -> None:
    """`stval` of an illegal instruction is the instruction: it must stand at `sepc` in the payload."""
    by_size = {
        len(payloads.path(name).read_bytes()): payloads.path(name) for name in ("mailbox", "mailbox-first")
    }
    checked = 0
    for table in sorted((project / "tests" / "tables").glob("kvm-*.txt")):
        image = b""
        for line in table.read_text().splitlines():
            if found := re.match(r"# payload (\d+) bytes", line):
                image = by_size[int(found[1])].read_bytes()
            if found := re.match(r"\s*trap scause=2 sepc=(\w+) stval=(\w+)", line):
                offset = int(found[1], 16) - MAILBOX_BASE
                assert int.from_bytes(image[offset : offset + 4], "little") == int(found[2], 16), line
                checked += 1
    assert checked > 50


def test_unknown_payload_names_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown payload 'countin'; did you mean counting\?"):
        payloads.path("countin")
    with pytest.raises(UnknownNameError):
        payloads.path("../payloads/hello")


QEMU_OUTPUT = {
    "hello": r"hello from S-mode on hart 0\r?\nSBI \d+\.\d+ by OpenSBI, PMU extension present",
    "counting": r"a loop of 2000000 instructions.*:\r?\n +\d{7} cycles\r?\n +\d{7} instructions",
    "failing-event": r"cache-misses +SBI_ERR_NOT_SUPPORTED \(-2\)\r?\nfw set_timer +3\r?\ncycles +\d+",
    "firmware-counter": r"after 5 calls: 105\r?\nstopped, after one more +: 105",
    "snapshot": r"no snapshot page: SBI_ERR_NOT_SUPPORTED|slot +\d+ +\d+ instructions",
    "overflow": r"overflow 3 at pc 0x80200[0-9a-f]{3}: bitmap 0x[0-9a-f]+, \d+ past zero",
}


@pytest.mark.qemu
@pytest.mark.parametrize("name", QEMU_OUTPUT)
def test_payload_runs_on_qemu_and_powers_off(tool: Callable[[str], str], name: str) -> None:
    qemu = tool("qemu-system-riscv64")
    machine = [
        "-M",
        "virt",
        "-cpu",
        "rv64,sscofpmf=true",
        "-icount",
        "shift=0",
        "-nographic",
        "-bios",
        "default",
    ]
    done = subprocess.run(
        [qemu, *machine, "-kernel", str(payloads.path(name))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(QEMU_OUTPUT[name], done.stdout), done.stdout[-2000:]


def test_the_build_script_says_what_is_missing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = subprocess.run(
        [
            sys.executable,
            str(project / "guests" / "build.py"),
            "--compiler",
            "gcc",
            "--output",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "install gcc-riscv64-linux-gnu, or pip install ziglang" in done.stderr
