"""Machine code placed where it can run. A warm start loads what is kept of an engine, adds its address to the
words that need it, and copies it: no linker, no LLVM.
"""

from __future__ import annotations

import ctypes
import marshal
import mmap
import os
import struct
import threading
from array import array

from vpmu.hart import state

_WORD = struct.Struct("<Q")
_COHERENT = ("x86_64", "AMD64")  # processors that need no flush of the instruction cache
ARENA = 16 << 20
ALIGNMENT = 64


class Code:
    """An object file laid out (object_file.py): code, behind it its constants, and what is left to fill in
    where it is placed.

    `absolute`: offsets of words to which the address of the whole is added; `outside`: offsets of words that
    hold the address of a function of the C library, by name; `symbols`: offsets of functions and tables.
    """

    def __init__(self, blob: bytes | bytearray) -> None:
        self.blob = blob
        self.absolute: list[int] = []
        self.outside: list[tuple[int, str]] = []
        self.symbols: dict[str, int] = {}

    def at(self, address: int) -> bytearray | None:
        """The code for a place; None where the C library lacks what it calls."""
        placed = bytearray(self.blob)
        for first, number in self._runs():
            words = array("Q", placed[first : first + 8 * number])
            placed[first : first + 8 * number] = array("Q", [word + address for word in words]).tobytes()
        library = ctypes.CDLL(None) if self.outside else None
        for offset, name in self.outside:
            try:
                function = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
            except AttributeError:
                return None
            _WORD.pack_into(placed, offset, function)
        return placed

    def _runs(self) -> list[tuple[int, int]]:
        """`absolute` as runs of words one behind the other: where each begins, and how many there are."""
        runs: list[tuple[int, int]] = []
        first = behind = -1
        for offset in sorted(self.absolute):
            if offset != behind:
                if behind >= 0:
                    runs.append((first, (behind - first) // 8))
                first = offset
            behind = offset + 8
        return [*runs, (first, (behind - first) // 8)] if behind >= 0 else runs

    def packed(self) -> bytes:
        """All of it as bytes, for `unpack`."""
        words = array("I", self.absolute).tobytes()
        return marshal.dumps((bytes(self.blob), words, self.outside, self.symbols))


def unpack(data: bytes) -> Code | None:
    """Code out of what `packed` made of it, on any version of Python; None for anything else."""
    try:
        blob, words, outside, symbols = marshal.loads(data)
    except (EOFError, TypeError, ValueError):
        return None
    code = Code(blob)
    code.absolute, code.outside, code.symbols = [*array("I", words)], outside, symbols
    return code


class CodeArena:
    """Memory for machine code; what is placed stays, because a hart may be inside it."""

    def __init__(self, size: int = ARENA) -> None:
        self._used = 0
        self._size = size
        self._lock = threading.Lock()  # regions are compiled by one thread and installed by another
        self._memory: mmap.mmap | None = None
        if os.uname().machine in _COHERENT and hasattr(mmap, "PROT_EXEC"):
            try:
                protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
                # private: after a fork, parent and child place different code at the same address;
                # not reserved: the host counts only what is used, or a process with many machines cannot fork
                flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | state.NORESERVE
                self._memory = mmap.mmap(-1, size, flags=flags, prot=protection)
            except OSError:  # the system allows no memory that is writable and executable
                self._memory = None
        if self._memory is not None:
            self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def place(self, code: bytes) -> int | None:
        """The address of a copy of `code`; None where there is no such memory, or no more of it."""
        at = self._take(len(code))
        if at is None or self._memory is None:
            return None
        self._memory[at : at + len(code)] = code
        return self._address + at

    def reserve(self, size: int) -> int | None:
        """The address of room for `size` bytes of code; None as for `place`."""
        at = self._take(size)
        return None if at is None else self._address + at

    def place_object(self, code: Code) -> dict[str, int] | None:
        """Addresses of the symbols of an object file that has been placed; None as for `place`."""
        at = self._take(len(code.blob))
        if at is None or self._memory is None:
            return None
        placed = code.at(self._address + at)
        if placed is None:
            return None
        self._memory[at : at + len(placed)] = placed
        return {name: self._address + at + offset for name, offset in code.symbols.items()}

    def _take(self, size: int) -> int | None:
        with self._lock:
            at = self._used
            if self._memory is None or at + size > self._size:
                return None
            self._used = -(-(at + size) // ALIGNMENT) * ALIGNMENT
        return at
