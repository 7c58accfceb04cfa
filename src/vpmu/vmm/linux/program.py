"""A static Linux program of known length: so many user instructions, no more, no less."""

from __future__ import annotations

import struct

_BASE = 0x10000
_HEADERS = 64 + 56
_A0, _A7 = 10, 17
_EXIT = 93  # Linux's number of exit


def counted_program(loops: int, *, ecall_retires: bool = False) -> tuple[bytes, int]:
    """An ELF executable that turns `loops` (1 .. 2^31 - 1) times and exits with 0, and the instructions
    that it retires in user mode.

    `ecall_retires`: the host counts the ECALL that leaves for ever (HostPmuDescription.ecall_retires).
    """
    if not 1 <= loops < 1 << 31:
        raise ValueError(f"loops: expected 1 to 2^31 - 1, got {loops}")
    upper, lower = (loops + 0x800) >> 12 & 0xFFFFF, loops & 0xFFF
    code = (
        upper << 12 | _A0 << 7 | 0x37,  # lui a0, upper
        lower << 20 | _A0 << 15 | _A0 << 7 | 0x1B,  # addiw a0, a0, lower
        0xFFF << 20 | _A0 << 15 | _A0 << 7 | 0x13,  # again: addi a0, a0, -1
        0xFE051EE3,  # bnez a0, again
        _EXIT << 20 | _A7 << 7 | 0x13,  # li a7, exit
        0x00000073,  # ecall, with a0 = 0
    )
    text = struct.pack(f"<{len(code)}I", *code)
    size = _HEADERS + len(text)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        2,
        243,
        1,
        _BASE + _HEADERS,
        64,
        0,
        0,
        64,
        56,
        1,
        64,
        0,
        0,
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 4096)
    return header + segment + text, 2 + 2 * loops + 1 + ecall_retires
