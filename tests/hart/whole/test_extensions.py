"""Zicbom, Zicboz, Zawrs and Zbkb in all modes (unprivileged ISA), and the fields of envcfg that give them."""

from __future__ import annotations

import random

import pytest

from ..assemble import encode
from . import spike
from .compare import as_on_spike, same_on_both_engines
from .probe import DATA, ISA, MODES, Probe

pytestmark = pytest.mark.usefixtures("built_engine")

EXTENSIONS = frozenset({"zicbom", "zicboz", "zawrs", "zbkb"})
WITH = ISA | EXTENSIONS
FIELD = {"cbo.inval": 3 << 4, "cbo.clean": 1 << 6, "cbo.flush": 1 << 6, "cbo.zero": 1 << 7}
WAITS = (0x00D00073, 0x01D00073)
STCE, FILLED = 1 << 63, 0x5555555555555555
AROUND = (DATA + 56, DATA + 64, DATA + 120, DATA + 128)
CALLS = {"M": 11, "HS": 9, "U": 8, "VS": 10, "VU": 8}
# Whether menvcfg, henvcfg and senvcfg have the field: the exception of M, HS, U, VS and VU.
DENIED = {
    (0, 0, 0): (0, 2, 2, 2, 2),
    (0, 1, 1): (0, 2, 2, 2, 2),
    (1, 0, 0): (0, 0, 2, 22, 22),
    (1, 1, 0): (0, 0, 2, 0, 22),
    (1, 0, 1): (0, 0, 0, 22, 22),
    (1, 1, 1): (0, 0, 0, 0, 0),
}


def block_probes() -> list[tuple[Probe, int]]:
    """Every cache-block instruction in every mode and setting, with its exception."""
    found = []
    for name, field in FIELD.items():
        for given, causes in DENIED.items():
            menvcfg, henvcfg, senvcfg = (field * on for on in given)
            csrs = {"menvcfg": STCE | menvcfg, "henvcfg": STCE | henvcfg, "senvcfg": senvcfg}
            for mode, cause in zip(MODES, causes, strict=True):
                probe = Probe(
                    mode, [encode(name, rs1=10)], csrs, {10: DATA + 77}, dict.fromkeys(AROUND, FILLED),
                    AROUND, name=f"{name} {given}",
                )  # fmt: skip
                found.append((probe, cause))
    return found


def test_who_may_touch_a_block() -> None:
    table = block_probes()
    ours = same_on_both_engines([probe for probe, _ in table], isa=WITH)
    for (probe, cause), result in zip(table, ours, strict=True):
        what = f"{probe.mode} {probe.name}"
        assert result.trap == ("M", cause or CALLS[probe.mode]), what
        zeroed = probe.name.startswith("cbo.zero") and not cause
        inside = 0 if zeroed else FILLED
        assert [result[f"peek{i}"] for i in range(4)] == [FILLED, inside, inside, FILLED], what


@spike.needed
def test_who_may_touch_a_block_as_on_spike() -> None:
    probes = [probe for probe, _ in block_probes()]
    assert as_on_spike(probes, same_on_both_engines(probes, isa=WITH), isa=WITH) == []


def value_probes(seed: int) -> list[Probe]:
    rng = random.Random(seed)
    names = ("pack", "packh", "packw", "brev8", "rev8", "andn", "orn", "xnor", "rol", "ror", "rolw", "rorw")
    answer = []
    for name in names * 8:
        words = [encode(name, rd=12, rs1=10, rs2=rng.choice((0, 11))), *WAITS]
        x = {10: rng.getrandbits(64), 11: rng.getrandbits(64)}
        answer.append(Probe(rng.choice(list(MODES)), words, x=x, name=name))
    return answer


@spike.needed
@pytest.mark.parametrize("seed", range(2))
def test_values_are_spikes(seed: int) -> None:
    """Zbkb on random values, and both waits of Zawrs, which end at once: no reservation stands."""
    probes = value_probes(seed)
    ours = same_on_both_engines(probes, isa=WITH)
    assert {result.trap for result in ours} <= {("M", cause) for cause in CALLS.values()}
    assert as_on_spike(probes, ours, isa=WITH) == []


def test_without_them_they_are_illegal() -> None:
    words = [encode(name, rd=12, rs1=10, rs2=11) for name in ("pack", "packh", "packw")]
    words += [
        encode("brev8", rd=12, rs1=10),
        0x00D00073,
        0x01D00073,
        *(encode(name, rs1=10) for name in FIELD),
    ]
    probes = [Probe(mode, [word], x={10: DATA}) for word in words for mode in MODES]
    for result in same_on_both_engines(probes):
        assert result.trap == ("M", 2)
