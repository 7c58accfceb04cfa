"""Which layer is named for what was seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vpmu.trace.explain import Observed, Outcome, as_object, as_text, explain
from vpmu.trace.recorder import Record

SEEN = Observed(
    name="cache-misses",
    event_idx=4,
    event_data=0,
    profile="kvm-7.2",
    host_pmu="qemu-virt",
    firmware=False,
    offered=True,
    config=-2,
)


def perf(action: str, result: str, **args: object) -> Record:
    return Record(0, 0, "perf", "perf_event", action, args, result)


REFUSED = [
    perf("create", "ENOENT: event_init: host PMU qemu-virt does not count cache-misses", event="cache-misses")
]
CREATED = [perf("create", "ok", event="cycles")]


def outcomes(seen: Observed) -> list[tuple[str, Outcome]]:
    return [(stage.layer, stage.outcome) for stage in explain(seen).stages]


def test_perf_refuses_and_the_guest_is_answered() -> None:
    found = explain(replace(SEEN, records=REFUSED))
    assert (found.refused_by, found.code) == ("perf", "ENOENT")
    assert "SBI_ERR_NOT_SUPPORTED" in found.verdict
    assert "goes on" in found.verdict
    assert outcomes(found.observed)[2:] == [
        ("kvm", Outcome.FAILED),
        ("perf", Outcome.REFUSED),
        ("hart", Outcome.NOT_REACHED),
    ]
    assert found.stages[-1].detail == "no counter of host PMU qemu-virt can count it"


def test_perf_refuses_and_kvm_run_fails() -> None:
    found = explain(replace(SEEN, config=None, kvm_run_errno="ENOENT", records=REFUSED))
    assert (found.refused_by, found.code) == ("perf", "ENOENT")
    assert "KVM_RUN fails with ENOENT" in found.verdict
    assert found.stages[1].detail == "counter_config_matching never returns"


def test_kvm_refuses_before_perf_is_asked() -> None:
    found = explain(replace(SEEN, config=-3))
    assert (found.refused_by, found.code) == ("kvm", "SBI_ERR_INVALID_PARAM")
    assert found.stages[3].outcome is Outcome.NOT_REACHED


def test_no_pmu_is_offered() -> None:
    found = explain(replace(SEEN, offered=False, config=None))
    assert (found.refused_by, found.code) == ("kvm", "SBI_ERR_NOT_SUPPORTED")
    assert "does not offer the PMU extension" in found.verdict


def test_no_free_counter_is_the_harts_and_has_no_code() -> None:
    records = [*CREATED, perf("enable", "error", counter=None)]
    found = explain(replace(SEEN, config=0, counter=3, start=0, count=0, records=records))
    assert (found.refused_by, found.code) == ("hart", None)
    assert "the count stays 0" in found.verdict


def test_an_event_that_counts_names_its_physical_counter() -> None:
    records = [*CREATED, perf("enable", "active", counter=18)]
    found = explain(replace(SEEN, config=0, counter=0, start=0, count=200000, work=200000, records=records))
    assert found.refused_by is None
    assert found.stages[-1].detail == "counts on hpmcounter18"
    assert (
        found.verdict == "supported: 200,000 in 200,000 instructions of a loop that loads, stores and jumps"
    )


@pytest.mark.parametrize(("config", "refused"), [(0, None), (-2, "kvm")])
def test_firmware_events_need_neither_perf_nor_hart(config: int, refused: str | None) -> None:
    found = explain(
        replace(SEEN, name="fw:set_timer", firmware=True, config=config, counter=19 if config == 0 else None)
    )
    assert found.refused_by == refused
    assert [stage.outcome for stage in found.stages[3:]] == [Outcome.NOT_REACHED] * 2


def test_text_and_object_say_the_same() -> None:
    found = explain(replace(SEEN, records=REFUSED))
    text = as_text(found)
    assert text.splitlines()[0] == "cache-misses on kvm-7.2, host PMU qemu-virt"
    assert text.splitlines()[-1] == found.verdict
    for stage in found.stages:
        assert stage.detail in text
    made = as_object(found)
    assert (made["refused_by"], made["code"], made["sbi_error"]) == ("perf", "ENOENT", -2)


def test_firmware_programs_the_hart_itself() -> None:
    """Above OpenSBI there is neither KVM nor perf: no stage speaks of them."""
    seen = replace(SEEN, profile="opensbi-1.6", player="firmware", config=0, start=0, counter=18)
    found = explain(replace(seen, count=5, work=10))
    assert outcomes(found.observed) == [
        ("guest", Outcome.PASSED),
        ("sbi", Outcome.PASSED),
        ("firmware", Outcome.PASSED),
        ("hart", Outcome.PASSED),
    ]
    assert found.stages[-1].detail == "counts on hpmcounter18"
    refused = explain(replace(seen, config=-2, start=None, refusal="no counter of the set is free"))
    assert (refused.refused_by, refused.code) == ("firmware", "SBI_ERR_NOT_SUPPORTED")
    started = explain(replace(seen, start=-7))
    assert (started.refused_by, started.code) == ("firmware", "SBI_ERR_ALREADY_STARTED")
    software = explain(replace(seen, firmware=True, counter=19))
    assert software.verdict == "supported: the firmware counts cache-misses itself"
    for explanation in (found, refused, started, software):
        assert "kvm" not in as_text(explanation).lower()
        assert "perf" not in as_text(explanation)
