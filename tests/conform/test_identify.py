"""Identification: what the model is, is found again; with any one behaviour switched, too."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.conform.agent import AgentTarget, Identity, profile_for
from vpmu.conform.identify.fit import identify
from vpmu.conform.identify.found import Found, depends_on_release
from vpmu.conform.identify.probes import HIDDEN, PROBES, sequences_for
from vpmu.conform.identify.releases import spans
from vpmu.conform.in_process import InProcessTarget
from vpmu.conform.machine_link import agent_target
from vpmu.conform.target import TargetError, TargetLost
from vpmu.errors import VpmuError
from vpmu.profiles.behaviour import Behaviour
from vpmu.profiles.behaviours import BEHAVIOURS, B
from vpmu.profiles.profiles import PROFILES, Profile, get_profile
from vpmu.profiles.toml_file import as_toml, read_profile

RELEASES = [
    *PROFILES, "kvm-6.3", "kvm-6.12.0", "kvm-6.12.35", "kvm-6.12.112", "kvm-6.16", "kvm-6.18", "kvm-7.0",
    "kvm-7.1", "kvm-7.2.8", "opensbi-1.2", "opensbi-1.3",
]  # fmt: skip
FIXES = [  # the corrected table of releases: behaviour, commit, whether 6.12.117 and 7.2.13 have the fix
    ("read-accumulates", "c7e2cc38c561", True, True),
    ("snapshot-reset-loses-delta", "c7e2cc38c561", True, True),
    ("hart-status-loses-error", "41e81f7e3ef9", True, True),
    ("fw-stop-keeps-base", "8b3fd1a8b305", True, True),
    ("snapshot-write-ignored", "057dd2639cea", True, True),
    ("shmem-copy-leaked", "b7749531a9b1", True, False),
    ("lcofi-lost-over-one-reg", "52c6b7d20d3e", False, True),
]


@cache
def found(name: str, host: str = "qemu-virt") -> Found:
    return identify(InProcessTarget(name, host), host)


def wrong(got: Found, profile: Profile) -> list[tuple[str, bool]]:
    """What was told and is not so."""
    return [
        (one.behaviour.name, one.has) for one in got.told
        if one.sure and profile.has(one.behaviour) != one.has
    ]  # fmt: skip


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_is_found_again(name: str) -> None:
    got, profile = found(name), get_profile(name)
    assert wrong(got, profile) == []
    assert got.unfit == ()
    assert got.fit.distance == 0
    assert got.fit.nearest.behaviours == profile.behaviours
    assert got.profile.behaviours == profile.behaviours
    told = sum(one.sure for one in got.told)
    assert told >= (30 if name.startswith("opensbi") else 42)


@pytest.mark.parametrize("name", ["kvm-6.12.117", "kvm-7.2.13"])
@pytest.mark.parametrize("fix", FIXES, ids=lambda fix: fix[0])
def test_the_fixes_of_the_table(name: str, fix: tuple[str, str, bool, bool]) -> None:
    behaviour, commit, in_6_12_117, in_7_2_13 = fix
    there = in_6_12_117 if name == "kvm-6.12.117" else in_7_2_13
    (one,) = [one for one in found(name).told if one.behaviour.name == behaviour]
    assert one.sure
    assert one.has is not there
    (cited,) = [fix for fix in found(name).fixes if fix.commit == commit]
    assert cited.there is there
    assert behaviour in cited.behaviours
    assert cited.subject


SWITCHED = [
    pytest.param(name, behaviour, id=f"{name}-{behaviour.name}")
    for name, part in (("kvm-6.12.117", 0), ("kvm-7.2", 1), ("opensbi-1.9", 2))
    for number, behaviour in enumerate(BEHAVIOURS.values())
    if (behaviour.project == "Linux") == name.startswith("kvm") and number % 6 == part
]
"""Every sixth behaviour, others with each; all were tried once, with the same result."""


@pytest.mark.parametrize(("name", "behaviour"), SWITCHED)
def test_one_behaviour_switched_is_found(name: str, behaviour: Behaviour) -> None:
    """What is told of a release is told with the behaviour switched, and right."""
    base = get_profile(name)
    (before,) = [one for one in found(name).told if one.behaviour is behaviour]
    if not before.sure:
        pytest.skip("not told of this release")
    profile = replace(base, behaviours=base.behaviours ^ {behaviour})
    got = identify(InProcessTarget(profile))
    (after,) = [one for one in got.told if one.behaviour is behaviour]
    if after.sure and after.tests == before.tests and after.has is before.has:
        pytest.skip("the model always has it")
    assert after.sure, after.reason
    assert wrong(got, profile) == []
    if depends_on_release(behaviour):
        assert got.profile.behaviours == profile.behaviours
        fits = get_profile(got.fit.nearest.name).has(behaviour) is profile.has(behaviour)
        assert fits or [one.behaviour for one in got.unfit] == [behaviour]


def test_a_host_that_signals_overflows_tells_more() -> None:
    got = found("kvm-7.2", "full")
    assert wrong(got, get_profile("kvm-7.2")) == []
    told = {one.behaviour for one in got.told if one.sure}
    assert B.OVERFLOW_INTERRUPT in told


def test_the_agent_in_machine_code_is_identified() -> None:
    got = identify(agent_target("kvm-6.12.117"))
    assert wrong(got, get_profile("kvm-6.12.117")) == []
    assert got.fit.nearest.name == "kvm-6.12.117"
    (hidden,) = [one for one in got.told if one.behaviour is B.SHMEM_COPY_LEAKED]
    assert "operation" in hidden.reason


def test_every_behaviour_is_asked_for_or_it_is_said_why_not() -> None:
    for behaviour, tests in sequences_for().items():
        assert len(tests) <= 3
        if behaviour.project == "Linux":
            assert bool(tests) != (behaviour in HIDDEN) or behaviour in HIDDEN, behaviour.name
    assert all(test.steps for test in PROBES)


def test_spans_of_releases() -> None:
    linux = [(span.first, span.end) for span in spans("Linux")]
    assert ("6.12.112", "6.12.117") in linux
    assert ("7.2", "7.2.9") in linux
    assert ("7.3", "") in linux
    assert found("kvm-6.12.112").fit.releases == ("6.12.112 to before 6.12.117",)
    assert found("kvm-7.2.8").fit.releases == (["7.1", "7.2 to before 7.2.9"][0], "7.2 to before 7.2.9")


def test_a_target_that_is_lost_is_brought_anew() -> None:
    class Fragile(InProcessTarget):
        deaths = 0

        def run(self, calls):  # type: ignore[no-untyped-def]
            if len(calls) == 1 and calls[0].op == "e" and calls[0].operands[:2] == (0x53525354, 0):
                raise TargetLost("it took the reset")
            return super().run(calls)

    opened: list[Fragile] = []

    def fragile(*, revives: bool) -> Fragile:
        target = Fragile("kvm-7.2")
        target.revives = revives
        return target

    def reopen() -> Fragile:
        opened.append(fragile(revives=False))
        return opened[-1]

    for got in (identify(fragile(revives=False), reopen=reopen), identify(fragile(revives=True))):
        assert len(opened) == 1
        (one,) = [one for one in got.told if one.behaviour is B.SRST_UNKNOWN_NOT_SUPPORTED]
        assert one.reason == "TELL-RESET-TYPE lost the target"
    with pytest.raises(TargetLost):
        identify(fragile(revives=False))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.toml"
    changed = replace(
        get_profile("kvm-6.12.117"), name="own",
        behaviours=get_profile("kvm-6.12.117").behaviours | {B.FW_STOP_KEEPS_BASE},
    )  # fmt: skip
    own.write_text(as_toml(changed))
    saved = tmp_path / "saved.toml"
    assert main(["identify", "in-process", "--profile", str(own), "--save", str(saved)]) == 1
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "fw-stop-keeps-base: has it, kvm-6.12.117 lacks it" in text
    assert "8b3fd1a8b305 RISC-V: KVM: Preserve firmware counter value across stop/start" in text
    assert read_profile(saved).behaviours == changed.behaviours
    assert main(["identify", "in-process", "--profile", str(saved), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["unfit"] == ["fw-stop-keeps-base"]
    assert said["nearest"] == "kvm-6.12.117"
    assert said["implementation"]["release"] == "6.12.117"
    assert {"commit": "8b3fd1a8b305", "there": False}.items() <= next(
        fix for fix in said["fixes"] if fix["commit"] == "8b3fd1a8b305"
    ).items()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["identify"], "TARGET"),
        (["identify", "kwm"], "unknown target"),
        (["identify", "qemu", "--profile", "kvm-7.2"], "in-process or agent"),
        (["identify", "in-process", "--save", "x.txt"], ".toml"),
        (["identify", "in-process", "--profile", "kvm-9.9"], "kvm-6.3 to kvm-7.3"),
        (["identify", "in-process", "--profile", "absent.toml"], "absent.toml"),
        (["identify", "in-process", "--save", "/nonexistent/x.toml"], "/nonexistent/x.toml"),
    ],
)
def test_what_cannot_be_identified_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error


@pytest.mark.parametrize(
    ("identity", "profile"),
    [
        (Identity(0x2000000, 3, 0x60C75), "kvm-6.12.117"),
        (Identity(0x2000000, 3, 0x60C6B), "kvm-6.12.107"),
        (Identity(0x3000000, 3, 0x70300), "kvm-7.3"),
        (Identity(0x3000000, 3, 0x80102), "kvm-7.3"),
        (Identity(0x0000003, 3, 0x50F00), "kvm-6.3"),
        (Identity(0x2000000, 1, 0x10004), "opensbi-1.4"),
        (Identity(0x3000000, 1, 0x2000A), "opensbi-1.9"),
        (Identity(0x1000000, 1, 0x00009), "opensbi-1.1"),
        (Identity(0x3000000, 0x76706D75, 1), "spec-3.0"),
    ],
    ids=str,
)
def test_the_profile_that_a_release_stands_for(identity: Identity, profile: str) -> None:
    assert profile_for(identity).name == profile


@pytest.mark.parametrize(
    "identity", [Identity(0, 4, 1), Identity(0, 1, 1 << 62), Identity(0, 3, 1 << 40)], ids=str
)
def test_an_implementation_that_nobody_knows_is_one_line(identity: Identity) -> None:
    with pytest.raises(TargetError) as caught:
        profile_for(identity)
    assert "\n" not in str(caught.value)


def test_conform_takes_changes_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.toml"
    path.write_text('base = "kvm-7.2"\nwith = ["read-accumulates"]\n')
    assert main(["conform", "--profile", str(path), "--only", "VALUE", "-q"]) == 0
    assert (
        main(["conform", "--profile", "kvm-7.2", "--with", "read-accumulates", "--only", "VALUE", "-q"]) == 0
    )
    assert "+read-accumulates" in capsys.readouterr().out
    with pytest.raises(VpmuError, match="read-accumulates"):
        get_profile("kvm-7.2", with_=["read-acumulates"])
    assert main(["conform", "--with", "read-acumulates"]) == 2


def test_conform_identifies_a_release_that_nobody_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that is newer than what is known: identified, not unexpected."""
    path = tmp_path / "newer.toml"
    path.write_text('base = "kvm-6.12.117"\nrelease = "6.12.150"\nwithout = ["info-beyond-last"]\n')

    def real(profile: object, options: object) -> AgentTarget:
        target = agent_target(str(path))
        target.profile = profile_for(target.identity)  # as for a machine that is not ours
        return target

    monkeypatch.setattr("vpmu.conform.kvm.kvm_target", real)
    assert main(["conform", "--target", "kvm", "--only", "INFO", "-q"]) == 0
    said = capsys.readouterr().out
    assert "identified: nearest kvm-6.12.150, without info-beyond-last" in said
    assert main(["conform", "--target", "kvm", "--profile", "kvm-6.12.117", "--only", "INFO", "-q"]) == 1
    assert "identified" not in capsys.readouterr().out
    expected = ["--profile", "kvm-6.12.117", "--without", "info-beyond-last"]
    assert main(["conform", "--target", "kvm", *expected, "--only", "INFO", "-q"]) == 0
