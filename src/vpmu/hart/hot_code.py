"""Machine code of compiled regions: taken out of its object file, and placed where it can run.

A region's code has no addresses in it (it reaches the engine through the table of handlers), so it needs no
linker: a copy is enough. Where that does not hold (another object format, a constant beside the code), LLVM
links it.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import threading

_ELF_MAGIC = b"\x7fELF\x02\x01"
_SECTION = struct.Struct("<IIQQQQIIQQ")
_RELA, _NOBITS = 4, 8
_ALLOC, _EXECUTE = 2, 4
_UNWIND = 0x70000001  # SHT_X86_64_UNWIND: .eh_frame, which nobody needs
_COHERENT = ("x86_64", "AMD64")  # processors that need no flush of the instruction cache
ARENA = 16 << 20
ALIGNMENT = 64


def machine_code(image: bytes) -> bytes | None:
    """The code of an object file with one function and nothing that a linker would have to do; None for
    another.
    """
    if not image.startswith(_ELF_MAGIC):
        return None
    (at,) = struct.unpack_from("<Q", image, 0x28)
    size, number = struct.unpack_from("<HH", image, 0x3A)
    if size != _SECTION.size or at + size * number > len(image):
        return None
    sections = [_SECTION.unpack_from(image, at + size * index) for index in range(number)]
    code = None
    for index, (_, kind, flags, _, offset, length, _, _, _, _) in enumerate(sections):
        if not length or not flags & _ALLOC or kind == _UNWIND:
            continue
        if not flags & _EXECUTE or code is not None or kind == _NOBITS:
            return None
        code = image[offset : offset + length]
        if any(other[1] == _RELA and other[7] == index and other[5] for other in sections):
            return None
    return code


class CodeArena:
    """Memory for machine code; what is placed stays, because a hart may be inside it."""

    def __init__(self) -> None:
        self._used = 0
        self._lock = threading.Lock()  # regions are compiled by one thread and installed by another
        self._memory: mmap.mmap | None = None
        if platform.machine() in _COHERENT and hasattr(mmap, "PROT_EXEC"):
            try:
                self._memory = mmap.mmap(-1, ARENA, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            except OSError:  # the system allows no memory that is writable and executable
                self._memory = None
        if self._memory is not None:
            self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def place(self, code: bytes) -> int | None:
        """The address of a copy of `code`; None where there is no such memory, or no more of it."""
        if self._memory is None:
            return None
        with self._lock:
            at = self._used
            if at + len(code) > ARENA:
                return None
            self._used = -(-(at + len(code)) // ALIGNMENT) * ALIGNMENT
        self._memory[at : at + len(code)] = code
        return self._address + at
