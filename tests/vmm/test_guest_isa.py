"""What a guest's harts have: by default, on request, by release of KVM; and what its device tree says."""

from __future__ import annotations

import pytest

from vpmu import Machine
from vpmu.cli.main import main
from vpmu.errors import UsageError
from vpmu.hart.extensions import GUEST_ISA
from vpmu.profiles.profiles import PROFILES, get_profile
from vpmu.vmm import isa

HELLO = (0x13).to_bytes(4, "little")


def tree_of(**options: object) -> bytes:
    machine = Machine(memory=4 << 20, **options)  # type: ignore[arg-type]
    machine.load(HELLO)
    assert machine.device_tree is not None
    return machine.device_tree


@pytest.mark.parametrize("profile", PROFILES)
def test_the_default_is_sstc(profile: str) -> None:
    machine = Machine(profile=profile, memory=4 << 20)
    assert machine.vcpu(0).hart.isa == {"sstc"}
    assert machine.arguments["isa"] == ("sstc",)
    assert b"_sstc" in tree_of(profile=profile)
    assert b"sstc" not in tree_of(profile=profile, isa=())


def test_everything_that_is_asked_for_is_in_the_tree() -> None:
    tree = tree_of(isa=GUEST_ISA)
    for name in GUEST_ISA:
        assert f"\0{name}\0".encode() in tree
    for block in ("cbom", "cbop", "cboz"):
        assert f"riscv,{block}-block-size".encode() in tree
    assert b"block-size" not in tree_of()


@pytest.mark.parametrize(
    ("name", "last", "first"), [("zawrs", "kvm-6.10", "kvm-6.11"), ("zicbop", "kvm-6.17", "kvm-6.18")]
)
def test_an_older_kvm_does_not_give_it(name: str, last: str, first: str) -> None:
    with pytest.raises(UsageError, match=name):
        Machine(profile=last, isa={name}, memory=1 << 20)
    assert Machine(profile=first, isa={name}, memory=1 << 20).vcpu(0).hart.isa == {name}
    assert name in isa.of_guests(get_profile(first)) - isa.of_guests(get_profile(last))


SINCE = {"zbb": "6.4", "zba": "6.6", "zbs": "6.6", "zicond": "6.7", "zbc": "6.8", "zcb": "6.11"}
"""The release whose KVM has a register for it (kvm_isa_ext_arr): its merge into Linux."""


@pytest.mark.parametrize("name", SINCE)
def test_an_older_kvm_has_no_name_for_it(name: str) -> None:
    first = SINCE[name]
    last = f"6.{int(first[2:]) - 1}"
    assert f"\0{name}\0".encode() not in tree_of(profile=f"kvm-{last}")
    assert f"\0{name}\0".encode() in tree_of(profile=f"kvm-{first}")
    assert f"\0{name}\0".encode() in tree_of(profile="opensbi-1.1")


def test_words_of_a_cpu_begin_with_the_default() -> None:
    assert isa.parse("rv64,zbkb=true", isa.DEFAULT_ISA) == {"sstc", "zbkb"}
    assert isa.parse("rv64,sstc=false", isa.DEFAULT_ISA) == frozenset()
    assert isa.parse("rv64gc_zicboz_svnapot") == {"zicboz", "svnapot"}


def test_a_guest_of_kvm_has_no_hypervisor_extension() -> None:
    with pytest.raises(UsageError, match="smstateen"):
        isa.check({"sstc", "smstateen"}, has_sscofpmf=True, answered_by_kvm=True)
    isa.check(GUEST_ISA, has_sscofpmf=True, answered_by_kvm=True)


def test_profiles_list_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "--isa", "kvm-6.10", "kvm-7.2"]) == 0
    old, new = capsys.readouterr().out.split("kvm-6.10: ")[1].split("kvm-7.2: ")
    assert "zawrs" not in old
    assert "zawrs" in new
    assert "zbkb" in old
