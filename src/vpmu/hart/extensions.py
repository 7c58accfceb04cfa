"""Extensions that a hart can have or lack, and their bits in its word `isa`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vpmu.spec import privileged as fields

ISA_BITS: Mapping[str, int] = {
    "h": fields.ISA_S | fields.ISA_H,
    "sstc": fields.ISA_SSTC,
    "sscofpmf": fields.ISA_SSCOFPMF,
    "smstateen": fields.ISA_SMSTATEEN,
    "ssaia": fields.ISA_AIA,
    "smaia": fields.ISA_AIA,
    "svadu": fields.ISA_SVADU,
    "svpbmt": fields.ISA_SVPBMT,
    "svnapot": fields.ISA_SVNAPOT,
    "svinval": fields.ISA_SVINVAL,
    "sv57": fields.ISA_SV57,
    "zicbom": fields.ISA_ZICBOM,
    "zicboz": fields.ISA_ZICBOZ,
    "zawrs": fields.ISA_ZAWRS,
    "zbkb": fields.ISA_ZBKB,
    "zfh": fields.ISA_ZFH,
    # hints: what they do, nothing, all harts do
    "zicbop": 0,
    "zihintpause": 0,
    "zihintntl": 0,
}
"""Name of the extension -> its bits."""

GUEST_ISA = frozenset(
    ("sstc", "svpbmt", "svnapot", "svinval", "zicbom", "zicbop", "zicboz", "zawrs", "zbkb", "zfh",
     "zihintpause", "zihintntl")
)  # fmt: skip
"""What a hart can have of these whose supervisor is a guest of Python's (Hart)."""


def isa_word(extensions: Iterable[str]) -> int:
    """The word `isa` of a hart with these extensions; names that are not switched do not count."""
    bits = 0
    for name in extensions:
        bits |= ISA_BITS.get(name, 0)
    return bits
