"""A machine whose image is in M mode: HTIF, the PMU's CSRs, counts by mode, the CLINT, the device tree."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from vpmu.cli.levels import has_htif
from vpmu.cli.main import main
from vpmu.errors import VpmuError
from vpmu.vmm.isa import FIRMWARE_ISA
from vpmu.vmm.machine import Machine
from vpmu.vmm.pmu_node import GENERIC

from ..hart.assemble import WFI, csr, encode
from ..hart.whole.bare import BASE, Image
from ..hart.whole.elf import elf

TOHOST = BASE + 0x4000
A0, T0, T1, T2, S0 = 10, 5, 6, 7, 8
CYCLES, INSTRUCTIONS, DTLB_READ = GENERIC | 1, GENERIC | 2, GENERIC | 0x10019
MINH, SINH, UINH, OF = 1 << 62, 1 << 61, 1 << 60, 1 << 63
MCOUNTINHIBIT, MHPMEVENT3, MHPMCOUNTER3, SCOUNTOVF = 0x320, 0x323, 0xB03, 0xDA0
MRET = 0x30200073
ENGINES = ("native", "reference")


def machine_of(image: Image, engine: str = "native", **options: object) -> Machine:
    """A machine with the image as its firmware; `tohost` lies in a page of its own."""
    image.to(TOHOST)
    image.bytes += bytes(64)
    program = elf(bytes(image.bytes), BASE, {"tohost": TOHOST, "fromhost": TOHOST + 8})
    machine = Machine(
        firmware=program, engine=engine, isa=FIRMWARE_ISA, host_pmu="full", memory=1 << 20, **options
    )  # type: ignore[arg-type]
    machine.load(None)
    return machine


def end(image: Image, register: int | None = None, code: int = 0) -> None:
    """Write tohost: the value of a register as the code, or a constant."""
    if register is None:
        image.li(T1, code << 1 | 1)
    else:
        image.emit(encode("slli", rd=T1, rs1=register, imm=1), encode("ori", rd=T1, rs1=T1, imm=1))
    image.li(T0, TOHOST)
    image.emit(encode("sd", rs1=T0, rs2=T1), encode("jal", rd=0, imm=0))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("code", [0, 1, 77, 70000])
def test_tohost_ends_the_run_with_its_code(engine: str, code: int) -> None:
    image = Image()
    end(image, code=code)
    result = machine_of(image, engine).run(max_instructions=1000)
    assert (result.stop, result.reset_reason) == ("shutdown", code)


@pytest.mark.parametrize("engine", ENGINES)
def test_console_commands_of_htif(engine: str) -> None:
    image = Image()
    for character in b"ok\n":
        image.store(TOHOST, 1 << 56 | 1 << 48 | character)
    block = BASE + 0x5000
    for at, word in enumerate((64, 1, block + 64, 3)):  # write(1, block + 64, 3), proxied
        image.store(block + 8 * at, word)
    image.store(block + 64, int.from_bytes(b"bye", "little"))
    image.store(TOHOST, block)
    image.li(T0, TOHOST + 8)
    image.emit(encode("ld", rd=A0, rs1=T0))  # fromhost: 1
    end(image, A0)
    result = machine_of(image, engine).run(max_instructions=5000)
    assert (result.console, result.reset_reason) == (b"ok\nbye", 1)


def test_the_command_takes_the_status_of_the_test(tmp_path: Path) -> None:
    image = Image()
    end(image, code=9)
    image.to(TOHOST)
    image.bytes += bytes(64)
    path = tmp_path / "nine.elf"
    path.write_bytes(elf(bytes(image.bytes), BASE, {"tohost": TOHOST}))
    done = subprocess.run(
        [sys.executable, "-m", "vpmu", "run", "-q", str(path)], capture_output=True, check=False
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (9, False)


def counted(image: Image, index: int, event: int, flags: int = 0) -> None:
    """Stop a counter, give it an event, set it to 0, and let it run from the next instruction on."""
    image.csrw(MCOUNTINHIBIT, (1 << 32) - 1)
    image.csrw(MHPMEVENT3 - 3 + index, event | flags)
    image.csrw(MHPMCOUNTER3 - 3 + index, 0)
    image.csrw(MCOUNTINHIBIT, 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("event", "flags", "value"), [
    (INSTRUCTIONS, 0, 5),  # the nops alone: neither the write that starts it nor the read that ends it
    (CYCLES, 0, 5),
    (INSTRUCTIONS, MINH, 0),
    (0x12345, 0, 0),  # an event that nobody knows
])  # fmt: skip
def test_a_counter_counts_between_its_start_and_its_read(
    engine: str, event: int, flags: int, value: int
) -> None:
    image = Image()
    counted(image, 3, event, flags)
    image.emit(*[encode("addi")] * 5)
    image.emit(csr("csrrs", A0, MHPMCOUNTER3, 0))
    end(image, A0)
    assert machine_of(image, engine).run(max_instructions=1000).reset_reason == value


@pytest.mark.parametrize("engine", ENGINES)
def test_minstret_is_exact_and_a_write_holds_from_the_next_instruction_on(engine: str) -> None:
    image = Image()
    image.li(S0, 1000)
    image.emit(csr("csrrw", 0, 0xB02, S0), csr("csrrs", A0, 0xB02, 0))
    image.emit(encode("addi", rd=A0, rs1=A0, imm=-1000))
    image.emit(encode("addi"), csr("csrrs", T2, 0xB02, 0), encode("add", rd=A0, rs1=A0, rs2=T2))
    end(image, A0)
    assert machine_of(image, engine).run(max_instructions=1000).reset_reason == 0 + 1003


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("flags", "value"), [(0, 16), (SINH, 6), (MINH, 10), (UINH, 16), (MINH | SINH, 0)])
def test_filters_tell_m_from_s(engine: str, flags: int, value: int) -> None:
    """Six instructions in M (MRET is one, and what runs before it) and ten in S, with an ECALL back."""
    image = Image()
    handler, supervisor = BASE + 0x3000, BASE + 0x2000
    image.csrw(0x305, handler)
    image.csrw(0x341, supervisor)
    image.csrw(0x300, 1 << 11)  # MPP = S
    image.csrw(0x3B0, (1 << 54) - 1)  # all of memory to S
    image.csrw(0x3A0, 0x1F)
    counted(image, 4, INSTRUCTIONS, flags)
    image.emit(*[encode("addi")] * 5, MRET)
    image.to(supervisor)
    image.emit(*[encode("addi")] * 10, 0x73)
    image.to(handler)
    image.emit(csr("csrrs", A0, MHPMCOUNTER3 + 1, 0))
    end(image, A0)
    assert machine_of(image, engine).run(max_instructions=1000).reset_reason == value


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("left", [1, 7, 100])
def test_an_overflow_interrupts_at_its_instruction(engine: str, left: int) -> None:
    """mcause is LCOFI's, and mepc is behind the instruction that wrapped the counter."""
    image = Image()
    handler, loop = BASE + 0x3000, BASE + 0x2000
    image.csrw(0x305, handler)
    image.csrw(0x304, 1 << 13)
    image.csrw(0x300, 1 << 3)  # MIE
    image.csrw(MCOUNTINHIBIT, (1 << 32) - 1)
    image.csrw(MHPMEVENT3, INSTRUCTIONS)
    image.csrw(MHPMCOUNTER3, (1 << 64) - left)
    image.li(T0, loop)
    image.emit(csr("csrrwi", 0, MCOUNTINHIBIT, 0), encode("jalr", rs1=T0))
    image.to(loop)
    image.emit(*[encode("addi")] * 200)
    image.to(handler)
    image.emit(csr("csrrs", A0, 0x341, 0))
    image.li(T0, loop)
    image.emit(encode("sub", rd=A0, rs1=A0, rs2=T0), encode("srli", rd=A0, rs1=A0, imm=2))
    image.emit(csr("csrrs", T2, 0x342, 0), encode("andi", rd=T2, rs1=T2, imm=63))
    image.emit(encode("slli", rd=T2, rs1=T2, imm=8), encode("add", rd=A0, rs1=A0, rs2=T2))
    image.emit(csr("csrrs", T2, MHPMEVENT3, 0), encode("srli", rd=T2, rs1=T2, imm=63))
    image.emit(encode("slli", rd=T2, rs1=T2, imm=12), encode("add", rd=A0, rs1=A0, rs2=T2))
    end(image, A0)
    # the jump is the first instruction that is counted
    expected = 1 << 12 | 13 << 8 | left - 1
    assert machine_of(image, engine).run(max_instructions=2000).reset_reason == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_scountovf_and_what_software_writes_to_of(engine: str) -> None:
    image = Image()
    image.csrw(MHPMEVENT3, INSTRUCTIONS | OF)
    image.emit(csr("csrrs", A0, SCOUNTOVF, 0), csr("csrrs", T2, 0x344, 0))
    image.emit(encode("srli", rd=T2, rs1=T2, imm=13), encode("slli", rd=T2, rs1=T2, imm=8))
    image.emit(encode("add", rd=A0, rs1=A0, rs2=T2))
    end(image, A0)
    assert machine_of(image, engine).run(max_instructions=1000).reset_reason == 1 << 3  # and no LCOFIP


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize(("mode", "shown"), [(3, 0x38), (1, 0x30), (1 | 1 << 28, 0x10)])
def test_scountovf_shows_what_the_enables_allow(engine: str, answers: bool, mode: int, shown: int) -> None:
    """All of M mode's counters (OF of 3 to 5 is set), mcounteren's in S, hcounteren's of these in VS."""
    image = Image()
    handler, code = BASE + 0x3000, BASE + 0x2000
    image.csrw(0x305, handler)
    image.csrw(0x341, code)
    image.csrw(0x300, mode << 11)  # MPP, MPV
    image.csrw(0x3B0, (1 << 54) - 1)
    image.csrw(0x3A0, 0x1F)
    image.csrw(0x306, 0x30)
    image.csrw(0x606, 0x18)
    for number in (3, 4, 5):
        image.csrw(MHPMEVENT3 - 3 + number, INSTRUCTIONS | OF)
    image.emit(MRET)
    image.to(code)
    image.emit(csr("csrrs", A0, SCOUNTOVF, 0), 0x73)
    image.to(handler)
    end(image, A0)
    machine = machine_of(image, engine)
    if not answers:
        machine.vcpu(0).published = None
    assert machine.run(max_instructions=1000).reset_reason == shown
    assert machine.vcpu(0).exits["CSR"] == 3 + (not answers)  # three writes


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("number", [0xB13, 0xC13, 0x3F0])
def test_a_counter_that_the_hart_lacks_is_illegal(engine: str, number: int) -> None:
    image = Image()
    handler = BASE + 0x1000
    image.csrw(0x305, handler)
    image.emit(csr("csrrs", A0, number, 0))
    end(image, code=99)
    image.to(handler)
    image.emit(csr("csrrs", A0, 0x342, 0))
    end(image, A0)
    assert machine_of(image, engine).run(max_instructions=1000).reset_reason == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_the_selector_of_a_counter_that_the_hart_lacks_is_read_only_zero(engine: str) -> None:
    image = Image()
    image.csrw(0x333, INSTRUCTIONS)
    image.emit(csr("csrrs", A0, 0x333, 0))
    end(image, A0)
    assert machine_of(image, engine).run(max_instructions=1000).reset_reason == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_the_timer_and_the_software_interrupt_of_the_clint(engine: str) -> None:
    image = Image()
    handler = BASE + 0x1000
    image.csrw(0x305, handler)
    image.csrw(0x304, 1 << 7)
    image.csrw(0x300, 1 << 3)
    image.store(0x02004000, 50)  # mtimecmp of hart 0: 5000 ns from power-on
    image.emit(WFI, encode("jal", rd=0, imm=-4))
    image.to(handler)
    image.emit(csr("csrrs", A0, 0xC01, 0))
    end(image, A0)
    assert machine_of(image, engine).run(max_instructions=10000).reset_reason == 50


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("context", "cause"), [(0, 11), (1, 9)])
def test_external_interrupts_of_both_contexts_of_the_plic(context: int, cause: int, engine: str) -> None:
    """The serial port's, as on QEMU's virt: context 0 is M mode of hart 0, context 1 its S mode."""
    image = Image()
    handler, plic, uart, source = BASE + 0x1000, 0x0C000000, 0x10000000, 10

    def write(address: int, value: int, store: str = "sw") -> None:
        image.li(T0, address)
        image.li(T1, value)
        image.emit(encode(store, rs1=T0, rs2=T1))

    image.csrw(0x305, handler)
    image.csrw(0x304, 1 << cause)
    write(plic + 4 * source, 1)
    write(plic + 0x2000 + 0x80 * context, 1 << source)
    image.csrw(0x300, 1 << 3)
    write(uart + 1, 2, "sb")  # the transmitter is empty
    image.emit(WFI, encode("jal", rd=0, imm=-4))
    image.to(handler)
    image.li(T0, plic + 0x200004 + 0x1000 * context)
    image.emit(encode("lw", rd=A0, rs1=T0), csr("csrrs", T2, 0x342, 0), encode("slli", rd=T2, rs1=T2, imm=8))
    image.emit(encode("slli", rd=T2, rs1=T2, imm=1), encode("srli", rd=T2, rs1=T2, imm=1))
    image.emit(encode("add", rd=A0, rs1=A0, rs2=T2))
    end(image, A0)
    result = machine_of(image, engine).run(max_instructions=10000)
    assert result.stop == "shutdown"
    assert (result.reset_reason or 0) & 0xFFFF == cause << 8 | source


