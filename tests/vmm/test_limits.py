"""Every limit ends every guest, whatever it does; what a guest does for ever takes bounded memory."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable

import pytest

from vpmu import Machine
from vpmu.see import sbi_call
from vpmu.spec.sbi import U64, Eid
from vpmu.trace.recorder import Recorder
from vpmu.vmm import console
from vpmu.vmm.host_timeout import host_timeout, stall_timeout

from ..hart.assemble import ECALL, SRET, WFI, code, csr, encode

RAM = 0x80000000
CODE, DATA = RAM + 0x1000, RAM + 0x100000
UART, HOLE, TEST = 0x10000000, 0x20000000, 0x00100000
SEPC = 0x141
LW, SW = encode("lw", rd=7, rs1=5), encode("sw", rs1=5, rs2=7)
AMO = encode("amoadd.w", rd=7, rs1=5, rs2=7)
EBREAK = 0x00100073
AGAIN = encode("jal", rd=0, imm=-4)
RDCYCLE_ILLEGAL = csr("csrrs", 7, 0xC00)  # nothing counts there


def guest(
    words: Iterable[int], registers: dict[int, int], *, handler: Iterable[int] = (), **options: object
) -> Machine:
    """A machine with code, x registers, and a trap handler behind it (without one: the code itself)."""
    machine = Machine(memory=16 << 20, **options)  # type: ignore[arg-type]
    vcpu, body, trap = machine.vcpu(0), code(words), code(handler)
    vcpu.write(CODE, body)
    vcpu.write(CODE + 0x1000, trap)
    vcpu.pc = CODE
    vcpu.hart.set("stvec", CODE + 0x1000 if trap else CODE)
    for number, value in registers.items():
        vcpu.regs[number] = value
    return machine


def calls(eid: int, fid: int, *arguments: int) -> dict[int, int]:
    return {17: eid, 16: fid, **{10 + i: argument for i, argument in enumerate(arguments)}}


NO_RETIREMENT = {
    "user space's MMIO and a trap": ([LW, AMO], {5: HOLE}),
    "a device in the kernel and a trap": ([LW, EBREAK], {5: UART}),
    "a write to a device and a trap": ([SW, EBREAK], {5: UART, 7: 0x41}),
    "illegal instructions": ([0x0000], {}),
    "a counter that does not count": ([RDCYCLE_ILLEGAL], {}),
    "breakpoints": ([EBREAK], {}),
    "a call and a trap": ([ECALL, EBREAK], calls(Eid.BASE, 0)),
    "user space's call and a trap": ([ECALL, EBREAK], calls(Eid.DBCN, 2, 0x41)),
    "an atomic on a device": ([AMO], {5: HOLE}),
}
LIMITS = {"instructions": {"max_instructions": 1000}, "virtual time": {"timeout_ns": 1000}}


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("program", NO_RETIREMENT)
def test_a_guest_that_retires_nothing_ends(program: str, limit: str, engine: str) -> None:
    words, registers = NO_RETIREMENT[program]
    result = guest(words, registers, engine=engine).run(**LIMITS[limit])
    assert result.stop in ("hung", "budget")  # budget: a trap retires on this host
    assert result.instructions <= 1000


@pytest.mark.parametrize("ticks", [1 << 63, (1 << 63) - 1, (1 << 64) - 2, (1 << 63) // 100 + 1])
def test_a_timer_behind_the_end_of_time_never_comes(ticks: int) -> None:
    machine = guest([ECALL, WFI, encode("jal", rd=0, imm=-4)], calls(Eid.TIME, 0, ticks), handler=[EBREAK])
    machine.vcpu(0).hart.set("sie", 1 << 5)
    result = machine.run(max_instructions=1000)
    assert (result.stop, result.virtual_ns < 1000) == ("idle", True)


def test_virtual_time_does_not_begin_again() -> None:
    """The last timer that can come does; from then on no later one."""
    last = ((1 << 63) - 1) // 100
    words = [ECALL, WFI, encode("addi", rd=10, rs1=10, imm=1), encode("jal", rd=0, imm=-12)]
    machine = guest(words, calls(Eid.TIME, 0, last), handler=[encode("jal", rd=0, imm=0)])
    machine.vcpu(0).hart.set("sie", 1 << 5)  # wakes, and is not taken: sstatus.SIE is 0
    machine.vcpu(0).regs[10] = last
    result = machine.run(max_instructions=100_000)
    assert result.virtual_ns >= last * 100
    assert machine.vcpu(0).hart.time_ns < 1 << 64
    assert result.stop in ("idle", "budget")


ENDLESS = {
    "calls": ([ECALL, AGAIN], calls(Eid.BASE, 0), {}),
    "calls of user space": ([ECALL, AGAIN], calls(Eid.DBCN, 2, 0x41), {}),
    "a loop": ([encode("jal", rd=0, imm=0)], {}, {}),
    "a loop on the reference engine": ([encode("jal", rd=0, imm=0)], {}, {"engine": "reference"}),
    "device accesses": ([LW, AGAIN], {5: UART}, {}),
    "illegal instructions and a handler": ([0x0000], {}, {}),
    "event_get_info of a quarter of a million": (
        [encode("addi", rd=10, rs1=8), encode("addi", rd=11, rs1=0), ECALL, encode("jal", rd=0, imm=-12)],
        {**calls(Eid.PMU, 8, DATA, 0, 1 << 18, 0), 8: DATA}, {},
    ),
    "two harts": ([encode("jal", rd=0, imm=0)], {}, {"harts": 2}),
}  # fmt: skip


@pytest.mark.parametrize("profile", ["kvm-7.2", "opensbi-1.6"])
@pytest.mark.parametrize("program", ENDLESS)
def test_real_time_ends_every_guest(program: str, profile: str) -> None:
    words, registers, options = ENDLESS[program]
    machine = guest(words, registers, profile=profile, **options)
    if "event_get_info" in program:
        rng = random.Random(1)
        table = b"".join(struct.pack("<QQ", 0x20000, rng.getrandbits(60)) for _ in range(1 << 12))
        for start in range(0, 1 << 22, len(table)):
            machine.memory.write(DATA + start, table)
    with host_timeout(machine, 0.2):
        result = machine.run()
    assert result.stop in ("timeout", "hung")
    assert machine.turns.halted is None
    assert machine.run(max_instructions=1).stop in ("budget", "hung")  # the limit is over


def test_a_limit_that_is_over_before_the_run_begins() -> None:
    machine = guest([encode("jal", rd=0, imm=0)], {})
    with host_timeout(machine, 1e-9):
        assert machine.run().stop == "timeout"


def test_a_stall_ends_what_does_not_go_on() -> None:
    machine = guest([encode("jal", rd=0, imm=0)], {})
    with stall_timeout(machine, 0.05, lambda: 0):
        assert machine.run().stop == "timeout"
    with stall_timeout(machine, 0.05, lambda: machine.instructions):
        assert machine.run(max_instructions=1000).stop == "budget"


def test_a_timeout_that_was_not_needed_leaves_nothing_behind() -> None:
    machine = guest([encode("jal", rd=0, imm=0)], {})
    with host_timeout(machine, 60):
        assert machine.run(max_instructions=1000).stop == "budget"
    assert machine.run(max_instructions=1000).stop == "budget"


def test_console_output_for_ever_is_kept_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "KEPT_OUTPUT", 1000)
    streamed: list[int] = []
    machine = guest(
        [encode("addi", rd=10, rs1=8), encode("addi", rd=11, rs1=9), encode("addi", rd=12, rs1=0), ECALL,
         encode("jal", rd=0, imm=-16)],
        {**calls(Eid.DBCN, 0), 8: 300, 9: DATA}, console_out=lambda data: streamed.append(len(data)),
    )  # fmt: skip
    machine.memory.write(DATA, bytes(299) + b"!")
    result = machine.run(max_instructions=500)
    assert sum(streamed) == 100 * 300
    assert len(machine.console._output) <= 2000
    assert len(result.console) == 1000
    assert result.console.endswith(b"\0!")


def test_invented_calls_are_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbi_call, "MANY_CALLS", 10)
    words = [ECALL, encode("addi", rd=17, rs1=17, imm=1), encode("jal", rd=0, imm=-8)]
    result = guest(words, calls(0x9999999, 0)).run(max_instructions=400)
    calls_made = result.exit_counts["ECALL"]
    assert sum(result.sbi_calls.values()) == calls_made > 100
    assert len(result.sbi_calls) == 11
    assert result.sbi_calls[U64, U64, -2] == calls_made - 10


# --- a trace never changes a run

_DEVICES = (
    UART,
    UART + 1,
    UART + 5,
    UART + 0xFFE,
    UART + 0x1000,
    HOLE,
    HOLE + 0xFFC,
    HOLE + 3,
    TEST + 4,
    TEST,
)
_ACCESSES = ("lb", "lbu", "lh", "lhu", "lw", "lwu", "ld", "sb", "sh", "sw", "sd")


def _random_word(rng: random.Random) -> int:
    register = rng.randrange(20, 28)
    match rng.randrange(8):
        case 0 | 1 | 2 | 3:
            name, base = rng.choice(_ACCESSES), rng.choice((5, 6, 8))
            near = rng.choice((0, 0, 0, 1, 2, 4, -1))
            if name.startswith("l"):
                return encode(name, rd=register, rs1=base, imm=near)
            return encode(name, rs1=base, rs2=register, imm=near)
        case 4:
            return encode("addi", rd=register, rs1=rng.randrange(20, 28), imm=rng.randrange(-99, 99))
        case 5:
            return csr("csrrs", register, rng.choice((0xC00, 0xC01, 0xC02, 0x105)))
        case 6:
            return rng.choice((EBREAK, 0x0000, AMO, ECALL))
    return encode("addi", rd=5, rs1=rng.choice((5, 6, 8, 9)))


def _random_program(seed: int, recorder: Recorder | None, sink: list[bytes], engine: str) -> Machine:
    rng = random.Random(seed)
    words = [_random_word(rng) for _ in range(120)]
    skip = [csr("csrrs", 31, SEPC), encode("addi", rd=31, rs1=31, imm=4), csr("csrrw", 0, SEPC, 31), SRET]
    called = rng.choice((Eid.BASE, Eid.DBCN, Eid.PMU, 0x1234))
    registers = {**calls(called, rng.randrange(3), 3, DATA, 0), 8: DATA}
    registers |= {number: rng.choice(_DEVICES) for number in (5, 6, 9)}
    machine = guest(
        words, registers, handler=skip, recorder=recorder, console_out=sink.append, plic=True, engine=engine
    )
    machine.vcpu(0).hart.set("sstatus", 1 << 8)
    return machine


def _observed(machine: Machine, sink: list[bytes]) -> object:
    results = []
    for _ in range(6):
        result = machine.run(max_instructions=25)
        results.append((result.stop, result.reason, result.instructions, result.exits, result.exit_counts,
                        result.kvm_run_errno, result.reset_reason, result.sbi_calls,
                        result.virtual_ns))  # fmt: skip
    hart = machine.vcpu(0).hart
    return results, sink, [hart.x(i) for i in range(32)], hart.pc, machine.memory.read(DATA, 4096)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_trace_never_changes_a_run(engine: str) -> None:
    stops = set()
    for seed in range(150):
        plain: list[bytes] = []
        traced: list[bytes] = []
        recorder = Recorder()
        one = _observed(_random_program(seed, None, plain, engine), plain)
        two = _observed(_random_program(seed, recorder, traced, engine), traced)
        assert one == two, f"seed {seed}"
        stops |= {result[0] for result in one[0]}  # type: ignore[index]
    assert stops >= {"budget", "kvm_run_failed"}


def test_an_access_to_a_device_that_is_not_aligned_ends_kvm_run() -> None:
    """kvm_riscv_vcpu_mmio_load: "Fault address should be aligned to length of MMIO", -EIO."""
    result = guest([encode("lw", rd=7, rs1=5)], {5: UART + 2}).run()
    assert (result.stop, result.kvm_run_errno) == ("kvm_run_failed", 5)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_an_access_across_pages_is_emulated_whole_at_the_second(engine: str) -> None:
    """The guest physical address of the fault is the beginning of the page that is no memory, and aligned."""
    machine = guest([encode("lw", rd=7, rs1=5)], {5: RAM + (16 << 20) - 2}, engine=engine)
    asked: list[tuple[int, int]] = []
    machine.bus.read = lambda gpa, size: asked.append((gpa, size)) or 0x11223344  # type: ignore[method-assign,func-returns-value]
    machine.run(max_instructions=1)
    assert asked == [(RAM + (16 << 20), 4)]
    assert machine.vcpu(0).regs[7] == 0x11223344


# --- what the hart and KVM do where memory is gone


@pytest.mark.parametrize(("profile", "cause"), [("kvm-7.2", 21), ("opensbi-1.6", 5)])
def test_a_hart_mask_in_no_memory_traps_the_guest(profile: str, cause: int) -> None:
    machine = guest([ECALL], {17: 4, 10: HOLE}, handler=[encode("jal", rd=0, imm=0)], profile=profile)
    machine.run(max_instructions=10)
    hart = machine.vcpu(0).hart
    assert (hart.get("scause"), hart.get("stval"), hart.get("sepc")) == (cause, HOLE, CODE)


@pytest.mark.parametrize("address", [CODE + 0x100, CODE + 0xFFE], ids=("in a page", "across two pages"))
def test_code_that_was_unmapped_without_a_fence_still_reads_its_counter(address: int) -> None:
    """The hart executes what it holds of the page; KVM gets the instruction from it and not from memory."""
    machine = guest([], {})
    vcpu = machine.vcpu(0)
    vcpu.write(address, csr("csrrs", 7, 0xC00).to_bytes(4, "little"))
    vcpu.hart.set("stvec", 0x90000000)
    table = RAM + 0x10000
    entry = (RAM >> 12 << 10 | 0xCF).to_bytes(8, "little")
    machine.memory.write(table + 8 * 2, entry)
    vcpu.hart.set("satp", 8 << 60 | table >> 12)
    vcpu.hart.flush()
    vcpu.pc = address
    vcpu.hart.run(1)
    assert vcpu.hart.fetched_instruction() == csr("csrrs", 7, 0xC00)
    machine.memory.write(table + 8 * 2, bytes(8))
    vcpu.pc = address
    machine.run(max_instructions=1)
    # nothing counts there, so the read is illegal: the guest is told, with the instruction
    assert (vcpu.hart.get("scause"), vcpu.hart.get("stval")) in (
        (2, csr("csrrs", 7, 0xC00)),
        (12, 0x90000000),
    )
