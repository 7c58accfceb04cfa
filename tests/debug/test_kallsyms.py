"""Symbols out of a kernel Image's compressed table: both forms of offsets, and damaged images."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpmu.errors import FileError, ImageError
from vpmu.vmm.kallsyms import Kallsyms
from vpmu.vmm.symbols import SymbolTable, read_system_map

from .kallsyms_image import BASE, FORMS, image


def _kernel(count: int, seed: int = 1) -> list[tuple[int, str]]:
    rng = random.Random(seed)
    words = ("sbi", "pmu", "counter", "start", "irq", "handle", "kvm", "vcpu", "do", "idle", "cpu", "x" * 90)
    address, found = BASE, []
    for number in range(count):
        name = "_".join(rng.choice(words) for _ in range(rng.randint(1, 4)))
        found.append((address, f"{rng.choice('tTdDbB')}{name}_{number}"))
        address += rng.choice((0, 2, 4, 60, 4096))
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [257, 512, 513, 1500])
def test_every_symbol_comes_back(form: str, count: int) -> None:
    symbols = _kernel(count)
    table = Kallsyms(image(symbols, form))
    assert [(s.address, s.kind + s.name) for s in table] == symbols
    first_of: dict[int, str] = {}
    for address, text in symbols:
        first_of.setdefault(address, text[1:])
    for address, name in first_of.items():
        found = table.at(address)
        assert found is not None
        assert (found.name, found.address) == (name, address)
    assert table.at(BASE - 1) is None


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_image_is_refused_or_read(data: st.DataObject) -> None:
    whole = bytearray(image(_kernel(300), data.draw(st.sampled_from(FORMS)), code=64))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(len(whole) // 2, len(whole)))
    try:
        table = Kallsyms(bytes(whole[:cut]))
        table.at(BASE + 0x1000)
        list(table)
    except ImageError:
        pass  # said in one line; anything else fails the test


def test_an_image_without_a_table_says_so() -> None:
    with pytest.raises(ImageError, match="no symbols in this kernel"):
        Kallsyms(bytes(1 << 16))


def test_system_map(tmp_path: Path) -> None:
    path = tmp_path / "System.map"
    path.write_text("ffffffff80000000 T _start\nffffffff80000040 t head\n")
    table = read_system_map(path)
    found = table.at(0xFFFFFFFF8000003E)
    assert found is not None
    assert (found.name, found.size, found.kind) == ("_start", 0x40, "T")
    path.write_text("ffffffff80000000 T _start\nnonsense\n")
    with pytest.raises(FileError, match=r"System\.map:2"):
        read_system_map(path)


def test_aliases_and_gaps() -> None:
    table = SymbolTable({"a": 0x100, "b": 0x100, "c": 0x180})
    found = table.at(0x17F)
    assert found is not None
    assert (found.name, found.size) == ("a", 0x80)
    assert table.at(0xFF) is None
    assert table.find("c") is not None
    assert table.find("d") is None
