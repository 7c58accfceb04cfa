"""One command in the guest: the archive that carries it, and its output cut out of the console."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.execution import ExecStream, build_exec_archive, init_script, parse_exit_marker

ID = "0123456789abcdef"
BOOT = b"[    0.000000] Linux version 6.12\r\n[    1.000000] Run /init as init process\r\n"


def console(output: bytes, status: int) -> bytes:
    return (BOOT + f"@vpmu-begin {ID}@\r\n".encode() + output + f"@vpmu-exit {ID} {status}@\n".encode()
            + b"[    2.000000] reboot: Power down\r\n")  # fmt: skip


def test_the_archive_holds_script_name_init_and_files(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"\x7fELF")
    archive = build_exec_archive("echo hi; exit 3", {"/opt/tool": tmp_path / "tool", "data": b"x"})
    members = {entry.name: entry for entry in cpio.read(archive)}
    assert members["vpmu/exec"].data == b"echo hi; exit 3\n"
    assert members["vpmu/init"].data == init_script()
    assert members["opt/tool"].data == b"\x7fELF"
    assert members["opt/tool"].mode & 0o777 == 0o755
    assert len(members["vpmu/id"].data) == 17
    assert archive == build_exec_archive("echo hi; exit 3", {"data": b"x", "/opt/tool": b"\x7fELF"})
    assert archive != build_exec_archive("echo hi; exit 3", {"data": b"y", "/opt/tool": b"\x7fELF"})


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"@vpmu-exit {ID} 0@", 0),
        (f"no newline before@vpmu-exit {ID} 137@\r", 137),
        (f"[    1.758482] @vpmu-exit {ID} 9@", 9),
        (f"@vpmu-begin {ID}@", None),
        ("@vpmu-exit 12 0@", None),
        (f"@vpmu-exit {ID} @", None),
        ("", None),
    ],
)
def test_exit_marker(line: str, status: int | None) -> None:
    assert parse_exit_marker(line) == status


@given(st.binary(max_size=300), st.integers(0, 255), st.lists(st.integers(1, 40), max_size=40))
def test_output_is_exact_however_the_stream_is_cut(output: bytes, status: int, cuts: list[int]) -> None:
    data = console(output, status)
    stream, got = ExecStream(), b""
    for cut in [*cuts, len(data)]:
        got += stream.feed(data[:cut])
        data = data[cut:]
    assert got == output
    assert stream.status == status
    assert bytes(stream.console) == console(output, status)


def test_output_comes_as_it_is_written() -> None:
    stream = ExecStream()
    assert stream.feed(BOOT) == b""
    assert stream.feed(f"@vpmu-begin {ID}@\r\n".encode()) == b""
    assert stream.started
    assert stream.feed(b"one\ntwo") == b"one\ntwo"
    assert stream.feed(b" a@b") == b" a"
    assert stream.feed(b" end, long enough that it cannot be a marker") != b""
    assert stream.status is None


def test_markers_that_the_command_prints_are_output() -> None:
    forged = f"@vpmu-exit {ID[::-1]} 0@\n@vpmu-begin {ID}@\n".encode()
    stream = ExecStream()
    assert stream.feed(console(forged, 4)) == forged
    assert stream.status == 4


def test_time_stamps_of_the_kernel_log_are_taken_off() -> None:
    text = (f"[    1.6] old\r\n[    1.662840] @vpmu-begin {ID}@\r\n[    1.662841] one\r\n"
            f"[    1.672952] [2] two\r\n[    1.758482] @vpmu-exit {ID} 9@\r\n").encode()  # fmt: skip
    stream = ExecStream()
    got = b"".join(stream.feed(text[i : i + 1]) for i in range(len(text)))
    assert got == b"one\n[2] two\n"
    assert stream.status == 9
