"""The device tree and the harts agree: each extension that it names works, each other one traps."""

from __future__ import annotations

import struct
from itertools import product

import pytest
from tests.vmm.test_devicetree import parse

from vpmu.hart.extensions import GUEST_ISA
from vpmu.perf.description import host_pmu_names
from vpmu.profiles.profiles import PROFILES, get_profile
from vpmu.spec.sbi import Eid, PmuFid
from vpmu.vmm.isa import of_guests, unnamed
from vpmu.vmm.machine import Machine

CODE, HANDLER, TABLE, DATA = 0x80001000, 0x80002000, 0x80003000, 0x80004000
FS, SIE, STVEC, SATP = 0x6000, 0x104, 0x105, 0x180

SAMPLES = {
    # a word, or several, of the extension alone; a4 and t1 hold an address of memory
    "i": [0x00000013],  # nop
    "m": [0x02C58533],  # mul a0, a1, a2
    "a": [0x00C7352F],  # amoadd.d a0, a2, (a4)
    "f": [0x00007053],  # fadd.s f0, f0, f0
    "d": [0x02007053],  # fadd.d f0, f0, f0
    "c": [0x0001],  # c.nop
    "zicsr": [0x14002573],  # csrr a0, sscratch
    "zicntr": [0xC0102573],  # rdtime a0
    "zihpm": [0xC0302573],  # csrr a0, hpmcounter3
    "zifencei": [0x0000100F],  # fence.i
    "zicond": [0x0EC5D533],  # czero.eqz a0, a1, a2
    "zcb": [0x8308],  # c.lbu a0, 0(a4)
    "zba": [0x20C5A533],  # sh1add a0, a1, a2
    "zbb": [0x40C5F533],  # andn a0, a1, a2
    "zbc": [0x0AC59533],  # clmul a0, a1, a2
    "zbs": [0x28C59533],  # bset a0, a1, a2
    # not there, unless a machine comes to offer them
    "v": [0xCC027057],  # vsetivli x0, 4, e8, m1
    "h": [0x6C074573],  # hlv.d a0, (a4)
    "zfh": [0x04007053],  # fadd.h f0, f0, f0
    "zfa": [0xF2108053],  # fli.d f0, 0
    "zbkb": [0x68755513],  # brev8 a0, a0
    "zacas": [0x28C7352F],  # amocas.d a0, a2, (a4)
    "zawrs": [0x00D00073],  # wrs.nto
    "zicbom": [0x0017200F],  # cbo.clean (a4)
    "zicboz": [0x0047200F],  # cbo.zero (a4)
    "sstc": [0x14D02573],  # csrr a0, stimecmp
    "svinval": [0x16000073],  # sinval.vma x0, x0
    "ssaia": [0xDB002573],  # csrr a0, stopi
}
"""What only a hart with the extension executes; the others trap as illegal (or, for the guest, as if)."""


def listed(machine: Machine) -> set[str]:
    """The extensions of `riscv,isa-extensions`, which `riscv,isa` and `riscv,isa-base` say as well."""
    assert machine.device_tree is not None
    (cpu,) = [node for name, node in parse(machine.device_tree)["cpus"].items() if name.startswith("cpu@")]
    names = cpu["riscv,isa-extensions"].rstrip(b"\0").decode().split("\0")
    base, letters = cpu["riscv,isa-base"].rstrip(b"\0").decode(), cpu["riscv,isa"].rstrip(b"\0").decode()
    assert base == "rv64i"
    single, *long = letters.split("_")
    assert {*single.removeprefix("rv64"), *long} == set(names)
    assert len(names) == len(set(names))
    return set(names)


def loaded(profile: str, host_pmu: str, engine: str, isa: frozenset[str] | None = None) -> Machine:
    machine = Machine(profile, host_pmu=host_pmu, memory=4 << 20, engine=engine, isa=isa)
    machine.load(b"\x13\0\0\0" * 4)
    vcpu = machine.vcpu(0)
    if vcpu.pmu.available and not vcpu.bare:  # KVM shows counters that have an event
        vcpu.ecall(Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 3, 1, 0, 0x10019, 0)
    return machine


