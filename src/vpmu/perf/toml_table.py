"""Typed access to a TOML table; whatever does not fit is one line: file, line, key, expected, got."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from vpmu.errors import FileError, UnknownNameError


class Table:
    """One table of a file. Each getter raises FileError where the key is absent or its value does not fit."""

    def __init__(self, path: Path, name: str, content: Mapping[str, object], text: str) -> None:
        self._path = path
        self._text = text
        self._name = name
        self._content = content
        self._read: set[str] = set()

    def text(self, key: str) -> str:
        """A string that is not empty."""
        value = self._get(key, "a text")
        if not isinstance(value, str) or not value:
            raise self._error(key, "a text", value)
        return value

    def boolean(self, key: str) -> bool:
        """true or false."""
        value = self._get(key, "true or false")
        if not isinstance(value, bool):
            raise self._error(key, "true or false", value)
        return value

    def integer(self, key: str, least: int, most: int) -> int:
        """An integer in a range, both ends included."""
        expected = f"an integer from {least} to {most}"
        value = self._get(key, expected)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._error(key, expected, value)
        return value

    def choice(self, key: str, known: Collection[str]) -> str:
        """One of some names."""
        value = self.text(key)
        if value not in known:
            raise self._unknown("value of " + self._where(key), value, known, key)
        return value

    def indices(self, key: str, known: frozenset[int], *, allow_any: bool) -> frozenset[int]:
        """A list of counters, or "any" for all of `known`."""
        last = f"{min(known)} to {max(known)}" if known else "none exists"
        expected = ('"any" or ' if allow_any else "") + f"a list of counters ({last})"
        value = self._get(key, expected)
        if allow_any and value == "any":
            return known
        if not isinstance(value, list) or not all(type(item) is int and item in known for item in value):
            raise self._error(key, expected, value)
        return frozenset(value)

    def table(self, key: str, *, optional: bool = False) -> Table:
        """A table inside this one; an optional one that is absent is empty."""
        if optional and key not in self._content:
            return Table(self._path, self._where(key), {}, self._text)
        value = self._get(key, f"a table [{self._where(key)}]")
        if not isinstance(value, dict):
            raise self._error(key, f"a table [{self._where(key)}]", value)
        return Table(self._path, self._where(key), value, self._text)

    def names(self, known: Collection[str] | None = None, kind: str = "key") -> list[str]:
        """All keys; each must be one of `known`, where given."""
        for key in self._content:
            if known is not None and key not in known:
                raise self._unknown(f"{kind} in [{self._name}]", key, known, key)
        return list(self._content)

    def hex_key(self, key: str, bits: int) -> int:
        """A key that is itself a number, such as "0x1f"."""
        try:
            value = int(key, 0)
        except ValueError:
            value = -1
        if not 0 <= value < 1 << bits:
            expected = f'a number of {bits} bits such as "0x1f"'
            raise FileError(
                self._path, f"key in [{self._name}]", line=self._line(key), expected=expected, got=repr(key)
            )
        return value

    def refuse_unknown_keys(self) -> None:
        """FileError for a key that no getter has asked for: nearly always a slip of the pen."""
        for key in self._content:
            if key not in self._read:
                where = f"key in [{self._name}]" if self._name else "key"
                raise self._unknown(where, key, self._read, key)

    def _get(self, key: str, expected: str) -> object:
        self._read.add(key)
        try:
            return self._content[key]
        except KeyError:
            near = [other for other in self._content if other.replace("-", "_").lower() == key]
            hint = f" (is it {near[0]!r}?)" if near else ""
            raise FileError(
                self._path, f"{self._where(key)} is missing{hint}", line=self._line(None), expected=expected
            ) from None

    def _where(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def _error(self, key: str, expected: str, got: object) -> FileError:
        return FileError(self._path, self._where(key), line=self._line(key), expected=expected, got=repr(got))

    def _unknown(self, kind: str, name: str, known: Iterable[str], key: str) -> FileError:
        return FileError(self._path, UnknownNameError(kind, name, known).what, line=self._line(key))

    def _line(self, key: str | None) -> int | None:
        """Line of `key`, or of this table's header, as these files are written: one key in a line. None where
        it is written otherwise."""
        inside, header = not self._name, None if self._name else 1
        for number, line in enumerate(self._text.splitlines(), 1):
            words = line.partition("#")[0].strip()
            if words.startswith("["):
                inside = words.strip("[] ") == self._name
                header = number if inside else header
            if inside and key is not None and words.partition("=")[0].strip(" \t\"'") == key:
                return number
            if key is not None and words.strip("[] ") == self._where(key):
                return number
        return header
