"""Firmware counters, by counter_fw_read and counter_fw_read_hi, against the calls that the guest made."""

from __future__ import annotations

import random

import pytest

from vpmu.campaign.oracle import Oracle, layer_of
from vpmu.cli.main import main
from vpmu.faults.read import plan_of
from vpmu.spec.sbi import ConfigFlag, Eid, PmuFid, StartFlag, StopFlag
from vpmu.spec.sbi_events import event_by_name
from vpmu.vmm.machine import Machine

EVENTS = ("set_timer", "ipi_sent", "ipi_received", "fence_i_sent", "fence_i_received", "sfence_vma_sent",
          "sfence_vma_received", "sfence_vma_asid_sent", "illegal_insn", "hfence_vvma_sent")  # fmt: skip
NEVER = (1 << 64) - 1


class Guest:
    """Two harts that make calls, and an oracle that hears them."""

    def __init__(self, profile: str) -> None:
        self.machine = Machine(profile, harts=2, memory=1 << 20)
        self.oracle = Oracle(self.machine)
        self.oracle.attach()

    def call(self, fid: int, *args: int, hart: int = 0) -> tuple[int, int]:
        error, value = self.machine.vcpu(hart).ecall(Eid.PMU, fid, *args)
        return error, value

    def config(self, event: str, hart: int = 0) -> int | None:
        mask = (1 << self.call(PmuFid.NUM_COUNTERS, hart=hart)[1]) - 1 & ~2
        found = event_by_name(f"fw:{event}")
        flags = ConfigFlag.CLEAR_VALUE
        error, value = self.call(
            PmuFid.COUNTER_CONFIG_MATCHING, 0, mask, flags, found.event_idx, 0, hart=hart
        )
        return value if error == 0 else None

    def start(self, counter: int, value: int = 0, hart: int = 0) -> None:
        self.call(PmuFid.COUNTER_START, counter, 1, StartFlag.SET_INIT_VALUE, value, hart=hart)

    def timer(self, times: int = 1) -> None:
        for _ in range(times):
            self.machine.vcpu(0).ecall(Eid.TIME, 0, NEVER)

    def read(self, counter: int, hart: int = 0) -> int:
        return self.call(PmuFid.COUNTER_FW_READ, counter, hart=hart)[1]


def test_counters_of_one_event_that_share_their_state_are_found() -> None:
    """KVM kept a firmware event's count by its code: a second counter of it has the first one's count."""
    told = {}
    for profile in ("kvm-6.9", "kvm-7.2", "spec-3.0"):
        guest = Guest(profile)
        first, second = guest.config("set_timer"), guest.config("set_timer")
        assert first is not None
        assert second is not None
        guest.start(first)
        guest.timer(3)
        guest.start(second, 50)
        guest.timer(2)
        guest.read(second)
        told[profile] = [finding.way for finding in guest.oracle.findings]
        assert guest.oracle.values == 1
    assert (told["kvm-6.9"], told["spec-3.0"]) == (["fw_read"], [])


def test_a_finding_names_the_layer_and_the_event() -> None:
    guest = Guest("kvm-6.9")
    first, second = guest.config("set_timer"), guest.config("set_timer")
    assert first is not None
    assert second is not None
    guest.start(first)
    guest.timer(3)
    guest.start(second, 50)
    guest.timer(2)
    guest.read(second)
    (finding,) = guest.oracle.findings
    assert (finding.event, finding.told, finding.truth) == ("fw:set_timer", 5, 2)
    assert layer_of(guest.machine, finding) == ("kvm", "as kvm-6.9 does")


def test_a_call_that_was_answered_and_not_done_is_found() -> None:
    guest = Guest("kvm-7.2")
    guest.oracle.detach()
    guest.machine.inject(plan_of("sbi.call:function=set_timer,error=SUCCESS"))
    guest.oracle.attach()
    counter = guest.config("set_timer")
    assert counter is not None
    guest.start(counter)
    guest.timer(4)
    assert guest.read(counter) == 0
    assert [finding.truth for finding in guest.oracle.findings] == [4]


@pytest.mark.parametrize(
    "profile", ["spec-3.0", "kvm-7.3", "kvm-7.2", "kvm-6.9", "opensbi-1.6", "opensbi-1.9"]
)
def test_random_calls(profile: str) -> None:
    """Nothing is said of an implementation that does what the specification says; reads are compared."""
    values = wrong = 0
    for seed in range(60):
        chosen, guest = random.Random(seed), Guest(profile)
        known: list[tuple[int, int]] = []
        for _ in range(60):
            hart = chosen.randrange(2)
            vcpu = guest.machine.vcpu(hart)
            match chosen.randrange(9):
                case 0:
                    event = chosen.choice(EVENTS)
                    counter = guest.config(event, hart)
                    if counter is not None:
                        known.append((hart, counter))
                case 1 if known:
                    hart, counter = chosen.choice(known)
                    guest.start(counter, chosen.choice((0, 5, NEVER)), hart)
                case 2 if known:
                    hart, counter = chosen.choice(known)
                    guest.call(
                        PmuFid.COUNTER_STOP, counter, 1, chosen.choice((0, int(StopFlag.RESET))), hart=hart
                    )
                case 3 | 4 if known:
                    hart, counter = chosen.choice(known)
                    guest.read(counter, hart)
                    guest.call(PmuFid.COUNTER_FW_READ_HI, counter, hart=hart)
                case 5:
                    vcpu.ecall(Eid.TIME, 0, NEVER)
                case 6:
                    vcpu.ecall(Eid.IPI, 0, chosen.choice((1, 2, 3, 7, 0)), chosen.choice((0, NEVER)))
                case _:
                    mask = chosen.choice((1 << (1 - hart), 3, 0))
                    vcpu.ecall(Eid.RFENCE, chosen.randrange(3), mask, 0, 0, NEVER, 1)
        values += guest.oracle.values
        wrong += len(guest.oracle.findings)
        if profile in ("spec-3.0",):
            assert guest.oracle.findings == [], seed
    assert values > 100
    if profile == "kvm-6.9":
        assert wrong


def test_check_judges_them_in_a_plain_run(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "firmware-counter", "--check"]) == 0
    assert "check: 2 counts reached the guest, each as the hart did" in capfd.readouterr().err
    rule = "sbi.call:function=set_timer,error=SUCCESS"
    assert main(["run", "firmware-counter", "--check", "--inject", rule]) == 3
    assert (
        "check: sbi: counter 19 (fw:set_timer): the guest read 100, the hart did 105"
        in capfd.readouterr().err
    )
