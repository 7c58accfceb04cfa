"""Profiles and behaviours as data."""

from __future__ import annotations

import pytest

from vpmu.errors import UsageError
from vpmu.profiles.behaviours import BEHAVIOURS, B
from vpmu.profiles.commits import COMMITS
from vpmu.profiles.profiles import DEFAULT_PROFILE, PROFILES, SbiExtension, get_profile
from vpmu.see.sbi_extensions import SbiExtensions
from vpmu.spec.sbi import Eid

PROJECTS = ("Linux", "OpenSBI", "QEMU")


def test_the_profiles() -> None:
    assert list(PROFILES) == [
        "spec-3.0",
        "kvm-6.9",
        "kvm-6.10",
        "kvm-6.12",
        "kvm-6.12.117",
        "kvm-7.2",
        "kvm-7.3",
        "opensbi-1.1",
        "opensbi-1.6",
        "opensbi-1.7",
        "opensbi-1.8",
        "opensbi-1.9",
    ]
    assert get_profile().name == DEFAULT_PROFILE == "kvm-7.2"
    assert [hex(get_profile(f"kvm-{v}").impl_version) for v in ("6.9", "6.10", "6.12", "7.2")] == [
        "0x60900", "0x60a00", "0x60c6b", "0x7020d",
    ]  # fmt: skip
    assert [get_profile(name).sbi_version >> 24 for name in PROFILES] == [3, 2, 2, 2, 2, 3, 3, 1, 2, 3, 3, 3]


@pytest.mark.parametrize("behaviour", BEHAVIOURS.values(), ids=repr)
def test_every_behaviour_is_cited(behaviour: object) -> None:
    assert behaviour.name == BEHAVIOURS[behaviour.name].name  # type: ignore[attr-defined]
    assert behaviour.summary  # type: ignore[attr-defined]
    assert behaviour.reference  # type: ignore[attr-defined]
    assert not behaviour.commit or behaviour.subject or behaviour.project != "Linux"  # type: ignore[attr-defined]
    known = {*PROFILES.values()}
    users = [profile.name for profile in known if profile.has(behaviour)]  # type: ignore[arg-type]
    needs_no_profile = (
        B.EVENT_INFO_OOM_ENDS_KVM_RUN,
        B.CSR_ILLEGAL_WITHOUT_CONFIG,
        B.LEGACY_NOT_BUILT,
        B.SHMEM_FAILURE_DROPS_PAGE,
    )
    older = behaviour.project == "OpenSBI" and behaviour.until  # type: ignore[attr-defined]
    assert users or behaviour in needs_no_profile or older


def test_commits_are_used() -> None:
    cited = {project: {b.commit for b in BEHAVIOURS.values() if b.project == project} for project in PROJECTS}
    assert {commit for commit in COMMITS if len(commit) == 12} == cited["Linux"] - {""}
    assert {commit for commit in COMMITS if len(commit) == 8} <= cited["OpenSBI"]


def test_the_seed_is_the_difference_that_matters() -> None:
    before, at = get_profile("kvm-6.9"), get_profile("kvm-6.10")
    assert before.has(B.PERF_FAILURE_ENDS_KVM_RUN)
    assert not at.has(B.PERF_FAILURE_ENDS_KVM_RUN)
    assert not before.has(B.SNAPSHOT)
    assert at.has(B.SNAPSHOT)
    assert B.PERF_FAILURE_ENDS_KVM_RUN.commit == "2196c066f138"


def test_change_of_behaviours() -> None:
    profile = get_profile("kvm-6.12", with_=["perf-failure-ends-kvm-run"], without=["read-accumulates"])
    assert profile.has(B.PERF_FAILURE_ENDS_KVM_RUN)
    assert not profile.has(B.READ_ACCUMULATES)
    assert profile.name == "kvm-6.12+perf-failure-ends-kvm-run-read-accumulates"
    assert get_profile("kvm-6.12", with_=["read-accumulates"]) is get_profile("kvm-6.12")


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        ({"name": "kvn-6.12"}, "kvm-6.12"),
        ({"name": "kvm-6.2"}, "kvm-6.3 to kvm-7.3"),
        ({"name": "kvm-7.4.1"}, "kvm-6.3 to kvm-7.3"),
        ({"name": "opensbi-2.0"}, "opensbi-1.1 to opensbi-1.9"),
        ({"name": "kvm-6.12.117.1"}, "kvm-6.12.117"),
        ({"name": "kvm-6.012"}, "kvm-6.12"),
        ({"with_": ["read-acumulates"]}, "read-accumulates"),
        ({"without": ["snapshots"]}, "snapshot"),
    ],
)
def test_unknown_names(arguments: dict[str, list[str]], near: str) -> None:
    with pytest.raises(UsageError) as caught:
        get_profile(**arguments)  # type: ignore[arg-type]
    assert near in str(caught.value)
    assert "\n" not in str(caught.value)


def test_extension_switches() -> None:
    switches = SbiExtensions(get_profile("kvm-6.12"), pmu_available=True)
    state = {
        extension.name: switches.get(extension)
        for extension in SbiExtension
        if extension not in (SbiExtension.SUSP, SbiExtension.FWFT, SbiExtension.MPXY)
    }
    assert state.pop("DBCN") == 0
    assert set(state.values()) == {1}
    with pytest.raises(OSError, match="not available"):
        switches.get(SbiExtension.SUSP)
    assert SbiExtensions(get_profile("kvm-7.2"), pmu_available=True).get(SbiExtension.SUSP) == 0
    switches.set(SbiExtension.DBCN, 1)
    switches.set(SbiExtension.PMU, 0)
    assert switches.enabled(Eid.DBCN)
    assert not switches.enabled(Eid.PMU)
    with pytest.raises(OSError, match="0 or 1"):
        switches.set(SbiExtension.DBCN, 2)
    switches.ran_at_least_once = True
    with pytest.raises(OSError, match="fixed"):
        switches.set(SbiExtension.PMU, 1)
    absent = SbiExtensions(get_profile("kvm-6.12"), pmu_available=False)
    with pytest.raises(OSError, match="not available"):
        absent.set(SbiExtension.PMU, 1)
    assert not absent.enabled(Eid.PMU)


@pytest.mark.parametrize(
    "eid", [0x100504D55, 0xFFFFFFFF00504D55, 0x504D54, 0x09, 0x0F, 0x11, 0x0A000003, Eid.NACL]
)
def test_unknown_eids(eid: int) -> None:
    for name in PROFILES:
        assert not SbiExtensions(get_profile(name), pmu_available=True).enabled(eid)
