"""What a change does to generated code, function by function: so that a refactoring is seen to be one.

`ir-digests.txt` holds a digest of every function of the plain engine's IR, one for each of two other variants
(a hart with all its modes, and everything counted), and one for regions that hold every instruction that
regions can. A change that means to alter code rewrites it with VPMU_WRITE_DIGESTS=1, and the difference is
part of the commit.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
from pathlib import Path

import pytest

from vpmu.hart import program
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.operations import NUMBER
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.isa.table import INSTRUCTIONS, decode
from vpmu.hart.native import engine_ir
from vpmu.hart.regions.find import MAX_INSTRUCTIONS, find_region
from vpmu.hart.regions.function import region_ir

_RECORDED = Path(__file__).with_name("ir-digests.txt")
ALL_COUNTED = Counting.CLASSES | Counting.MISSES
VARIANTS = {"(all-modes)": Counting.WHOLE, "(all-counted)": ALL_COUNTED}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _functions(counting: Counting) -> dict[str, str]:
    """Name of a function of the engine -> its IR. The order of the functions does not matter."""
    functions = re.findall(r"^(define .*?@(\w[\w.]*)\(.*?^\})", engine_ir(counting), re.M | re.S)
    return {name: text for text, name in functions}


def _record(word: int, offset: int) -> int:
    """The record of an instruction at an offset of its page."""
    decoded = decode(word)
    name, imm = decoded.row.name, decoded.imm
    if decoded.row.kind in (Kind.BRANCH, Kind.JAL) and 0 <= offset + imm < 4096:
        name, imm = name + ".in", imm << 11
    fields = (decoded.rd << 16) | (decoded.rs1 << 24) | (decoded.rs2 << 32) | (imm & 0xFFFFFF) << 40
    return 2 * NUMBER[name] + (decoded.length == 4) | fields


def _pages() -> list[dict[int, int]]:
    """Offset -> record: every row, with random operands, a page for as many as one region holds."""
    rnd = random.Random(1)
    rows = [row for row in INSTRUCTIONS if row.kind is not Kind.SYSTEM for _ in range(2)]
    rnd.shuffle(rows)
    words = [rnd.getrandbits(32) & ~row.mask | row.match for row in rows]
    cut = range(0, len(words), MAX_INSTRUCTIONS // 2)
    pages = (words[at : at + MAX_INSTRUCTIONS // 2] for at in cut)
    return [{4 * i: _record(word, 4 * i) for i, word in enumerate(page)} for page in pages]


def _regions(counting: Counting) -> str:
    """The IR of regions that hold all of `_pages`, wherever one may begin."""
    texts = []
    for page in _pages():
        covered: set[int] = set()
        for offset in page:
            region = find_region(lambda at, page=page: page.get(at, 0), offset)  # type: ignore[misc]
            if offset not in covered and region.blocks:
                texts.append(region_ir(region, "region", program.constants(), counting))
                covered |= {step.offset for step in region.steps}
    return "\n".join(texts)


def _digests() -> dict[str, str]:
    found = {name: _digest(text) for name, text in _functions(Counting.NOTHING).items()}
    for name, counting in VARIANTS.items():
        found[name] = _digest("\n".join(text for _, text in sorted(_functions(counting).items())))
    for name, counting in (("(regions)", Counting.NOTHING), ("(regions-all-counted)", ALL_COUNTED)):
        found[name] = _digest(_regions(counting))
    return found


def test_generated_code_is_the_recorded_one() -> None:
    now = _digests()
    if os.environ.get("VPMU_WRITE_DIGESTS"):
        _RECORDED.write_text("".join(f"{name} {digest}\n" for name, digest in sorted(now.items())))
    recorded = dict(line.split() for line in _RECORDED.read_text().splitlines())
    changed = {name for name in now.keys() | recorded.keys() if now.get(name) != recorded.get(name)}
    assert not changed, f"the IR of these functions is not the recorded one: {', '.join(sorted(changed))}"


@pytest.mark.parametrize("counting", [Counting.NOTHING, *VARIANTS.values()])
def test_every_function_is_seen(counting: Counting) -> None:
    assert len(_functions(counting)) == engine_ir(counting).count("\ndefine ")


def test_regions_hold_every_instruction_that_they_can() -> None:
    seen = set()
    for page in _pages():
        for offset in page:
            steps = find_region(lambda at, page=page: page.get(at, 0), offset).steps  # type: ignore[misc]
            seen |= {step.operation.row.name for step in steps}
    left_out = {row.name for row in INSTRUCTIONS if row.kind is Kind.SYSTEM or row.needs}
    assert {row.name for row in INSTRUCTIONS} - seen == left_out | {"fence.i"}
