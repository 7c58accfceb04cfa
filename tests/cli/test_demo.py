"""The demo's own judgement of its outcomes, and its table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vpmu.cli.demo import AFTER, BEFORE, ERRNOS, Outcome, as_object, check, scenarios, text


def as_on_real_systems() -> list[Outcome]:
    outcomes = []
    for scenario in scenarios("model"):
        for profile in (BEFORE, AFTER):
            lost = scenario.errno_injected is not None and profile == BEFORE
            refused = scenario.errno_injected is not None and not lost
            outcome = Outcome(
                scenario,
                profile,
                stop="kvm_run_failed" if lost else "shutdown",
                kvm_run_errno=scenario.errno_injected if lost else None,
                sbi_error=-2 if refused else None,
                guest_finished=not lost,
                instructions=2000123,
                exits=14,
                console="the guest finished\n",
            )
            outcomes.append(outcome)
    return outcomes


def test_three_scenarios_with_five_errnos_before_and_after() -> None:
    outcomes = as_on_real_systems()
    assert len(outcomes) == 2 * (1 + len(ERRNOS) + 1)
    assert [scenario.name for scenario in scenarios("model")] == ["no-pmu"] + ["event-fails"] * 5 + ["normal"]
    assert check(outcomes) == []


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        (0, {"guest_finished": False}, "no-pmu under kvm-6.9: the guest should finish"),
        (2, {"stop": "shutdown", "kvm_run_errno": None}, "KVM_RUN should fail with ENOENT"),
        (4, {"kvm_run_errno": 2}, "KVM_RUN should fail with EINVAL"),
        (3, {"guest_finished": False}, "event-fails under kvm-7.2: the guest should finish"),
        (3, {"sbi_error": None}, "the guest should be answered SBI_ERR_NOT_SUPPORTED"),
        (-1, {"console": "another count"}, "the counts should be the same before and after"),
    ],
)
def test_what_comes_out_otherwise_is_told(index: int, change: dict[str, object], message: str) -> None:
    outcomes = as_on_real_systems()
    outcomes[index] = replace(outcomes[index], **change)  # type: ignore[arg-type]
    (wrong,) = check(outcomes)
    assert message in wrong


def test_the_table_has_a_line_for_each_and_the_json_the_agreed_keys() -> None:
    outcomes = as_on_real_systems()
    lines = text(outcomes).splitlines()
    rows = [line for line in lines if " kvm-" in line and "printed" not in line and "Before" not in line]
    assert len(rows) == len(outcomes)
    lost, refused = (line.split() for line in rows[2:4])
    assert lost == ["event-fails", "ENOENT", "kvm-6.9", "KVM_RUN:", "ENOENT", "lost", "2,000,123"]
    assert refused == ["event-fails", "ENOENT", "kvm-7.2", "SBI_ERR_NOT_SUPPORTED", "finished", "2,000,123"]
    assert max(map(len, lines)) <= 80
    keys = {"name", "profile", "errno_injected", "stop", "kvm_run_errno", "sbi_error", "guest_finished"}
    assert keys | {"instructions", "exits"} <= set(as_object(outcomes[0]))
