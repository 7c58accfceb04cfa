"""Firmware profiles answer and trap as their firmware did: 1.1 on QEMU 7.2, 1.6 on QEMU 10."""

from __future__ import annotations

import struct

import pytest

from vpmu.hart import state
from vpmu.profiles.profiles import PROFILES, get_profile
from vpmu.see.guest_hart import GuestHart
from vpmu.spec.csr import Cause, Csr
from vpmu.spec.sbi import BaseFid, Eid, PmuFid, SbiRet
from vpmu.vmm.machine import Machine

FIRMWARE = [name for name in PROFILES if name.startswith("opensbi")]
EXTENSIONS = {
    "opensbi-1.1": {"TIME", "IPI", "RFENCE", "HSM", "SRST", "PMU"},
    "opensbi-1.6": {"TIME", "IPI", "RFENCE", "HSM", "SRST", "PMU", "DBCN", "SSE", "FWFT", "DBTR"},
}
ASKED = ("TIME", "IPI", "RFENCE", "HSM", "SRST", "PMU", "DBCN", "SUSP", "CPPC", "NACL", "STA", "SSE", "FWFT",
         "DBTR", "MPXY")  # fmt: skip
OK, BAD = 0, -3
CALLS = {
    # EID, FID, hart_mask, hart_mask_base: what 1.1 and 1.6 answered on a machine with one hart
    (Eid.IPI, 0, 0, 0): (OK, OK),
    (Eid.IPI, 0, 2, 0): (OK, OK),
    (Eid.IPI, 0, 1 << 63, 0): (OK, OK),
    (Eid.IPI, 0, 2, 1000): (BAD, OK),
    (Eid.IPI, 0, 0, 1000): (BAD, OK),
    (Eid.IPI, 0, 1, (1 << 64) - 2): (BAD, OK),
    (Eid.RFENCE, 0, 2, 0): (OK, OK),
    (Eid.RFENCE, 0, 2, 1000): (BAD, OK),
    (Eid.RFENCE, 0, 0, 1000): (BAD, OK),
    (Eid.RFENCE, 1, 2, 1000): (BAD, OK),
}


def vcpu(profile: str, **more: object) -> GuestHart:
    return Machine(profile, memory=1 << 20, **more).vcpu(0)  # type: ignore[arg-type]


def call(target: GuestHart, eid: int, fid: int, *args: int) -> SbiRet:
    answer = target.ecall(eid, fid, *args)
    assert isinstance(answer, SbiRet)
    return answer


@pytest.mark.parametrize("profile", EXTENSIONS)
def test_probe_extension(profile: str) -> None:
    target = vcpu(profile)
    found = {
        name
        for name in ASKED
        if call(
            target, Eid.BASE, BaseFid.PROBE_EXTENSION, Eid[name] if name in Eid.__members__ else 0x4D505859
        )
        == (0, 1)
    }
    assert found == EXTENSIONS[profile]


def test_an_extension_that_is_there_by_name_only() -> None:
    target = vcpu("opensbi-1.6")
    assert call(target, Eid.DBTR, 0).error == -2
    for eid in (Eid.SSE, Eid.DBTR):
        assert call(vcpu("kvm-7.2"), eid, 0).error == -2


@pytest.mark.parametrize("asked", CALLS)
def test_harts_that_are_not_there(asked: tuple[int, int, int, int]) -> None:
    answers = [call(vcpu(profile), *asked).error for profile in EXTENSIONS]
    assert tuple(answers) == CALLS[asked]


def test_the_next_firmware_refuses_them() -> None:
    """OpenSBI 1.9, run on QEMU 10: both are INVALID_PARAM, and an empty mask is SUCCESS at any base."""
    target = vcpu(get_profile("opensbi-1.6", without=["opensbi-hart-mask-unchecked"]))
    assert [call(target, *asked).error for asked in CALLS] == [OK, BAD, BAD, BAD, OK, BAD, BAD, BAD, OK, BAD]


# --- access faults

