"""Names of addresses: a table that is asked "what is here" and "where is this", whatever it was read from."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vpmu.errors import FileError

FARTHEST = 1 << 20
"""Bytes behind the last symbol at which an address is still said to be in it."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name and the addresses that are its. `kind` is nm's letter (`t` code, `d` data), "" where the table
    has none.
    """

    name: str
    address: int
    size: int
    kind: str = ""


class Symbols(Protocol):
    """A table of symbols. Addresses are those that the image is linked for."""

    def at(self, address: int) -> Symbol | None:
        """The symbol that holds an address."""

    def find(self, name: str) -> Symbol | None:
        """The symbol of a name."""

    def __iter__(self) -> Iterator[Symbol]:
        """All of them, by address."""


class SymbolTable:
    """Symbols out of a mapping of names to addresses (an ELF file's, a System.map's)."""

    def __init__(self, addresses: Mapping[str, int], kinds: Mapping[str, str] | None = None) -> None:
        self._kinds = kinds or {}
        self._by_name = dict(addresses)
        ordered = sorted(addresses.items(), key=lambda item: item[1])
        self._names = [name for name, _ in ordered]
        self._addresses = [address for _, address in ordered]

    def __len__(self) -> int:
        return len(self._names)

    def at(self, address: int) -> Symbol | None:
        """The symbol that holds an address: the nearest one below; of several at one address the first."""
        index = bisect_right(self._addresses, address) - 1
        if index < 0:
            return None
        found = self._symbol(self._first(index))
        return found if address < found.address + found.size else None

    def find(self, name: str) -> Symbol | None:
        """The symbol of a name."""
        address = self._by_name.get(name)
        if address is None:
            return None
        return Symbol(name, address, self._size(address), self._kinds.get(name, ""))

    def __iter__(self) -> Iterator[Symbol]:
        return (self._symbol(index) for index in range(len(self)))

    def _first(self, index: int) -> int:
        while index and self._addresses[index - 1] == self._addresses[index]:
            index -= 1
        return index

    def _size(self, address: int) -> int:
        after = bisect_right(self._addresses, address)
        return self._addresses[after] - address if after < len(self._addresses) else FARTHEST

    def _symbol(self, index: int) -> Symbol:
        name, address = self._names[index], self._addresses[index]
        return Symbol(name, address, self._size(address), self._kinds.get(name, ""))


class SymbolList:
    """Symbols as they are: several may have one name (functions of several files)."""

    def __init__(self, symbols: Iterable[Symbol]) -> None:
        self._symbols = sorted(symbols, key=lambda symbol: symbol.address)
        self._addresses = [symbol.address for symbol in self._symbols]

    def __len__(self) -> int:
        return len(self._symbols)

    def at(self, address: int) -> Symbol | None:
        """The symbol that holds an address: the nearest one below; of several at one address the first."""
        index = bisect_right(self._addresses, address) - 1
        if index < 0:
            return None
        found = self._symbols[bisect_left(self._addresses, self._addresses[index])]
        return found if address < found.address + (found.size or FARTHEST) else None

    def find(self, name: str) -> Symbol | None:
        """The first symbol of a name."""
        return next((symbol for symbol in self._symbols if symbol.name == name), None)

    def __iter__(self) -> Iterator[Symbol]:
        return iter(self._symbols)


def read_system_map(path: str | Path) -> SymbolTable:
    """A kernel's System.map (nm's lines `address kind name`). FileError names the line that is none."""
    addresses: dict[str, int] = {}
    kinds: dict[str, str] = {}
    try:
        lines = Path(path).read_bytes().decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise FileError.from_os_error(path, error) from None
    for number, line in enumerate(lines, 1):
        words = line.split()
        try:
            address, kind, name = int(words[0], 16), words[1], words[2]
        except (ValueError, IndexError):
            raise FileError(path, "not a line of a System.map", line=number,
                            expected="ADDRESS KIND NAME", got=repr(line[:60])) from None  # fmt: skip
        addresses.setdefault(name, address)
        kinds.setdefault(name, kind)
    return SymbolTable(addresses, kinds)
