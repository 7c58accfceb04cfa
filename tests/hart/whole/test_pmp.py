"""Physical memory protection, to four bytes (privileged ISA, 3.7), by tables and against Spike."""

from __future__ import annotations

import dataclasses
import random

import pytest

from ..assemble import csr, encode
from . import spike
from .amount import seeds
from .bare import U64
from .compare import as_on_spike, same_on_both_engines
from .probe import DATA, TABLES, Probe, Result, build, number, on_engine
from .random_accesses import access
from .stages import Stages, probes

pytestmark = pytest.mark.usefixtures("built_engine")

ENTRIES = 16
OPTIONS = (f"--pmpregions={ENTRIES}", "--pmpgranularity=4")
CFG, ADDR = number("pmpcfg0"), number("pmpaddr0")
R, W, X, TOR, NA4, NAPOT, LOCKED = 1, 2, 4, 8, 16, 24, 128
ALL = R | W | X
LOAD, STORE, JUMP = encode("ld", rd=12, rs1=10), encode("sd", rs1=10, rs2=11), encode("jalr", rd=12, rs1=10)
CALLS = {"M": 11, "HS": 9, "U": 8, "VS": 10, "VU": 8}


def napot(base: int, size: int) -> int:
    return base >> 2 | (size >> 3) - 1


def entries(*pairs: tuple[int, int], rest: int = NAPOT | ALL) -> dict[str | int, int]:
    """Values of the CSRs for (configuration, address) pairs, and `rest` for all that no pair matches."""
    pairs = (*pairs, *[(0, 0)] * (ENTRIES - 1 - len(pairs)), (rest, U64))
    csrs: dict[str | int, int] = {ADDR + i: address for i, (_, address) in enumerate(pairs)}
    for register in (0, 1):
        csrs[CFG + 2 * register] = sum(
            byte << 8 * i for i, (byte, _) in enumerate(pairs[8 * register : 8 * register + 8])
        )
    return csrs


def run(table: list[Probe]) -> list[Result]:
    return same_on_both_engines(table, pmp=ENTRIES)


def touch(mode: str, word: int, address: int, csrs: dict[str | int, int]) -> Probe:
    return Probe(mode, [word], csrs, {10: address, 11: 0x73}, {address: 0x73} if address >= DATA else {})


def test_permissions_are_of_every_mode_below_m() -> None:
    """R, W and X; M itself is bound by locked entries alone."""
    table, expected = [], []
    for mode in CALLS:
        for bits in (0, R, R | W, X, R | X, ALL):
            for word, need, fault in ((LOAD, R, 5), (STORE, W, 7), (JUMP, X, 1)):
                csrs = entries((NAPOT | bits, napot(DATA, 0x2000)))
                table.append(touch(mode, word, DATA + 0x1008, csrs))
                expected.append(CALLS[mode] if mode == "M" or bits & need else fault)
    for probe, result, cause in zip(table, run(table), expected, strict=True):
        assert result.trap == ("M", cause), (probe.mode, probe.csrs[CFG])
        if cause < 8:
            assert result["mtval"] == DATA + 0x1008


def test_the_first_entry_that_matches_decides() -> None:
    inner, outer = napot(DATA, 0x1000), napot(DATA, 0x10000)
    deny, allow = entries((NAPOT, inner), (NAPOT | ALL, outer)), entries((NAPOT | ALL, inner), (NAPOT, outer))
    table = [touch("HS", LOAD, DATA + at, csrs) for csrs in (deny, allow) for at in (0, 0x1000)]
    assert [result.trap[1] for result in run(table)] == [5, 9, 9, 5]


def test_top_of_range() -> None:
    """From the address before, or 0 (3.7.1)."""
    csrs = entries((0, DATA + 0x1010 >> 2), (TOR | R, DATA + 0x3008 >> 2))
    table = [touch("HS", STORE, DATA + at, csrs) for at in (0x1008, 0x1010, 0x3000, 0x3008)]
    assert [result.trap[1] for result in run(table)] == [9, 7, 7, 9]
    empty = entries((0, DATA + 0x3000 >> 2), (TOR, DATA + 0x1000 >> 2))
    assert run([touch("HS", STORE, DATA + 0x2000, empty)])[0].trap[1] == 9


