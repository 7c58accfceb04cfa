"""Values that one stencil of a line hands on to the next in a register of the host: which loads and stores of
the hart's state are left out for that, and what stands in their place.
"""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def handed_on(record, row, value):
    """HANDED_ON where a stencil begins with a load of this register, or could if its operands changed places:
    then SWAPPED as well; else 0.
    """
    forms = load64(row + STENCIL_FORMS)
    if value == 0 or forms & (HEAD_RS1 | HEAD_RS2) == 0:
        return 0
    one = record >> 24 & 255
    other = record >> 32 & 255
    if forms & HEAD_RS2:
        one = other
        other = record >> 24 & 255
    if one == value:
        return HANDED_ON
    if forms & COMMUTES and other == value:
        return HANDED_ON | SWAPPED
    return 0


def is_overwritten(record, row, value):
    """Whether a stencil that has this register in one of the host's sets it in any case, and reads it nowhere
    else.
    """
    if load64(row + STENCIL_FORMS) & RESULT == 0 or record >> 16 & 255 != value or load64(row + STENCIL_STUB):
        return 0
    return (record >> 24 & 255 == value) + (record >> 32 & 255 == value) == 1


def move_size(row, host):
    """Bytes of what stands for a head, whose operand is in this register of the host."""
    forms = load64(row + STENCIL_FORMS)
    if forms & HEAD_TEST == 0 and forms >> HEAD_REGISTER & 15 == host:
        return 0
    return MOVE_SIZE


def size_of(row, line, host):
    """Bytes of a stencil's code in a line."""
    size = load64(row + STENCIL_SIZE)
    if line & HANDED_ON:
        size -= (load64(row + STENCIL_FORMS) >> HEAD_SIZE & 15) - move_size(row, host)
    if line & NOT_STORED:
        size -= RESULT_SIZE
    return size


def host_of(row, host):
    """The register of the host that holds a guest's behind a stencil, where it held one before."""
    forms = load64(row + STENCIL_FORMS)
    if forms & RESULT:
        return forms >> RESULT_REGISTER & 15
    return host


def move_of(forms, host):
    """Three bytes: a register of the host to that of a head, or the question whether it is 0."""
    to = forms >> HEAD_REGISTER & 15
    if forms & HEAD_TEST:
        return 0xC08548 | host >> 3 | (host & 8) >> 1 | (host & 7) << 16 | (host & 7) << 19
    return 0xC08948 | to >> 3 | (host & 8) >> 1 | (to & 7) << 16 | (host & 7) << 19
