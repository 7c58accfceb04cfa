"""The extensions around the PMU, per specification and where KVM differs."""

from __future__ import annotations

from typing import Any

import pytest

from vpmu.profiles.profiles import PROFILES
from vpmu.see.exits import SbiExit, SystemEvent
from vpmu.spec.sbi import Eid, HartState
from vpmu.spec.sbi import SbiError as E
from vpmu.spec.sbi_events import FwEvent

TOP = (1 << 64) - 1
SUCCESS = (E.SUCCESS, 0)
INVALID_PARAM = (E.INVALID_PARAM, 0)
INVALID_ADDRESS = (E.INVALID_ADDRESS, 0)
NOT_SUPPORTED = (E.NOT_SUPPORTED, 0)


def count(vcpu: Any, *events: FwEvent) -> dict[FwEvent, int]:
    """Configure and start a firmware counter for each event; event -> counter."""
    counters = {}
    for event in events:
        counter = vcpu.pmu.counter_config_matching(0, 0x1FF_FFF8_0000, 0, 0xF0000 + event, 0).value
        vcpu.pmu.counter_start(counter, 1, 1, 0)
        counters[event] = counter
    return counters


def counted(vcpu: Any, counters: dict[FwEvent, int]) -> dict[FwEvent, int]:
    return {event: vcpu.pmu.counter_fw_read(i).value for event, i in counters.items()}


@pytest.mark.parametrize("profile", PROFILES)
def test_set_timer(machine: Any, profile: str) -> None:
    vcpu = machine(profile)[0]
    counters = count(vcpu, FwEvent.SET_TIMER)
    for when in (0, 5, TOP):
        assert vcpu.call(Eid.TIME, 0, when) == SUCCESS
    assert vcpu.done == [("set_timer", 0), ("set_timer", 5), ("set_timer", TOP)]
    assert counted(vcpu, counters) == {FwEvent.SET_TIMER: 3}
    old = profile in ("kvm-6.9", "kvm-6.10")
    assert vcpu.call(Eid.TIME, 1) == (INVALID_PARAM if old else NOT_SUPPORTED)
    assert vcpu.call(Eid.IPI, 1) == (INVALID_PARAM if old else NOT_SUPPORTED)


@pytest.mark.parametrize(
    ("mask", "base", "harts"),
    [
        (0b101, 0, [0, 2]),
        (0b11, 1, [1, 2]),
        (0, TOP, [0, 1, 2]),
        (0b100, TOP, [0, 1, 2]),
        (0, 0, []),
        (0, 99, []),
    ],
)
def test_send_ipi(machine: Any, mask: int, base: int, harts: list[int]) -> None:
    vcpus = machine()
    sent = count(vcpus[0], FwEvent.IPI_SENT)
    received = [count(vcpu, FwEvent.IPI_RECEIVED) for vcpu in vcpus]
    assert vcpus[0].call(Eid.IPI, 0, mask, base) == SUCCESS
    assert [vcpu.hart_id for vcpu in vcpus if vcpu.done == [("set", 1)]] == harts
    assert counted(vcpus[0], sent) == {FwEvent.IPI_SENT: 1}
    assert [
        vcpu.hart_id
        for vcpu, c in zip(vcpus, received, strict=True)
        if counted(vcpu, c)[FwEvent.IPI_RECEIVED]
    ] == harts


@pytest.mark.parametrize(
    ("mask", "base"), [(0b1000, 0), (1, 3), (0b1001, 0), (1, TOP - 1), (1, 1 << 63), (1 << 63, 0)]
)
def test_harts_that_do_not_exist(machine: Any, mask: int, base: int) -> None:
    vcpus = machine()
    for eid, fid in ((Eid.IPI, 0), (Eid.RFENCE, 0), (Eid.RFENCE, 1), (Eid.RFENCE, 2)):
        assert vcpus[0].call(eid, fid, mask, base) == INVALID_PARAM
    assert all(not vcpu.done for vcpu in vcpus)
    assert machine("kvm-7.2")[0].call(Eid.IPI, 0, mask, base) == INVALID_PARAM
    assert machine("kvm-7.2")[0].call(Eid.RFENCE, 0, mask, base) == SUCCESS
    assert machine("kvm-6.10")[0].call(Eid.IPI, 0, mask, base) == SUCCESS


