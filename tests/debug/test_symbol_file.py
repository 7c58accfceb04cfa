"""`vpmu symbols`: what it writes is what nm, addr2line and gdb read, at the addresses that were asked for."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.debug.elf_symbols import elf_symbols
from vpmu.debug.symbol_file import symbol_file
from vpmu.payloads import find_image, names, path
from vpmu.vmm.symbols import Symbol

from .kallsyms_image import BASE, FORMS, image

U64 = (1 << 64) - 1
NM, ADDR2LINE, GDB = "riscv64-linux-gnu-nm", "riscv64-linux-gnu-addr2line", "gdb-multiarch"


def _tool(name: str, *arguments: object) -> str:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout


def _random(seed: int, count: int = 400) -> list[Symbol]:
    rng = random.Random(seed)
    at, found = rng.choice((0x1000, BASE, 0xFFFFFFFF00000000)), []
    for number in range(count):
        size = rng.choice((0, 2, 8, 4096, 1 << 25))
        found.append(Symbol(f"s{number}", at, size, rng.choice("tTdDbBrRaAwV")))
        at += rng.choice((0, size))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_every_symbol_comes_back(seed: int) -> None:
    symbols = _random(seed)
    slide = random.Random(seed).choice((0, 0x200000, -0x1000))
    back = {symbol.name: symbol for symbol in elf_symbols(symbol_file(symbols, slide), "x")}
    assert back.keys() == {symbol.name for symbol in symbols}
    for symbol in symbols:
        moved = 0 if symbol.kind in "aA" else slide
        assert back[symbol.name].address == symbol.address + moved & U64
        assert back[symbol.name].kind.isupper() == (symbol.kind.isupper() or symbol.kind in "wv")


@pytest.mark.parametrize("form", FORMS)
def test_a_kernel(form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    symbols = [(BASE + 16 * i, f"{'tTdB'[i // 100]}name_{i}") for i in range(400)]
    kernel = bytearray(image(symbols, form))
    kernel[0x38:0x3C] = b"RSC\x05"
    (tmp_path / "Image").write_bytes(kernel)
    out = tmp_path / "k.sym"
    assert main(["symbols", str(tmp_path / "Image"), "-o", str(out)]) == 0
    assert "400 symbols" in capfd.readouterr().err
    listed = [line.split() for line in _tool(NM, "-n", out).splitlines()]
    assert [(int(at, 16), name) for at, _, name in listed] == [(at, text[1:]) for at, text in symbols]
    assert [kind for _, kind, _ in listed] == ["t"] * 100 + ["T"] * 100 + ["b"] * 100 + ["B"] * 100
    at = hex(BASE + 16 * 7 + 3)
    assert _tool(ADDR2LINE, "-f", "-e", out, at).split()[0] == "name_7"
    said = _tool(GDB, "-nx", "-batch", "-ex", f"info symbol {at}", "-ex", "info address name_150", out)
    assert "name_7 + 3 in section .text" in said
    assert hex(BASE + 16 * 150) in said
    main(["symbols", str(tmp_path / "Image"), "-o", str(out), "--at", hex(BASE + 0x200000)])
    assert hex(BASE + 0x200000 + 16 * 7)[2:] in _tool(NM, out)


@pytest.mark.parametrize("name", [name for name in names() if path(name).suffix == ".elf"])
def test_a_payload_has_what_nm_says(name: str, tmp_path: Path) -> None:
    out = tmp_path / "p.sym"
    assert main(["symbols", name, "-o", str(out)]) == 0

    def listed(file: Path) -> list[tuple[str, str]]:
        lines = [line.split() for line in _tool(NM, file).splitlines()]
        return sorted((line[0], line[-1]) for line in lines if not line[-1].startswith("$"))

    assert listed(out) == listed(find_image(name))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "loader: unknown image 'nonsense'"),
        (["flat.bin"], "expected ADDRESS KIND NAME"),
        (["empty"], "no symbols"),
        (["module.ko"], "--at ADDRESS, where its .text runs"),
        (["x86"], "symbols of another architecture: expected RISC-V"),
        (["torn"], "unreadable symbol table"),
        (["counting", "--at", "here"], "expected an address"),
        (["counting", "--host-kernel", "empty"], "--host-kernel: expected kvm as IMAGE"),
        (["kvm:trixie", "--at", "0"], "a host says itself where it runs"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    elf = bytearray(find_image("counting").read_bytes())
    files = {"flat.bin": b"\x13\0\0\0" * 64, "empty": b"", "module.ko": b"", "x86": b"", "torn": elf[:900]}
    for name, place, value in (("module.ko", 16, b"\x01"), ("x86", 18, b"\x3e")):
        changed = bytearray(elf)
        changed[place : place + 1] = value
        files[name] = bytes(changed)
    for name, content in files.items():
        Path(name).write_bytes(content)
    assert main(["symbols", *arguments, "-o", "out"]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert not Path("out").exists()