@pytest.mark.parametrize("mode", CALLS)
def test_an_entry_must_hold_all_of_an_access(mode: str) -> None:
    """The first entry that holds any byte decides, and fails where it does not hold all (3.7.1.3)."""
    word, half = napot(DATA + 0x1008, 8), DATA + 0x1010 >> 2
    lock = LOCKED if mode == "M" else 0
    csrs = entries((lock | NAPOT | ALL, word), (lock | NA4 | R | X, half))
    rows = (
        ("lw", 0x1008, None), ("ld", 0x1008, None), ("ld", 0x1004, 5), ("lw", 0x1006, 5),
        ("lh", 0x1006, None), ("lw", 0x100C, None), ("ld", 0x100C, 5),
        ("lw", 0x1010, None), ("ld", 0x1010, 5),
        ("sw", 0x1010, 7),
        ("sw", 0x1014, None), ("sd", 0x1000, None), ("sd", 0x1009, 7), ("lhu", 0x1013, 5),
        ("lbu", 0x1013, None),
    )  # fmt: skip
    table = [
        touch(mode, encode(name, **({"rs2": 11} if name[0] == "s" else {"rd": 12}), rs1=10), DATA + at, csrs)
        for name, at, _ in rows
    ]
    # what is locked stays so: each is run by itself
    results = [run([probe])[0] for probe in table] if lock else run(table)
    for (name, at, fault), result in zip(rows, results, strict=True):
        assert result.trap == ("M", CALLS[mode] if fault is None else fault), (name, hex(at))
        assert fault is None or result["mtval"] == DATA + at


@pytest.mark.parametrize("mode", CALLS)
def test_instructions_of_a_page_that_is_cut(mode: str) -> None:
    """Each is asked about by itself: the one that is outside, or half outside, is not executed."""
    nop, half, add = encode("addi"), 0x0001, encode("addi", rd=12, rs1=12, imm=1)
    code = b"".join(word.to_bytes(4, "little") for word in (nop, nop, add, add))
    jump = [encode("jalr", rd=0, rs1=10)]
    place = DATA + 0x1000
    for end, tval in ((place + 12, place + 12), (place + 8, place + 8)):
        csrs = entries((LOCKED | NAPOT | X, napot(place, 8)), (LOCKED | TOR | X, end >> 2),
                       (LOCKED | TOR | R, place + 0x1000 >> 2))  # fmt: skip
        result = run([Probe(mode, jump, csrs, {10: place, 12: 0}, {place: int.from_bytes(code[:8], "little"),
                      place + 8: int.from_bytes(code[8:], "little")})])[0]  # fmt: skip
        assert result.trap == ("M", 1)
        assert (result["mepc"], result["mtval"]) == (tval, tval)
        assert result["x12"] == (end - place) // 4 - 2
    # two bytes of the last one are outside
    code = half.to_bytes(2, "little") + add.to_bytes(4, "little") + bytes(2)
    csrs = entries((LOCKED | NA4 | X, place >> 2), (LOCKED | NAPOT | R, napot(place, 0x1000)))
    result = run([Probe(mode, jump, csrs, {10: place}, {place: int.from_bytes(code, "little")})])[0]
    assert result.trap == ("M", 1)
    assert (result["mepc"], result["mtval"]) == (place + 2, place + 4)


def test_nothing_matches() -> None:
    """M may then, nobody else."""
    csrs = entries((NAPOT | ALL, napot(0x80000000, 0x800000)), rest=0)
    table = [touch(mode, LOAD, DATA, csrs) for mode in ("M", "HS", "VU")]
    assert [result.trap[1] for result in run(table)] == [11, 5, 5]


def test_a_page_table_is_read_as_by_s_mode() -> None:
    """A walk that PMP stops is an access fault of what began it (3.7.1): here of the first fetch."""
    stages = Stages()
    region = (NAPOT | X, napot(TABLES, 0x100000))
    rng = random.Random(0)
    fine = [
        one for one in (access(rng) for _ in range(400)) if one.first and one.mode == "HS" and not one.guest
    ]
    table = [
        dataclasses.replace(probe, csrs={**probe.csrs, **entries(region), "medeleg": 0})
        for probe in probes(stages, fine[:12])
    ]
    results = same_on_both_engines(table, stages.prepare, pmp=ENTRIES)
    assert {(result.trap, result["mepc"] - result.pc) for result in results} == {(("M", 1), 0)}


