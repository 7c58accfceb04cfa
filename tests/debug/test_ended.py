"""Where a run ended: for what each kind of end is, with the symbols that its image has."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from vpmu import Machine
from vpmu.cli.main import main
from vpmu.debug.names import names_of
from vpmu.debug.steps import loop_of
from vpmu.debug.where import cause_name, where
from vpmu.payloads import path

CSRR_MHARTID, MRET, SELF, RET = 0xF1402573, 0x30200073, 0x0000006F, 0x00008067
NOP, BACK_8 = 0x00000013, 0xFF9FF06F


def image(folder: Path, *words: int) -> str:
    file = folder / "guest.bin"
    file.write_bytes(struct.pack(f"<{len(words)}I", *words))
    return str(file)


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(["run", *arguments])
    return status, capsys.readouterr().err


@pytest.mark.parametrize(("word", "what"), [(CSRR_MHARTID, "accesses mhartid"), (MRET, "is mret")])
def test_an_image_for_m_mode_says_so(
    word: int, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = ran(capsys, image(tmp_path, NOP, word))
    assert status == 1
    assert f"the image needs M mode: its first illegal instruction, at 0x80200004, {what}" in told
    assert "scause 0x2 (illegal instruction), sepc 0x80200004, stval" in told


def test_another_illegal_instruction_is_not_taken_for_m_mode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = ran(capsys, image(tmp_path, NOP, 0))
    assert status == 1
    assert "illegal instruction" in told
    assert "M mode" not in told


def test_a_jump_into_nothing_tells_the_last_instructions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [0x00100093 | n << 20 for n in range(20)]  # addi ra, x0, n: and then to address 20, which is none
    status, told = ran(capsys, image(tmp_path, *words, RET))
    assert status == 1
    lines = told.splitlines()
    at = next(index for index, line in enumerate(lines) if "last instructions:" in line)
    assert "0x8020003c: addi" not in told.split("last instructions:")[0]
    assert [line.rsplit(" (", 1)[0].split()[-1] for line in lines[at : at + 7]] == ["addi"] * 6 + ["jalr"]
    assert "no instruction can be fetched" in lines[at + 7]


def test_an_endless_loop_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, told = ran(capsys, image(tmp_path, NOP, NOP, NOP, BACK_8), "--max-instructions", "1000")
    assert status == 1
    assert "loops: 3 instructions from 0x80200004 to 0x8020000c" in told
    status, told = ran(capsys, image(tmp_path, SELF), "--max-instructions", "1000")
    assert "loops: one instruction at 0x80200000" in told


def test_symbols_of_an_elf_file_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "counting", "--max-instructions", "20000", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["stop"] == "budget"
    names = set(names_of(Machine(memory=16 << 20).load("counting")).table or ())
    assert told["where"][0]["symbol"].partition("+")[0] in {symbol.name for symbol in names}
    assert any(note.startswith("loops: ") for note in told["notes"])


def test_symbols_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guest = image(tmp_path, NOP, NOP, NOP, BACK_8)
    table = tmp_path / "System.map"
    table.write_text("0000000080200000 T start\n0000000080200004 T turn\n")
    status, told = ran(capsys, guest, "--max-instructions", "1000", "--symbols", str(table))
    assert status == 1
    assert "(turn" in told
    assert " in turn" in told
    assert ran(capsys, guest, "--max-instructions", "9", "--symbols", str(path("hello")))[0] == 1
    assert ran(capsys, guest, "--max-instructions", "9", "--symbols", guest)[0] == 2


def test_a_run_that_ends_well_loads_nothing_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    status, told = ran(capsys, "hello")
    assert status == 0
    assert len(told.splitlines()) == 1 + told.startswith("\n")


def test_looking_for_a_loop_is_unheard() -> None:
    heard = bytearray()
    machine = Machine(memory=16 << 20, console_out=heard.extend)
    machine.load("hello")
    machine.run(max_instructions=100)
    before = bytes(heard)
    assert loop_of(machine, names_of(None)) is None  # it ends
    assert bytes(heard) == before


def test_places_and_causes() -> None:
    machine = Machine(memory=16 << 20, harts=2)
    machine.load("hello")
    assert [place.hart for place in where(machine)] == [0]  # the other one is stopped
    assert cause_name(13) == "load page fault"
    assert cause_name(1 << 63 | 5) == "timer interrupt"
    assert cause_name(99) == "99"


def test_an_m_mode_image_that_dies_there_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = ran(capsys, image(tmp_path, CSRR_MHARTID, NOP, 0), "--firmware", "none")
    assert status == 1
    assert "hart 0 in M mode at pc 0x0; last trap to M mode: mcause 0x1 (fetch access), mepc 0x0" in told
    assert "0x80000008: illegal (0x0)" in told
    assert "needs M mode" not in told


@pytest.mark.parametrize(
    ("profile", "mode"), [("kvm-7.2", "VS"), ("opensbi-1.6", "S"), ("spec-3.0", "S"), ("kvm-6.9", "VS")]
)
def test_a_mode_has_the_name_that_its_image_knows(profile: str, mode: str) -> None:
    from vpmu import Machine
    from vpmu.debug.where import where

    machine = Machine(profile, memory=1 << 20)
    assert [place.mode for place in where(machine)] == [mode]
    machine.vcpu(0).hart.set("mode", 0)
    assert [place.mode for place in where(machine)] == [mode[:-1] + "U"]
