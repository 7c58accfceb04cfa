"""Probes: an instruction or a few in a mode, with CSRs and registers as named, and all that came of it.

Probes of a batch are one bare-metal image, which runs on both engines and on Spike. A trap that stays below M
ends in an ECALL of its handler; M then writes registers and CSRs into the probe's slot.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from vpmu.hart.csr_table import BY_NAME

from ..assemble import ECALL, csr, encode
from . import spike
from .bare import BASE, MTIMECMP, T0, T1, TOHOST, U64, Image, hart_of, run

HS_VECTOR, VS_VECTOR, CODE, TABLES, DATA = (
    BASE + offset for offset in (0x1000, 0x2000, 0x100000, 0x400000, 0x800000)
)
RESULTS = BASE + 0xC00000
SLOT = 1024
MODES = {"M": (3, 0), "HS": (1, 0), "U": (0, 0), "VS": (1, 1), "VU": (0, 1)}
REGISTERS = tuple(range(5, 18))
DUMPED = (
    *("mstatus", "mcause", "mepc", "mtval", "mtval2", "mtinst", "mip", "mie", "medeleg", "mideleg"),
    *("sstatus", "scause", "sepc", "stval", "sscratch", "sip", "sie", "satp"),
    *("hstatus", "htval", "htinst", "hip", "hie", "hvip", "hedeleg", "hideleg", "hgatp", "henvcfg"),
    *("vsstatus", "vscause", "vsepc", "vstval", "vsscratch", "vsip", "vsie", "vsatp"),
)
PEEKS = 8
ISA = frozenset({"h", "sstc", "sscofpmf", "svadu", "smstateen", "svinval", "sv57"})
MPP, MPV, FS, FENCES = 11, 1 << 39, 3 << 13, (0x12000073, 0x22000073, 0x62000073)
RESET = {
    "mie": 0, "mip": 0, "hvip": 0, "mideleg": 0, "medeleg": 0, "hideleg": 0, "hedeleg": 0,
    "satp": 0, "vsatp": 0, "hgatp": 0, "hstatus": 0, "vsstatus": 0, "stvec": HS_VECTOR, "vstvec": VS_VECTOR,
    "sepc": 0, "vsepc": 0, "scause": 0, "vscause": 0, "stval": 0, "vstval": 0, "sscratch": 0, "vsscratch": 0,
    "htval": 0, "htinst": 0, "mtval2": 0, "mtinst": 0, "senvcfg": 0, "htimedelta": 0,
    "stimecmp": U64, "vstimecmp": U64, "mcounteren": U64, "hcounteren": U64, "scounteren": U64,
}  # fmt: skip
ENVIRONMENT = (("menvcfg", U64), ("henvcfg", 1 << 63), ("menvcfg", 1 << 63))
"""M's bits first, for what they hide keeps its value; then Sstc alone."""
SMSTATEEN = {"mstateen0": U64, "hstateen0": U64}
SSAIA = {"hvictl": 0, "hvien": 0, "siselect": 0, "vsiselect": 0}


def number(name: str | int) -> int:
    """The number of a CSR; one in a range of them has no name of its own."""
    return BY_NAME[name].number if isinstance(name, str) else name


@dataclasses.dataclass(frozen=True)
class Probe:
    """`words` in `mode`, at `pc` (by default where they lie); `csrs` are written from M before, in order."""

    mode: str
    words: Sequence[int]
    csrs: Mapping[str | int, int] = dataclasses.field(default_factory=dict)
    x: Mapping[int, int] = dataclasses.field(default_factory=dict)
    pokes: Mapping[int, int] = dataclasses.field(default_factory=dict)
    peeks: Sequence[int] = ()
    status: int = 0
    pc: Callable[[int], int] = lambda at: at
    name: str = ""


@dataclasses.dataclass
class Result:
    """What one probe left: CSRs by name, `x<n>`, `peek<n>`; `pc` is where its words lay, seen by it."""

    pc: int
    words: dict[str, int]

    def __getitem__(self, name: str) -> int:
        return self.words[name]

    @property
    def trap(self) -> tuple[str, int]:
        """The mode that took the trap, and its cause; ("", 0) where there was none but the ECALL behind."""
        epc, cause = self["mepc"], self["mcause"]
        if HS_VECTOR <= epc < HS_VECTOR + 0x1000:
            return "HS", self["scause"]
        if VS_VECTOR <= epc < VS_VECTOR + 0x1000:
            return "VS", self["vscause"]
        return "M", cause


PMPCFG0 = 0x3A0