def test_what_is_read_back() -> None:
    """All 54 bits of an address; NA4 can be chosen, W without R not."""
    words = [
        csr("csrrw", 0, ADDR, 16), csr("csrrs", 12, ADDR),
        csr("csrrw", 0, CFG, 17), csr("csrrs", 13, ADDR), csr("csrrs", 14, CFG), csr("csrrs", 15, ADDR + 20),
    ]  # fmt: skip
    start = entries()
    for value, config, taken in (
        (0x20200155, TOR | R, TOR | R), (0x20200155, NA4 | R, NA4 | R), (U64, NAPOT | W | X, NAPOT | X),
    ):  # fmt: skip
        result = run([Probe("M", words, start, {16: value, 17: config})])[0]
        held = value & (1 << 54) - 1
        assert [result[f"x{i}"] for i in (12, 13, 14, 15)] == [held, held, taken, 0]


def test_locks() -> None:
    """A locked entry binds M, and neither it nor the address that begins it can be written until a reset."""
    csrs = entries((0, DATA >> 2), (LOCKED | TOR | R, DATA + 0x1000 >> 2))
    words = [
        csr("csrrw", 0, ADDR, 0), csr("csrrw", 0, ADDR + 1, 0), csr("csrrw", 0, CFG, 16),
        csr("csrrs", 15, ADDR), csr("csrrs", 13, ADDR + 1), csr("csrrs", 14, CFG), LOAD, STORE,
    ]  # fmt: skip
    result = run([Probe("M", words, csrs, {10: DATA, 16: ALL << 8 | TOR | R})])[0]
    assert result["x15"] == DATA >> 2
    assert result["x13"] == DATA + 0x1000 >> 2
    assert result["x14"] == (LOCKED | TOR | R) << 8 | TOR | R
    assert result.trap == ("M", 7)
    assert result["mepc"] == result.pc + 28


def random_entries(rng: random.Random) -> dict[str | int, int]:
    """A few regions about the data and the page tables."""
    pairs = []
    for _ in range(rng.randrange(1, 7)):
        near = rng.choice((DATA, DATA, DATA, TABLES, TABLES + 0x80000))
        address = near + rng.randrange(-0x2000, 0x4000) >> 2
        if rng.random() < 0.5:
            address = napot(near + 0x1000 * rng.randrange(4), 0x1000 << rng.randrange(3))
        elif rng.random() < 0.5:
            address = napot(near + rng.randrange(0x3000) & -64, 8 << rng.randrange(4))
        bits = rng.choice((0, R, R | W, X, R | X, ALL, ALL))
        pairs.append((rng.choice((0, TOR, NA4, NAPOT, NAPOT)) | bits, address))
    return entries(*pairs)


def random_batch(seed: str, size: int, keep: int = ~0) -> tuple[list[Probe], Stages]:
    """`keep`: bits that the addresses of the accesses keep."""
    rng, stages = random.Random(seed), Stages()
    accesses = [access(rng) for _ in range(size)]
    table = probes(stages, [dataclasses.replace(one, offset=one.offset & keep) for one in accesses])
    return [
        dataclasses.replace(p, csrs={**p.csrs, **random_entries(rng), "medeleg": 0}) for p in table
    ], stages


@pytest.mark.parametrize("seed", seeds(1))
def test_random_entries_on_both_engines(seed: int) -> None:
    table, stages = random_batch(f"pmp engines {seed}", 100)
    same_on_both_engines(table, stages.prepare, pmp=ENTRIES)


@spike.needed
@pytest.mark.parametrize("seed", seeds(2))
def test_random_entries_as_on_spike(seed: int) -> None:
    """Aligned ones: of others Spike does not look at the last four bytes, and stores what lies on the first
    of two pages before it takes the fault of the second.
    """
    table, stages = random_batch(f"pmp {seed}", 500, ~7)
    ours = on_engine(build(table, stages.prepare), "native", pmp=ENTRIES)
    assert not as_on_spike(table, ours, stages.prepare, options=OPTIONS)
