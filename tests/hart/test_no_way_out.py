"""Nothing that a pc, a record or a register number holds leads out of the engine's tables, and bit 0 of a pc
is 0, whoever sets it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vpmu.hart import state
from vpmu.hart.codegen_flags import HOT_EXPORTS, Counting
from vpmu.hart.exits import Stop
from vpmu.hart.generator.operations import OPERATIONS
from vpmu.hart.hart import Hart
from vpmu.vmm import elf
from vpmu.vmm.snapshot_hart import hart_state, put_hart

from .assemble import NOP, SRET, csr, encode
from .guest import BASE, ENGINES, boot

pytestmark = pytest.mark.usefixtures("built_engine")
TARGET = BASE + 0x2000
SEPC, STVEC = 0x141, 0x105


def _by_setter(hart: Hart) -> None:
    hart.pc = TARGET + 1


def _by_word(hart: Hart) -> None:
    hart.set("pc", TARGET + 1)


def _by_sepc_word(hart: Hart) -> None:
    hart.set("sepc", TARGET + 1)
    hart.memory.write(BASE, SRET.to_bytes(4, "little"))


def _by_sepc(hart: Hart) -> None:
    hart.set_x(5, TARGET + 1)
    hart.memory.write(BASE, csr("csrrw", 0, SEPC, 5).to_bytes(4, "little") + SRET.to_bytes(4, "little"))


def _by_jalr(hart: Hart) -> None:
    hart.set_x(5, TARGET + 2)
    hart.memory.write(BASE, encode("jalr", rd=0, rs1=5, imm=-1).to_bytes(4, "little"))


def _by_stvec_word(hart: Hart) -> None:
    hart.set("stvec", TARGET + 1)
    hart.memory.write(BASE, (0x00100073).to_bytes(4, "little"))  # ebreak


def _by_injection(hart: Hart) -> None:
    hart.set("stvec", TARGET + 3)
    hart.inject(2, 0)


ROUTES = (_by_setter, _by_word, _by_sepc_word, _by_sepc, _by_jalr, _by_stvec_word, _by_injection)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.__name__[4:])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_route_to_a_pc_is_even(engine: str, route: object) -> None:
    hart = boot(engine, [NOP, NOP])
    hart.memory.write(TARGET, NOP.to_bytes(4, "little") * 8)
    route(hart)  # type: ignore[operator]
    for _ in range(12):
        assert hart.run(1) is Stop.BUDGET
        assert hart.pc % 2 == 0
        if hart.pc >= TARGET:
            break
    assert TARGET <= hart.pc < TARGET + 32
    before = hart.instructions
    assert hart.run(4) is Stop.BUDGET
    assert hart.instructions == before + 4


@pytest.mark.parametrize(("word", "value"), [("pc", BASE + 1), ("mode", 2), ("satp", 15 << 60), ("frm", 8)])
def test_a_snapshot_with_a_state_that_no_hart_has_is_refused(word: str, value: int) -> None:
    hart = boot("reference")
    saved = hart_state(hart)
    put_hart(hart, saved)
    words = bytearray(saved["words"])  # type: ignore[call-overload]
    at = 8 * state.STATE[word]
    words[at : at + 8] = value.to_bytes(8, "little")
    with pytest.raises(ValueError, match="state of a hart"):
        put_hart(hart, {**saved, "words": bytes(words)})


def test_an_elf_with_an_odd_entry_is_refused() -> None:
    image = bytearray((Path(__file__).parents[2] / "src/vpmu/payloads/hello.elf").read_bytes())
    image[0x18] |= 1  # e_entry
    with pytest.raises(elf.ElfError, match="odd entry address"):
        elf.parse(bytes(image))


@pytest.mark.parametrize("counting", list(Counting), ids=str)
def test_the_table_of_handlers_is_as_long_as_an_operation_can_count(counting: Counting) -> None:
    from vpmu.hart import native

    ir = native.engine_ir(counting)
    assert 2 * len(OPERATIONS) <= state.HANDLERS
    assert f"@handlers = constant [{state.HANDLERS + len(HOT_EXPORTS)} x ptr]" in ir


def test_a_register_number_reaches_no_word_but_registers() -> None:
    assert min(state.STATE.values()) >= 256
    assert 8 * (max(state.STATE.values()) + 1) <= state.CONTEXTS


_GARBAGE = """
import ctypes, random, sys
sys.path.insert(0, {tests!r})
from hart.guest import BASE, DATA, VECTOR, boot
from vpmu.hart import state
from vpmu.hart.exits import Stop
from vpmu.hart.generator.operations import OPERATIONS
from vpmu.hart.hart import Hart

ENDLESS = {{n for n, o in enumerate(OPERATIONS) if o.name == "page_end"}}  # looks itself up again
hart = boot("native", [0x13] * 8)
for seed in range({seeds}):
    rng = random.Random(seed)
    for register in range(1, 32):
        hart.set_x(register, rng.choice((BASE, DATA, VECTOR, rng.getrandbits(64))) + rng.randrange(64))
    hart.set("mode", state.VS)
    hart.set("satp", 0)
    hart.set("stvec", VECTOR)
    hart.pc = BASE
    hart.memory.write(BASE, bytes([0x13, 0, 0, 0]) * 1024)
    hart.run(1)
    decoded = hart.get("dbase")
    records = (ctypes.c_uint64 * 2048).from_address(decoded)
    for i in range(2048):
        record = rng.getrandbits(64)
        while (record & state.HANDLERS - 1) >> 1 in ENDLESS:
            record = rng.getrandbits(64)
        records[i] = record
    hart.pc = BASE + 2 * rng.randrange(2048)
    for _ in range(20):
        stop = hart.run(50)
        assert hart.get("contexts") == hart.block.address + state.CONTEXTS
        assert hart.get("shared") == hart.memory.shared.address and hart.get("hart_id") == 0
        # a branch of garbage may have an odd target; it is looked up where there is memory
        assert not hart.pc & 1 or not hart.get("n") or stop is Stop.FETCH_HOLE
print("whole")
"""


def test_records_of_garbage_stay_in_the_tables() -> None:
    script = _GARBAGE.format(tests=str(Path(__file__).parents[1]), seeds=200)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")
