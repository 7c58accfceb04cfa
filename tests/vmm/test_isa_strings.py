"""ISA strings: what is legal is taken, anything else is one line."""

from __future__ import annotations

import random

import pytest

from vpmu.errors import VpmuError
from vpmu.vmm.isa import ALWAYS, IMPLIED, SWITCHABLE, parse

SEEDS = 2000
PIECES = [
    *SWITCHABLE,
    *ALWAYS,
    *IMPLIED,
    "zfa",
    "v",
    "e",
    "q",
    "",
    "_",
    "rv32",
    "=true",
    "h=maybe",
    ",",
    "0p1",
    "\0",
    "é",
]


@pytest.mark.parametrize(
    "text",
    ["rv64i2p1m2p0a2p1f2p2d2p2c2p0h1p0_sstc1p0", "rv64gch_sv39_zic64b_shtvala_sstc", "RV64IMAFDCH_SSTC",
     "rv64imafdcsstc_h",
     "rv64,h=true,sstc=on,sscofpmf=false"],
)  # fmt: skip
def test_names_and_versions(text: str) -> None:
    assert parse(text) == {"h", "sstc"}


def test_anything_else_is_refused_in_one_line() -> None:
    rng, taken = random.Random(0), 0
    for _ in range(SEEDS):
        text = rng.choice(
            ("rv64", "rv64gc", "rv64gch", "rv64imafdc", "RV64GC", "rv", "", "rv64i2p1m2p0", "rv128")
        )
        text += "".join(rng.choice(("_", ",", "")) + rng.choice(PIECES) for _ in range(rng.randrange(5)))
        if text and rng.random() < 0.3:
            at = rng.randrange(len(text))
            text = text[:at] + chr(rng.randrange(0x250)) + text[at + 1 :]
        said = ""
        try:
            taken += parse(text) <= set(SWITCHABLE)
        except VpmuError as refused:
            said = str(refused)
        assert "\n" not in said, text
    assert taken > SEEDS // 20
