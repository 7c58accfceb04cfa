"""The monitor, against a payload in Python: the same exits in the same order as the one in machine code."""

from __future__ import annotations

import errno
from collections.abc import Generator
from typing import Any

import pytest

from vpmu.hart.memory import HostMemory, PhysicalMemory
from vpmu.kvm.errors import KvmRunError
from vpmu.perf.description import load_host_pmu
from vpmu.see.exits import MmioExit, SbiExit, SystemEvent
from vpmu.vmm.replay import MAILBOX, PAGE, RAM_BASE, RAM_SIZE, Monitor, set_memory_region
from vpmu.vmm.replay_report import HOST_VALUE, TIME_READ, StepOutput, replay_table
from vpmu.vmm.replay_table import U64, Run, parse_table

Exit = Any
Payload = Generator[Exit, int, None]


class Pmu:
    undetermined = False


class Hart:
    instructions = 0


class Vcpu:
    """A vCPU whose guest is a generator: it yields exits, and is sent what user space answers."""

    def __init__(self, guest: Payload) -> None:
        self.guest = guest
        self.answer = 0
        self.started = False
        self.regs = [0] * 32
        self.pc = RAM_BASE
        self.pmu = Pmu()
        self.mp_state = 0
        self.overflows = 0
        self.exits: dict[str, int] = {}
        self.hart = Hart()

    def run(self, max_instructions: int) -> Exit:
        answer, self.answer = self.answer, 0
        if not self.started:
            self.started = True
            step = next(self.guest)
        else:
            step = self.guest.send(answer)
        if isinstance(step, Exception):
            raise step
        return step

    def complete_mmio(self, value: int) -> None:
        self.answer = value

    def complete_sbi(self, error: int, value: int) -> None:
        self.answer = error & U64

    def read(self, gpa: int, size: int) -> bytes:
        return (0x73).to_bytes(size, "little")

    def csr_read(self, csr: int) -> int:
        return 0

    def one_reg_list(self) -> dict[int, int]:
        return {1: 7, 2: 33, 8: 0, 10: 2}


class Machine:
    def __init__(self, *vcpus: Vcpu) -> None:
        self.vcpus = vcpus
        self.host_pmu = load_host_pmu("qemu-virt")
        self.memory = PhysicalMemory()
        self.memory.set_slot(0, RAM_BASE, RAM_SIZE)

    def vcpu(self, index: int) -> Vcpu:
        return self.vcpus[index]


def load(offset: int) -> MmioExit:
    return MmioExit(MAILBOX + offset, 8, False, b"")


def store(offset: int, value: int) -> MmioExit:
    return MmioExit(MAILBOX + offset, 8, True, (value & U64).to_bytes(8, "little"))


def mailbox(vcpu: list[Vcpu], seen: list[list[int]]) -> Payload:
    """What the payload does, with made-up results: a0 = operation, a1 = first operand."""
    while True:
        operation = yield load(0)
        if not operation or operation == 99:
            yield store(0xC0, 0)
            return
        words = [operation, 0]
        for index in range(2, 10):
            words.append((yield load(8 * index)))
        seen.append(words)
        if operation == 11:  # W: as if the instruction trapped
            yield store(0xA0, 2)
            yield store(0xA8, RAM_BASE + 0x558)
            yield store(0xB0, 0xC0039073)
        if operation == 9:
            yield store(0x98, 5)
        if words[9] == 0xBAD:
            yield KvmRunError(errno.ENOENT, "refused")
            yield KvmRunError(errno.ENOENT, "refused")
            yield KvmRunError(errno.EINVAL, "refused")
        if words[9] == 0x0A000000:
            yield SbiExit(words[9], words[8], tuple(words[2:8]))  # type: ignore[arg-type]
        if words[9] == 0x53525354:
            yield SystemEvent(1, 0)
        if operation == 2 and words[2] == 3:
            vcpu[0].pmu.undetermined = True
        yield store(0x80, operation)
        yield store(0x88, words[2])
        yield store(0x90, 0)


