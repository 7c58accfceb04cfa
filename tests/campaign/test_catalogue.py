"""The catalogue of failure scenarios: each one holds under every profile, and is about what its title
says.
"""

from __future__ import annotations

import pytest

from vpmu.campaign.catalogue import load_catalogue, run_scenario
from vpmu.campaign.script import parse_script
from vpmu.campaign.script_text import ScriptError
from vpmu.campaign.verdict import Verdict
from vpmu.profiles.profiles import get_profile

CATALOGUE = load_catalogue()


def test_all_eighty_are_there_and_at_least_seventy_exist() -> None:
    assert list(CATALOGUE) == [f"F{number}" for number in range(1, 81)]
    assert sum(not scenario.absent for scenario in CATALOGUE.values()) >= 70
    for scenario in CATALOGUE.values():
        assert bool(scenario.absent) != bool(scenario.steps)


@pytest.mark.parametrize("name", [name for name, scenario in CATALOGUE.items() if not scenario.absent])
def test_scenario(name: str) -> None:
    scenario = CATALOGUE[name]
    rows = run_scenario(scenario)
    assert [row.profile for row in rows] == list(scenario.profiles)
    for row in rows:
        wrong = [(a.step, a.expected, a.observed) for a in row.answers if not a.held]
        assert wrong == [], row.profile
        assert row.held
        assert any(answer.expected for answer in row.answers), "a scenario that checks nothing"


@pytest.mark.parametrize(
    "profile",
    ["kvm-6.3", "kvm-6.12.117", "kvm-6.13", "kvm-6.17", "kvm-6.18", "kvm-7.0", "kvm-7.1", "kvm-7.3"],
)
def test_every_scenario_holds_in_releases_that_are_not_listed(profile: str) -> None:
    """What is expected follows from behaviours, not from numbers of releases."""
    rows = [row for scenario in CATALOGUE.values() for row in run_scenario(scenario, [profile])]
    assert len(rows) >= 58
    assert [(row.id, answer) for row in rows for answer in row.answers if not answer.held] == []
    assert all(row.held for row in rows)


@pytest.mark.parametrize(
    ("name", "profile", "verdict"),
    [
        ("F1", "kvm-6.9", Verdict.GUEST_LOST),
        ("F1", "kvm-7.2", Verdict.AS_SPECIFIED),
        ("F10", "kvm-7.2", Verdict.SILENTLY_WRONG),
        ("F10", "spec-3.0", Verdict.AS_SPECIFIED),
        ("F59", "kvm-7.2", Verdict.SILENTLY_WRONG),
        ("F69", "kvm-6.12", Verdict.SILENTLY_WRONG),
        ("F69", "kvm-7.2", Verdict.AS_SPECIFIED),
        ("F69", "kvm-6.12.117", Verdict.AS_SPECIFIED),
        ("F42", "kvm-6.10", Verdict.GUEST_LOST),
        ("F42", "kvm-6.12", Verdict.AS_SPECIFIED),
        ("F78", "kvm-7.2", Verdict.SILENTLY_WRONG),
    ],
)
def test_verdicts(name: str, profile: str, verdict: Verdict) -> None:
    (row,) = run_scenario(CATALOGUE[name], [profile])
    assert row.verdict is verdict


def test_an_expectation_that_does_not_hold_is_seen() -> None:
    steps = parse_script("config cycles | SUCCESS 5; kvm<6.12,spec-3.0: SUCCESS; kvm>=7.2: -")
    (step,) = steps
    assert [step.expected(get_profile(p)) for p in ("spec-3.0", "kvm-6.9", "kvm-6.12", "kvm-7.2")] == [
        "SUCCESS", "SUCCESS", "SUCCESS 5", None,
    ]  # fmt: skip


def test_a_step_that_does_not_exist() -> None:
    with pytest.raises(ScriptError, match="unknown step 'strat'"):
        parse_script("strat 3")
