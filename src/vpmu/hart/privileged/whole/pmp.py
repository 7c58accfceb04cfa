"""Physical memory protection (privileged ISA, 3.7), with a grain of four bytes."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def pmp_configuration(i):
    """The byte pmp<i>cfg."""
    return (load64(s.contexts + PMP + 8 * (i >> 3)) >> (8 * (i & 7))) & 255


def pmp_address(i):
    """pmpaddr<i>."""
    return load64(s.contexts + PMP + 64 + 8 * i)


def pmp_first(i):
    """The first 4-byte unit of entry `i`, which is on."""
    mode = (pmp_configuration(i) >> 3) & 3
    address = pmp_address(i)
    if mode == 1:
        if i == 0:
            return 0
        return pmp_address(i - 1)
    if mode == 2:
        return address
    return address & (address + 1)


def pmp_end(i):
    """The unit behind entry `i`; an entry of top-of-range that ends before it begins holds none."""
    mode = (pmp_configuration(i) >> 3) & 3
    address = pmp_address(i)
    if mode == 1:
        return address
    if mode == 2:
        return address + 1
    return (address | (address + 1)) + 1


def pmp_denies(physical, more, access, mode):
    """Whether PMP forbids an access of `more` + 1 bytes by `mode`: the first entry that holds any of them
    decides, and it must hold all of them; without one, M may.
    """
    unit = physical >> 2
    last = (physical + more) >> 2
    i = 0
    while i < s.pmp_count:
        bits = pmp_configuration(i)
        if bits & 0x18:
            first = pmp_first(i)
            end = pmp_end(i)
            if first < end and first <= last and unit < end:
                if unit < first or last >= end:
                    return 1
                if mode == MACHINE and (bits & 128) == 0:
                    return 0
                if access == LOAD:
                    return (bits & 1) == 0
                if access == STORE:
                    return (bits & 2) == 0
                return (bits & 4) == 0
        i += 1
    return mode != MACHINE


def note_fine_entries():
    """After a change of PMP: whether a boundary lies inside a page. Nothing is asked where none does."""
    s.pmp_fine = 0
    i = 0
    while i < s.pmp_count:
        if pmp_configuration(i) & 0x18 and (pmp_first(i) | pmp_end(i)) & 1023:
            s.pmp_fine = 1
        i += 1
    flush_all()
    return 0


def spans(size):
    """The next translation is of an access of so many bytes: PMP looks at all of them."""
    s.more = size - 1
    return 0


def cut_page(physical):
    """Whether PMP has a boundary inside the page of an address: then nothing of the page is remembered."""
    if s.pmp_fine == 0:
        return 0
    unit = (physical >> 12) << 10
    i = 0
    while i < s.pmp_count:
        if pmp_configuration(i) & 0x18:
            first = pmp_first(i)
            end = pmp_end(i)
            if first < end and first < unit + 1024 and unit < end:
                return first > unit or end < unit + 1024
        i += 1
    return 0


def fetch_alone(address, physical, host):
    """The decoded page for one instruction of a page that PMP cuts (host address `host`): one with nothing
    else in it, so that the next instruction is asked about as well. 0 when `s.fault` is set.
    """
    offset = address & 4095
    if offset != 4094 and load16(host + offset) & 3 == 3 and pmp_denies(physical + 2, 1, FETCH, s.mode):
        return access_fault(address + 2, FETCH)
    page = s.contexts + LONE_PAGE
    if load64(page + DECODED_COMPILED) == 0:
        record = 0
        while record < 8 * 2050:
            store64(page + record, RECORD_PAGE_END)
            record += 8
        store64(page + DECODED_COMPILED, 1)
    store64(page + load64(page + DECODED_STORES), RECORD_PAGE_END)
    store64(page + DECODED_STORES, 4 * (offset & ~1))
    store64(page + 4 * (offset & ~1), 0)
    store64(page + DECODED_HOST, host)
    return page


def read_pmpcfg(register):
    """pmpcfg<register>, an even one."""
    if register & 1:
        s.fault = leave_illegal()
        return 0
    return load64(s.contexts + PMP + 4 * register)


def read_pmpaddr(i):
    if i >= s.pmp_count:
        return 0
    return pmp_address(i)


def write_pmpcfg(register, value):
    """Entries beyond the last one are read-only zero, and locked ones keep what they hold."""
    i = 2 * (register >> 1) * 4
    end = i + 8
    shift = 0
    word = load64(s.contexts + PMP + 4 * register)
    while i < end:
        old = (word >> shift) & 255
        new = (value >> shift) & 0x9F
        if new & 3 == 2:  # W without R is reserved
            new = new & ~2
        if i < s.pmp_count and (old & 128) == 0:
            word = (word & ~(255 << shift)) | (new << shift)
        i += 1
        shift += 8
    store64(s.contexts + PMP + 4 * register, word)
    note_fine_entries()
    return RESUME


def write_pmpaddr(i, value):
    """Not where the entry is locked, nor where the next one is locked and begins here (TOR)."""
    if i >= s.pmp_count or pmp_configuration(i) & 128:
        return CONTINUE
    if i + 1 < s.pmp_count and (pmp_configuration(i + 1) & 0x98) == 0x88:
        return CONTINUE
    store64(s.contexts + PMP + 64 + 8 * i, value & PMP_ADDRESS)
    note_fine_entries()
    return RESUME
