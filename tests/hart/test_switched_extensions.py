"""Extensions that a guest's hart can have or lack: what they do, and that without them there is nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from vpmu.hart.exits import Stop
from vpmu.hart.extensions import GUEST_ISA, ISA_BITS
from vpmu.hart.isa.instruction import Instruction
from vpmu.hart.isa.table import INSTRUCTIONS, decode
from vpmu.hart.state import VS, VU
from vpmu.spec import privileged as fields
from vpmu.spec.csr import SSTATUS_FS, SSTATUS_MXR, SSTATUS_SUM, Cause, Csr

from .assemble import code, csr, encode, place
from .guest import BASE, DATA, ENGINES, HOLE, LEAVES, VECTOR, A, D, R, U, V, W, X, boot, map_pages, put

pytestmark = pytest.mark.usefixtures("built_engine")

ONES = (1 << 64) - 1
SWITCHED = [row for row in INSTRUCTIONS if row.needs and not row.whole]
CBO = ("cbo.inval", "cbo.clean", "cbo.flush", "cbo.zero")
MANAGE = CBO[:3]
PAGE = BASE + 0x9000


def needed(row: Instruction) -> set[str]:
    """The extension that a row is of."""
    return {name for name in GUEST_ISA if ISA_BITS[name] == getattr(fields, row.needs)}


def word_of(row: Instruction) -> int:
    """The instruction over x10 and x11, into x5."""
    form = row.format
    named = ((form.rd, 5), (form.rs1, 10), (form.rs2, 11))
    fields = sum(place(field, number + field.offset) for field, number in named)
    return row.match | fields & ~row.mask


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("row", SWITCHED, ids=lambda row: row.name)
def test_an_instruction_is_there_with_its_extension_alone(engine: str, row: Instruction) -> None:
    """Also where a page's end parts it, and it is decoded each time."""
    assert len(needed(row)) == 1
    for at in (BASE, BASE + 0xFFE):
        for isa in (GUEST_ISA, needed(row), GUEST_ISA - needed(row), set()):
            hart = boot(engine, [word_of(row)], at=at, isa=isa, x={10: DATA, 11: 7}, sstatus=SSTATUS_FS)
            stop = hart.run(1)
            if needed(row) <= isa:
                assert (stop, hart.pc, hart.instructions) == (Stop.BUDGET, at + 4, 1)
            else:
                assert (stop, hart.pc, hart.instructions) == (Stop.ILLEGAL, at, 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "a", "b", "result"),
    [
        ("pack", 0x1122334455667788, 0x99AABBCCDDEEFF00, 0xDDEEFF0055667788),
        ("packh", ONES, 0x1234, 0x34FF),
        ("packw", 0x11228344, 0x99AA8BCC, 0xFFFFFFFF8BCC8344),
        ("packw", ONES, 0x7000, 0x7000FFFF),
        ("brev8", 0x0102040810204080, 0, 0x8040201008040201),
        ("brev8", 0x00000000000000F1, 0, 0x8F),
    ],
)
def test_results(engine: str, name: str, a: int, b: int, result: int) -> None:
    hart = boot(engine, [encode(name, rd=5, rs1=10, rs2=11)], isa={"zbkb"}, x={10: a, 11: b})
    assert (hart.run(1), hart.x(5)) == (Stop.BUDGET, result)


# ---------------------------------------------------------------- cache blocks


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("offset", [0, 1, 63, 0xFC1])
def test_zero_clears_one_block(engine: str, offset: int) -> None:
    hart = boot(engine, [encode("cbo.zero", rs1=10)] * 2, isa={"zicboz"}, x={10: DATA + offset})
    hart.memory.write(DATA - 64, b"\xaa" * 8192)
    for _ in range(2):  # through the cache the second time
        hart.run(1)
        block = offset & ~63
        found = hart.memory.read(DATA - 64, 8192)
        assert found == b"\xaa" * (block + 64) + bytes(64) + b"\xaa" * (8192 - block - 128)
        hart.memory.write(DATA + block, b"\xaa" * 64)


