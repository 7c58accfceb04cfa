"""Booting Linux as far as it goes without a guest: bad input, the console's watchers, the terminal."""

from __future__ import annotations

import base64
import gzip
import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vpmu.cli.main import main
from vpmu.errors import FileError, ImageError, MachineError
from vpmu.vmm.host_timeout import host_timeout
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.boot import LinuxBoot, boot_arguments, read_initrd
from vpmu.vmm.linux.boot_terminal import Terminal
from vpmu.vmm.linux.files_out import FilesOut
from vpmu.vmm.linux.perf_command import recording
from vpmu.vmm.linux.program import counted_program
from vpmu.vmm.linux.samples import flame_graph, parse_script
from vpmu.vmm.machine import Machine

ARCHIVE = cpio.write([cpio.file("init", b"#!/bin/sh\n" * 500, 0o755)])
SCRIPT = (
    "sh     117     0.803559:     100000 cycles:\n"
    "\tffffffff80214972 filemap_map_pages+0x16a ([kernel.kallsyms])\n"
    "\tffffffff80a69d14 do_trap_ecall_u ([kernel.kallsyms])\n"
    "\t          12e484 [unknown] (/usr/bin/busybox)\n"
    "\n"
    "my prog   118     0.803763:      50000 cycles:            12e484 [unknown] (/usr/bin/busybox)\n"
)


