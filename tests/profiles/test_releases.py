"""Which release has which behaviour: what the mainline release ended, and what stable releases did."""

from __future__ import annotations

import re

import pytest

from vpmu.errors import UsageError
from vpmu.profiles.behaviour import Behaviour
from vpmu.profiles.behaviours import BEHAVIOURS, B
from vpmu.profiles.opensbi_behaviours import OB
from vpmu.profiles.profiles import PROFILES, get_profile
from vpmu.profiles.releases import known_linux, linux_release, linux_version_code, parse_release

EVIDENCE = [
    # behaviour, releases that have it, releases that have it no longer
    ("read-accumulates", "6.3 6.12.107 6.12.111 7.1 7.2.0 7.2.8", "6.12.112 6.12.117 7.2.9 7.2.13 7.3"),
    ("snapshot-reset-loses-delta", "6.10 6.12.111 7.2.8", "6.12.112 7.2.9 7.3"),
    ("hart-status-loses-error", "6.3 6.12.111 7.2.8", "6.12.112 7.2.9 7.3"),
    ("fw-stop-keeps-base", "6.3 6.12.111 7.1 7.2.8", "6.12.112 7.2.9 7.3"),
    ("snapshot-write-ignored", "6.10 6.12.111 7.1 7.2.8", "6.12.112 7.2.9 7.3"),
    ("shmem-copy-leaked", "6.10 6.12.116 7.1 7.2.9 7.2.13", "6.12.117 7.3"),
    ("lcofi-lost-over-one-reg", "6.10 6.12.117 7.1 7.2.8", "7.2.9 7.2.13 7.3"),
    ("event-created-enabled", "6.3 6.12.22 6.14", "6.12.23 6.15 7.2"),
    ("ipi-invalid-hart-ignored", "6.12.17 6.13", "6.12.18 6.14"),
    ("bad-fid-is-invalid-param", "6.12.17 6.13", "6.12.18 6.14"),
    ("hfence-nop", "6.12.34 6.15", "6.12.35 6.16"),
    ("shmem-oom-ends-kvm-run", "6.10 6.12.91 7.0", "6.9 6.12.92 7.1"),
    ("period-of-zero-too-large", "6.9 6.9.8", "6.9.9 6.10"),
    ("perf-failure-ends-kvm-run", "6.3 6.9.12", "6.10 6.12"),
]
OPENSBI_EVIDENCE = [
    ("opensbi-fw-index-relative", "1.2 1.7", "1.1 1.8 1.9"),
    ("opensbi-wrapped-set-accepted", "1.2 1.8", "1.1 1.9"),
    ("opensbi-auto-start-general-only", "1.1 1.8", "1.9"),
    ("opensbi-fw-read-hi-unchecked", "1.3 1.8", "1.2 1.9"),
    ("opensbi-fixed-counter-fallback", "1.1 1.8", "1.9"),
    ("opensbi-mask-zero-accepted", "1.6", "1.7"),
    ("opensbi-fw-start-unchecked", "1.6 1.7", "1.8"),
]


@pytest.mark.parametrize(("project", "name", "have", "have_not"), [
    *(("kvm", *row) for row in EVIDENCE), *(("opensbi", *row) for row in OPENSBI_EVIDENCE)
])  # fmt: skip
def test_who_has_it(project: str, name: str, have: str, have_not: str) -> None:
    behaviour = BEHAVIOURS[name]
    for releases, has in ((have, True), (have_not, False)):
        for release in releases.split():
            assert get_profile(f"{project}-{release}").has(behaviour) is has, release


def test_the_name_of_a_series_is_the_release_of_it_that_was_recorded() -> None:
    for series, exact in (("kvm-6.12", "kvm-6.12.107"), ("kvm-7.2", "kvm-7.2.13"), ("kvm-6.9", "kvm-6.9.0")):
        one, other = get_profile(series), get_profile(exact)
        assert one.behaviours == other.behaviours
        assert (one.impl_version, one.sbi_version) == (other.impl_version, other.sbi_version)
        assert one.name == series