@pytest.mark.parametrize("engine", ENGINES)
def test_zero_over_code_is_seen(engine: str) -> None:
    """The block behind is decoded, then cleared: zeros are an illegal instruction."""
    words = [encode("jal", imm=64), encode("cbo.zero", rs1=10), encode("jal", imm=56)]
    hart = boot(engine, words, isa={"zicboz"}, x={10: BASE + 64})
    hart.memory.write(BASE + 64, code([encode("jal", imm=-60)]))
    assert hart.run(4) is Stop.BUDGET
    assert hart.pc == BASE + 64
    assert hart.run(1) is Stop.ILLEGAL


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", MANAGE)
def test_management_changes_nothing(engine: str, name: str) -> None:
    hart = boot(engine, [encode(name, rs1=10)], isa={"zicbom"}, x={10: DATA + 5})
    hart.memory.write(DATA, b"\xaa" * 64)
    assert hart.run(1) is Stop.BUDGET
    assert hart.memory.read(DATA, 64) == b"\xaa" * 64


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CBO)
@pytest.mark.parametrize(
    ("flags", "status", "managed", "zeroed"),
    [
        (V | R | W | A | D, 0, True, True),
        (V | R | A, 0, True, False),
        (V | X | A, 0, False, False),
        (V | X | A, SSTATUS_MXR, True, False),
        (V | R | W | U | A | D, 0, False, False),
        (V | R | W | U | A | D, SSTATUS_SUM, True, True),
        (0, 0, False, False),
    ],
)
def test_permissions(engine: str, name: str, flags: int, status: int, managed: bool, zeroed: bool) -> None:
    """A block is managed where it may be loaded or stored, zeroed where it may be stored; the fault is a
    store's, at the address in rs1.
    """
    hart = boot(engine, [encode(name, rs1=10)], isa=GUEST_ISA, x={10: PAGE + 77}, sstatus=status)
    map_pages(hart, {PAGE: (DATA, flags)})
    hart.run(1)
    allowed = zeroed if name == "cbo.zero" else managed
    if allowed:
        assert (hart.pc, hart.get("scause")) == (BASE + 4, 0)
    else:
        assert (hart.pc, hart.get("scause"), hart.get("stval")) == (
            VECTOR + 4,
            Cause.STORE_PAGE_FAULT,
            PAGE + 77,
        )
    assert hart.get("as_store") == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CBO)
def test_a_block_where_no_memory_is(engine: str, name: str) -> None:
    """A guest-page fault of a store, which KVM cannot emulate."""
    hart = boot(engine, [encode(name, rs1=10)], isa=GUEST_ISA, x={10: HOLE + 1})
    assert hart.run(1) is Stop.MMIO_STORE
    assert (hart.get("exit_a"), hart.get("exit_c"), hart.instructions) == (HOLE + 1, HOLE + 1, 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CBO)
def test_senvcfg_gives_them_to_programs(engine: str, name: str) -> None:
    """In VU they are virtual instructions without it; VS has what henvcfg, which is KVM's, gives."""
    field = {"cbo.inval": 3 << 4, "cbo.zero": 1 << 7}.get(name, 1 << 6)
    for senvcfg in (0, field, 0xF1 & ~field):
        for mode in (VS, VU):
            hart = boot(
                engine, [encode(name, rs1=10)], isa=GUEST_ISA, x={10: DATA}, mode=mode, senvcfg=senvcfg
            )
            denied = mode == VU and not senvcfg & field
            assert hart.run(1) is (Stop.VIRTUAL if denied else Stop.BUDGET)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("isa", "mask"), [((), 1), (("zicbom",), 0x71), (("zicboz",), 0x81), (("zicbom", "zicboz"), 0xF1)]
)
def test_senvcfg_has_the_fields_of_what_is_there(engine: str, isa: tuple[str, ...], mask: int) -> None:
    words = [csr("csrrw", 0, Csr.SENVCFG, 10), csr("csrrs", 5, Csr.SENVCFG)]
    hart = boot(engine, words, isa=isa, x={10: ONES})
    hart.run(2)
    assert hart.x(5) == mask


# ---------------------------------------------------------------- page tables

N, PBMT_NC, PBMT_IO, PBMT_RESERVED = 1 << 63, 1 << 61, 2 << 61, 3 << 61
LEAF = V | R | W | X | A | D


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("bits", "needs"), [(PBMT_NC, "svpbmt"), (PBMT_IO, "svpbmt"), (PBMT_RESERVED, None), (1 << 54, None)]
)
def test_memory_types_of_a_leaf(engine: str, bits: int, needs: str | None) -> None:
    for isa in (GUEST_ISA, GUEST_ISA - {"svpbmt"}):
        hart = boot(engine, [encode("ld", rd=5, rs1=10)], isa=isa, x={10: PAGE})
        hart.memory.write(DATA, b"\x11" * 8)
        map_pages(hart, {PAGE: (DATA, LEAF)})
        at = LEAVES + 8 * (PAGE >> 12 & 511)
        hart.memory.write(
            at, (int.from_bytes(hart.memory.read(at, 8), "little") | bits).to_bytes(8, "little")
        )
        hart.run(1)
        if needs in isa:
            assert hart.x(5) == 0x1111111111111111
        else:
            assert hart.get("scause") == Cause.LOAD_PAGE_FAULT


