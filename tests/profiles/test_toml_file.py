"""Profiles in TOML files: what is read, what is written, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpmu import Machine
from vpmu.errors import VpmuError
from vpmu.profiles.behaviours import BEHAVIOURS, B
from vpmu.profiles.profiles import PROFILES, Profile, changed, get_profile
from vpmu.profiles.toml_file import as_toml, read_profile
from vpmu.vmm.snapshot import Snapshot

MINE = """
base = "kvm-6.12.117"
name = "mine"
summary = "Debian's kernel with one fix less"
release = "6.12.118"
with = ["shmem-copy-leaked"]
without = ["info-beyond-last"]
"""


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_file_stands_for_a_name(tmp_path: Path) -> None:
    profile = get_profile(write(tmp_path, MINE), without=["hole-accepted"])
    base = get_profile("kvm-6.12.117")
    assert profile.behaviours ^ base.behaviours == {
        B.SHMEM_COPY_LEAKED, B.INFO_BEYOND_LAST, B.HOLE_ACCEPTED
    }  # fmt: skip
    assert profile.has(B.SHMEM_COPY_LEAKED)
    assert (profile.name, profile.release, profile.impl_version) == (
        "mine-hole-accepted",
        "6.12.118",
        0x60C76,
    )


def test_a_machine_takes_it_and_a_snapshot_keeps_it(tmp_path: Path) -> None:
    path = write(tmp_path, MINE)
    machine = Machine(path, memory=1 << 20)
    assert machine.vcpu(0).ecall(0x10, 2).value == 0x60C76
    machine.snapshot().save(tmp_path / "kept")
    Path(path).unlink()  # the snapshot stands by itself
    again = Snapshot.load(tmp_path / "kept").machine()
    assert again.profile == machine.profile


@given(
    base=st.sampled_from(list(PROFILES)),
    toggled=st.sets(st.sampled_from(sorted(BEHAVIOURS)), max_size=12),
    summary=st.text(min_size=1, max_size=40).filter(str.strip),
)
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, base: str, toggled: set[str], summary: str
) -> None:
    from dataclasses import replace

    start = get_profile(base)
    has = {behaviour.name for behaviour in start.behaviours}
    profile = replace(changed(start, toggled - has, toggled & has), name="x-1", summary=summary)
    path = tmp_path_factory.mktemp("profile") / "x.toml"
    try:
        path.write_text(as_toml(profile, "two lines\nof heading"), encoding="utf-8")
    except UnicodeEncodeError:
        return  # a lone surrogate is no text
    again = read_profile(path)
    assert isinstance(again, Profile)
    assert again == profile


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["base", "expected a text", "got none"]),
        ("base = 5", ["base", "got 5"]),
        ('base = "kvm-9.9"', ["kvm-6.3 to kvm-7.3"]),
        ('base = "kvn-6.12"', ["did you mean", "kvm-6.12"]),
        ('base = "other.toml"', ["base", "the name of a profile"]),
        ('base = "kvm-7.2"\nwith = ["read-acumulates"]', ["unknown behaviour", "read-accumulates"]),
        ('base = "kvm-7.2"\nwithout = "read-accumulates"', ["without", "a list"]),
        ('base = "kvm-7.2"\nwidth = []', ["unknown key 'width'", "with"]),
        ('base = "kvm-7.2"\nname = "kvm-6.9"', ["name"]),
        ('base = "kvm-7.2"\nname = "a/b"', ["name"]),
        ('base = "kvm-7.2"\nrelease = "seven"', ["release", "6.12.118"]),
        ('base = "spec-3.0"\nrelease = "3.1"', ["release"]),
        ("base = 1\nbase = ]", ["mine.toml:2", "TOML"]),
        ("\x00", ["TOML"]),
        ("[" * 5000, ["TOML"]),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(VpmuError) as caught:
        get_profile(path)
    said = str(caught.value)
    assert "\n" not in said
    assert "mine.toml" in said
    for word in words:
        assert word in said, said


def test_no_file_and_no_text(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "large.toml").write_bytes(b"#" * (2 << 20))
    for name in ("absent.toml", "bytes.toml", "large.toml", "."):
        with pytest.raises(VpmuError):
            get_profile(str(tmp_path / name) if name != "." else f"{tmp_path}/..toml")
    with pytest.raises(VpmuError):
        get_profile("a\0b.toml")


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_profile_or_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "x.toml"
    try:
        path.write_text(text, encoding="utf-8")
    except UnicodeEncodeError:
        return
    said = ""
    try:
        read_profile(path)
    except VpmuError as error:
        said = str(error)
    assert "\n" not in said
