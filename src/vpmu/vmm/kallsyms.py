"""Symbols of a RISC-V kernel Image out of its own compressed table (Linux scripts/kallsyms.c).

The table has no header. It is found by the digits among its tokens, and what lies around them is checked:
names (a length, then numbers of tokens), a marker for every 256th name, 256 tokens, their index, and behind
that the offsets. Nothing is decoded but what is asked for, so the first answer takes milliseconds.

Offsets have had two forms: from a base that is stored behind them (until 6.x), and each from its own address
(7.x). Older kernels have them before the names.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise

from vpmu.errors import ImageError
from vpmu.vmm.symbols import FARTHEST, Symbol

KERNEL_LINK_ADDRESS = 0xFFFFFFFF80000000
"""Where a 64-bit RISC-V kernel is linked: 2 GiB below the end (arch/riscv/include/asm/pgtable.h)."""
TOKENS, PER_MARKER = 256, 256
LONGEST_PADDING = 64
MOST_SYMBOLS = 4_000_000
_DIGITS = re.compile(b"".join(b"%d\0" % digit for digit in range(10)))


class Kallsyms:
    """The table of one kernel Image. ImageError where it has none (CONFIG_KALLSYMS=n), or a damaged one."""

    def __init__(self, image: bytes | memoryview, name: str = "kernel") -> None:
        self._image = bytes(image)
        self._name = name
        try:
            self._read()
        except (struct.error, OverflowError, ValueError, IndexError):
            raise self._none("a whole table of symbols") from None

    def _read(self) -> None:
        found = None
        for match in _DIGITS.finditer(self._image):
            found = self._tokens(match.start())
            if found is not None:
                break
        if found is None:
            raise self._none("a kernel with kallsyms")
        table, index = found
        self._token = [
            self._string(table + at) for at in struct.unpack_from(f"<{TOKENS}H", self._image, index)
        ]
        self._names, self._count, self._markers = self._before(table)
        self._addresses = self._offsets(index + 2 * TOKENS)

    def __len__(self) -> int:
        return self._count

    def at(self, address: int) -> Symbol | None:
        """The symbol that holds an address; of several at one address the kernel's own choice, the first."""
        index = bisect_right(self._addresses, address) - 1
        if index < 0:
            return None
        found = self._symbol(bisect_left(self._addresses, self._addresses[index]))
        return found if address < found.address + found.size else None

    def find(self, name: str) -> Symbol | None:
        """The first symbol of a name; the whole table is decoded."""
        return next((symbol for symbol in self if symbol.name == name), None)

    def __iter__(self) -> Iterator[Symbol]:
        at = self._names
        for index in range(self._count):
            text, at = self._decode(at)
            address = self._addresses[index]
            yield Symbol(text[1:], address, self._size(address), text[:1])

    # --- finding the parts

    def _tokens(self, digits: int) -> tuple[int, int] | None:
        """Places of the token table and of its index, if the digits are tokens 0x30 and on."""
        image, at = self._image, digits
        for _ in range(ord("0")):
            at = image.rfind(b"\0", 0, at - 1) + 1 if at > 1 else 0
        # The walk back cannot tell where the first token begins: the padding before it ends in zeros.
        offsets, end = [], at
        for _ in range(TOKENS):
            offsets.append(end - at)
            end = image.find(b"\0", end) + 1
            if not end:
                return None
        wanted = struct.pack(f"<{TOKENS}H", *(offset & 0xFFFF for offset in offsets))
        index = image.find(wanted, end, end + LONGEST_PADDING + len(wanted))
        return (at, index) if index >= 0 else None

    def _before(self, table: int) -> tuple[int, int, tuple[int, ...]]:
        """Place of the names, how many there are, and the markers: what lies before the token table."""
        at, above = table - 4, 1 << 32
        values: list[int] = []
        skipped = 0
        while at > 0 and len(values) <= MOST_SYMBOLS // PER_MARKER:
            value = self._u32(at)
            if value == 0 and not values and skipped < LONGEST_PADDING // 4:
                skipped += 1  # padding before the token table
            elif value >= above:
                break
            else:
                values.append(value)
                above = value
                if value == 0:
                    break
            at -= 4
        if not values or values[-1] != 0:
            raise self._none("markers of the names")
        markers = tuple(reversed(values))
        low, high = (len(markers) - 1) * PER_MARKER, len(markers) * PER_MARKER
        nearest = (at - markers[-1]) & ~3
        # The names behind the last marker lie between: some kilobytes.
        for start in range(nearest, max(nearest - (1 << 20), 8), -4):
            for count in {self._u32(start - 4), self._u32(start - 8)}:
                if low < count <= high and self._fits(start, count, markers, at):
                    return start, count, markers
        raise self._none("a number of symbols")

    def _fits(self, start: int, count: int, markers: tuple[int, ...], end: int) -> bool:
        """Whether `count` names from `start` on meet the last marker and end just before the markers."""
        for first, until in ((0, min(PER_MARKER, count)), ((len(markers) - 1) * PER_MARKER, count)):
            at = start + markers[first // PER_MARKER]
            for _ in range(first, until):
                length, at = self._length(at)
                at += length
                if not length or at > end:
                    return False
            if until == count:
                return end - at < LONGEST_PADDING
            if at - start != markers[1]:
                return False
        return False

    def _offsets(self, behind: int) -> array[int]:
        """Addresses of all symbols, sorted as the table is."""
        at = behind + 7 & ~7
        size = 4 * self._count
        offsets = self._u32s(at)
        if _ascends(offsets):
            (base,) = struct.unpack_from("<Q", self._image, at + size + 7 & ~7)
            if base >> 63 and not base & 0xFFF:  # _text; offsets of the other form can ascend too
                return array("Q", [base + offset for offset in offsets])
        place = KERNEL_LINK_ADDRESS + behind
        signed = array("i", self._u32s(behind).tobytes())
        here = array("Q", [place + 4 * i + offset for i, offset in enumerate(signed)])
        if _ascends(here):
            return here
        before = self._names - 8 - 8 - (size + 7 & ~7)  # offsets, base, number of symbols, names
        offsets = self._u32s(before)
        if _ascends(offsets):
            (base,) = struct.unpack_from("<Q", self._image, self._names - 16)
            return array("Q", [base + offset for offset in offsets])
        raise self._none("offsets of the symbols, in ascending order")

    # --- names

    def _symbol(self, index: int) -> Symbol:
        at = self._names + self._markers[index // PER_MARKER]
        for _ in range(index % PER_MARKER):
            length, at = self._length(at)
            at += length
        text, _ = self._decode(at)
        address = self._addresses[index]
        return Symbol(text[1:], address, self._size(address), text[:1])

    def _decode(self, at: int) -> tuple[str, int]:
        length, at = self._length(at)
        tokens = self._token
        text = b"".join([tokens[byte] for byte in self._image[at : at + length]])
        return text.decode("utf-8", "replace"), at + length

    def _length(self, at: int) -> tuple[int, int]:
        """Length of the name at a place, and where it begins: one byte, or two from 128 on (since 6.1)."""
        if at + 2 > len(self._image):
            raise self._none("a whole table of names")
        first = self._image[at]
        return (first, at + 1) if first < 128 else (first & 127 | self._image[at + 1] << 7, at + 2)

    def _size(self, address: int) -> int:
        after = bisect_right(self._addresses, address)
        return self._addresses[after] - address if after < self._count else FARTHEST

    # --- bytes

    def _u32(self, at: int) -> int:
        return int.from_bytes(self._image[at : at + 4], "little")

    def _u32s(self, at: int) -> array[int]:
        part = self._image[at : at + 4 * self._count] if at > 0 else b""
        if len(part) < 4 * self._count:
            return array("I")
        values = array("I", part)
        if sys.byteorder == "big":
            values.byteswap()
        return values

    def _string(self, at: int) -> bytes:
        return self._image[at : self._image.index(b"\0", at)]

    def _none(self, expected: str) -> ImageError:
        return ImageError(self._name, "no symbols in this kernel", expected=expected)


def _ascends(values: array[int]) -> bool:
    return len(values) > 0 and all(one <= two for one, two in pairwise(values))