HOLE, HERE, HANDLER = 0x18000000, 0x80008000, 0x80000100
INSTRUCTIONS = {
    "lb": (0x00030383, Cause.LOAD_ACCESS),
    "ld": (0x00033383, Cause.LOAD_ACCESS),
    "c.ld": (0x6304, Cause.LOAD_ACCESS),  # ld s1, 0(a4)
    "fld": (0x00033007, Cause.LOAD_ACCESS),
    "lr.d": (0x100333AF, Cause.LOAD_ACCESS),
    "sd": (0x00733023, Cause.STORE_ACCESS),
    "fsd": (0x00033027, Cause.STORE_ACCESS),
    "amoadd.d": (0x007333AF, Cause.STORE_ACCESS),
    "sc.d": (0x187333AF, Cause.STORE_ACCESS),  # one that fails is checked like a store, as on Spike
}
"""Of t1 (a4 for the compressed one)."""


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("mode", [state.VS, state.VU])
@pytest.mark.parametrize("name", INSTRUCTIONS)
@pytest.mark.parametrize("profile", FIRMWARE)
def test_nothing_lies_there(profile: str, name: str, mode: int, engine: str) -> None:
    word, cause = INSTRUCTIONS[name]
    machine = Machine(profile, memory=1 << 20, engine=engine)
    hart = machine.vcpu(0)
    hart.write(HERE, struct.pack("<II", word, 0x6F))
    hart.write(HANDLER, struct.pack("<I", 0x6F))
    hart.pc = HERE
    hart.regs[6] = hart.regs[14] = HOLE
    for csr, value in (("stvec", HANDLER), ("sstatus", 0x6000), ("mode", mode)):
        hart.hart.set(csr, value)
    assert machine.run(max_instructions=4).stop == "budget"
    assert hart.pc == HANDLER
    assert [hart.csr_read(csr) for csr in (Csr.SCAUSE, Csr.SEPC, Csr.STVAL)] == [cause, HERE, HOLE]


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize(
    ("pc", "fault"), [(HOLE, HOLE), (0, 0), (0x800FFFFE, 0x80100000)], ids=["hole", "0", "across the end"]
)
def test_no_instruction_lies_there(pc: int, fault: int, engine: str) -> None:
    machine = Machine("opensbi-1.6", memory=1 << 20, engine=engine)
    hart = machine.vcpu(0)
    hart.write(0x800FFFFE, b"\x13\x00")  # the first half of a nop
    hart.write(HANDLER, struct.pack("<I", 0x6F))
    hart.pc = pc
    hart.hart.set("stvec", HANDLER)
    assert machine.run(max_instructions=4).stop == "budget"
    assert [hart.csr_read(csr) for csr in (Csr.SCAUSE, Csr.SEPC, Csr.STVAL)] == [
        Cause.FETCH_ACCESS,
        pc,
        fault,
    ]


def test_a_handler_that_is_not_there_either() -> None:
    machine = Machine("opensbi-1.6", memory=1 << 20)
    machine.vcpu(0).pc = HOLE
    assert machine.run(max_instructions=10_000_000).stop == "hung"


def test_the_firmware_counts_them() -> None:
    machine = Machine("opensbi-1.6", memory=1 << 20)
    hart = machine.vcpu(0)
    _, counter = call(hart, Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 0, (1 << 35) - 1 & ~2, 6, 0xF0002, 0)
    assert counter is not None
    hart.write(HERE, struct.pack("<II", 0x00033383, 0x6F))
    hart.write(HANDLER, struct.pack("<I", 0x6F))
    hart.pc, hart.regs[6] = HERE, HOLE
    hart.hart.set("stvec", HANDLER)
    machine.run(max_instructions=4)
    assert call(hart, Eid.PMU, PmuFid.COUNTER_FW_READ, counter) == (0, 1)


def test_under_kvm_user_space_answers() -> None:
    """KVM hands the load to user space, whose bus has nothing there, and cannot go on after a fetch."""
    machine = Machine("kvm-7.2", memory=1 << 20)
    hart = machine.vcpu(0)
    hart.write(HERE, struct.pack("<II", 0x00033383, 0x6F))
    hart.pc, hart.regs[6], hart.regs[7] = HERE, HOLE, 5
    assert machine.run(max_instructions=4).stop == "budget"
    assert hart.regs[7] == 0
    hart.pc = HOLE
    assert machine.run(max_instructions=4).stop == "kvm_run_failed"
