"""`vpmu events` and `vpmu profiles`."""

from __future__ import annotations

import json

import pytest

from vpmu.cli.events import in_words
from vpmu.cli.main import main


def test_events_say_which_counters_the_host_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "cycles", "cache-misses", "fw:set_timer"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["cycles", "0x00001", "HARDWARE", "0x0", "cycle,", "hpmcounter3-18"]
    assert lines[3].split() == ["cache-misses", "0x00004", "HARDWARE", "0x3", "none"]
    assert lines[4].split()[:4] == ["fw:set_timer", "0xf0005", "-", "-"]
    assert lines[4].endswith("in software")


def test_events_as_json_list_all_named_events(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--json", "--host-pmu", "full"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["host_pmu"] == "full"
    assert len(made["events"]) == 10 + 42 + 22
    loads = next(event for event in made["events"] if event["name"] == "dTLB-load-misses")
    assert (loads["event_idx"], loads["perf_type"], loads["perf_config"], loads["supported"]) == (
        0x10019,
        3,
        0x10003,
        True,
    )


def test_counters_in_words() -> None:
    assert in_words({0, 2, 3, 4, 5, 7}) == "cycle, instret, hpmcounter3-5, hpmcounter7"
    assert in_words(set()) == ""


def test_profiles_cite_the_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles"]) == 0
    text = capsys.readouterr().out
    for name in ("spec-3.0", "kvm-6.9", "kvm-6.10", "kvm-6.12", "kvm-7.2"):
        assert name in text
    assert '2196c066f138 ("RISC-V: KVM: No need to exit to the user space if perf event failed")' in text


def test_profiles_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "--json", "kvm-6.9", "kvm-6.10"]) == 0
    before, after = json.loads(capsys.readouterr().out)["profiles"]
    assert "perf-failure-ends-kvm-run" in before["behaviours"]
    assert "perf-failure-ends-kvm-run" not in after["behaviours"]
