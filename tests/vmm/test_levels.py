"""Who plays the privilege levels, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vpmu import Machine
from vpmu.errors import MachineError
from vpmu.firmware.bare import BareHart
from vpmu.firmware.supervisor import Supervisor
from vpmu.kvm.vcpu import Vcpu
from vpmu.profiles.profiles import FIRMWARE, PROFILES, get_profile
from vpmu.spec.csr import Csr
from vpmu.spec.sbi import SbiRet
from vpmu.trace.recorder import Recorder
from vpmu.vmm.levels import Level, Levels, Player, levels_of
from vpmu.vmm.snapshot import Snapshot

MHPMEVENT3 = 0x323


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_says_where_its_guest_stands(name: str) -> None:
    """KVM's guest is in VS mode; a firmware's, and the specification's, in S mode above M."""
    image = Level.VS if name.startswith("kvm-") else Level.HS
    assert Machine(profile=name, memory=1 << 20).levels == Levels(image, whole=False)


def test_python_plays_what_is_below_the_image() -> None:
    players = {
        (Level.VS, False): ("model", "model", "image", Level.HS),
        (Level.HS, False): ("model", "image", "image", Level.M),
        (Level.HS, True): ("model", "image", "image", Level.M),
        (Level.M, True): ("image", "image", "image", None),
    }
    for (image, whole), expected in players.items():
        levels = Levels(image, whole=whole)
        assert (*map(levels.player, Level), levels.answers) == expected


def test_what_the_hart_has_decides_before_the_profile() -> None:
    kvm = get_profile("kvm-7.2")
    assert levels_of(kvm, {"h", "sstc"}) == Levels(Level.HS, whole=True)
    assert levels_of(kvm, {"sstc"}) == Levels(Level.VS, whole=False)
    assert levels_of(FIRMWARE, firmware=True) == Levels(Level.M, whole=True)


def test_who_answers_decides_what_a_hart_is() -> None:
    assert type(Machine(profile="kvm-7.2", memory=1 << 20).vcpu(0)) is Vcpu
    machine = Machine(profile="opensbi-1.6", isa=iter(("h",)), memory=1 << 20, harts=2)
    assert {type(vcpu) for vcpu in machine.vcpus} == {Supervisor}
    assert machine.arguments["isa"] == ("h",)


@pytest.mark.parametrize("name", ["kvm-7.2", "opensbi-1.6"])
def test_whose_counters_the_image_sees(name: str) -> None:
    """Below a guest of KVM the counters are virtual: a read traps and retires nothing. Firmware leaves the
    hart's own ones to its S mode: a read is an instruction as any other, and counts itself.
    """
    machine = Machine(profile=name, memory=1 << 20)
    vcpu = machine.vcpu(0)
    vcpu.ecall(0x504D55, 2, 0, 4, 2, 2, 0)  # instructions on counter 2, cleared
    vcpu.ecall(0x504D55, 4, 2, 1, 0)  # firmware leaves the fixed counters running
    assert vcpu.ecall(0x504D55, 3, 2, 1, 1, 100) == (0, 0)
    before = machine.instructions
    own = machine.levels.answers is Level.M
    assert machine.levels.player(Level.HS) is (Player.IMAGE if own else Player.MODEL)
    assert vcpu.csr_read(Csr.INSTRET) == (101 if own else 100)
    assert machine.instructions - before == own


def test_a_snapshot_keeps_what_m_mode_programmed(tmp_path: Path) -> None:
    """mhpmevent3 of software in M mode: its selector and filters, over a file as well."""
    machine = Machine(firmware=b"\x13\x00\x00\x00", memory=1 << 20)
    first = machine.vcpu(0)
    assert isinstance(first, BareHart)
    before = first.csrs.read(MHPMEVENT3)
    first.csrs.write(MHPMEVENT3, 1 << 62 | 0x2A)
    programmed = first.csrs.read(MHPMEVENT3)
    assert programmed != before
    snapshot = machine.snapshot()
    snapshot.save(tmp_path / "bare")
    for other in (snapshot.machine(), Snapshot.load(tmp_path / "bare").machine()):
        again = other.vcpu(0)
        assert isinstance(again, BareHart)
        assert again.csrs.read(MHPMEVENT3) == programmed


def test_a_snapshot_of_another_level_does_not_fit() -> None:
    snapshot = Machine(profile="opensbi-1.6", isa=("h",), memory=1 << 20).snapshot()
    with pytest.raises(MachineError, match="levels"):
        Machine(profile="opensbi-1.6", memory=1 << 20).restore(snapshot)


def test_firmware_needs_a_modelled_hart() -> None:
    """It programs the hart's counters, which this machine's own perf has not."""
    with pytest.raises(MachineError, match="perf of a profile of OpenSBI: expected model, got host"):
        Machine(profile="opensbi-1.6", perf="host", memory=1 << 20)


def test_a_trace_names_who_was_there() -> None:
    """Under OpenSBI the records of calls, counter reads and overflows are of sbi, firmware and hart."""
    recorder = Recorder()
    vcpu = Machine(profile="opensbi-1.6", memory=1 << 20, host_pmu="full", recorder=recorder).vcpu(0)
    bound = vcpu.ecall(0x504D55, 2, 3, 0x7FF, 2, 2, 0)  # instructions, on a programmable counter
    assert isinstance(bound, SbiRet)
    counter = bound.value or 0
    vcpu.ecall(0x504D55, 3, counter, 1, 1, (1 << 64) - 10)
    vcpu.work(20)
    vcpu.csr_read(Csr.CYCLE + counter)
    vcpu.ecall(0x504D55, 2, 0, 1 << 63, 0, 1, 0)
    assert vcpu.overflows == 1
    assert {record.layer for record in recorder.records} == {"sbi", "firmware", "hart"}


WORDS = ("", "m", "k", "h", "u", "G", "H", "kG", "uH", "ukh")


@pytest.mark.parametrize(
    ("options", "counted"),
    [
        ({"profile": "kvm-7.2"}, {"", "k", "G", "kG", "ukh"}),  # it is in VS mode
        ({"profile": "opensbi-1.6"}, {"", "k", "h", "H", "ukh"}),  # in S mode, or HS
        ({"profile": "opensbi-1.6", "isa": {"h", "sscofpmf"}}, {"", "k", "h", "H", "ukh"}),
        ({"firmware": b"\x6f\0\0\0", "isa": {"h", "sscofpmf"}}, {"", "m", "H"}),
    ],
)
def test_counts_by_mode(options: dict[str, Any], counted: set[str]) -> None:
    """perf's words name the modes that the image is in, whatever the hart is."""
    machine = Machine(**options, host_pmu="full", memory=4 << 20)
    if "firmware" in options:
        machine.load(None)
    else:
        machine.memory.write(0x80200000, b"\x6f\0\0\0")
        machine.vcpu(0).pc = 0x80200000
    counters = machine.counting(*(f"instructions:{word}" if word else "instructions" for word in WORDS))
    machine.run(max_instructions=1000)
    assert [one.value for one in counters.read()] == [1000 * (word in counted) for word in WORDS]