def test_kvm_serves_the_harts_that_exist(machine: Any) -> None:
    vcpus = machine("kvm-7.2")
    assert vcpus[0].call(Eid.IPI, 0, 0b1001, 0) == INVALID_PARAM
    assert vcpus[0].done == [("set", 1)]


def test_remote_fences(machine: Any) -> None:
    for profile in ("spec-3.0", "kvm-7.2", "kvm-6.12", "kvm-6.10"):
        vcpus = machine(profile)
        assert vcpus[0].call(Eid.RFENCE, 0, 0b10, 0) == SUCCESS
        assert vcpus[0].call(Eid.RFENCE, 1, 0b10, 0, 0x1000, 0x2000) == SUCCESS
        assert vcpus[0].call(Eid.RFENCE, 2, 0b10, 0, 0x1000, TOP, 7) == SUCCESS
        fences = [("sfence_vma", 0x1000, 0x2000, None), ("sfence_vma", 0x1000, TOP, 7)]
        assert vcpus[1].done == [("fence_i",), *fences]
        assert not vcpus[2].done
        for fid in (3, 4, 5, 6):
            expected = SUCCESS if profile == "kvm-6.10" else NOT_SUPPORTED
            assert vcpus[0].call(Eid.RFENCE, fid, 1, 0) == expected
        assert vcpus[0].call(Eid.RFENCE, 7, 1, 0) == NOT_SUPPORTED


def test_what_a_fence_counts(machine: Any) -> None:
    """As recorded on 6.12: fence.i counts on both sides, sfence.vma not under its own code."""
    own = (FwEvent.SFENCE_VMA_SENT, FwEvent.SFENCE_VMA_RECEIVED)
    with_asid = (FwEvent.SFENCE_VMA_ASID_SENT, FwEvent.SFENCE_VMA_ASID_RECEIVED)
    taken_for = (FwEvent.HFENCE_VVMA_SENT, FwEvent.HFENCE_VVMA_RECEIVED)
    asid_taken_for = (FwEvent.HFENCE_VVMA_ASID_SENT, FwEvent.HFENCE_VVMA_ASID_RECEIVED)
    fence_i = (FwEvent.FENCE_I_SENT, FwEvent.FENCE_I_RECEIVED)
    for profile in ("spec-3.0", "kvm-6.12"):
        vcpu = machine(profile)[0]
        counters = count(vcpu, *fence_i, *own, *with_asid, *taken_for, *asid_taken_for)
        vcpu.call(Eid.RFENCE, 0, 1, 0)
        vcpu.call(Eid.RFENCE, 1, 1, 0, 0, TOP)
        vcpu.call(Eid.RFENCE, 2, 1, 0, 0, TOP, 3)
        ones = {*fence_i, *(own + with_asid if profile == "spec-3.0" else taken_for + asid_taken_for)}
        assert {event for event, n in counted(vcpu, counters).items() if n == 1} == ones
        assert sum(counted(vcpu, counters).values()) == 6


def test_hart_start(machine: Any) -> None:
    vcpus = machine()
    first = vcpus[0]
    entry = machine.RAM + 0x200
    assert first.call(Eid.HSM, 0, 9, entry) == INVALID_PARAM
    assert first.call(Eid.HSM, 0, TOP, entry) == INVALID_PARAM
    assert first.call(Eid.HSM, 0, 0, entry) == (E.ALREADY_AVAILABLE, 0)
    for bad in (0, machine.RAM - 2, machine.RAM + machine.SIZE, entry + 1, TOP):
        assert first.call(Eid.HSM, 0, 1, bad) == INVALID_ADDRESS
    assert not vcpus[1].done
    assert first.call(Eid.HSM, 0, 1, entry, 0x1234) == SUCCESS
    assert vcpus[1].done == [("start", entry, 0x1234)]
    assert first.call(Eid.HSM, 0, 1, entry) == (E.ALREADY_AVAILABLE, 0)
    assert machine("kvm-7.2")[0].call(Eid.HSM, 0, 1, 0) == SUCCESS