def runs(machine: Machine, code: bytes) -> bool:
    """Whether the code comes to its end."""
    vcpu = machine.vcpu(0)
    vcpu.write(CODE, code + struct.pack("<I", 0x6F))
    vcpu.write(HANDLER, struct.pack("<I", 0x6F))
    vcpu.pc, vcpu.regs[14], vcpu.regs[6] = CODE, DATA, DATA
    for csr, value in (("sstatus", FS), ("stvec", HANDLER)):
        vcpu.hart.set(csr, value)
    vcpu.sfence_vma(0, 0, None)
    vcpu.fence_i()
    assert machine.run(max_instructions=20).stop == "budget"
    assert vcpu.pc in (CODE + len(code), HANDLER)
    return vcpu.pc != HANDLER


def assemble(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(4 if word & 3 == 3 else 2, "little") for word in words)


def has_sscofpmf(machine: Machine) -> bool:
    """sie.LCOFIE can be set (Sscofpmf: bit 13 is read-only zero without it)."""
    code = assemble([0x00002537, 0x10452073, 0x104025F3])  # lui a0, 2; csrs sie, a0; csrr a1, sie
    assert runs(machine, code)
    return bool(machine.vcpu(0).regs[11] >> 13 & 1)


def has_svadu(machine: Machine) -> bool:
    """A load from a page whose A bit is clear succeeds."""
    vcpu = machine.vcpu(0)
    gigapage = 0x80000000 >> 12 << 10 | 0x0F
    other = 0x80000000 >> 12 << 10 | 0x0F
    vcpu.write(TABLE, bytes(4096))
    vcpu.write(TABLE + 8 * 2, struct.pack("<Q", gigapage | 0xC0))
    vcpu.write(TABLE + 8 * 3, struct.pack("<Q", other))
    vcpu.hart.set("satp", 8 << 60 | TABLE >> 12)
    loads = 0xC0004000
    vcpu.write(DATA + 8, struct.pack("<Q", loads))
    done = runs(machine, assemble([0x00873503, 0x00053583]))  # ld a0, 8(a4); ld a1, 0(a0)
    vcpu.hart.set("satp", 0)
    return done


@pytest.mark.parametrize(("profile", "host_pmu"), [*product(PROFILES, host_pmu_names())])
def test_the_tree_says_what_the_hart_does(profile: str, host_pmu: str) -> None:
    for engine in ("native", "reference"):
        names = listed(loaded(profile, host_pmu, engine))
        works = {
            name for name, words in SAMPLES.items()
            if runs(loaded(profile, host_pmu, engine), assemble(words))
        }  # fmt: skip
        if has_sscofpmf(loaded(profile, host_pmu, engine)):
            works.add("sscofpmf")
        if has_svadu(loaded(profile, host_pmu, engine)):
            works.add("svadu")
        # what an old KVM has no name for works all the same: nothing on the hart could switch it off
        assert names == works - unnamed(get_profile(profile)), engine


WITHOUT_INSTRUCTIONS = {"svpbmt", "svnapot", "zicbop", "zihintpause", "zihintntl"}
"""Bits of page tables, which tests of the hart have, and hints, which any hart takes."""


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("profile", ["kvm-6.9", "kvm-6.12", "kvm-7.2", "spec-3.0", "opensbi-1.6"])
def test_what_is_asked_for_is_in_the_tree_and_works(profile: str, engine: str) -> None:
    chosen = of_guests(get_profile(profile))
    for isa in (frozenset[str](), chosen):
        machine = loaded(profile, "qemu-virt", engine, isa)
        assert listed(machine) & GUEST_ISA == isa
        works = {
            name for name in SAMPLES.keys() & GUEST_ISA
            if runs(loaded(profile, "qemu-virt", engine, isa), assemble(SAMPLES[name]))
        }  # fmt: skip
        assert works == isa - WITHOUT_INSTRUCTIONS


@pytest.mark.parametrize(
    ("profile", "host_pmu", "offered"),
    [
        ("opensbi-1.6", "qemu-virt", True),
        ("opensbi-1.6", "none", False),
        ("kvm-7.2", "qemu-virt", False),  # KVM without Ssaia: ISA SSCOFPMF is 0 on 6.12.117 and 7.2.13
        ("kvm-7.2", "full", True),
        ("kvm-6.9", "full", False),
        ("spec-3.0", "none", False),
    ],
)
def test_sscofpmf_is_offered_where_it_is(profile: str, host_pmu: str, offered: bool) -> None:
    assert ("sscofpmf" in listed(loaded(profile, host_pmu, "native"))) == offered