def run_of(script: list[str]) -> Run:
    return parse_table([f"{line} => 0 (0) 0" for line in script]).runs[0]


def replay(script: list[str], *others: Vcpu) -> tuple[list[StepOutput], list[list[int]]]:
    seen: list[list[int]] = []
    vcpu: list[Vcpu] = []
    vcpu.append(Vcpu(mailbox(vcpu, seen)))
    monitor = Monitor(Machine(vcpu[0], *others), run_of(script))
    monitor.run()
    return monitor.outputs, seen


def one(line: str) -> list[str]:
    (output,), _ = replay([line])
    return [text.partition(" => ")[2] or text for text in output.lines]


def test_operands_reach_the_mailbox_as_the_payload_reads_them() -> None:
    _, seen = replay(["e 0x504d55 2 1 2 3 4 5 6", "c 33", "f 0x100 2 -1", "C 1 0x2000"])
    assert seen == [
        [1, 0, 1, 2, 3, 4, 5, 6, 2, 0x504D55],
        [2, 0, 33, 0, 0, 0, 0, 0, 0, 0],
        [12, 0, 0x100, 2, U64, 0, 0, 0, 0, 0],
        [14, 0, 1, 0x2000, 0, 0, 0, 0, 0, 0],
    ]


def test_results_are_printed_by_operation() -> None:
    assert one("e 0x504d55 0 7") == ["a0=1 (?) a1=0x7"]
    assert one("E 0x504d55 0 0") == ["a0=9 (?) a1=0 regs-changed=0x4"]
    assert one("w 5") == ["0x3 (3) 0x5"]


def test_a_trap_is_printed_before_the_result() -> None:
    assert one("W 0") == ["  trap scause=2 sepc=88000558 stval=c0039073", "0xb (11) 0 TRAPPED"]


def test_the_padding_is_the_monitors() -> None:
    (output,), _ = replay(["w 5"])
    assert output.lines == [f"{'w 5':<60} => 0x3 (3) 0x5"]


def test_a_failing_kvm_run_is_tried_three_times_and_stepped_over() -> None:
    seen: list[list[int]] = []
    vcpu = Vcpu(mailbox([], seen))
    vcpu.regs[10], vcpu.regs[17] = 3, 0xBAD
    monitor = Monitor(Machine(vcpu), run_of(["e 0xbad 2 1"]))
    monitor.run()
    results = [line.partition(" => ")[2] or line for line in monitor.outputs[0].lines]
    assert [result.split("exit_reason")[0] for result in results[:3]] == [
        "KVM_RUN FAILED rc=-1 errno=2 (No such file or directory) ",
        "KVM_RUN AGAIN  rc=-1 errno=2 (No such file or directory) ",
        "KVM_RUN AGAIN  rc=-1 errno=22 (Invalid argument) ",
    ]
    assert results[0].endswith("exit_reason=0 pc=0x88000000 a0=3 a1=0 a3=0 a6=0 a7=0xbad guest-sepc=0")
    assert results[3] == "    instruction at pc = 0x73; VMM now sets pc+4, a0=-999 and goes on"
    assert results[4] == "a0=1 (?) a1=0x1"
    assert (vcpu.pc, vcpu.regs[10]) == (RAM_BASE + 4, -999 & U64)


def test_an_sbi_exit_is_answered_not_supported() -> None:
    assert one("e 0x0a000000 5 1 2 3") == ["EXIT_RISCV_SBI ext=a000000 fid=5 args 1 2 3", "a0=1 (?) a1=0x1"]


def test_power_off_ends_the_run() -> None:
    outputs, _ = replay(["e 0x53525354 0", "c 0"])
    assert [output.lines for output in outputs] == [["SYSTEM_EVENT type 1"], []]


