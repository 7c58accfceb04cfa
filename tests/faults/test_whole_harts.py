"""Fault sites on harts with all their modes: each does what it says, or is refused in a line."""

from __future__ import annotations

import pytest

from vpmu import Machine
from vpmu.errors import MachineError
from vpmu.faults import SITES, FaultPlan, parse_rule
from vpmu.firmware.injection import MISSING
from vpmu.spec.privileged import IP_LCOFI, IP_MSI
from vpmu.spec.sbi import ConfigFlag, Eid, PmuFid, SbiError, StartFlag

from ..hart.assemble import csr, encode
from ..hart.whole.bare import BASE, Image

COUNT, READ, CLINT = BASE + 0x2000, BASE + 0x2008, 0x02000000
MIE, MTVEC, MIP, MHPMEVENT3, MHPMCOUNTER3, MCOUNTINHIBIT = 0x304, 0x305, 0x344, 0x323, 0xB03, 0x320
INSTRUCTIONS = 1 << 40 | 2
ISA = frozenset({"h", "sscofpmf", "sstc"})
T0, T1, T2 = 5, 6, 7
RULES = {
    "perf.create": "errno=EBUSY",
    "perf.enable": "state=error",
    "perf.period": "errno=EINVAL",
    "perf.read": "add=7",
    "perf.starve": "counters=16,after=60",
    "hart.counter": "add=1000,after=60",
    "hart.overflow": "drop",
    "kvm.snapshot": "fault",
    "kvm.allocate": "fail",
    "kvm.interrupt": "drop",
    "kvm.reset": "skip",
    "kvm.csr": "add=5",
    "kvm.run": "errno=EBUSY",
    "sbi.call": "error=FAILED",
    "host.call": "function=schedule,skip",
    "guest.memory": "address=0x80001000,xor=1,after=60",
}
KINDS: dict[str, dict[str, object]] = {
    "spec": {"profile": "spec-3.0", "isa": ISA},
    "firmware": {"profile": "opensbi-1.6", "isa": ISA},
    "none": {"firmware": b"\x6f\0\0\0", "isa": ISA},
}


def plan(*rules: str) -> FaultPlan:
    return FaultPlan(tuple(parse_rule(rule) for rule in rules))


def test_every_site_has_a_rule_here() -> None:
    assert RULES.keys() == SITES.keys()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("site", RULES)
def test_a_site_is_there_or_refused(site: str, kind: str) -> None:
    rule = plan(f"{site}:{RULES[site]}")
    options = {"host_pmu": "full", "memory": 1 << 20, "faults": rule, **KINDS[kind]}
    why = "the model of one" if site == "host.call" else MISSING[kind].get(site)
    if why is None:
        assert Machine(**options).injection is not None  # type: ignore[arg-type]
        return
    with pytest.raises(MachineError, match=site) as refused:
        Machine(**options)  # type: ignore[arg-type]
    assert str(refused.value).endswith(why)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_ends_kvm_run_has_no_place(kind: str) -> None:
    with pytest.raises(MachineError, match=r"no KVM|answers SBI calls itself"):
        Machine(faults=plan("sbi.call:errno=EIO"), memory=1 << 20, **KINDS[kind])  # type: ignore[arg-type]


def test_firmware_has_no_snapshot_page() -> None:
    for kind in ("firmware", "none"):
        with pytest.raises(MachineError, match="no snapshot page"):
            Machine(
                faults=plan("guest.memory:address=snapshot,remove,after=9"), memory=1 << 20, **KINDS[kind]
            )  # type: ignore[arg-type]


# --- M mode is software: a counter that overflows 100 instructions on, and a software interrupt


def handler(image: Image, mode: str = "m") -> None:
    """Count interrupts at COUNT; clear LCOFIP and, in M mode, msip."""
    image.to(BASE + 0x1000)
    image.li(T0, COUNT)
    image.emit(encode("ld", rd=T1, rs1=T0, imm=0), encode("addi", rd=T1, rs1=T1, imm=1))
    image.emit(encode("sd", rs1=T0, rs2=T1, imm=0))
    image.li(T0, IP_LCOFI)
    image.emit(csr("csrrc", 0, MIP if mode == "m" else 0x144, T0))
    if mode == "s":
        image.emit(0x10200073)
        return
    image.li(T0, CLINT)
    image.emit(encode("sw", rs1=T0, rs2=0, imm=0), 0x30200073)


