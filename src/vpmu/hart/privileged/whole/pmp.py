"""Physical memory protection (privileged ISA, 3.7)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def pmp_configuration(i):
    """The byte pmp<i>cfg."""
    return (load64(s.contexts + PMP + 8 * (i >> 3)) >> (8 * (i & 7))) & 255


def pmp_address(i):
    """pmpaddr<i>."""
    return load64(s.contexts + PMP + 64 + 8 * i)


def pmp_matches(i, physical):
    """Whether entry `i` holds the (4-byte) unit at a physical address."""
    mode = (pmp_configuration(i) >> 3) & 3
    unit = (physical >> 2) & ~1023  # of a page: the grain
    if mode == 0:
        return 0
    if mode == 1:
        first = 0
        if i:
            first = pmp_address(i - 1) & ~1023
        return unit >= first and unit < pmp_address(i) & ~1023
    bound = pmp_address(i) | 511  # NAPOT; NA4 is smaller than the grain, so nobody can choose it
    mask = bound ^ (bound + 1)
    return (unit | mask) == (bound | mask)


def pmp_denies(physical, access, mode):
    """Whether PMP forbids an access of `mode`: the first entry that matches decides; without one, M may."""
    i = 0
    while i < s.pmp_count:
        if pmp_matches(i, physical):
            bits = pmp_configuration(i)
            if mode == MACHINE and (bits & 128) == 0:
                return 0
            if access == LOAD:
                return (bits & 1) == 0
            if access == STORE:
                return (bits & 2) == 0
            return (bits & 4) == 0
        i += 1
    return mode != MACHINE


def pmp_grain(i, address):
    """pmpaddr as it reads: 4 KiB is the smallest region, so its low bits are ones for NAPOT, zeros else."""
    if (pmp_configuration(i) >> 3) & 3 == 3:
        return address | 511
    return address & ~1023


def read_pmpcfg(register):
    """pmpcfg<register>, an even one."""
    if register & 1:
        s.fault = leave_illegal()
        return 0
    return load64(s.contexts + PMP + 4 * register)


def read_pmpaddr(i):
    if i >= s.pmp_count:
        return 0
    return pmp_grain(i, pmp_address(i))


def write_pmpcfg(register, value):
    """Entries beyond the last one are read-only zero, and so are locked ones; NA4 cannot be chosen."""
    i = 2 * (register >> 1) * 4
    end = i + 8
    shift = 0
    word = load64(s.contexts + PMP + 4 * register)
    while i < end:
        old = (word >> shift) & 255
        new = (value >> shift) & 0x9F
        if (new >> 3) & 3 == 2:
            new = (new & ~0x18) | (old & 0x18)
        if new & 3 == 2:  # W without R is reserved
            new = new & ~2
        if i < s.pmp_count and (old & 128) == 0:
            word = (word & ~(255 << shift)) | (new << shift)
        i += 1
        shift += 8
    store64(s.contexts + PMP + 4 * register, word)
    flush_all()
    return RESUME


def write_pmpaddr(i, value):
    """Not where the entry is locked, nor where the next one is locked and begins here (TOR)."""
    if i >= s.pmp_count or pmp_configuration(i) & 128:
        return CONTINUE
    if i + 1 < s.pmp_count and (pmp_configuration(i + 1) & 0x98) == 0x88:
        return CONTINUE
    store64(s.contexts + PMP + 64 + 8 * i, value & PMP_ADDRESS)
    flush_all()
    return RESUME
