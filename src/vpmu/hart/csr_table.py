"""The CSRs of a hart with all its modes, as a table: number, name, how it is read, what a write does.

A row's `read` is the name of a state word or an expression of the semantics language, its `write` a mask of
the word's bits that a write changes (0: writes are ignored), or an expression over `value` that answers
CONTINUE or RESUME. `needs` names the bits of the word `isa` without which the CSR does not exist. Who may
touch a CSR follows from its number (privileged ISA, 2.1), in `privileged/whole/csr.py`; what else can deny an
access (TVM, counter enables) is in the row's own `read`, which every access calls. `stateen` is the bit of
the state enables (Smstateen) that covers the CSR; `given` says what else M mode can deny HS: V=1 gets an
illegal instruction, not a virtual one, for what HS could not do either (privileged ISA, 21.6.1).

`functions()` turns the table into `csr_read`, `csr_write` and `csr_given`, each a binary search by number.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

U64 = (1 << 64) - 1
U32 = (1 << 32) - 1
H, AIA, SSTC, STATEEN, OVF = "ISA_H", "ISA_AIA", "ISA_SSTC", "ISA_SMSTATEEN", "ISA_SSCOFPMF"


@dataclass(frozen=True, slots=True)
class CsrRow:
    """One CSR, or a range of them that are read and written alike."""

    number: int
    name: str
    read: str
    write: int | str
    needs: str = ""
    last: int = 0
    stateen: str = ""
    given: str = ""

    @property
    def end(self) -> int:
        """The first number behind the row."""
        return max(self.number, self.last) + 1


CSRS = (
    # unprivileged
    CsrRow(0x001, "fflags", "read_fp(s.fflags)", "write_fflags(value)"),
    CsrRow(0x002, "frm", "read_fp(s.frm)", "write_frm(value)"),
    CsrRow(0x003, "fcsr", "read_fp(s.fflags | (s.frm << 5))", "write_fcsr(value)"),
    CsrRow(0xC00, "cycle", "read_counter(0)", 0),
    CsrRow(0xC01, "time", "read_time()", 0),
    CsrRow(0xC02, "instret", "read_counter(2)", 0),
    CsrRow(0xC03, "hpmcounter3", "read_counter(csr - 0xC00)", 0, last=0xC1F),
    # supervisor: of the current V
    CsrRow(0x100, "sstatus", "status()", "write_sstatus(value)"),
    CsrRow(0x104, "sie", "read_sie()", "write_sie(value)"),
    CsrRow(0x105, "stvec", "stvec", U64 & ~2),
    CsrRow(0x106, "scounteren", "scounteren", U32),
    CsrRow(0x10A, "senvcfg", "senvcfg", "write_senvcfg(value)", stateen="STATEEN_ENVCFG"),
    CsrRow(0x10C, "sstateen0", "sstateen0", 0, STATEEN, stateen="STATEEN_SE0"),
    CsrRow(0x10D, "sstateen1", "read_sstateen(csr & 3)", 0, STATEEN, last=0x10F,
           given="(s.mstateen_more >> (csr & 3)) & 1"),
    CsrRow(0x140, "sscratch", "sscratch", U64),
    CsrRow(0x141, "sepc", "sepc", U64 & ~1),
    CsrRow(0x142, "scause", "scause", U64),
    CsrRow(0x143, "stval", "stval", U64),
    CsrRow(0x144, "sip", "read_sip()", "write_sip(value)"),
    CsrRow(0x14D, "stimecmp", "read_stimecmp()", "write_stimecmp(value)", SSTC, given="timers_given()"),
    CsrRow(0x150, "siselect", "read_siselect()", "write_siselect(value)", AIA, stateen="STATEEN_CSRIND"),
    CsrRow(0x151, "sireg", "read_sireg()", 0, AIA, stateen="STATEEN_CSRIND"),
    CsrRow(0x15C, "stopei", "external_interrupts()", 0, AIA),
    CsrRow(0x180, "satp", "read_satp()", "write_satp(value)"),
    CsrRow(0xDA0, "scountovf", "read_scountovf()", 0, OVF),
    CsrRow(0xDB0, "stopi", "read_stopi()", 0, AIA, stateen="STATEEN_AIA"),
    # hypervisor
    CsrRow(0x600, "hstatus", "s.hstatus | HSTATUS_VSXL", "write_hstatus(value)", H),
    CsrRow(0x602, "hedeleg", "hedeleg", 0x8B1FF, H),
    CsrRow(0x603, "hideleg", "hideleg", "write_hideleg(value)", H),
    CsrRow(0x604, "hie", "s.mie & IP_VS", "write_hie(value)", H),
    CsrRow(0x605, "htimedelta", "htimedelta", "write_htimedelta(value)", H),
    CsrRow(0x606, "hcounteren", "hcounteren", U32, H),
    CsrRow(0x607, "hgeie", "0", 0, H),
    CsrRow(0x608, "hvien", "hvien", "write_hvien(value)", AIA, stateen="STATEEN_AIA"),
    CsrRow(0x609, "hvictl", "hvictl", "write_hvictl(value)", AIA, stateen="STATEEN_AIA"),
    CsrRow(0x60A, "henvcfg", "read_henvcfg()", "write_henvcfg(value)", H, stateen="STATEEN_ENVCFG"),
    CsrRow(0x60C, "hstateen0", "s.hstateen0 & s.mstateen0", "write_hstateen0(value)", STATEEN,
           stateen="STATEEN_SE0"),
    CsrRow(0x60D, "hstateen1", "read_hstateen(csr & 3)", "write_hstateen(csr & 3, value)", STATEEN,
           last=0x60F, given="(s.mstateen_more >> (csr & 3)) & 1"),
    CsrRow(0x643, "htval", "htval", U64, H),
    CsrRow(0x644, "hip", "pending() & IP_VS", "write_hip(value)", H),
    CsrRow(0x645, "hvip", "hvip", "write_hvip(value)", H),
    CsrRow(0x646, "hviprio1", "0", 0, AIA, stateen="STATEEN_AIA"),
    CsrRow(0x647, "hviprio2", "0", 0, AIA, stateen="STATEEN_AIA"),
    CsrRow(0x64A, "htinst", "htinst", U64, H),
    CsrRow(0x680, "hgatp", "read_hgatp()", "write_hgatp(value)", H),
    CsrRow(0xE12, "hgeip", "0", 0, H),
    # the guest's supervisor, as HS and M see it
    CsrRow(0x200, "vsstatus", "guest_status()", "write_vsstatus(value)", H),
    CsrRow(0x204, "vsie", "guest_enabled()", "write_vsie(value)", H),
    CsrRow(0x205, "vstvec", "other_stvec", U64 & ~2, H),
    CsrRow(0x240, "vsscratch", "other_sscratch", U64, H),
    CsrRow(0x241, "vsepc", "other_sepc", U64 & ~1, H),
    CsrRow(0x242, "vscause", "other_scause", U64, H),
    CsrRow(0x243, "vstval", "other_stval", U64, H),
    CsrRow(0x244, "vsip", "guest_pending(pending())", "write_vsip(value)", H),
    CsrRow(0x24D, "vstimecmp", "read_vstimecmp()", "write_vstimecmp(value)", "ISA_H | ISA_SSTC",
           given="timers_given()"),
    CsrRow(0x250, "vsiselect", "vsiselect", "write_vsiselect(value)", AIA, stateen="STATEEN_CSRIND"),
    CsrRow(0x251, "vsireg", "absent()", 0, AIA, stateen="STATEEN_CSRIND"),
    CsrRow(0x25C, "vstopei", "absent()", 0, AIA),
    CsrRow(0x280, "vsatp", "other_satp", "write_vsatp(value)", H),
    CsrRow(0xEB0, "vstopi", "guest_topi()", 0, AIA, stateen="STATEEN_AIA"),
    # machine
    CsrRow(0x300, "mstatus", "machine_status()", "write_mstatus(value)"),
    CsrRow(0x301, "misa", "misa", 0),
    CsrRow(0x302, "medeleg", "medeleg", "write_medeleg(value)"),
    CsrRow(0x303, "mideleg", "mideleg", "write_mideleg(value)"),
    CsrRow(0x304, "mie", "mie", "write_mie(value)"),
    CsrRow(0x305, "mtvec", "mtvec", U64 & ~2),
    CsrRow(0x306, "mcounteren", "mcounteren", "write_mcounteren(value)"),
    CsrRow(0x308, "mvien", "0", 0, AIA),
    CsrRow(0x309, "mvip", "s.sip & virtual_mask()", "write_mvip(value)", AIA),
    CsrRow(0x30A, "menvcfg", "menvcfg", "write_menvcfg(value)"),
    CsrRow(0x30C, "mstateen0", "mstateen0", "write_mstateen0(value)", STATEEN),
    CsrRow(0x30D, "mstateen1", "state_enable(s.mstateen_more, csr & 3)", "write_mstateen(csr & 3, value)",
           STATEEN, last=0x30F),
    CsrRow(0x320, "mcountinhibit", "python_csr()", 0),
    CsrRow(0x321, "mcyclecfg", "python_csr()", 0, last=0x322),
    CsrRow(0x323, "mhpmevent3", "python_csr()", 0, last=0x33F),
    CsrRow(0x340, "mscratch", "mscratch", U64),
    CsrRow(0x341, "mepc", "mepc", U64 & ~1),
    CsrRow(0x342, "mcause", "mcause", U64),
    CsrRow(0x343, "mtval", "mtval", U64),
    CsrRow(0x344, "mip", "pending()", "write_mip(value)"),
    CsrRow(0x34A, "mtinst", "mtinst", U64, H),
    CsrRow(0x34B, "mtval2", "mtval2", U64, H),
    CsrRow(0x350, "miselect", "miselect", 0x1FF, AIA),
    CsrRow(0x351, "mireg", "indirect(s.miselect)", 0, AIA),
    CsrRow(0x3A0, "pmpcfg0", "read_pmpcfg(csr - 0x3A0)", "write_pmpcfg(csr - 0x3A0, value)", "ISA_PMP",
           last=0x3AF),
    CsrRow(0x3B0, "pmpaddr0", "read_pmpaddr(csr - 0x3B0)", "write_pmpaddr(csr - 0x3B0, value)", "ISA_PMP",
           last=0x3EF),
    CsrRow(0xB00, "mcycle", "read_machine_counter(0)", "python_csr()"),
    CsrRow(0xB02, "minstret", "read_machine_counter(csr - 0xB00)", "python_csr()", last=0xB1F),
    CsrRow(0xF11, "mvendorid", "0", 0, last=0xF13),
    CsrRow(0xF14, "mhartid", "hart_id", 0),
    CsrRow(0xF15, "mconfigptr", "0", 0),
    CsrRow(0xFB0, "mtopi", "machine_topi()", 0, AIA),
)  # fmt: skip
"""All CSRs. None that is missing here exists."""

BY_NAME = {row.name: row for row in CSRS}


def _is_word(read: str) -> bool:
    return read.isidentifier()


def _guard(row: CsrRow) -> list[str]:
    """Statements that end the function where the hart has no such CSR."""
    if not row.needs:
        return []
    return [f"if (s.isa & ({row.needs})) != {row.needs}:".replace(f"!= {row.needs}", f"!= ({row.needs})"),
            "    return absent()"]  # fmt: skip


def _reads(row: CsrRow) -> list[str]:
    enabled = [f"if state_denied({row.stateen}):", "    return 0"] if row.stateen else []
    return [*_guard(row), *enabled, f"return {'s.' + row.read if _is_word(row.read) else row.read}"]


def _writes(row: CsrRow) -> list[str]:
    if isinstance(row.write, str):
        return [f"return {row.write}"]
    if row.write == 0:
        return ["return CONTINUE"]
    if not _is_word(row.read):
        raise ValueError(f"CSR {row.name}: a mask needs a word to write")
    keep = "" if row.write == U64 else f" & {row.write:#x}"
    old = "" if row.write == U64 or row.read in _WHOLE else f"s.{row.read} & {U64 & ~row.write:#x} | "
    return [f"s.{row.read} = {old}value{keep}" if not old else f"s.{row.read} = ({old[:-3]}) | (value{keep})",
            "return CONTINUE"]  # fmt: skip


_WHOLE = frozenset(row.read for row in CSRS if isinstance(row.write, int))
"""Words whose bits outside the mask are zero for ever."""


def _exists(row: CsrRow) -> list[str]:
    tests = [f"(s.isa & ({row.needs})) == ({row.needs})"] if row.needs else []
    tests += [f"state_given({row.stateen})"] if row.stateen else []
    tests += [row.given] if row.given else []
    return [f"return {' and '.join(tests) or '1'}"]


Body = Callable[[CsrRow], list[str]]


def _search(rows: tuple[CsrRow, ...], body: Body, indent: str) -> list[str]:
    """Statements of a binary search by number; it falls out below where there is no such row."""
    if len(rows) == 1:
        row = rows[0]
        test = f"csr == {row.number}" if not row.last else f"csr >= {row.number} and csr < {row.end}"
        return [f"{indent}if {test}:", *(f"{indent}    {line}" for line in body(row))]
    middle = len(rows) // 2
    return [
        f"{indent}if csr < {rows[middle].number}:",
        *_search(rows[:middle], body, indent + "    "),
        f"{indent}else:",
        *_search(rows[middle:], body, indent + "    "),
    ]


def source() -> str:
    """The three functions as text in the semantics language."""
    rows = tuple(sorted(CSRS, key=lambda row: row.number))
    parts: tuple[tuple[str, Body, list[str], str], ...] = (
        ("csr_read(csr)", _reads, ["s.fault = 0"], "return absent()"),
        ("csr_write(csr, value)", _writes, [], "return CONTINUE"),
        ("csr_given(csr)", _exists, [], "return 0"),
    )
    return "\n\n".join(
        "\n".join(
            [f"def {head}:", *(f"    {line}" for line in first), *_search(rows, body, "    "), f"    {last}"]
        )
        for head, body, first, last in parts
    )


def functions() -> list[ast.FunctionDef]:
    """The three functions as source trees."""
    return [node for node in ast.parse(source()).body if isinstance(node, ast.FunctionDef)]