def bare(*rules: str, software: bool = False, engine: str = "native") -> Machine:
    image = Image()
    image.csrw(MTVEC, BASE + 0x1000)
    image.csrw(MIE, IP_LCOFI | IP_MSI)
    image.csrw(MHPMEVENT3, INSTRUCTIONS)
    image.csrw(MHPMCOUNTER3, -100)
    image.csrw(MCOUNTINHIBIT, 0)
    image.emit(csr("csrrsi", 0, 0x300, 8))  # mstatus.MIE
    if software:
        image.li(T0, CLINT)
        image.li(T1, 1)
        image.emit(encode("sw", rs1=T0, rs2=T1, imm=0))
    image.li(T2, READ)
    again = image.here
    image.emit(csr("csrrs", T1, 0xC03, 0), encode("sd", rs1=T2, rs2=T1, imm=0))
    image.jump(again)
    handler(image)
    machine = Machine(
        firmware=bytes(image.bytes), isa=ISA, host_pmu="full", memory=1 << 20, engine=engine,
        faults=plan(*rules) if rules else None,
    )  # fmt: skip
    machine.load(None)
    return machine


def seen(machine: Machine, instructions: int = 4000) -> int:
    """Interrupts that the handler has met after so many instructions."""
    assert machine.run(max_instructions=instructions).stop == "budget"
    return int.from_bytes(machine.memory.read(COUNT, 8), "little")


def count(machine: Machine) -> int:
    return int.from_bytes(machine.memory.read(READ, 8), "little")


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize(
    ("effect", "early", "late"),
    [("", 1, 1), ("drop", 0, 0), ("delay=2us", 0, 1), ("duplicate", 1, 2), ("drop,counter=4", 1, 1),
     ("event=instructions,drop", 0, 0), ("event=cycles,drop", 1, 1)],
)  # fmt: skip
def test_hart_overflow_in_machine_mode(effect: str, early: int, late: int, engine: str) -> None:
    machine = bare(*[f"hart.overflow:{effect}"] * bool(effect), engine=engine)
    assert seen(machine, 400) == early
    assert seen(machine) == late


@pytest.mark.parametrize(
    ("effect", "early", "late"),
    [("drop", 0, 0), ("delay=2us", 0, 1), ("duplicate", 2, 2), ("irq=3,drop", 0, 0)],
)
def test_kvm_interrupt_is_a_line_into_machine_mode(effect: str, early: int, late: int) -> None:
    machine = bare(f"kvm.interrupt:{effect},times=1", "hart.overflow:drop", software=True)
    assert seen(machine, 400) == early
    assert seen(machine) == late


def test_a_line_that_is_late_ends_waiting() -> None:
    image = Image()
    image.csrw(MTVEC, BASE + 0x1000)
    image.csrw(MIE, IP_MSI)
    image.emit(csr("csrrsi", 0, 0x300, 8))
    image.store(CLINT, 1)
    image.emit(0x10500073)  # wfi
    image.jump(image.here)
    handler(image)
    options = {"isa": ISA, "memory": 1 << 20, "firmware": bytes(image.bytes)}
    machine = Machine(faults=plan("kvm.interrupt:delay=5ms"), **options)  # type: ignore[arg-type]
    machine.load(None)
    assert seen(machine, 400) == 1
    assert 5_000_000 <= machine.time < 5_010_000


def test_hart_counter_in_machine_mode() -> None:
    plain, changed = bare(), bare("hart.counter:counter=3,add=1000000,after=2us")
    assert seen(plain) == seen(changed) == 1
    assert count(changed) - count(plain) == 1_000_000


@pytest.mark.parametrize(("effect", "more"), [("value=7", None), ("add=9", 9)])
def test_kvm_csr_in_machine_mode(effect: str, more: int | None) -> None:
    plain, changed = bare(), bare(f"kvm.csr:counter=3,{effect}")
    assert seen(plain) == seen(changed) == 1
    assert count(changed) == (7 if more is None else count(plain) + more)


def test_a_counter_that_is_gone() -> None:
    """The first read traps; the handler's MRET goes back to it, and it traps again."""
    machine = bare("kvm.csr:counter=3,illegal", "hart.overflow:drop")
    assert seen(machine) > 100
    assert machine.vcpu(0).hart.get("mcause") == 2


