"""What CSRs can hold (hart/legal.py) is kept beside the engine, and found again where it is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpmu.hart import legal
from vpmu.hart.legal import HELD, _tried, _writable

KIND = (frozenset({"h", "sstc"}), 4, 0xFF)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "vpmu" / "engine"


def asked(kind: tuple[frozenset[str], int, int] = KIND) -> dict[str, int]:
    """As another process is told."""
    _writable.cache_clear()
    return dict(_writable(*kind))


def test_it_is_kept_by_kind_and_not_asked_for_again(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _tried(*KIND)
    assert list(expected) == list(HELD)
    assert asked() == expected
    assert len(list(empty_cache.glob("*.legal"))) == 1
    monkeypatch.setattr(legal, "_tried", lambda *kind: dict.fromkeys(HELD, 1))
    assert asked() == expected
    assert asked((KIND[0], 0, 0xFF)) == dict.fromkeys(HELD, 1)
    assert len(list(empty_cache.glob("*.legal"))) == 2


@pytest.mark.parametrize("damage", [b"", b"nonsense", None], ids=("empty", "nonsense", "one byte"))
def test_what_is_damaged_is_found_again(empty_cache: Path, damage: bytes | None) -> None:
    expected = asked()
    (path,) = empty_cache.glob("*.legal")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage is None else damage)
    assert asked() == expected
    assert path.read_bytes() == data


def test_a_folder_that_cannot_be_written(empty_cache: Path) -> None:
    empty_cache.parent.mkdir()
    empty_cache.write_text("a file")
    assert asked() == _tried(*KIND)
