"""The command line as its user sees it: real processes, real payloads, outputs, files and exit statuses."""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vpmu.payloads import path as payload

FOR_EVER = struct.pack("<I", 0x0000006F)  # j .
JUMP_TO_0 = struct.pack("<I", 0x00000067)  # jr zero


def vpmu(
    *arguments: object, timeout: float = 120, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vpmu", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=cwd,
    )


# --- the scenarios of the demo


@pytest.fixture(scope="module")
def demo() -> list[dict[str, Any]]:
    done = vpmu("demo", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    scenarios: list[dict[str, Any]] = json.loads(done.stdout)["scenarios"]
    return scenarios


def test_demo_has_every_scenario_before_and_after(demo: list[dict[str, Any]]) -> None:
    keys = {"name", "profile", "errno_injected", "stop", "kvm_run_errno", "sbi_error", "guest_finished"}
    assert all(keys | {"instructions", "exits"} <= set(one) for one in demo)
    errnos = [errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOMEM, errno.EBUSY]
    expected = [("no-pmu", None), *(("event-fails", number) for number in errnos), ("normal", None)]
    found = [(one["name"], one["errno_injected"], one["profile"]) for one in demo]
    assert found == [
        (name, number, profile) for name, number in expected for profile in ("kvm-6.9", "kvm-7.2")
    ]


def test_demo_shows_the_seed(demo: list[dict[str, Any]]) -> None:
    for one in demo:
        lost = one["name"] == "event-fails" and one["profile"] == "kvm-6.9"
        refused = one["name"] == "event-fails" and not lost
        assert one["stop"] == ("kvm_run_failed" if lost else "shutdown")
        assert one["kvm_run_errno"] == (one["errno_injected"] if lost else None)
        assert one["sbi_error"] == (-2 if refused else None)
        assert one["guest_finished"] is not lost
    before, after = (one for one in demo if one["name"] == "normal")
    assert before["console"] == after["console"]
    assert before["instructions"] == after["instructions"]
    assert "     2000000 cycles\n     2000000 instructions\n" in after["console"]
    after_refusal = next(one for one in demo if one["sbi_error"] == -2)["console"]
    assert "SBI_ERR_NOT_SUPPORTED" in after_refusal
    assert "fw set_timer   3\n" in after_refusal  # goes on, with a firmware counter
    assert "the guest finished\n" in after_refusal


def test_demo_as_text() -> None:
    done = vpmu("demo")
    assert done.returncode == 0
    assert "KVM_RUN: EBUSY" in done.stdout
    assert "SBI_ERR_NOT_SUPPORTED" in done.stdout
    assert done.stdout.splitlines()[-1] == "All 14 runs came out as on the real systems."


def test_demo_on_the_machines_own_perf() -> None:
    done = vpmu("demo", "--perf", "host", "--json")
    if done.returncode == 4:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0
    for one in json.loads(done.stdout)["scenarios"]:
        # Whatever this kernel answers: before the fix a refusal is the end, after it never.
        assert one["guest_finished"] or (one["profile"] == "kvm-6.9" and one["kvm_run_errno"])


# --- payloads

OUTPUT = {
    ("hello", "qemu-virt"): ["hello from S-mode on hart 0", "SBI 3.0 by KVM, PMU extension present", ...],
    ("hello", "none"): ["hello from S-mode on hart 0", "SBI 3.0 by KVM, PMU extension absent", ...],
    ("counting", "qemu-virt"): [
        "41 counters",
        "cycles       on counter 0",
        "instructions on counter 2",
        "a loop of 2000000 instructions:",
        "     2000000 cycles",
        "     2000000 instructions",
    ],
    ("counting", "none"): ["no SBI PMU extension: nothing to count with"],
    ("failing-event", "qemu-virt"): [
        "cache-misses   SBI_ERR_NOT_SUPPORTED (-2)",
        "fw set_timer   3",
        ...,
        ...,
    ],
    ("failing-event", "full"): [..., "fw set_timer   3", ..., "the guest finished"],
    ("firmware-counter", "qemu-virt"): [
        "set_timer events on counter 19",
        "started at 100, after 5 calls: 105",
        "stopped, after one more    : 105",
    ],
    ("snapshot", "qemu-virt"): ["overflow bitmap 0x0", ..., ..., ...],
    ("overflow", "qemu-virt"): ["sie has no bit 13: this hart has no counter overflow interrupt (Sscofpmf)"],
    ("overflow", "full"): [
        "overflow status from the snapshot page",
        "instructions on counter 2, period 200000",
        ...,
        ...,
        ...,
    ],
}


@pytest.mark.parametrize(("name", "host_pmu"), OUTPUT)
def test_payload_output(name: str, host_pmu: str) -> None:
    done = vpmu("run", name, "--host-pmu", host_pmu)
    assert done.returncode == 0
    lines, expected = done.stdout.splitlines(), OUTPUT[name, host_pmu]
    assert len(lines) == len(expected)
    for line, wanted in zip(lines, expected, strict=True):
        assert wanted in (..., line)
    assert done.stderr.startswith("vpmu: shutdown (SBI system reset: shutdown, reason 0); ")
    if (name, host_pmu) == ("overflow", "full"):
        for number, line in enumerate(lines[2:], 1):
            assert line.startswith(f"overflow {number} at pc 0x8020")
            assert line.endswith(": bitmap 0x4, 58 past zero")  # the same for all three: counts are exact


def test_run_as_json() -> None:
    made = json.loads(vpmu("run", "hello", "--json").stdout)
    assert made["stop"] == "shutdown"
    assert made["console"].startswith("hello from S-mode")
    assert made["exits"] == sum(made["exit_counts"][kind] for kind in ("sbi", "system_event"))


def test_stat_prints_perfs_table() -> None:
    done = vpmu("stat", "-e", "instructions,branches,cache-misses", "counting")
    assert done.returncode == 0
    lines = [line.split() for line in done.stderr.splitlines() if line]
    assert lines[0] == ["Performance", "counter", "stats", "for", "'counting':"]
    assert int(lines[1][0].replace(",", "")) > 2_000_000
    assert lines[2] == ["<not", "supported>", "branches"]
    assert lines[3] == ["<not", "supported>", "cache-misses"]
    starved = vpmu("stat", "-e", "branches", "--host-pmu", "full", "--starve", "16", "hello")
    assert "<not counted>" in starved.stderr


def test_explain_names_the_layer() -> None:
    done = vpmu("explain", "cache-misses", "--json")
    assert done.returncode == 1
    (event,) = json.loads(done.stdout)["events"]
    assert event["refused_by"] == "perf"
    assert vpmu("explain", "cycles").returncode == 0


# --- the same run twice


@pytest.mark.parametrize("suffix", ["jsonl", "txt", "json"])
@pytest.mark.parametrize("arguments", [("overflow", "--host-pmu", "full"), ("failing-event", "--smp", "2")])
def test_two_runs_write_the_same_trace_file(tmp_path: Path, suffix: str, arguments: tuple[str, ...]) -> None:
    files = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for file in files:
        assert vpmu("run", *arguments, "--trace", file).returncode == 0
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert len(first) > 2000
    if suffix == "json":
        assert json.loads(first)["traceEvents"]


def test_a_trace_has_calls_exits_perf_actions_and_overflows(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    vpmu("run", "overflow", "--host-pmu", "full", "--trace", file)
    head, *records = [json.loads(line) for line in file.read_text().splitlines()]
    assert head == {"schema": "vpmu-trace", "version": 1, "time_unit": "virtual ns"}
    seen = {(record["layer"], record["actor"], record["action"]) for record in records}
    assert seen >= {
        ("sbi", "counter_config_matching", "call"),
        ("sbi", "system_reset", "call"),
        ("perf", "perf_event", "create"),
        ("perf", "perf_event", "enable"),
        ("perf", "perf_event", "overflow"),
        ("kvm", "interrupt", "set"),
    }
    times = [record["time"] for record in records]
    assert times == sorted(times)
    # The overflow comes after exactly the period that counter_start asked for.
    start = next(record for record in records if record["actor"] == "counter_start")
    overflow = next(record for record in records if record["action"] == "overflow")
    assert overflow["time"] - start["time"] == 200_000


# --- start-up


def test_a_warm_start_loads_no_generator_and_no_other_engine() -> None:
    vpmu("run", "hello")  # builds the engine where there is none yet
    code = (
        "import sys; from vpmu.cli.main import main; main(['run', '-q', 'snapshot']); "
        "print('LOADED', *sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert "vpmu.hart.native" in loaded
    needless = ("generator", "regions", "semantics", "isa", "privileged", "program", "reference", "softfloat")
    assert not [name for name in loaded if name.startswith(tuple(f"vpmu.hart.{room}" for room in needless))]
    assert loaded.isdisjoint({"elftools", "rich", "difflib", "asyncio", "unittest"})


# --- bad input: one line, the right status, no traceback


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    good = payload("hello").read_bytes()

    def patched(name: str, *changes: tuple[int, bytes]) -> None:
        data = bytearray(good)
        for offset, new in changes:
            data[offset : offset + len(new)] = new
        (folder / name).write_bytes(data)

    header = struct.unpack_from("<Q", good, 32)[0]
    patched("machine.elf", (18, b"\xb7\x00"))
    patched("class.elf", (4, b"\x01"))
    patched("endian.elf", (5, b"\x02"))
    patched("entry.elf", (24, struct.pack("<Q", 0x10)))
    patched("outside.elf", (header + 16, struct.pack("<QQ", 0x4000_0000, 0x4000_0000)))
    (folder / "cut.elf").write_bytes(good[:300])
    (folder / "head.elf").write_bytes(good[:20])
    (folder / "text").write_text("hello, this is a text file\n")
    (folder / "empty").write_bytes(b"")
    (folder / "folder").mkdir()
    (folder / "loop.bin").write_bytes(FOR_EVER)
    (folder / "jump.bin").write_bytes(JUMP_TO_0)
    (folder / "bad.toml").write_text('name = "x"\nsummary = \n')
    (folder / "short.toml").write_text('name = "x"\nsummary = "y"\n\n[counters]\nprogrammable = 99\n')
    (folder / "bad.txt").write_text("# a table\nnot a line\n")
    return folder


BAD = [
    ("run text", 2, "text: not a guest image: expected ELF"),
    ("run empty", 2, "empty: empty file"),
    ("run folder", 2, "folder: Is a directory"),
    ("run absent.elf", 2, "absent.elf: No such file or directory"),
    ("run machine.elf", 2, "wrong ELF machine: expected RISC-V, got AArch64"),
    ("run class.elf", 2, "wrong ELF class: expected 64-bit, got 32-bit"),
    ("run endian.elf", 2, "wrong ELF byte order"),
    ("run entry.elf", 2, "entry outside RAM"),
    ("run outside.elf", 2, "segment outside RAM: expected inside 0x80000000..0x87ffffff"),
    ("run cut.elf", 2, "truncated ELF file"),
    ("run head.elf", 2, "truncated ELF header"),
    ("run helo", 2, "unknown image 'helo'; did you mean hello"),
    ("run hello --profile kvm-6.1", 2, "no profile of KVM of Linux 6.1: expected kvm-6.3 to kvm-7.3"),
    ("run hello --profile kmv-6.12", 2, "unknown profile 'kmv-6.12'; did you mean"),
    ("run hello --host-pmu ful", 2, "unknown host PMU 'ful'; did you mean full?"),
    ("run hello --host-pmu bad.toml", 2, "bad.toml:2: Invalid value"),
    ("run hello --host-pmu short.toml", 2, "short.toml:1: host is missing"),
    ("run hello --host-pmu absent.toml", 2, "absent.toml: No such file"),
    ("run hello --with snapshut", 2, "unknown behaviour 'snapshut'; did you mean snapshot"),
    ("run hello --refuse cycels=ENOENT", 2, "unknown event 'cycels'; did you mean cycles"),
    ("run hello --refuse cycles=ENOTTY", 2, "refusal of cycles"),
    ("run hello --starve 17", 2, "counters to starve"),
    ("run hello -m 16K", 2, "memory size: expected at least 64 KiB"),
    ("run hello -m 2M", 2, "segment outside RAM"),
    ("run hello -m 1T", 2, "GiB"),
    ("run hello --smp 65", 2, "number of harts: expected 1 to 64, got 65"),
    ("run hello --trace folder", 2, "folder: Is a directory"),
    ("run hello --trace absent/trace.txt", 2, "absent/trace.txt: No such file or directory"),
    ("run hello --input absent", 2, "absent: No such file or directory"),
    ("stat -e cycels hello", 2, "unknown event 'cycels'; did you mean cycles"),
    ("stat -e cycles -o absent/out hello", 2, "absent/out: No such file"),
    ("explain cycels", 2, "unknown event 'cycels'"),
    ("events --host-pmu non", 2, "unknown host PMU 'non'; did you mean none?"),
    ("profiles kvm-5.8", 2, "no profile of KVM of Linux 5.8: expected kvm-6.3"),
    ("replay bad.txt", 2, "bad.txt:2: not a recorded line"),
    ("replay empty", 2, "empty: no recorded line"),
    ("replay loop.bin", 2, "loop.bin:1: not a recorded line"),
    ("replay absent.txt", 2, "absent.txt: No such file"),
    ("run jump.bin", 1, "KVM_RUN failed with EOPNOTSUPP (instruction fetch at 0x0"),
    (
        "run loop.bin --max-instructions 1M",
        1,
        "budget (the instructions that were allowed are used up); 1,000,000",
    ),
    ("run failing-event --profile kvm-6.9", 1, "KVM_RUN failed with ENOENT"),
]


@pytest.mark.parametrize(("line", "status", "message"), BAD, ids=[line for line, _, _ in BAD])
def test_bad_input_is_one_line(files: Path, line: str, status: int, message: str) -> None:
    done = vpmu(*line.split(), cwd=files)
    errors = [text for text in done.stderr.splitlines() if text]
    assert len(errors) == 1 or status == 1, done.stderr  # a guest that ends badly: also where it was
    assert message in errors[0]
    assert errors[0].startswith("vpmu: error: " if status == 2 else "vpmu: ")
    assert done.returncode == status
    assert "Traceback" not in done.stdout + done.stderr


def test_an_unreadable_file(files: Path) -> None:
    file = files / "unreadable"
    file.write_bytes(b"x")
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything")
    done = vpmu("run", file)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "--json"),
        ("run", "--smp", "2"),
        ("run", "--engine", "reference"),
        ("stat", "-e", "cycles"),
    ],
    ids=" ".join,
)
def test_ctrl_c_ends_an_endless_guest(files: Path, arguments: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vpmu", *arguments, str(files / "loop.bin")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background may have it ignored, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        time.sleep(2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, "", "vpmu: interrupted\n")