@pytest.mark.parametrize("effect", ["remove", "readonly"])
def test_guest_memory_in_machine_mode(effect: str) -> None:
    machine = bare(f"guest.memory:address={COUNT:#x},{effect},after=1us", "hart.overflow:drop")
    machine.run(max_instructions=3000)
    hart = machine.vcpu(0).hart
    assert (hart.get("mcause"), hart.get("mtval") & -4096) == (5 if effect == "remove" else 7, COUNT)


def test_the_plan_can_be_taken_out() -> None:
    machine = bare("hart.overflow:drop", "kvm.csr:value=7")
    machine.inject(None)
    assert seen(machine) == 1
    assert count(machine) > 1000


# --- Python plays M mode


def supervisor(kind: str, *rules: str) -> Machine:
    """A supervisor whose handler counts overflow interrupts, the first of them 1000 cycles on."""
    image = Image()
    image.csrw(0x105, BASE + 0x1000)
    image.csrw(0x104, IP_LCOFI)
    image.emit(csr("csrrsi", 0, 0x100, 2))  # sstatus.SIE
    image.jump(image.here)
    handler(image, "s")
    options = {"host_pmu": "full", "memory": 1 << 20, **KINDS[kind]}
    machine = Machine(faults=plan(*rules) if rules else None, **options)  # type: ignore[arg-type]
    machine.memory.write(BASE, bytes(image.bytes))
    vcpu = machine.vcpu(0)
    vcpu.pc = BASE
    config = vcpu.ecall(Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 3, 1, ConfigFlag.CLEAR_VALUE, 10, 0)
    assert config == (0, 3)  # ref-cycles
    value = (1 << 64) - 1000
    assert vcpu.ecall(Eid.PMU, PmuFid.COUNTER_START, 3, 1, StartFlag.SET_INIT_VALUE, value) == (0, 0)
    return machine


@pytest.mark.parametrize("kind", ["spec", "firmware"])
@pytest.mark.parametrize(
    ("effect", "early", "late"),
    [
        ("", 1, 1),
        ("drop", 0, 0),
        ("delay=2us", 0, 1),
        ("event=branches,drop", 1, 1),
        ("event=ref-cycles,drop", 0, 0),
    ],
)
def test_hart_overflow_below_a_supervisor(kind: str, effect: str, early: int, late: int) -> None:
    machine = supervisor(kind, *[f"hart.overflow:{effect}"] * bool(effect))
    assert seen(machine, 1500) == early
    assert seen(machine) == late


def test_an_overflow_that_comes_twice_below_a_supervisor() -> None:
    machine = supervisor("firmware", "hart.overflow:duplicate")
    assert seen(machine, 1500) == 1
    assert seen(machine) == 2


@pytest.mark.parametrize("kind", ["spec", "firmware"])
@pytest.mark.parametrize(
    ("effect", "early", "late"), [("drop", 0, 0), ("delay=2us", 0, 1), ("duplicate", 1, 2)]
)
def test_kvm_interrupt_below_a_supervisor(kind: str, effect: str, early: int, late: int) -> None:
    machine = supervisor(kind, f"kvm.interrupt:irq=13,{effect}")
    assert seen(machine, 1500) == early
    assert seen(machine) == late


@pytest.mark.parametrize("kind", ["spec", "firmware"])
def test_sbi_call_below_a_supervisor(kind: str) -> None:
    machine = Machine(memory=1 << 20, faults=plan("sbi.call:eid=0x504d55,error=FAILED"), **KINDS[kind])  # type: ignore[arg-type]
    assert machine.vcpu(0).ecall(Eid.PMU, PmuFid.NUM_COUNTERS) == (SbiError.FAILED, 0)


def test_the_specification_counts_a_supervisor_and_its_guests() -> None:
    """Filters of S and U, and of VS and VU, are of the hart's own modes: nothing else is in its way."""
    for flags, expected in (
        (0, 500),
        (ConfigFlag.SET_SINH, 0),
        (ConfigFlag.SET_UINH | ConfigFlag.SET_VUINH | ConfigFlag.SET_VSINH, 500),
    ):
        machine = Machine("spec-3.0", isa=ISA, host_pmu="full", memory=1 << 20)
        image = Image()
        image.jump(image.here)
        machine.memory.write(BASE, bytes(image.bytes))
        vcpu = machine.vcpu(0)
        vcpu.pc = BASE
        answer = vcpu.ecall(Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 3, 1, int(flags) | 6, 10, 0)
        assert answer == (0, 3)
        machine.run(max_instructions=500)
        assert vcpu.csr_read(0xC03) == expected