def build(
    probes: Sequence[Probe], prepare: Callable[[Image], None] = lambda image: None, isa: frozenset[str] = ISA
) -> tuple[bytes, list[int]]:
    """The image of a batch, and the pc of each probe. `prepare` writes page tables and data."""
    image = Image()
    reset = [*ENVIRONMENT, *RESET.items()]
    reset += SMSTATEEN.items() if "smstateen" in isa else ()
    reset += SSAIA.items() if "ssaia" in isa else ()
    if any(PMPCFG0 in probe.csrs for probe in probes):  # what an old entry holds a part of, M cannot touch
        reset += [(PMPCFG0, 0), (PMPCFG0 + 2, 0)]
    image.jump(BASE + 0x3000)
    for vector in (HS_VECTOR, VS_VECTOR):
        image.to(vector)
        image.emit(*[ECALL] * 64)
    image.to(BASE + 0x3000)
    image.store(MTIMECMP, U64)
    image.jump(image.here + 4 + 0x1000)
    handler = image.here
    image.emit(csr("csrrw", 31, number("mscratch"), 31))
    image.emit(*(encode("sd", rs1=31, rs2=x, imm=8 * i) for i, x in enumerate(REGISTERS)))
    for i, name in enumerate(DUMPED):
        image.emit(csr("csrrs", T0, number(name)))
        image.emit(encode("sd", rs1=31, rs2=T0, imm=8 * (len(REGISTERS) + i)))
    image.emit(encode("addi", rd=T0, rs1=31, imm=SLOT), csr("csrrw", 0, number("mscratch"), T0))
    for name, value in reset:
        image.csrw(number(name), value)
    image.emit(*FENCES, encode("jalr", rs1=29))
    image.to(handler + 0x1000)
    image.csrw(number("mtvec"), handler)
    image.csrw(number("mscratch"), RESULTS)
    for name, value in reset:
        image.csrw(number(name), value)
    image.emit(*FENCES)
    pcs, texts, at = [], [], CODE
    for probe in probes:
        pcs.append(probe.pc(at))
        for address, value in probe.pokes.items():
            image.store(address, value)
        for name, value in probe.csrs.items():
            image.csrw(number(name), value)
        privilege, virt = MODES[probe.mode]
        image.csrw(number("mstatus"), probe.status | privilege << MPP | MPV * virt)
        image.csrw(number("mepc"), pcs[-1])
        image.emit(*FENCES)
        for x in (*REGISTERS, 30):
            image.li(x, probe.x.get(x, 0))
        image.emit(encode("auipc", rd=29, imm=0), encode("addi", rd=29, rs1=29, imm=12), 0x30200073)
        for i, address in enumerate(probe.peeks):
            image.li(T0, address)
            image.emit(
                encode("ld", rd=T1, rs1=T0),
                encode("sd", rs1=31, rs2=T1, imm=8 * (len(REGISTERS) + len(DUMPED) + i)),
            )
        text = Image()
        text.emit(*probe.words, ECALL)
        texts.append((at, bytes(text.bytes)))
        at += len(text.bytes) + 3 & ~3
    image.finish()
    assert image.here < CODE
    assert at < TABLES
    assert len(probes) * SLOT < TOHOST - RESULTS
    for address, content in texts:
        image.data(address, content)
    prepare(image)
    return bytes(image.bytes), pcs


def parse(raw: bytes, pcs: Iterable[int]) -> list[Result]:
    """The slots of a run."""
    answer = []
    slots = memoryview(raw).cast("Q")
    for i, pc in enumerate(pcs):
        values = slots[i * SLOT // 8 : (i + 1) * SLOT // 8].tolist()
        words = {f"x{x}": values[j] for j, x in enumerate(REGISTERS)}
        words |= dict(zip(DUMPED, values[len(REGISTERS) :], strict=False))
        words |= {f"peek{j}": values[len(REGISTERS) + len(DUMPED) + j] for j in range(PEEKS)}
        answer.append(Result(pc, words))
    return answer


Batch = tuple[bytes, list[int]]


def on_engine(batch: Batch, engine: str, isa: frozenset[str] = ISA, pmp: int = 0) -> list[Result]:
    """The results of a batch on one of our engines."""
    image, pcs = batch
    hart = hart_of(image, engine, isa, pmp)
    run(hart)
    return parse(hart.memory.read(RESULTS, SLOT * len(pcs)), pcs)


def on_spike(batch: Batch, isa: frozenset[str] = ISA, options: Iterable[str] = ()) -> list[Result]:
    """The results of a batch on Spike."""
    image, pcs = batch
    named = sorted(isa - {"h", "sv57"})
    raw = spike.run(
        image,
        isa=named,
        signature=(RESULTS, RESULTS + SLOT * len(pcs)),
        tohost=TOHOST,
        options=options,
    )
    return parse(raw, pcs)
