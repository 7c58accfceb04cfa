"""Translation in one stage and in two, and what a fault of either writes (privileged ISA, 12.3 to 12.6, 21.5
and 21.6.3).
"""

from __future__ import annotations

import functools
import random
from itertools import product

import pytest

from ..assemble import csr, encode
from . import spike
from .amount import seeds
from .bare import A, D, R, U, V, W, X
from .compare import as_on_spike, same_on_both_engines
from .probe import DATA, ISA, Probe, Result, build, number, on_engine
from .random_accesses import (
    ADUE,
    HYPERVISOR,
    MPP_S,
    MPRV,
    MPV,
    MXR,
    ORDINARY,
    STCE,
    SUM,
    access,
    with_attributes,
    with_sizes,
)
from .stages import FULL, GUEST, VIRTUAL, Access, Stages, probes

pytestmark = pytest.mark.usefixtures("built_engine")

LOAD, STORE, FETCH = "ld", "sd", "jalr"
HSV, HLV, HLVX = HYPERVISOR["hsv.d"], HYPERVISOR["hlv.d"], HYPERVISOR["hlvx.wu"]
PAGE_FAULT = {"ld": 13, "sd": 15, "jalr": 12, "lr.d": 13, "amoadd.d": 15}
GUEST_FAULT = {"ld": 21, "sd": 23, "jalr": 20, "lr.d": 21, "amoadd.d": 23}
CALLS = {"M": 11, "HS": 9, "U": 8, "VS": 10, "VU": 8}


@functools.cache
def stages() -> Stages:
    return Stages()


def results(accesses: list[Access]) -> list[tuple[Probe, Result]]:
    table = probes(stages(), accesses)
    return list(zip(table, same_on_both_engines(table, stages().prepare), strict=True))


@pytest.mark.parametrize("seed", seeds(2))
def test_random_accesses_on_both_engines(seed: int) -> None:
    rng = random.Random(seed)
    results([access(rng) for _ in range(150)])


@spike.needed
@pytest.mark.parametrize("seed", seeds(3))
def test_random_accesses_as_on_spike(seed: int) -> None:
    rng = random.Random(f"spike {seed}")
    table = probes(stages(), [access(rng) for _ in range(700)])
    batch = build(table, stages().prepare)
    assert not as_on_spike(table, on_engine(batch, "native"), stages().prepare)


@pytest.mark.parametrize("seed", seeds(1))
def test_memory_types_and_contiguous_leaves(seed: int) -> None:
    """Svpbmt and Svnapot in both stages, on both engines, and on Spike where there is one."""
    rng, isa = random.Random(f"attributes {seed}"), ISA | {"svpbmt", "svnapot"}
    accesses = [with_attributes(rng, access(rng)) for _ in range(500)]
    table = [with_sizes(rng, probe) for probe in probes(stages(), accesses)]
    same_on_both_engines(table[:100], stages().prepare, isa)
    if spike.path() is not None:
        ours = on_engine(build(table, stages().prepare, isa), "native", isa)
        assert not as_on_spike(table, ours, stages().prepare, isa)


def allowed(spvp: int, total: int, user: int) -> bool:
    """Whether a privilege may read a page by its U bit (12.3.1)."""
    return bool(user) if not spvp else not user or bool(total)


def test_privilege_of_hlv_and_of_the_guest() -> None:
    """SPVP, SUM and U of HLV, HSV and of the modes themselves; sstatus.SUM of HS is nobody's business."""
    table, expected = [], []
    for privilege, total, user, host in product((0, 1), (0, SUM), (0, U), (0, SUM)):
        leaf = (0, FULL & ~U | user)
        may = allowed(privilege, total, user)
        for name, word, status in (("ld", HLV, host), ("sd", HSV, host)):
            csrs = {"hstatus": privilege << 8, "vsstatus": total}
            table.append(Access("HS", [word], leaf=leaf, csrs=csrs, status=status, name=name, guest=True))
            expected.append(("HS", 0 if may else PAGE_FAULT[name]))
        mode = "VS" if privilege else "VU"
        for name in (LOAD, STORE):
            csrs = {"vsstatus": total}
            table.append(Access(mode, [ORDINARY[name]], leaf=leaf, csrs=csrs, status=host, name=name))
            expected.append((mode, 0 if may else PAGE_FAULT[name]))
        fetched = bool(user) != bool(privilege)
        table.append(Access(mode, [ORDINARY[FETCH]], leaf=leaf, csrs={"vsstatus": total}, name=FETCH))
        expected.append((mode, 0 if fetched else 12))
    for (probe, result), (mode, cause) in zip(results(table), expected, strict=True):
        assert result.trap == ("M", cause or CALLS[mode]), (probe.name, probe.csrs)


