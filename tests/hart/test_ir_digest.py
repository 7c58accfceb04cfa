"""What a change does to the generated engine, function by function: so that a refactoring is seen to be one.

`ir-digests.txt` holds a digest of every function's IR. A change that means to alter code rewrites it with
VPMU_WRITE_DIGESTS=1, and the difference is part of the commit.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from vpmu.hart.codegen_flags import Counting
from vpmu.hart.native import engine_ir

_RECORDED = Path(__file__).with_name("ir-digests.txt")


def _digests() -> dict[str, str]:
    """Name of a function of the engine -> digest of its IR. The order of the functions does not matter."""
    functions = re.findall(r"^(define .*?@(\w[\w.]*)\(.*?^\})", engine_ir(Counting.NOTHING), re.M | re.S)
    return {name: hashlib.sha256(text.encode()).hexdigest()[:12] for text, name in functions}


def test_the_functions_of_the_engine_are_the_recorded_ones() -> None:
    now = _digests()
    if os.environ.get("VPMU_WRITE_DIGESTS"):
        _RECORDED.write_text("".join(f"{name} {digest}\n" for name, digest in sorted(now.items())))
    recorded = dict(line.split() for line in _RECORDED.read_text().splitlines())
    changed = {name for name in now.keys() | recorded.keys() if now.get(name) != recorded.get(name)}
    assert not changed, f"the IR of these functions is not the recorded one: {', '.join(sorted(changed))}"


def test_every_function_is_seen() -> None:
    assert len(_digests()) == engine_ir(Counting.NOTHING).count("\ndefine ")