@pytest.mark.parametrize("engine", ENGINES)
def test_the_interrupt_that_ends_waiting_is_taken_behind_the_wfi(engine: str) -> None:
    """Privileged ISA 3.3.3: mepc = pc + 4; so a handler that returns does not wait again. It has retired."""
    image = Image()
    handler = BASE + 0x1000
    image.csrw(0x305, handler)
    image.csrw(0x304, 1 << 7)
    image.csrw(0x300, 1 << 3)
    image.store(0x02004000, 50)
    image.emit(csr("csrrs", 9, 0xB02, 0))
    waits = image.here
    image.emit(WFI)
    image.csrw(0x300, 0)
    image.emit(csr("csrrs", A0, 0xB02, 0), csr("csrrs", T0, 0x341, 0), encode("sub", rd=A0, rs1=A0, rs2=9))
    image.li(T1, waits)
    image.emit(encode("sub", rd=T0, rs1=T0, rs2=T1), encode("slli", rd=T0, rs1=T0, imm=8))
    image.emit(encode("add", rd=A0, rs1=A0, rs2=T0))
    end(image, A0)
    image.to(handler)
    image.csrw(0x304, 0)
    image.emit(MRET)
    machine = machine_of(image, engine)
    result = machine.run(max_instructions=10000)
    assert result.stop == "shutdown"
    assert (result.reset_reason or 0) >> 8 == 4
    assert (result.reset_reason or 0) & 255 == 7  # the read, WFI; li, csrw, MRET; li, csrw


