"""Two profiles compared: what explains it comes first, and the difference that matters is named."""

from __future__ import annotations

import pytest

from vpmu.campaign.compare import compare
from vpmu.campaign.difference import first_difference, first_that_matters
from vpmu.faults import FaultPlan, parse_rule
from vpmu.payloads import path
from vpmu.report.compare import markdown, page
from vpmu.trace.recorder import Record

EBUSY = FaultPlan((parse_rule("perf.create:event=cache-misses,errno=EBUSY"),))


def call(actor: str, result: int = 0, action: str = "call", **args: object) -> Record:
    return Record(0, 0, "sbi", actor, action, args, (result, 0))


def test_introductions_and_everyday_calls_do_not_matter() -> None:
    one = [call("get_spec_version", 1), call("set_timer", stime_value=5), call("counter_start", 0, counter=3)]
    two = [
        call("get_spec_version", 2),
        call("set_timer", stime_value=6),
        call("counter_start", -3, counter=3),
    ]
    assert first_difference(one, two) == 0
    assert first_that_matters(one, two) == (2, 2)
    assert first_that_matters([call("probe_extension"), *one], two) == (
        3,
        2,
    )  # they do not have to be as many
    assert first_that_matters(one[:2], two[:2]) == (0, 0)  # where nothing else differs, they do
    assert first_that_matters(one, one) is None
    assert first_that_matters(one, [*one, call("counter_stop")]) == (3, 3)


def test_a_call_that_one_did_not_survive_matters_most() -> None:
    asked = {"event_idx": 3}
    early = call("counter_config_matching", -2, **asked)
    one = [early, call("counter_stop", -8), call("counter_config_matching", -2, "kvm-run-error", **asked)]
    two = [early, call("counter_stop", 0), call("set_timer"), call("counter_config_matching", -2, **asked)]
    assert first_that_matters(one, two) == (2, 3)
    assert first_that_matters(two, one) == (3, 2)


def test_the_explaining_commit_comes_first() -> None:
    told: list[str] = []
    found = compare(
        "kvm-6.9", "kvm-7.2", str(path("failing-event")), EBUSY, name="failing-event",
        progress=lambda what, share: told.append(what),
    )  # fmt: skip
    assert found.explained[0].behaviour.commit.startswith("2196c066f138")
    assert [one.weight for one in found.explained] == sorted(one.weight for one in found.explained)
    assert found.parted is not None
    assert {found.first.calls[found.parted[0]].actor, found.second.calls[found.parted[1]].actor} == {
        "counter_config_matching"
    }
    text = markdown(found)
    assert text.index("2196c066f138") < text.index("The first difference that matters")
    assert "The first difference that matters: counter_config_matching, number 45" in text
    assert "What explains it" in page(found)
    assert told[:2] == ["kvm-6.9", "kvm-7.2"]
    assert told[2].endswith(f"(1 of {len(told) - 2})")


@pytest.mark.parametrize("profile", ["kvm-6.12", "kvm-7.2"])
def test_one_profile_against_itself(profile: str) -> None:
    found = compare(profile, profile, str(path("counting")), FaultPlan())
    assert (found.changed, found.parted, found.explained) == (False, None, ())
