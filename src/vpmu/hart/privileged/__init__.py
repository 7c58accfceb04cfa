"""What a hart does beyond its instructions' own arithmetic: traps, translation, memory, CSRs, atomics, system
instructions. Written in the semantics language.

The modules of this package are data: their functions are never called as they stand. `native.py` compiles
them to machine code and `reference.py` to masked plain Python (see `semantics/` for the rules). Every value
is an unsigned 64-bit number. Names of constants, words and intrinsics are bound when a module is compiled
(`program.py`).

Conventions. On entry of an instruction's function `s.pc` is its address, `s.n` the instructions left
*including it*, and `s.length` its size. It answers CONTINUE (retire it, go on behind it), RESUME (`s.pc`
and `s.n` are final, go on there) or EXIT (return to Python, `s.exit` says why). Helpers that can fault set
`s.fault` to 0, RESUME or EXIT.
"""

from __future__ import annotations

COMMON = (
    *("clock", "counters", "caches", "kernel_half", "extent", "ahead", "memory", "code_pages"),
    *("atomics", "zicsr", "cache_blocks"),
)
GUEST = ("guest/traps", "guest/translation", "guest/csr", "guest/standing", "guest/system")
WHOLE = (
    "whole/modes",
    "whole/traps",
    "whole/transformed",
    "whole/interrupts",
    "whole/translation",
    "whole/kept_halves",
    "whole/fences",
    "whole/pmp",
    "whole/guest_access",
    "whole/csr",
    "whole/csr_status",
    "whole/csr_interrupts",
    "whole/system",
)
"""The modules of the package, in the order in which they are compiled: those of every hart, of one whose
supervisor is a guest of Python's, and of one that has all modes. The last two define the same names.
"""