def test_a_device_tree_of_ones_own_is_what_the_firmware_gets(tmp_path: Path) -> None:
    image = Image()
    image.emit(encode("lw", rd=A0, rs1=11))  # a1: the tree, big-endian d00dfeed
    image.emit(encode("andi", rd=A0, rs1=A0, imm=255))
    end(image, A0)
    own = machine_of(Image_with(image)).device_tree
    assert own is not None
    machine = machine_of(Image_with(image), tree=own + bytes(8))
    assert machine.device_tree == own + bytes(8)
    assert machine.run(max_instructions=100).reset_reason == 0xD0


def Image_with(image: Image) -> Image:  # noqa: N802 - a copy
    """A copy of an image."""
    copy = Image()
    copy.bytes = bytearray(image.bytes)
    return copy


@pytest.mark.parametrize("engine", ENGINES)
def test_a_snapshot_in_m_mode_goes_on_as_it_was(engine: str) -> None:
    image = Image()
    counted(image, 3, INSTRUCTIONS)
    image.csrw(0x3B0, 0x12345000 >> 2)
    image.emit(*[encode("addi")] * 50)
    image.emit(csr("csrrs", A0, MHPMCOUNTER3, 0), csr("csrrs", T2, 0x3B0, 0))
    image.emit(encode("srli", rd=T2, rs1=T2, imm=10), encode("add", rd=A0, rs1=A0, rs2=T2))
    end(image, A0)
    machine = machine_of(image, engine)
    machine.run(max_instructions=60)
    fork = machine.snapshot().machine()
    answers = [one.run(max_instructions=1000).reset_reason for one in (machine, fork)]
    assert answers[0] == answers[1] == 54 + (0x12345000 >> 12)  # four write pmpaddr0


