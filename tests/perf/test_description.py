"""Host PMU files: the ones that come with vpmu, and what a user's slip of the pen is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpmu.errors import UnknownNameError, VpmuError
from vpmu.hart.events import HartEvent
from vpmu.perf.description import DIRECTORY, host_pmu_names, load_host_pmu
from vpmu.perf.event_map import COUNTABLE
from vpmu.spec.perf import EVENTS

QEMU = (DIRECTORY / "qemu-virt.toml").read_text()


def test_names() -> None:
    assert {"full", "none", "qemu-virt"} <= set(host_pmu_names())
    for name in host_pmu_names():
        description = load_host_pmu(name)
        assert description.name == name
        assert description.summary


def test_qemu_virt() -> None:
    host = load_host_pmu("qemu-virt")
    assert host.num_hw_counters == 18
    assert host.counters.one_counter_per_event
    assert host.ecall_retires
    assert not host.counters.overflow_interrupts
    assert not host.ssaia
    assert host.events["cycles"] == frozenset(range(3, 19))


def test_full_counts_everything() -> None:
    host = load_host_pmu("full")
    assert set(host.events) == set(COUNTABLE)
    counted = {event for selector in host.counters.selectors or () for event in selector}
    assert counted == set(HartEvent)


def test_none_is_unusable() -> None:
    assert not load_host_pmu("none").counters.sscofpmf


def test_countable_events_have_perf_names() -> None:
    assert set(COUNTABLE) <= set(EVENTS)
    assert len(EVENTS) == 52


def test_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown host PMU 'qemu-vir'; did you mean qemu-virt\?"):
        load_host_pmu("qemu-vir")


def test_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        QEMU.replace('name = "qemu-virt"', 'name = "mine"')
        .replace("claimed = []", "claimed = [0, 18]")
        .replace('cycles = "any"', "cycles = [3, 5]")
        + '[raw_events]\n"0x1f" = "branches"\n'
    )
    for argument in path, str(path):
        host = load_host_pmu(argument)
        assert host.name == "mine"
        assert host.claimed == {0, 18}
        assert host.events["cycles"] == {3, 5}
        assert host.raw_events == {0x1F: (HartEvent.BRANCHES,)}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "qemu-virt"', "name = 7", "name: expected a text, got 7"),
        ('name = "qemu-virt"', "", "name is missing: expected a text"),
        ("width = 64", "width = 65", "counters.width: expected an integer from 1 to 64, got 65"),
        ("width = 64", "width = true", "counters.width: expected an integer from 1 to 64, got True"),
        (
            "programmable = 16",
            "programmable = 30",
            "counters.programmable: expected an integer from 0 to 29, got 30",
        ),
        ("sscofpmf = true", 'sscofpmf = "yes"', "counters.sscofpmf: expected true or false, got 'yes'"),
        ("smcntrpmf", "smcntrpfm", "counters.smcntrpmf is missing: expected true or false"),
        ("ssaia = false", "ssaia = false\nsaia = true", "unknown key in [host] 'saia'; did you mean ssaia?"),
        ("claimed = []", "claimed = [1]", "host.claimed: expected a list of counters (0 to 18), got [1]"),
        ("claimed = []", 'claimed = "any"', "host.claimed: expected a list of counters (0 to 18), got 'any'"),
        (
            'cycles = "any"',
            "cycles = [0]",
            'events.cycles: expected "any" or a list of counters (3 to 18), got [0]',
        ),
        (
            "dTLB-load-misses",
            "dTLB-load-miss",
            "unknown countable event in [events] 'dTLB-load-miss'; did you mean",
        ),
        ("[events]", "[event]", "events is missing: expected a table [events]"),
        ("[events]", "[Events]", "events is missing (is it 'Events'?)"),
        (
            "[events]",
            '[raw_events]\n"1g" = "loads"\n[events]',
            "expected a number of 56 bits such as \"0x1f\", got '1g'",
        ),
        (
            "[events]",
            '[raw_events]\n"1" = "load"\n[events]',
            "unknown value of raw_events.1 'load'; did you mean loads",
        ),
        ("[host]", "[host", "expected TOML"),
    ],
)
def test_bad_file(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in QEMU
    path = tmp_path / "bad.toml"
    path.write_text(QEMU.replace(old, new, 1))
    with pytest.raises(VpmuError) as caught:
        load_host_pmu(path)
    message = str(caught.value)
    assert message.startswith(f"file: {path}")
    assert words in message
    assert "\n" not in message


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(VpmuError, match="No such file"):
        load_host_pmu(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(VpmuError, match="not a text file: expected UTF-8"):
        load_host_pmu(tmp_path / "binary.toml")
