"""Which ecall reaches which extension, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from vpmu.kvm.errors import KvmRunError
from vpmu.profiles.profiles import PROFILES, SbiExtension
from vpmu.see.exits import SbiExit, SystemEvent
from vpmu.see.vcpu_api import GuestTrap
from vpmu.spec.sbi import Eid, SbiRet
from vpmu.spec.sbi import SbiError as E
from vpmu.spec.sbi_functions import function
from vpmu.trace.recorder import Recorder

NOT_SUPPORTED = (E.NOT_SUPPORTED, 0)
PROBED = [Eid.BASE, Eid.TIME, Eid.IPI, Eid.RFENCE, Eid.HSM, Eid.SRST, Eid.PMU, Eid.DBCN, Eid.STA]


@pytest.mark.parametrize("profile", PROFILES)
def test_base(machine: Any, profile: str) -> None:
    vcpu = machine(profile)[0]
    assert vcpu.call(Eid.BASE, 0) == (0, vcpu.profile.sbi_version)
    assert vcpu.call(Eid.BASE, 1) == (0, vcpu.profile.impl_id)
    assert vcpu.call(Eid.BASE, 2) == (0, vcpu.profile.impl_version)
    for eid in PROBED:
        there = eid is Eid.BASE or SbiExtension[eid.name] in vcpu.profile.extensions
        there = there and (eid, profile) != (Eid.DBCN, "opensbi-1.1")
        assert vcpu.call(Eid.BASE, 3, eid) == (0, int(there))
    # In KVM since 6.18, and on by default; in OpenSBI since 1.5.
    firmware = profile.startswith("opensbi") and profile != "opensbi-1.1"
    has_fwft = firmware or profile in ("spec-3.0", "kvm-7.2", "kvm-7.3")
    assert vcpu.call(Eid.BASE, 3, Eid.FWFT) == (0, int(has_fwft))
    assert vcpu.call(Eid.BASE, 3, Eid.SSE) == (0, int(firmware))
    has_susp = SbiExtension.SUSP in vcpu.profile.extensions
    assert vcpu.call(Eid.BASE, 3, Eid.SUSP) == (0, int(has_susp))
    assert [vcpu.call(Eid.BASE, fid)[1] for fid in (4, 5, 6)] == [0x11, 0x22, 0x33]
    assert vcpu.call(Eid.BASE, 7) == NOT_SUPPORTED


@pytest.mark.parametrize(
    "eid", [0x12345678, 0x100504D55, 0xFFFFFFFF00504D55, 0x504D54, 0x504D56, 0x9, 0xF, 0x11, 0x0A000003]
)
def test_unknown_extensions(machine: Any, eid: int) -> None:
    assert machine("kvm-7.2")[0].call(eid, 0, 1, 2) == NOT_SUPPORTED


@pytest.mark.parametrize("fid", [9, 0x10, 0x80000000, 1 << 32, (1 << 32) + 2, (1 << 64) - 1])
def test_unknown_functions(machine: Any, fid: int) -> None:
    vcpu = machine("kvm-7.2")[0]
    for eid in (*PROBED, Eid.SUSP, Eid.FWFT):
        assert vcpu.call(eid, fid) == NOT_SUPPORTED


def test_pmu_registers(machine: Any) -> None:
    vcpu = machine("kvm-7.2")[0]
    junk = 0xDEADBEEFCAFE0001
    assert vcpu.call(Eid.PMU, 0, junk, junk, junk) == (0, 41)
    assert vcpu.call(Eid.PMU, 1, 0, junk) == (0, 0x3FC00)
    assert vcpu.call(Eid.PMU, 2, 19, 1, 0, 0xF0005, 0, junk) == (0, 19)
    assert vcpu.call(Eid.PMU, 3, 19, 1, 1, 77, junk) == (0, 0)
    assert vcpu.call(Eid.PMU, 5, 19, junk) == (0, 77)
    assert vcpu.call(Eid.PMU, 6, 19, junk) == (0, 0)
    assert vcpu.call(Eid.PMU, 4, 19, 1, 0, junk) == (0, 0)
    assert vcpu.call(Eid.PMU, 2, 0, 1, 0, 1) == NOT_SUPPORTED
    assert vcpu.call(Eid.PMU, 7, machine.RAM, 0, 0, junk) == (0, 0)
    assert vcpu.call(Eid.PMU, 8, machine.RAM, 0, 1, 0, junk) == (0, 0)


def test_pmu_switched_off(machine: Any) -> None:
    vcpu = machine("kvm-6.12")[0]
    vcpu.extensions.set(SbiExtension.PMU, 0)
    assert vcpu.call(Eid.BASE, 3, Eid.PMU) == (0, 0)
    assert [vcpu.call(Eid.PMU, fid) for fid in range(10)] == [NOT_SUPPORTED] * 10


def test_failing_kvm_run_leaves_the_dispatcher(machine: Any) -> None:
    recorder = Recorder()
    vcpu = machine("kvm-6.9", recorder=recorder)[0]
    with pytest.raises(KvmRunError) as caught:
        vcpu.call(Eid.PMU, 2, 0, 1, 0, 1)
    assert caught.value.errno == 2
    last = recorder.records[-1]
    assert (last.layer, last.actor, last.action, last.result) == (
        "sbi",
        "counter_config_matching",
        "kvm-run-error",
        -2,
    )


def test_calls_are_recorded(machine: Any) -> None:
    recorder = Recorder()
    vcpu = machine("kvm-7.2", recorder=recorder)[0]
    vcpu.call(Eid.PMU, 4, 0, 1, 3)
    vcpu.call(Eid.DBCN, 2, 65)
    vcpu.call(0x12345678, 3)
    stop, console, unknown = [record for record in recorder.records if record.layer == "sbi"]
    assert (stop.actor, stop.action, stop.result) == ("counter_stop", "call", (E.NO_SHMEM, 0))
    assert stop.args == {"counter_idx_base": 0, "counter_idx_mask": 1, "stop_flags": 3}
    assert console.result == "KVM_EXIT_RISCV_SBI"
    assert unknown.actor == "0x12345678:0x3"


def test_function_names() -> None:
    assert function(Eid.PMU, 8).arguments == ("shmem_phys_lo", "shmem_phys_hi", "num_entries", "flags")
    assert function(1, 99).name == "legacy_console_putchar"
    assert function(Eid.PMU, 9).name == "PMU:0x9"


def test_legacy_calls_leave_a1(machine: Any) -> None:
    vcpus = machine("kvm-7.2")
    vcpu = vcpus[0]
    assert vcpu.call(0, 0, 1234) == SbiRet(0, None)
    assert vcpu.done[-1] == ("set_timer", 1234)
    assert vcpu.call(1, 0, 65) == SbiExit(1, 0, (65, 0, 0, 0, 0, 0))
    assert vcpu.call(2, 0) == SbiExit(2, 0, (0,) * 6)
    assert vcpu.call(3, 0) == SbiRet(0, None)
    assert vcpu.done[-1] == ("unset", 1)
    assert vcpu.call(8, 0) == SystemEvent(1, 0)


def test_legacy_hart_masks(machine: Any) -> None:
    vcpus = machine("kvm-7.2")
    mask = machine.RAM + 0x100
    vcpus[0].memory.write(mask, (0b10110).to_bytes(8, "little"))
    vcpus[0].call(4, 0, mask)
    assert [vcpu.done for vcpu in vcpus] == [[], [("set", 1)], [("set", 1)]]
    vcpus[0].call(5, 0, 0)
    vcpus[0].call(6, 0, mask, 0x1000, 0x2000)
    vcpus[0].call(7, 0, mask, 0x1000, 0x2000, 5)
    assert vcpus[1].done[1:] == [
        ("fence_i",),
        ("sfence_vma", 0x1000, 0x2000, None),
        ("sfence_vma", 0x1000, 0x2000, 5),
    ]
    assert vcpus[0].done == [("fence_i",)]


def test_legacy_mask_that_cannot_be_read(machine: Any) -> None:
    with pytest.raises(GuestTrap) as caught:
        machine("kvm-7.2")[0].call(4, 0, 0x1000)
    assert (caught.value.cause, caught.value.stval) == (13, 0x1000)


def test_experimental_and_vendor_extensions_are_user_spaces(machine: Any) -> None:
    vcpu = machine("kvm-7.2")[0]
    for eid in (0x08000000, 0x08FFFFFF, 0x09000000, 0x09FFFFFF):
        assert vcpu.call(eid, 7, 1) == SbiExit(eid, 7, (1, 0, 0, 0, 0, 0))
        assert vcpu.call(Eid.BASE, 3, eid) == SbiExit(Eid.BASE, 3, (eid, 0, 0, 0, 0, 0))
        assert machine("spec-3.0")[0].call(eid, 7, 1) == NOT_SUPPORTED
        assert machine("spec-3.0")[0].call(Eid.BASE, 3, eid) == (0, 0)