def test_what_traps_for_ever_in_m_mode_ends_with_its_place() -> None:
    image = Image()
    image.csrw(0x305, 0x10)  # a handler where no memory is
    image.emit(0)
    result = machine_of(image).run(max_instructions=100_000)
    assert result.stop == "hung"
    assert "mode M" in result.reason


def test_pmp_that_locks_everything_out_ends_the_run() -> None:
    image = Image()
    image.csrw(0x3B0, (1 << 54) - 1)
    image.csrw(0x3A0, 0x98)  # locked, NAPOT, nothing allowed
    end(image)
    result = machine_of(image).run(max_instructions=100_000)
    assert result.stop == "hung"


def test_firmware_that_does_not_fit_or_overlaps_is_refused() -> None:
    with pytest.raises(VpmuError, match="does not fit"):
        Machine(firmware=bytes([0x13, 0, 0, 0]) * (1 << 20), memory=1 << 20).load(None)
    program = elf(bytes([0x13, 0, 0, 0]) * 64, BASE, {})
    with pytest.raises(VpmuError, match="overlaps the firmware"):
        Machine(firmware=program).load(program)


def test_the_name_may_be_the_end_of_another(tmp_path: Path) -> None:
    """Linkers store `tohost` as the end of a longer name, write_tohost of riscv-tests."""
    image, path = Image(), tmp_path / "program"
    end(image, code=3)
    image.to(TOHOST)
    image.bytes += bytes(64)
    program = elf(bytes(image.bytes), BASE, {"fromhost": TOHOST + 8, "write_tohost": BASE, "tohost": TOHOST})
    names = program.rindex(b"\0write_tohost\0tohost\0")
    symbol = program.rindex(struct.pack("<IBBHQ", 23, 0x10, 0, 1, TOHOST))
    merged = bytearray(program)
    merged[symbol : symbol + 4] = struct.pack("<I", 23 - 7)
    merged[names + 14 : names + 20] = b"______"
    path.write_bytes(merged)
    assert has_htif(path)
    assert main(["run", str(path), "-q"]) == 3


def test_a_program_with_tohost_has_memory_as_on_spike(tmp_path: Path) -> None:
    """2 GiB, unless -m says otherwise."""
    image, path = Image(), tmp_path / "program"
    image.li(T0, BASE + (1 << 31) - 8)
    image.emit(encode("ld", rd=A0, rs1=T0))
    end(image, code=0)
    image.to(TOHOST)
    image.bytes += bytes(64)
    path.write_bytes(elf(bytes(image.bytes), BASE, {"tohost": TOHOST}))
    assert main(["run", str(path), "-q"]) == 0
    assert main(["run", str(path), "-q", "-m", "64M", "--max-instructions", "1000"]) == 1