def test_hart_status_and_stop(machine: Any) -> None:
    vcpus = machine()
    first = vcpus[0]
    assert first.call(Eid.HSM, 2, 0) == (0, HartState.STARTED)
    assert first.call(Eid.HSM, 2, 1) == (0, HartState.STOPPED)
    first.blocking = True  # WFI, which KVM cannot tell from hart_suspend
    waiting = HartState.SUSPENDED if first.profile.name.startswith("kvm") else HartState.STARTED
    assert first.call(Eid.HSM, 2, 0) == (0, waiting)
    first.suspended = True
    assert first.call(Eid.HSM, 2, 0) == (0, HartState.SUSPENDED)
    assert first.call(Eid.HSM, 2, 3) == INVALID_PARAM
    first.call(Eid.HSM, 1)
    assert first.done == [("stop",)]
    assert first.call(Eid.HSM, 1) == (E.FAILED, 0)
    assert first.call(Eid.HSM, 4) == NOT_SUPPORTED


def test_hart_suspend(machine: Any) -> None:
    resume = machine.RAM + 0x100
    vcpu = machine()[0]
    assert vcpu.call(Eid.HSM, 3, 0, 1) == SUCCESS  # retentive: the address means nothing
    assert vcpu.call(Eid.HSM, 3, 0x7_0000_0000) == SUCCESS  # 32 bits
    assert vcpu.call(Eid.HSM, 3, 0x80000000, 0) == INVALID_ADDRESS
    assert vcpu.done == [("suspend",)] * 2
    assert vcpu.call(Eid.HSM, 3, 0x80000000, resume, 5) == SUCCESS
    assert vcpu.done[2:] == [("suspend",), ("reset", resume, 5)]
    assert vcpu.call(Eid.HSM, 3, 1) == INVALID_PARAM
    assert vcpu.call(Eid.HSM, 3, 0x10000000) == NOT_SUPPORTED
    kvm = machine("kvm-7.2")[0]
    assert kvm.call(Eid.HSM, 3, 0x80000000, resume) == NOT_SUPPORTED
    assert kvm.call(Eid.HSM, 3, 0x10000000) == INVALID_PARAM


@pytest.mark.parametrize("profile", ["spec-3.0", "kvm-7.2"])
def test_system_reset(machine: Any, profile: str) -> None:
    vcpu = machine(profile)[0]
    assert vcpu.call(Eid.SRST, 0, 0, 1) == SystemEvent(1, 1)
    assert vcpu.call(Eid.SRST, 0, 1, 0) == SystemEvent(2, 0)
    assert vcpu.call(Eid.SRST, 0, 1 << 32 | 2, 1 << 32) == SystemEvent(2, 0)
    strict = profile == "spec-3.0"
    assert vcpu.call(Eid.SRST, 0, 3) == (INVALID_PARAM if strict else NOT_SUPPORTED)
    assert vcpu.call(Eid.SRST, 0, 0xF0000000) == NOT_SUPPORTED
    assert vcpu.call(Eid.SRST, 0, 0, 2) == (INVALID_PARAM if strict else SystemEvent(1, 2))


def test_debug_console(machine: Any) -> None:
    vcpu = machine("kvm-7.2")[0]
    assert vcpu.call(Eid.DBCN, 0, 5, machine.RAM, 0) == SbiExit(Eid.DBCN, 0, (5, machine.RAM, 0, 0, 0, 0))
    assert vcpu.call(Eid.DBCN, 3) == NOT_SUPPORTED


@pytest.mark.parametrize("profile", ["spec-3.0", "kvm-7.2"])
def test_system_suspend(machine: Any, profile: str) -> None:
    vcpus = machine(profile)
    first = vcpus[0]
    resume = machine.RAM + 0x100
    assert first.call(Eid.SUSP, 0, 1, resume) == INVALID_PARAM
    assert first.call(Eid.SUSP, 0, 0, 0x1000) == INVALID_ADDRESS
    vcpus[1].mp_state = 0
    assert first.call(Eid.SUSP, 0, 0, resume) == (E.DENIED, 0)
    vcpus[1].mp_state = 5
    assert not first.done
    assert first.call(Eid.SUSP, 0, 1 << 32, resume, 9) == SbiExit(Eid.SUSP, 0, (1 << 32, resume, 9, 0, 0, 0))
    assert first.done == [("reset", resume, 9)]
    assert machine("kvm-6.12")[0].call(Eid.SUSP, 0, 0, resume) == NOT_SUPPORTED