def test_the_callers_arguments_come_last_and_so_win() -> None:
    assert boot_arguments("loglevel=8", quiet=True).endswith(" quiet loglevel=8")
    assert "quiet" not in boot_arguments()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file: expected an initramfs"),
        (b"root:x:0:0", "not an initramfs: expected cpio"),
        (ARCHIVE[:2000], "the archive is truncated: it ends at 2000 bytes"),
        (gzip.compress(ARCHIVE, mtime=0)[:60], "truncated gzip file"),
        (gzip.compress(ARCHIVE, mtime=0)[:12] + b"\xff" * 90, "damaged gzip file"),
    ],
)
def test_what_is_no_initramfs_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_initrd(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whole_archives_pass(tmp_path: Path) -> None:
    for content in (ARCHIVE, gzip.compress(ARCHIVE, mtime=0), cpio.append(ARCHIVE, ARCHIVE)):
        (tmp_path / "initrd").write_bytes(content)
        assert read_initrd(tmp_path / "initrd") == content
    with pytest.raises(FileError, match="No such file"):
        read_initrd(tmp_path / "nothing")


def test_a_kernel_must_be_an_image_and_is_named() -> None:
    boot = LinuxBoot(b"MZ" + bytes(100), None, kernel_name="vmlinuz")
    with pytest.raises(ImageError, match=r"^loader: vmlinuz: "):
        boot.load(Machine(memory=64 << 20))


def linux_image(code: bytes) -> bytes:
    """Code behind the header of a RISC-V Image (its first instruction jumps over it)."""
    header = bytearray(64)
    header[0:4] = (0x0400006F).to_bytes(4, "little")  # j . + 64
    header[8:16] = (2 << 20).to_bytes(8, "little")  # text_offset
    header[16:24] = (64 + len(code)).to_bytes(8, "little")
    header[0x38:0x3C] = b"RSC\x05"
    return bytes(header) + code


def prints(text: str) -> bytes:
    """Code that prints a text to the serial port and then turns for ever."""
    words = [0x10000537]  # lui a0, 0x10000
    for byte in text.encode():
        words += [byte << 20 | 11 << 7 | 0x13, 0x00B50023]  # li a1, byte; sb a1, 0(a0)
    words.append(0x0000006F)  # j .
    return b"".join(word.to_bytes(4, "little") for word in words)


def boot(text: str, command: str | None = None) -> tuple[LinuxBoot, Machine]:
    guest = LinuxBoot(linux_image(prints(text)), None, command=command)
    machine = Machine(memory=16 << 20, console_out=guest.sink)
    guest.load(machine)
    return guest, machine


def test_a_panic_ends_the_run_with_the_kernels_words() -> None:
    guest, _ = boot(
        "[0.1] Kernel panic - not syncing: no init\n[0.1] ---[ end Kernel panic - not syncing: no init ]---\n"
    )
    outcome = guest.run(max_instructions=10_000_000)
    assert (outcome.result.stop, outcome.panic, outcome.exit_status) == ("panic", "no init", 1)
    assert outcome.failure == "guest: kernel panic: no init"
    assert outcome.console.startswith(b"[0.1] Kernel panic")


def test_a_command_that_never_begins_is_a_failure() -> None:
    guest, _ = boot("booting\n", command="true")
    outcome = guest.run(timeout_ns=1_000_000)
    assert outcome.exit_status == 1
    assert "timed out before the command began" in (outcome.failure or "")
    assert outcome.console == b"booting\n"


def test_real_time_ends_a_guest_that_turns_for_ever() -> None:
    guest, machine = boot("booting\n")
    with host_timeout(machine, 0.05):
        outcome = guest.run()
    assert outcome.result.stop == "timeout"
    assert "0.05 seconds of real time" in (outcome.failure or "")


def test_keys_reach_the_guest_and_the_prefix_leaves() -> None:
    machine = Machine()
    reader, writer = os.pipe()
    try:
        terminal = Terminal(machine, reader)
        os.write(writer, b"ab\x01\x01c")
        terminal.poll()
        assert machine.serial.waiting == 4
        assert bytes(machine.serial.read(0) for _ in range(4)) == b"ab\x01c"
        os.write(writer, b"\x01")
        terminal.poll()
        os.write(writer, b"x")
        assert terminal.idle(0, None) is not None
        assert machine.turns.halted is not None
        assert machine.turns.halted[0] == "left"
    finally:
        os.close(reader)
        os.close(writer)


def test_a_sleeping_guest_waits_in_real_time_but_never_past_its_timer() -> None:
    reader, writer = os.pipe()
    try:
        terminal = Terminal(Machine(), reader)
        assert terminal.idle(1_000, 2_001_000) == 2_001_000
        os.write(writer, b"k")
        woken = terminal.idle(0, 60 * 10**9)
        assert woken is not None
        assert woken < 10**9
    finally:
        os.close(writer)
        terminal.idle(0, None)  # reads the end of input
        assert terminal.idle(0, None) is None
        os.close(reader)


def test_a_counted_program_is_an_elf_of_known_length() -> None:
    program, instructions = counted_program(5000)
    assert program.startswith(b"\x7fELF\x02\x01\x01")
    assert instructions == 10_003
    with pytest.raises(ValueError, match="loops"):
        counted_program(0)


def test_samples_become_stacks_and_a_well_formed_flame_graph() -> None:
    [samples] = parse_script(SCRIPT)
    assert (samples.count, samples.weight, samples.event) == (2, 150_000, "cycles")
    assert (
        samples.collapsed()
        == "my prog;[busybox] 50000\nsh;[busybox];do_trap_ecall_u;filemap_map_pages 100000\n"
    )
    root = ElementTree.fromstring(flame_graph(samples, "a & b < c"))
    titles = [node.text for node in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "sh: 100,000 (66.67%)" in titles
    assert "all: 150,000 (100.00%)" in titles


def test_memory_too_small_for_the_initramfs_says_how_much_is_needed() -> None:
    guest = LinuxBoot(linux_image(prints("x")), bytes(20 << 20))
    with pytest.raises(
        MachineError, match=r"initrd does not fit: expected 2\d MiB of memory or more, got 16 MiB"
    ):
        guest.load(Machine(memory=16 << 20))


TWO_EVENTS = """\
sh    45     1.000000:     100000 cycles:
 ffffffff80001000 do_idle ([kernel.kallsyms])

sh    45     1.000100:        700 instructions:u:
 ffffffff80001000 do_idle ([kernel.kallsyms])

"""


def test_samples_of_several_events_are_kept_apart() -> None:
    found = parse_script(TWO_EVENTS)
    assert [(one.event, one.count, one.weight) for one in found] == [
        ("cycles", 1, 100_000), ("instructions:u", 1, 700),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "kept", "output"),
    [
        (["-e", "cycles", "-o", "x", "true"], ["-e", "cycles", "true"], "x"),
        (["-ox", "-F", "99", "--", "cc", "-o", "y"], ["-F", "99", "--", "cc", "-o", "y"], "x"),
        (["--output=x", "cc", "-o", "y"], ["cc", "-o", "y"], "x"),
        (["-F", "99", "cc", "-o", "y"], ["-F", "99", "cc", "-o", "y"], None),
        (["--call-graph", "fp", "-o", "x", "ls"], ["--call-graph", "fp", "ls"], "x"),
    ],
)
def test_the_output_of_record_is_ours_and_that_of_the_command_is_not(
    arguments: list[str], kept: list[str], output: str | None
) -> None:
    found = recording(arguments)
    assert (list(found.arguments), found.output) == (kept, output)


def test_files_come_out_between_their_marks_however_the_console_cuts_them() -> None:
    sent = base64.encodebytes(gzip.compress(b"data of perf"))
    stream = b"before\n@vpmu-file samples@\n" + sent + b"@vpmu-file-end@\nafter\n@vpmu-f"
    for size in (1, 7, len(stream)):
        seen = bytearray()
        out = FilesOut(seen.extend)
        for at in range(0, len(stream), size):
            out(stream[at : at + size])
        out.close()
        assert bytes(seen) == b"beforeafter\n@vpmu-f"
        assert (out.file("samples"), out.file("data")) == (b"data of perf", None)


POWER_OFF = b"".join(word.to_bytes(4, "little") for word in (0x00100537, 0x000055B7, 0x5555859B, 0x00B52023))
"""lui a0, 0x100; lui a1, 5; addiw a1, a1, 0x555; sw a1, 0(a0): PASS to the test device."""


@pytest.mark.parametrize("command", [["run", "-q"], ["run", "--json"], ["stat"], ["stat", "--json"]])
@pytest.mark.parametrize(("said", "status"), [("Kernel panic - not syncing: no init", 1), ("all is well", 0)])
def test_a_kernel_that_panics_and_goes_off_has_not_ended_well(
    command: list[str], said: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = tmp_path / "Image"
    kernel.write_bytes(linux_image(prints(f"[    0.100000] {said}\n")[:-4] + POWER_OFF))
    assert main([command[0], str(kernel), *command[1:]]) == status
    printed = capsys.readouterr()
    if "--json" in command:
        assert json.loads(printed.out).get("panic") == ("no init" if status else None)
    elif command[0] == "stat":
        assert ("vpmu: guest: kernel panic: no init" in printed.err) == bool(status)