def test_what_makes_executable_pages_readable() -> None:
    """sstatus.MXR: both stages; vsstatus.MXR: the first; neither makes a page table readable (21.5.1)."""
    only = V | X | U | A | D
    table, expected = [], []
    for host, guest, one, two in product((0, MXR), (0, MXR), (only, FULL), (only, FULL)):
        cause = 13 if one == only and not host | guest else 21 if two == only and not host else 8
        table.append(
            Access(
                "VU", [ORDINARY[LOAD]], leaf=(0, one), guest_leaf=(0, two), csrs={"vsstatus": guest},
                status=host,
            )
        )  # fmt: skip
        expected.append(cause)
    table.append(Access("VS", [ORDINARY[LOAD]], walked=only, csrs={"vsstatus": MXR}, status=MXR))
    expected.append(21)
    for (_, result), cause in zip(results(table), expected, strict=True):
        assert result.trap == ("M", cause)


def test_hlvx_wants_execution_and_raises_load_faults() -> None:
    readable, executable = FULL & ~X & ~U, FULL & ~(U | R | W)
    table = [
        Access("HS", [HLVX], leaf=(0, one), guest_leaf=(0, two), csrs={"hstatus": 1 << 8}, guest=True)
        for one, two in ((executable, FULL & ~(R | W)), (readable, FULL), (FULL & ~U, FULL & ~X))
    ]
    assert [result.trap for _, result in results(table)] == [("M", 9), ("M", 13), ("M", 21)]


def test_guest_physical_addresses_have_a_width() -> None:
    """41, 50 and 59 bits; above it is a guest-page fault, whose address is told as it was (21.5.1)."""
    table, expected = [], []
    for levels, width in ((3, 41), (4, 50), (5, 59)):
        for bit, name in product((width - 1, width, 63), (LOAD, STORE)):
            table.append(Access("VS", [ORDINARY[name]], 0, levels, offset=1 << bit, name=name))
            expected.append((GUEST_FAULT[name], GUEST[0] + (1 << bit)))
    for (_, result), (cause, address) in zip(results(table), expected, strict=True):
        assert (result.trap, result["mtval"], result["mtval2"]) == (("M", cause), address, address >> 2)


LEAVES = (("V", V), ("U", U), ("R", R | W), ("A", A))


@pytest.mark.parametrize("adue", [0, ADUE], ids=["faults", "updates"])
@pytest.mark.parametrize("levels", [3, 4, 5])
def test_a_leaf_of_the_second_stage(levels: int, adue: int) -> None:
    """Every bit that a leaf lacks faults with the cause of the access; A and D are set with ADUE alone."""
    table, expected = [], []
    for (bit, mask), name in product(LEAVES, ("ld", "sd", "lr.d", "amoadd.d", "jalr")):
        fine = (bit == "A" and adue) or (bit == "R" and name == "jalr")
        csrs = {"menvcfg": STCE | adue, "henvcfg": STCE}
        table.append(
            Access("VS", [ORDINARY[name]], 3, levels, guest_leaf=(0, FULL & ~mask), csrs=csrs, name=name)
        )
        expected.append(10 if fine else GUEST_FAULT[name])
    for (probe, result), cause in zip(results(table), expected, strict=True):
        assert result.trap == ("M", cause), probe.name
        if cause in GUEST_FAULT.values():
            assert result["mtval2"] == GUEST[0] >> 2
            assert result["mtval"] == VIRTUAL[0]
            assert result["mstatus"] >> 38 & 1


@pytest.mark.parametrize("guest", [0, ADUE])
@pytest.mark.parametrize("host", [0, ADUE])
def test_who_updates_accessed_and_dirty_bits(host: int, guest: int) -> None:
    """henvcfg.ADUE: the first stage of V=1, if menvcfg.ADUE is set, too; menvcfg.ADUE: all the others."""
    csrs = {"menvcfg": STCE | host, "henvcfg": STCE | guest}
    fresh = FULL & ~(A | D | U)
    table = [
        Access("VS", [ORDINARY[STORE]], leaf=(0, fresh), csrs=csrs),
        Access("HS", [ORDINARY[STORE]], leaf=(0, fresh), csrs=csrs),
        Access("HS", [HSV], leaf=(0, fresh), csrs={**csrs, "hstatus": 1 << 8}, guest=True),
    ]
    (_, guests), (_, hosts), (_, hsv) = results(table)
    both = bool(host and guest)
    assert guests.trap == ("M", 10 if both else 15)
    assert hsv.trap == ("M", 9 if both else 15)
    assert hosts.trap == ("M", 9 if host else 15)
    assert guests["peek2"] & (A | D) == ((A | D) if both else 0)
    assert hosts["peek0"] & (A | D) == ((A | D) if host else 0)


def test_faults_on_the_way_to_a_guests_page_table() -> None:
    """3000 for a read of the table and 3020 for its update; the cause is that of the access (21.6.3)."""
    csrs = {"menvcfg": STCE | ADUE, "henvcfg": STCE | ADUE}
    table, expected = [], []
    for name in ("ld", "sd", "amoadd.d", "jalr"):
        word = [ORDINARY[name]]
        table.append(Access("VS", word, walked=FULL & ~(R | W), csrs=csrs, name=name))
        expected.append(0x3000)
        table.append(Access("VS", word, leaf=(0, FULL & ~(A | U)), walked=FULL & ~W, csrs=csrs, name=name))
        expected.append(0x3020)
    for (probe, result), what in zip(results(table), expected, strict=True):
        entry = probe.peeks[2]
        assert result.trap == ("M", GUEST_FAULT[probe.name]), probe.name
        assert (result["mtinst"], result["mtval2"] << 2, result["mtval"]) == (what, entry, VIRTUAL[0])