@pytest.mark.parametrize("engine", ENGINES)
def test_napot_maps_64_kib(engine: str) -> None:
    """Sixteen entries that say the same. And a fence at one address covers all of them."""
    region, where = BASE + 0x40000, BASE + 0x80000
    load = [encode("ld", rd=5, rs1=10)]
    hart = boot(engine, [*load, encode("sfence.vma", rs1=11), *load], isa=GUEST_ISA, x={11: region + 0x3000})
    pages = {region + 4096 * i: (where, LEAF) for i in range(16)}
    map_pages(hart, pages)

    def point_at(base: int, low: int = 8) -> None:
        for address in pages:
            entry = N | (base >> 12 | low) << 10 | LEAF
            hart.memory.write(LEAVES + 8 * (address >> 12 & 511), entry.to_bytes(8, "little"))
        hart.flush()

    for page in range(16):
        hart.memory.write(where + 4096 * page, page.to_bytes(8, "little"))
        hart.memory.write(where + 0x10000 + 4096 * page, (100 + page).to_bytes(8, "little"))
    point_at(where)
    for page in range(16):
        hart.pc = BASE
        hart.set_x(10, region + 4096 * page)
        hart.run(1)
        assert (hart.x(5), hart.get("scause")) == (page, 0)
    for address in pages:  # another base, and a fence at one of the addresses
        entry = N | (where + 0x10000 >> 12 | 8) << 10 | LEAF
        hart.memory.write(LEAVES + 8 * (address >> 12 & 511), entry.to_bytes(8, "little"))
    hart.run(2)
    assert hart.x(5) == 115
    for low in (0, 1, 4, 9):  # other sizes are reserved
        point_at(where, low)
        hart.pc = BASE
        hart.run(1)
        assert hart.get("scause") == Cause.LOAD_PAGE_FAULT
        hart.set("scause", 0)
    put(hart, LEAVES, region >> 12 & 511, where, LEAF)


@pytest.mark.parametrize("engine", ENGINES)
def test_napot_is_reserved_without_svnapot(engine: str) -> None:
    hart = boot(engine, [encode("ld", rd=5, rs1=10)], isa=GUEST_ISA - {"svnapot"}, x={10: PAGE})
    map_pages(hart, {PAGE: (DATA, LEAF)})
    entry = N | (DATA >> 12 & ~15 | 8) << 10 | LEAF
    hart.memory.write(LEAVES + 8 * (PAGE >> 12 & 511), entry.to_bytes(8, "little"))
    hart.run(1)
    assert hart.get("scause") == Cause.LOAD_PAGE_FAULT


@pytest.mark.parametrize("engine", ENGINES)
def test_sinval_is_a_fence(engine: str) -> None:
    words = [encode("ld", rd=5, rs1=10), encode("sinval.vma", rs1=10), encode("ld", rd=6, rs1=10)]
    hart = boot(engine, words, isa=GUEST_ISA, x={10: PAGE})
    map_pages(hart, {PAGE: (DATA, LEAF)})
    hart.memory.write(DATA, b"\x11" * 8)
    hart.memory.write(DATA + 4096, b"\x22" * 8)
    hart.run(1)
    put(hart, LEAVES, PAGE >> 12 & 511, DATA + 4096, LEAF)
    hart.run(2)
    assert (hart.x(5), hart.x(6)) == (0x1111111111111111, 0x2222222222222222)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["sinval.vma", "sfence.w.inval", "sfence.inval.ir"])
def test_a_program_may_not_invalidate(engine: str, name: str) -> None:
    hart = boot(engine, [encode(name)], isa=GUEST_ISA, mode=VU)
    assert hart.run(1) is Stop.VIRTUAL


# ---------------------------------------------------------------- the assembler

ASSEMBLED = (
    ("zbkb", "pack x5, x10, x11"),
    ("zbkb", "packh x5, x10, x11"),
    ("zbkb", "packw x5, x10, x11"),
    ("zbkb", "brev8 x5, x10"),
    ("zicbom", "cbo.inval 0(x10)"),
    ("zicbom", "cbo.clean 0(x10)"),
    ("zicbom", "cbo.flush 0(x10)"),
    ("zicboz", "cbo.zero 0(x10)"),
    ("svinval", "sinval.vma x10, x11"),
    ("svinval", "sfence.w.inval"),
    ("svinval", "sfence.inval.ir"),
    ("zawrs", "wrs.nto"),
    ("zawrs", "wrs.sto"),
)


def test_every_switched_instruction_is_assembled_below() -> None:
    """Those of Zfh are in their own test."""
    here = {row.name for row in SWITCHED if needed(row) != {"zfh"}}
    assert {text.split()[0] for _, text in ASSEMBLED} == here


@pytest.mark.skipif(not shutil.which("riscv64-linux-gnu-as"), reason="no riscv64-linux-gnu-as")
@pytest.mark.parametrize(("extension", "text"), ASSEMBLED)
def test_encodings_are_the_assemblers(extension: str, text: str, tmp_path: Path) -> None:
    source, built, flat = tmp_path / "x.s", tmp_path / "x.o", tmp_path / "x.bin"
    source.write_text(text + "\n")
    subprocess.run(["riscv64-linux-gnu-as", f"-march=rv64gc_{extension}", "-o", built, source], check=True)
    subprocess.run(["riscv64-linux-gnu-objcopy", "-O", "binary", built, flat], check=True)
    word = int.from_bytes(flat.read_bytes()[:4], "little")
    row = decode(word).row
    assert (row.name, word) == (text.split()[0], word_of(row))
    assert needed(row) == {extension}
