"""What a Linux kernel says on its console when it comes to harm: panics and oopses."""

from __future__ import annotations

import re
from typing import NamedTuple

_STAMP = rb"^\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? "
_PANIC = re.compile(rb"Kernel panic - not syncing: ([^\r\n]*)")
_OOPS = re.compile(
    _STAMP + rb"((?:Unable to handle kernel |Insufficient stack space to handle exception|kernel BUG at |"
    rb"Oops\b|Kernel BUG\b)[^\r\n]*)",
    re.MULTILINE,
)
"""How the kernel begins: arch/riscv/mm/fault.c, arch/riscv/kernel/traps.c. The stamp tells the kernel's line
from a program's.
"""


class Trouble(NamedTuple):
    """`kind` is panic or oops, `words` the kernel's own."""

    kind: str
    words: str

    @property
    def text(self) -> str:
        """In a sentence."""
        return f"kernel {self.kind}"


def trouble(console: bytes | bytearray) -> Trouble | None:
    """The first harm that the kernel tells of; of a panic after an oops the oops stands in its words."""
    panic = _PANIC.search(console)
    if panic is not None:
        return Trouble("panic", panic[1].decode("utf-8", "replace").strip() or "reason not printed")
    oops = _OOPS.search(console)
    if oops is not None:
        return Trouble("oops", oops[1].decode("utf-8", "replace").strip())
    return None