def test_debians_kernel_of_today() -> None:
    """6.12.117 lacks six behaviours of 6.12.107, and has the others."""
    gone = get_profile("kvm-6.12.107").behaviours - get_profile("kvm-6.12.117").behaviours
    assert gone == {
        B.READ_ACCUMULATES, B.FW_STOP_KEEPS_BASE, B.SNAPSHOT_RESET_LOSES_DELTA, B.SNAPSHOT_WRITE_IGNORED,
        B.SHMEM_COPY_LEAKED, B.HART_STATUS_LOSES_ERROR,
    }  # fmt: skip
    assert get_profile("kvm-6.12.117").behaviours <= get_profile("kvm-6.12.107").behaviours


def test_behaviours_end_once_and_stable_releases_come_from_older_series() -> None:
    for behaviour in BEHAVIOURS.values():
        ends = [parse_release(text) for text in behaviour.stable]
        assert not ends or behaviour.until, behaviour.name
        series = [end[:2] for end in ends]
        assert len(set(series)) == len(series), behaviour.name
        for end in ends:
            assert len(end) == 3
            assert parse_release(behaviour.since)[:2] <= end[:2] < parse_release(behaviour.until)


@pytest.mark.parametrize("series", ["6.3", "6.9", "6.12", "6.18", "7.2", "7.3"])
def test_a_behaviour_never_comes_back_within_a_series(series: str) -> None:
    """Any stable release has at most what the one before it has."""
    before = get_profile(f"kvm-{series}.0").behaviours
    for number in range(1, 150):
        here = get_profile(f"kvm-{series}.{number}").behaviours
        assert here <= before, number
        before = here


def test_a_behaviour_that_stable_releases_bring() -> None:
    one = Behaviour("x", "", "7.3", "", "", brought=("6.12.117",))
    for release, has in (
        ("6.12.116", False),
        ("6.12.117", True),
        ("6.13", False),
        ("7.2.13", False),
        ("7.3", True),
    ):
        assert one.in_release(parse_release(release)) is has, release


def test_numbers_of_releases() -> None:
    assert linux_version_code("6.12.117") == 0x60C75
    assert linux_release(0x60C75) == "6.12.117"
    assert linux_release(0x70300) == "7.3"
    for text in ("6", "6.12.", "6.12.1.1", "a.b", "6.-1", "06.1", "6.1000", ""):
        with pytest.raises(ValueError, match=re.escape(repr(text))):
            parse_release(text)


def test_which_releases_somebody_looked_at() -> None:
    for known in ("6.3", "6.18", "7.3", "6.12.117", "6.12.1", "7.2.13", "6.9.12"):
        assert known_linux(known), known
    for unknown in ("6.2", "7.4", "6.12.118", "7.2.14", "6.18.1", "7.3.1", "8.0"):
        assert not known_linux(unknown), unknown
    assert "not known" in get_profile("kvm-6.18.40").summary
    assert "not known" not in get_profile("kvm-6.12.117").summary


@pytest.mark.parametrize("name", ["kvm-6.2.9", "kvm-8.0", "opensbi-0.9", "opensbi-1.10"])
def test_a_release_outside_the_range_is_one_line(name: str) -> None:
    with pytest.raises(UsageError, match="no profile of") as caught:
        get_profile(name)
    assert "\n" not in str(caught.value)


def test_every_listed_profile_is_found_by_its_name() -> None:
    for name, profile in PROFILES.items():
        assert profile.name == profile.base == name
        assert get_profile(name) is profile


def test_opensbi_on_qemu_is_only_the_one_of_debian_12() -> None:
    assert get_profile("opensbi-1.1").has(OB.QEMU_STOPPED_COUNTER_LOST)
    assert not get_profile("opensbi-1.2").has(OB.QEMU_STOPPED_COUNTER_LOST)