def test_steal_time(machine: Any) -> None:
    vcpu = machine("kvm-7.2")[0]
    area = machine.RAM + 0x40
    vcpu.memory.write(area, b"\xff" * 64)
    assert vcpu.call(Eid.STA, 0, area, 0, 1) == INVALID_PARAM
    assert vcpu.call(Eid.STA, 0, area + 8, 0, 0) == INVALID_PARAM
    assert vcpu.call(Eid.STA, 0, area, 1, 0) == INVALID_ADDRESS
    assert vcpu.call(Eid.STA, 0, 0x1000, 0, 0) == INVALID_ADDRESS
    assert vcpu.call(Eid.STA, 0, area, 0, 0) == SUCCESS
    assert vcpu.memory.read(area, 64) == bytes(64)
    assert vcpu.call(Eid.STA, 0, TOP, TOP, 0) == SUCCESS
    assert vcpu.done == [("steal_time", area), ("steal_time", None)]


def test_firmware_features(machine: Any) -> None:
    """FWFT (SBI 3.0): ids are 32 bits; a lock holds until a reset; reserved ids are denied."""
    vcpu = machine("spec-3.0")[0]
    delegation, lock = 0, 1
    assert vcpu.call(Eid.FWFT, 1, delegation) == (0, 0)
    for value in (1, 0, 1):
        assert vcpu.call(Eid.FWFT, 0, 1 << 32 | delegation, value, 0) == (0, 0)
        assert vcpu.call(Eid.FWFT, 1, 1 << 63 | delegation) == (0, value)
    for value, flags in ((2, 0), (0xFFFFFFFF, 0), (1 << 32, 0), (0, 2), (0, 1 << 32)):
        assert vcpu.call(Eid.FWFT, 0, delegation, value, flags) == INVALID_PARAM
    assert vcpu.call(Eid.FWFT, 1, delegation) == (0, 1)
    for feature in (1, 2, 3, 4, 5):
        assert vcpu.call(Eid.FWFT, 0, feature, 1, 0) == vcpu.call(Eid.FWFT, 1, feature) == NOT_SUPPORTED
    for feature in (6, 0x3FFFFFFF, 0x80000000, 0xBFFFFFFF):
        assert vcpu.call(Eid.FWFT, 0, feature, 1, 0) == vcpu.call(Eid.FWFT, 1, feature) == (E.DENIED, 0)
    assert vcpu.call(Eid.FWFT, 0, delegation, 0, lock) == (0, 0)
    for flags in (0, lock):
        assert vcpu.call(Eid.FWFT, 0, delegation, 1, flags) == (E.DENIED_LOCKED, 0)
    assert vcpu.call(Eid.FWFT, 1, delegation) == (0, 0)


def test_firmware_features_of_kvm(machine: Any) -> None:
    """KVM 7.2.13 above OpenSBI 1.6 on QEMU 10: the extension is there, and no feature of it."""
    vcpu = machine("kvm-7.2")[0]
    assert vcpu.call(Eid.BASE, 3, Eid.FWFT) == (0, 1)
    for feature in range(6):
        assert vcpu.call(Eid.FWFT, 0, feature, 0, 0) == vcpu.call(Eid.FWFT, 1, feature) == NOT_SUPPORTED
    assert vcpu.call(Eid.FWFT, 1, 6) == (E.DENIED, 0)
    assert vcpu.call(Eid.FWFT, 2, 0) == NOT_SUPPORTED


@pytest.mark.parametrize(("profile", "error"), [("opensbi-1.6", 0), ("kvm-7.2", 0), ("spec-3.0", -3)])
def test_upper_half_of_a_hart_id(machine: Any, profile: str, error: int) -> None:
    """OpenSBI 1.6 on two harts: hart_get_status(2^32 + 1) answers the state of hart 1."""
    vcpu = machine(profile, harts=2)[0]
    expected = (error, HartState.STOPPED if not error else 0)
    assert vcpu.call(Eid.HSM, 2, 1 << 32 | 1) == expected