def test_memory_slots_and_the_monitors_view() -> None:
    outputs, seen = replay(
        ["m 1 0x90000000 4 0 0", "m 2 0x90001000 1 0 8", "m 1 0x90000000 0 0 0", "v 8", "c 0"]
    )
    assert [output.lines[0].partition(" => ")[2] for output in outputs] == [
        "VMM set memslot rc=0",
        "VMM set memslot rc=-17",
        "VMM set memslot rc=0",
        "VMM view of xmem+off: 0",
        "0x2 (2) 0",
    ]
    assert len(seen) == 1  # the monitor's own steps do not reach the payload


def test_register_list_is_counted_by_type() -> None:
    assert one("G") == ["reg list rc=0 n=42 by type: 01:7 02:33 0a:2"]


def helper() -> Payload:
    """VCPU 1: hart_start has answered 0."""
    yield store(0xD0, 0)


def test_reset_is_done_by_the_second_vcpu() -> None:
    second = Vcpu(helper())
    (output,), _ = replay(["R"], second)
    text = "SET_MP_STATE(STOPPED) errno=0; hart_start(0) from VCPU 1 -> 0 (done 1); VCPU0 mp_state now 5"
    assert output.lines[0].partition(" => ")[2] == text
    assert (second.pc, second.regs[13]) == (RAM_BASE + 0x400, RAM_BASE)


def test_time_and_what_depends_on_the_host_are_undetermined() -> None:
    outputs, _ = replay(["c 1", "u 1 7", "c 3", "c 4", "w 1"])
    assert [output.undetermined for output in outputs] == [TIME_READ, TIME_READ, HOST_VALUE, None, None]


def test_a_whole_table_is_compared(tmp_path: Any) -> None:
    table = parse_table(["w 5 => 0x3 (3) 0x5", "w 6 => 0x3 (3) 0x5", "c 1 => 0x9 (9) 0x1"], "t")

    def monitor(run: Run) -> Monitor:
        vcpu: list[Vcpu] = []
        vcpu.append(Vcpu(mailbox(vcpu, [])))
        return Monitor(Machine(vcpu[0]), run)

    report = replay_table(table, monitor)
    assert (report.lines, report.agree, report.undetermined) == (3, 2, {TIME_READ: 1})
    assert [found.line for found in report.disagreements] == [2]


@pytest.mark.parametrize(
    ("slot", "gpa", "pages", "flags", "offset", "code"),
    [
        (1, 0x90000000, 4, 0, 0, 0),
        (1, 0x90000000, 0, 0, 0, errno.EINVAL),  # nothing there to delete
        (1, RAM_BASE, 1, 0, 0, errno.EEXIST),
        (1, 0x90000800, 1, 0, 0, errno.EINVAL),
        (1, 0x90000000, 1, 8, 0, errno.EINVAL),  # an unknown flag
        (1, 0x90000000, 99, 0, 0, errno.EINVAL),  # more than the monitor has
        (0, RAM_BASE, 4, 0, 0, errno.EINVAL),  # another backing and size
    ],
)
def test_memory_regions_are_refused_as_by_kvm(
    slot: int, gpa: int, pages: int, flags: int, offset: int, code: int
) -> None:
    memory = PhysicalMemory()
    memory.set_slot(0, RAM_BASE, RAM_SIZE)
    assert set_memory_region(memory, slot, gpa, pages * PAGE, flags, HostMemory(64 * PAGE), offset) == code


def test_a_region_can_move_but_not_become_read_only() -> None:
    memory, backing = PhysicalMemory(), HostMemory(4 * PAGE)
    assert set_memory_region(memory, 1, 0x90000000, PAGE, 0, backing, 0) == 0
    assert set_memory_region(memory, 1, 0x90000000, PAGE, 2, backing, 0) == errno.EINVAL
    assert set_memory_region(memory, 1, 0x91000000, PAGE, 0, backing, 0) == 0
    assert memory.regions[1].base == 0x91000000
    assert set_memory_region(memory, 1, 0, 0, 0, backing, 0) == 0
    assert 1 not in memory.regions
