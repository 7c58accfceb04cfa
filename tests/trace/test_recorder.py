"""The recorder and the views of its records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vpmu.spec.sbi import SbiError, SbiRet
from vpmu.trace.recorder import NULL, Record, Recorder
from vpmu.trace.views import SCHEMA, SCHEMA_VERSION, TraceFile, as_chrome_event, as_json_line, as_text, plain


def test_records_are_stamped_by_the_clock_and_kept_in_order() -> None:
    ticks = iter((5, 9))
    recorder = Recorder(clock=lambda: next(ticks))
    recorder.emit("sbi", "pmu", "counter_start", 0, hart=1, base=3)
    recorder.emit("perf", "perf_event", "enable", "active")
    assert recorder.records == [
        Record(5, 1, "sbi", "pmu", "counter_start", {"base": 3}, 0),
        Record(9, 0, "perf", "perf_event", "enable", {}, "active"),
    ]


def test_a_sink_gets_the_records_and_none_is_kept() -> None:
    seen: list[Record] = []
    recorder = Recorder(seen.append)
    recorder.emit("kvm", "vcpu", "exit")
    assert [record.action for record in seen] == ["exit"]
    assert recorder.records == []


def test_a_disabled_recorder_asks_no_clock_and_keeps_nothing() -> None:
    def clock() -> int:
        raise AssertionError("a disabled recorder has no use for the time")

    recorder = Recorder(clock=clock, enabled=False)
    recorder.emit("kvm", "vcpu", "exit")
    assert recorder.records == []


def test_the_shared_null_recorder_cannot_be_filled() -> None:
    assert not NULL.enabled
    NULL.emit("kvm", "vcpu", "exit")
    assert NULL.records == []


def test_plain_values_for_json() -> None:
    value = {
        "ret": SbiRet(SbiError.NOT_SUPPORTED, 0),
        "data": b"\x01\x02",
        "set": frozenset({3, 1}),
        "list": (1, None, True),
    }
    assert plain(value) == {
        "ret": {"error": -2, "value": 0},
        "data": "0102",
        "set": [1, 3],
        "list": [1, None, True],
    }
    assert type(plain(SbiError.FAILED)) is int


RECORD = Record(
    1234567, 1, "sbi", "pmu", "config_matching", {"mask": 0x1FFFFFFFFFD, "flags": 2}, SbiRet(-2, 0)
)


def test_text_is_one_line_with_large_numbers_in_hexadecimal() -> None:
    call = "pmu.config_matching(mask=0x1fffffffffd, flags=2) -> NOT_SUPPORTED, 0"
    assert as_text(RECORD) == f"     1,234,567 ns  hart1  sbi    {call}"


def test_json_line_has_only_what_is_there() -> None:
    assert json.loads(as_json_line(RECORD)) == {
        "time": 1234567,
        "hart": 1,
        "layer": "sbi",
        "actor": "pmu",
        "action": "config_matching",
        "args": {"mask": 0x1FFFFFFFFFD, "flags": 2},
        "result": {"error": -2, "value": 0},
    }
    assert set(json.loads(as_json_line(Record(0, 0, "kvm", "vcpu", "reset")))) == {
        "time",
        "hart",
        "layer",
        "actor",
        "action",
    }


def test_chrome_event_is_in_microseconds() -> None:
    event = json.loads(as_chrome_event(RECORD))
    assert (event["ts"], event["ph"], event["pid"], event["cat"]) == (1234.567, "i", 1, "sbi")
    assert event["args"]["result"] == {"error": -2, "value": 0}


def write(path: Path, records: list[Record]) -> str:
    with TraceFile(path) as sink:
        for record in records:
            sink(record)
    return path.read_text()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_json_lines_file_begins_with_its_schema(tmp_path: Path, number: int) -> None:
    first, *rest = write(tmp_path / "trace.jsonl", [RECORD] * number).splitlines()
    assert json.loads(first) == {"schema": SCHEMA, "version": SCHEMA_VERSION, "time_unit": "virtual ns"}
    assert [json.loads(line) for line in rest] == [json.loads(as_json_line(RECORD))] * number


@pytest.mark.parametrize("number", [0, 1, 2])
def test_perfetto_file_is_one_json_object(tmp_path: Path, number: int) -> None:
    events = json.loads(write(tmp_path / "trace.json", [RECORD] * number))["traceEvents"]
    assert len(events) == number


@pytest.mark.parametrize("number", [0, 1, 2])
def test_text_file_is_the_lines_alone(tmp_path: Path, number: int) -> None:
    assert write(tmp_path / "trace.txt", [RECORD] * number).splitlines() == [as_text(RECORD)] * number


def test_equal_streams_give_equal_bytes(tmp_path: Path) -> None:
    for ending in ("jsonl", "json", "txt"):
        assert write(tmp_path / f"a.{ending}", [RECORD, RECORD]) == write(
            tmp_path / f"b.{ending}", [RECORD, RECORD]
        )


def test_a_closed_file_takes_no_record(tmp_path: Path) -> None:
    sink = TraceFile(tmp_path / "trace.txt")
    with pytest.raises(ValueError, match=r"trace\.txt"):
        sink(RECORD)