TRANSFORMED = (
    ("lw", "lw", 0x2603), ("ld", "ld", 0x3603), ("lb", "lb", 0x603), ("lhu", "lhu", 0x5603),
    ("c.lw", "lw", 0x2601), ("c.ld", "ld", 0x3601), ("c.sd", "sd", 0xB03021), ("sd", "sd", 0xB03023),
    ("sb", "sb", 0xB00023), ("sh", "sh", 0xB01023), ("amoadd.d", "sd", 0xB0362F), ("lr.d", "ld", 0x1000362F),
    ("jalr", "jalr", 0),
)  # fmt: skip


def test_transformed_instructions() -> None:
    """htinst and mtinst of a guest-page fault; the offset in 19:15 where the second page is at fault."""
    table = [
        Access("VS", [ORDINARY[name]], guest_leaf=(0, 0), name=name) for name, _, _ in TRANSFORMED
    ]  # fmt: skip
    words = [word for _, _, word in TRANSFORMED]
    for name in ("ld", "sd", "c.ld"):
        for offset in (0xFF9, 0xFFC, 0xFFF):
            second = Access("VS", [ORDINARY[name]], offset=offset, name=f"{name} across")
            table.append(second)
            words.append({n: w for n, _, w in TRANSFORMED}[name] | 0x1000 - offset << 15)
    for name, word in HYPERVISOR.items():
        table.append(Access("HS", [word], guest_leaf=(0, 0), csrs={"hstatus": 1 << 8}, name=name, guest=True))
        words.append(word & ~(31 << 15))
    table_of = probes(stages(), table)
    for i, probe in enumerate(table_of):
        if "across" in probe.name:  # the second page is not there for the second stage
            pokes = dict(probe.pokes)
            pokes[probe.peeks[1]] = 0
            table_of[i] = Probe(**{**vars_of(probe), "pokes": pokes})
    for delegated in (0, 1 << 20 | 1 << 21 | 1 << 23):
        batch = [Probe(**{**vars_of(p), "csrs": {**p.csrs, "medeleg": delegated}}) for p in table_of]
        names = ("htinst", "htval", "stval") if delegated else ("mtinst", "mtval2", "mtval")
        for probe, result, word in zip(
            batch, same_on_both_engines(batch, stages().prepare), words, strict=True
        ):
            page = 0x1000 if "across" in probe.name else 0
            assert result[names[0]] == word, probe.name
            assert result[names[1]] == GUEST[0] + page >> 2, probe.name
            assert result[names[2]] == VIRTUAL[0] + page, probe.name


def vars_of(probe: Probe) -> dict[str, object]:
    return {name: getattr(probe, name) for name in probe.__dataclass_fields__}


def test_machine_mode_can_act_as_another() -> None:
    """MPRV with MPP and MPV: data is translated as theirs, and GVA tells whose address failed (3.1.6.3)."""

    setting = csr("csrrw", 0, number("mstatus"), 16)
    load, swap = ORDINARY[LOAD], ORDINARY["amoadd.d"]
    table, expected = [], []
    for guest, spp, user in product((0, 1), (0, 1), (0, U)):
        x = {16: MPRV | MPP_S * spp | MPV * guest}
        table.append(
            Access("M", [setting, load], leaf=(0, FULL & ~U | user), x=x, guest=bool(guest))
        )  # fmt: skip
        expected.append((11 if bool(user) != bool(spp) else 13, guest))
        table.append(Access("M", [setting, swap], offset=1, x=x, guest=bool(guest)))
        expected.append((6, guest))
        table.append(Access("M", [setting, load], 0, 0, offset=1 << 60, x=x, guest=bool(guest)))
        expected.append((5, guest))
    for (probe, result), (cause, gva) in zip(results(table), expected, strict=True):
        assert result.trap == ("M", cause), probe.x
        assert result["mstatus"] >> 38 & 1 == (gva if cause != 11 else 0)


def test_encodings_are_the_assemblers() -> None:
    """Of the table of the hypervisor's instructions against the words that binutils writes for them."""
    known = {
        "hlv.b": 0x60054673, "hlv.wu": 0x68154673, "hlvx.hu": 0x64354673, "hlvx.wu": 0x68354673,
        "hlv.d": 0x6C054673, "hsv.b": 0x62B54073, "hsv.d": 0x6EB54073,
    }  # fmt: skip
    for name, word in known.items():
        assert HYPERVISOR[name] == word, name
    assert encode("hfence.gvma", rs1=10, rs2=11) == 0x62B50073
    assert DATA % 0x200000 == 0
