"""htinst and mtinst: the instruction of a guest-page fault, transformed (privileged ISA, 21.6.3)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def transformed(address):
    """The transformed instruction of an access that faulted at `address`; 0 for one that has none."""
    word = trapped_word()
    offset = 0
    if s.across:
        offset = (address - s.across) << 15
    if s.length == 2:
        expanded = expanded_access(word)
        if expanded == 0:
            return 0
        return (expanded & ~2) | offset
    opcode = word & 127
    if opcode == 0x03 or opcode == 0x07:  # loads: imm and rs1 are cleared
        return (word & 0x7FFF) | offset
    if opcode == 0x23 or opcode == 0x27:  # stores: imm and rs1 are cleared
        return (word & 0x1F0707F) | offset
    if opcode == 0x2F or opcode == 0x73:  # atomics, HLV and HSV: rs1 is cleared
        return (word & ~0xF8000) | offset
    return 0


def expanded_access(word):
    """A compressed load or store as the 32-bit one, imm and rs1 cleared; 0 for anything else."""
    function = word >> 13
    low = ((word >> 2) & 7) + 8
    if (word & 3) == 0:
        if function == 1:
            return 0x3007 | (low << 7)
        if function == 2:
            return 0x2003 | (low << 7)
        if function == 3:
            return 0x3003 | (low << 7)
        if function == 5:
            return 0x3027 | (low << 20)
        if function == 6:
            return 0x2023 | (low << 20)
        if function == 7:
            return 0x3023 | (low << 20)
        if function == 4:
            return expanded_zcb(word, low)
        return 0
    if (word & 3) == 2:
        target = (word >> 7) & 31
        source = (word >> 2) & 31
        if function == 1:
            return 0x3007 | (target << 7)
        if function == 2:
            return 0x2003 | (target << 7)
        if function == 3:
            return 0x3003 | (target << 7)
        if function == 5:
            return 0x3027 | (source << 20)
        if function == 6:
            return 0x2023 | (source << 20)
        if function == 7:
            return 0x3023 | (source << 20)
    return 0


def expanded_zcb(word, low):
    kind = (word >> 10) & 7
    if kind == 0:
        return 0x4003 | (low << 7)
    if kind == 1:
        if word & 64:
            return 0x1003 | (low << 7)
        return 0x5003 | (low << 7)
    if kind == 2:
        return 0x0023 | (low << 20)
    if kind == 3:
        return 0x1023 | (low << 20)
    return 0
