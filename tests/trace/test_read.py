"""Traces from files: what was cut is read up to the cut; damage and a full disk are one line."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.errors import FileError
from vpmu.trace.read import read_trace
from vpmu.trace.recorder import Record
from vpmu.trace.views import TraceFile, header

RECORDS = [
    Record(5, 0, "sbi", "num_counters", "call", {}, (0, 41)),
    Record(9, 1, "kvm", "csr", "read", {"csr": 0xC00}, 7),
    Record(11, 0, "sbi", "system_reset", "call", {}, "KVM_EXIT_SYSTEM_EVENT type 1 reason 0"),
]
CALL = {"time": 1, "hart": 0, "layer": "sbi", "actor": "counter_config_matching", "action": "call"}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    with TraceFile(tmp_path / "run.jsonl") as sink:
        for record in RECORDS:
            sink(record)
    return tmp_path / "run.jsonl"


def test_it_comes_back(trace: Path) -> None:
    told = read_trace(trace)
    assert list(told) == RECORDS
    assert told.cut is None


def test_cut_anywhere(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = trace.read_bytes()
    for size in range(1, len(data)):
        trace.write_bytes(data[:size])
        told = read_trace(trace)
        lines, rest = data[:size].count(b"\n"), data[:size].rpartition(b"\n")[2]
        only_its_end_is_missing = lines > 0 and rest and data[size : size + 1] == b"\n"
        assert list(told) == RECORDS[: max(lines - 1 + bool(only_its_end_is_missing), 0)]
        assert told.cut == (lines + 1 if rest and not only_its_end_is_missing else None)
    trace.write_bytes(data[:-20])
    assert main(["explain", str(trace), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["runs"][0]["cut"] == 4
    assert shown.err == f"vpmu: {trace}:4: the trace is cut off here; what came before is explained\n"


@pytest.mark.parametrize(
    "record",
    [
        {**CALL, "result": [0, ["set", []]]},
        {**CALL, "result": [0]},
        {**CALL, "result": [True, 0]},
        {**CALL},
        {**CALL, "result": [0, 1], "args": {"event_idx": 1 << 64}},
        {**CALL, "result": [0, 1], "args": [1]},
        {**CALL, "result": [0, 1], "time": -1},
        {**CALL, "result": [0, 1], "hart": 1 << 40},
        {**CALL, "result": [0, 1], "layer": []},
    ],
)
def test_what_is_json_and_no_record(record: object, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace.write_text(f"{header()}\n{json.dumps(record)}\n")
    assert main(["explain", str(trace)]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"vpmu: error: trace: {trace}:2: damaged trace: not a record\n")


@pytest.mark.parametrize("option", ["--trace", "--perfetto"])
@pytest.mark.parametrize("size", [0, 200, 2000])
def test_a_full_disk_is_one_line(
    option: str, size: int, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "run.jsonl"
    with full_disk(size):
        assert main(["run", "counting", "-q", option, str(path)]) == 2
    assert capsys.readouterr().err == f"vpmu: error: file: {path}: File too large\n"
    if option == "--trace" and size > 200:
        told = read_trace(path)
        assert len(list(told)) > 3
        assert told.cut is not None


def test_a_terminated_run_leaves_a_whole_trace(tmp_path: Path) -> None:
    """hart_get_status again and again: the trace grows until somebody ends it."""
    image, path = tmp_path / "calls.bin", tmp_path / "run.jsonl"
    image.write_bytes(struct.pack("<5I", 0x004858B7, 0x34D88893, 0x00200813, 0x00000073, 0xFFDFF06F))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "vpmu", "run", str(image), "--trace", str(path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not path.exists() or path.stat().st_size < 50_000:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert (process.returncode, said) == (143, "vpmu: terminated\n")
    told = read_trace(path)
    assert sum(record.actor == "hart_get_status" for record in told) > 300
    assert told.cut is None


def test_a_device_never_ends() -> None:
    with pytest.raises(FileError, match="not a trace"):
        list(read_trace("/dev/zero"))
