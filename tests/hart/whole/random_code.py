"""Random instructions of every extension, on registers that mostly point at data (see five_modes)."""

from __future__ import annotations

import random

from vpmu.hart.isa.instruction import Compressed, Instruction, Kind
from vpmu.hart.isa.table import COMPRESSED, INSTRUCTIONS

from ..assemble import ECALL, SRET, csr, encode, place
from .probe import number

POINTERS, COPIES = (2, 8, 9, 10, 11, 12, 13), (21, 22, 23, 24, 25, 26, 27)
ALIGNED, SPARE, SAFE, COUNT, TEMP = 20, 28, 29, 30, 31
MRET = 0x30200073
FREE = ("sscratch", "sepc", "scause", "stval", "vsscratch", "vsepc", "vscause", "vstval", "htval", "mscratch",
        "mcause", "mtval", "mtval2", "sstatus", "vsstatus", "fcsr", "fflags", "frm", "sie", "sip", "hip",
        "hie", "vsie", "vsip", "hvip", "scounteren", "hcounteren", "mip")  # fmt: skip
READ = ("satp", "vsatp", "hgatp", "hedeleg", "hideleg", "medeleg", "mstatus", "stvec", "vstvec", "misa",
        "hgeip", "htimedelta", "mie", "menvcfg", "henvcfg")  # fmt: skip
FENCES = ("sfence.vma", "hfence.vvma", "hfence.gvma", "sinval.vma", "hinval.vvma", "hinval.gvma")
UNUSED = ("wfi", "fence.i", "mret")
JUMPS = ("jal", "beq", "bne")
RESERVING = ("lr.w", "lr.d", "sc.w", "sc.d")


class Generator:
    """Random instructions of every extension; `reserving`: LR and SC among them."""

    def __init__(self, rng: random.Random, reserving: bool) -> None:
        self.rng = rng
        left_out = {*UNUSED, *FENCES, *(() if reserving else RESERVING)}
        rows = [row for row in INSTRUCTIONS if row.name not in left_out and not row.name.startswith("csr")]
        self.rows = [row for row in rows if not row.name.startswith(("hlv", "hsv"))]
        self.short = [row for row in COMPRESSED if row.expands_to != "jalr"]
        self.straight = [row for row in self.short if row.expands_to not in JUMPS]
        self.hypervisor = [row for row in rows if row.name.startswith(("hlv", "hsv"))]

    def words(self) -> list[int]:
        rng, draw = self.rng, self.rng.random()
        if draw < 0.14:
            at = rng.randrange(len(POINTERS))
            return [encode("add", rd=POINTERS[at], rs1=COPIES[at])]
        if draw < 0.19:
            return [self.csr()]
        if draw < 0.21:
            name = rng.choice(FENCES)
            return [encode(name, rs1=rng.choice((0, *POINTERS)), rs2=rng.choice((0, 0, 5)))]
        if draw < 0.26:
            return [self.full(rng.choice(self.hypervisor))]
        if draw < 0.28:
            return [rng.choice((SRET, ECALL, 0x00100073, MRET, rng.getrandbits(32) & ~0x7F | 0x73))][:1]
        if draw < 0.45:
            return [self.compressed(rng.choice(self.short)), self.compressed(rng.choice(self.straight))]
        row = rng.choice(self.rows)
        word = self.full(row)
        if row.kind is Kind.AMO or row.name in RESERVING:
            return [word & ~(31 << 15) | ALIGNED << 15]
        return [word]

    def csr(self) -> int:
        rng = self.rng
        form = rng.choice(("csrrw", "csrrs", "csrrc", "csrrwi", "csrrsi", "csrrci"))
        name, rs1 = rng.choice(FREE), rng.randrange(32)
        if rng.random() < 0.3:
            name, form, rs1 = rng.choice(READ), "csrrs", 0
        elif rng.random() < 0.1:
            name, form, rs1 = "hstatus", rng.choice(("csrrs", "csrrc")), SAFE
        return csr(form, rng.choice((0, 1, 3, 4, 5, 6, 7, 14, 15)), number(name), rs1)

    def compressed(self, row: Compressed) -> int:
        rng = self.rng
        word = row.match | rng.getrandbits(16) & ~row.mask
        if row.expands_to in JUMPS:
            word = word & ~place(row.imm, -1) | place(row.imm, 4 * rng.randrange(1, 20))
        if (
            row.rd.constant is None
            and row.rd.extract(word) >= ALIGNED
            and row.expands_to not in ("fld", "flw")
        ):
            word ^= 1 << 11
        return word

    def full(self, row: Instruction) -> int:
        rng, form = self.rng, row.format
        word = row.match | rng.getrandbits(32) & ~row.mask
        if row.kind in (Kind.BRANCH, Kind.JAL):
            word = word & ~place(form.imm, -1) | place(form.imm, 4 * rng.randrange(1, 30))
        addressing = row.kind in (Kind.LOAD, Kind.STORE, Kind.AMO, Kind.JALR, Kind.FP_LOAD, Kind.FP_STORE)
        if addressing or row.name in RESERVING or row in self.hypervisor:
            word = word & ~(31 << 15) | rng.choice(POINTERS) << 15
        if row.kind is Kind.FP and rng.random() < 0.7:
            word = word & ~(7 << 12 & ~row.mask) | rng.choice((0, 7)) << 12 & ~row.mask
        rd = word >> 7 & 31
        if form.rd.constant is None and form.rd.offset == 0 and (rd >= ALIGNED or rd in POINTERS):
            word = word & ~(31 << 7) | rng.choice((0, 1, 3, 4, 5, 6, 7, 14, 15, 16, 17, 18, 19)) << 7
        return word
