"""Whatever the bytes of a file, the answer is success or one line: every parser, on the files of the corpus
and on what a fuzzer makes of them. VPMU_FUZZ=20000 does it at the size of a night.

A damaged file that once did worse belongs into the corpus.
"""

from __future__ import annotations

import io
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from vpmu import Machine
from vpmu.campaign.catalogue import read_catalogue
from vpmu.campaign.plan import load_campaign
from vpmu.campaign.store import Store, load_results
from vpmu.cli.main import main
from vpmu.conform.cost_changes import read_document
from vpmu.conform.frames import Frame, FrameReader
from vpmu.debug.elf_symbols import code_sections
from vpmu.errors import VpmuError
from vpmu.files import read_text
from vpmu.payloads import path as payload
from vpmu.peers.host_source import kernel_image, kvm_module
from vpmu.vmm.linux import cpio, elf
from vpmu.vmm.linux.boot import read_initrd, read_kernel
from vpmu.vmm.linux.cache import Cache
from vpmu.vmm.linux.samples import flame_graph, parse_script
from vpmu.vmm.linux.sources import debian_sources, read_sources
from vpmu.vmm.loader import load_image

ROUNDS = int(os.environ.get("VPMU_FUZZ", "400")) // 20
"""Damaged files for each parser."""
CORPUS = Path(__file__).with_name("corpus")
ONE_LINE = "vpmu: error: "


@dataclass(frozen=True)
class Parser:
    """`read` takes the path of a file; `files`: what it is given whole. `words` are put into damaged ones."""

    read: Callable[[Path], object]
    files: Callable[[], list[bytes]]
    words: tuple[bytes, ...]
    suffix: str = ""


def corpus(name: str) -> Callable[[], list[bytes]]:
    """The files of a folder of the corpus."""
    return lambda: [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@contextmanager
def captured() -> Iterator[io.TextIOWrapper]:
    """stdout and stderr of a command in this process."""
    old = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in old)
    try:
        yield sys.stderr
    finally:
        sys.stdout, sys.stderr = old


def command(*words: str) -> Callable[[Path], None]:
    """The parser behind a command, whose word FILE is the file."""

    def read(path: Path) -> None:
        with captured() as stream:
            status = main([str(path) if word == "FILE" else word for word in words])
            stream.flush()
            said = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
        assert status in (0, 1, 2, 4)
        if status == 2:
            assert said.startswith(ONE_LINE), said
            assert said.count("\n") == 1, said

    return read


def function(call: Callable[[Path], object]) -> Callable[[Path], None]:
    """A parser that no command has for itself: it returns, or raises one line."""

    def read(path: Path) -> None:
        said = ""
        try:
            call(path)
        except VpmuError as error:
            said = str(error)
        assert "\n" not in said

    return read


def journal(path: Path) -> None:
    """A campaign that is taken up, with every line done again that is damaged."""
    plan = load_campaign(CORPUS / "campaign-plan" / "tiny.toml")
    folder = path.with_suffix(".folder")
    folder.mkdir(exist_ok=True)
    for name in ("plan.json", "journal.jsonl", "results.jsonl"):
        (folder / name).unlink(missing_ok=True)
    (folder / "journal.jsonl").write_bytes(path.read_bytes())
    store = Store(folder, plan)
    store.finish()
    store.close()
    load_results(folder)


def results(path: Path) -> None:
    """Results that are read back."""
    load_results(path)


def campaign_folder(path: Path) -> None:
    """A run of a campaign that is explained, from what plan.json says."""
    folder = path.with_suffix(".folder")
    folder.mkdir(exist_ok=True)
    (folder / "plan.json").write_bytes(path.read_bytes())
    command("explain", f"{folder}:0")(path)


def manifest(path: Path) -> None:
    """The manifest of a fetched guest."""
    folder = path.with_suffix(".folder")
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(path.read_bytes())
    Cache(folder).current()


def apt(path: Path) -> None:
    """Sources that may be Debian's."""
    debian_sources(read_sources(path), "trixie")


def arguments(path: Path) -> None:
    """Options of a machine, as a shell may give them: any bytes but NUL, which stands between them here."""
    words = path.read_bytes().decode(errors="surrogateescape").split("\0")
    command("run", "hello", "-q", "--max-instructions=2000", *words)(path)


def words_of_commands() -> list[bytes]:
    """Options that reach the device tree, and those with numbers and names."""
    return [
        b"--append\0console=ttyS0 earlycon \xe9", b"-m\00016M\0--smp\0002", b"--seed\0009\0--starve\0003",
        b"--refuse\0cycles=EBUSY\0--with\0read-accumulates", b"--profile\0kvm-6.9\0--host-pmu\0full",
        b"--inject\0perf.create:event=cycles,errno=EBUSY,probability=50",
    ]  # fmt: skip


def plans() -> list[bytes]:
    """What Store writes as plan.json."""
    import json

    plan = load_campaign(CORPUS / "campaign-plan" / "tiny.toml")
    whole = {"digest": plan.digest, "made_by": "0.1.0", "runs": len(plan), "plan": plan.as_object()}
    return [json.dumps(whole, indent=1).encode(), json.dumps(whole["plan"]).encode()]


def manifests() -> list[bytes]:
    """As `Cache.commit` writes it."""
    return [
        b'{"format": 1, "release": "6.12", "suite": "trixie", "versions": {"perf": "6"}, "recipe": "x",'
        b' "files": {"vmlinux": {"size": 3, "mtime_ns": 1, "sha256": "00"}}}'
    ]


def trees() -> list[bytes]:
    """The tree of a machine."""
    machine = Machine(memory=16 << 20)
    machine.load(str(payload("hello")))
    assert machine.device_tree
    return [machine.device_tree]


def kernels() -> list[bytes]:
    """An Image without and with an EFI stub's tables."""
    head = b"\x6f\0\0\0" + bytes(4) + (0x200000).to_bytes(8, "little") + (0x4000).to_bytes(8, "little")
    plain = (head + bytes(0x20) + b"RSC\x05" + bytes(0x40)).ljust(0x200, b"\x13")
    stub = bytearray(plain)
    stub[0:2], stub[0x3C:0x40], stub[0x40:0x44] = b"MZ", b"\x40\0\0\0", b"PE\0\0"
    stub[0x46:0x48], stub[0x54:0x56] = b"\1\0", b"\x10\0"
    return [plain, bytes(stub)]


def host_kernels() -> list[bytes]:
    """An Image of Linux as it is, packed, and in an EFI zboot."""
    import gzip
    import lzma

    plain = kernels()[0] + b"Linux version 6.99.1 (me) #1\0"
    whole = [plain]
    for kind, packed in ((b"gzip", gzip.compress(plain, mtime=0)), (b"xzkern", lzma.compress(plain))):
        head = b"MZ\0\0zimg" + (64).to_bytes(4, "little") + len(packed).to_bytes(4, "little") + bytes(8)
        whole += [packed, (head + kind).ljust(64, b"\0") + packed]
    return whole


def archives() -> list[bytes]:
    """cpio archives, one behind the other, and a compressed one."""
    import gzip

    one = cpio.write([cpio.file("init", b"#!/bin/sh\n", 0o755), cpio.file("a/b", b"x" * 40)])
    return [one, cpio.append(one, one), gzip.compress(one, mtime=0)]


def frames() -> list[bytes]:
    """What comes over a serial line."""
    return [Frame(1, b"hello").pack() + b"noise" + Frame(2, bytes(300)).pack()]


NUMBERS = (b"-1", b"0", b"18446744073709551616", b"1e999", b"9" * 5000, b"0x" + b"f" * 5000, b"NaN")
JSON = (b"null", b"true", b"[]", b"{}", b"[" * 500, b'{"a":' * 500, b'"\\ud800"', b"\n", b'""', *NUMBERS)
TOML = (
    b"[[rule]]\n", b"[", b"]", b"{", b"}", b"=", b'"', b"'''", b"\n", b"true", b"1979-05-27", b"nan", b"inf",
    b".", b"a." * 400, b"a=" + b"[" * 300 + b"]" * 300, b'"\\u0000"', *NUMBERS,
)  # fmt: skip
TEXT = (
    b"\n", b"\r\n", b" ", b"#", b"=> ", b" => ", b"# ####### x\n", b"e ", b"w 0 => 1\n", b"R => 1\n",
    b"m 1 2 3", b"G => 1\n", b"# SBI exts: PMU=0\n", b"# ISA exts enabled: 1 2\n",
    b"S-mode payload at 0x80200000\n",
    b"  trap scause=2 sepc=0 stval=0\n", b"\x85", *NUMBERS,
)  # fmt: skip
ARGUMENTS = (b"\0", b"\xe9", b"\xff\xfe", b"=", b",", b":", b"-", b"\n", b"\xed\xa0\x80", b"G", b"EIO")
BINARY = tuple(value.to_bytes(size, "little") for size in (2, 4, 8) for value in (
    0, 1, 255, (1 << 8 * size - 1) - 1, 1 << 8 * size - 1, (1 << 8 * size) - 1, (1 << 8 * size) - 8,
))  # fmt: skip
PARSERS = {
    "elf": Parser(
        command("run", "FILE", "-q", "-m", "16M", "--max-instructions", "2000"),
        lambda: [payload("hello").read_bytes()], BINARY,
    ),
    "symbols": Parser(
        function(lambda path: load_image(path).symbols()), lambda: [payload("hello").read_bytes()], BINARY
    ),
    "flat": Parser(
        command("run", "FILE", "-q", "-m", "16M", "--max-instructions", "2000"),
        lambda: [payload("mailbox").read_bytes()], BINARY,
    ),
    "dynamic": Parser(function(lambda path: elf.dynamic(path.read_bytes())),
                      lambda: [payload("hello").read_bytes()[:2000]], BINARY),
    "device tree": Parser(command("run", "hello", "-q", "--dtb", "FILE"), trees, BINARY),
    "kernel": Parser(function(lambda path: load_image(read_kernel(path))), kernels, BINARY),
    "initrd": Parser(function(read_initrd), archives, (*BINARY, b"070701", b"TRAILER!!!", b"ffffffff")),
    "table": Parser(command("replay", "FILE", "-q"), corpus("table"), TEXT),
    "firmware table": Parser(
        command("replay", "FILE", "-q", "--profile", "opensbi-1.6"), corpus("table"), TEXT
    ),
    "trace": Parser(command("explain", "FILE", "--records"), corpus("trace"), JSON, ".jsonl"),
    "trace as JSON": Parser(command("explain", "FILE", "--json"), corpus("trace"), JSON, ".jsonl"),
    "host PMU": Parser(command("events", "--host-pmu", "FILE"), corpus("host-pmu"), TOML, ".toml"),
    "profile": Parser(command("run", "hello", "-q", "--profile", "FILE"), corpus("profile"), TOML, ".toml"),
    "fault plan": Parser(command("faults", "check", "FILE"), corpus("fault-plan"), TOML, ".toml"),
    "fault plan of a run": Parser(
        command("run", "hello", "-q", "--inject", "FILE"), corpus("fault-plan"), TOML, ".toml"
    ),
    "campaign plan": Parser(command("campaign", "FILE", "--check"), corpus("campaign-plan"), TOML, ".toml"),
    "catalogue": Parser(
        function(lambda path: read_catalogue(read_text(path), path)), corpus("catalogue"), TOML, ".toml"
    ),
    "journal": Parser(function(journal), corpus("journal"), JSON),
    "results": Parser(function(results), corpus("journal"), JSON),
    "plan of a folder": Parser(campaign_folder, plans, JSON),
    "manifest": Parser(function(manifest), manifests, JSON),
    "APT sources": Parser(function(apt), corpus("sources"), TEXT, ".list"),
    "APT sources, deb822": Parser(function(apt), corpus("sources"), TEXT, ".sources"),
    "samples": Parser(
        function(lambda path: [flame_graph(one, "x") for one in parse_script(read_text(path))]),
        corpus("samples"), TEXT,
    ),
    "baseline": Parser(
        command("conform", "--only", "BASE-VERSION", "--profile", "kvm-7.2", "-q", "--baseline", "FILE"),
        corpus("baseline"), (*JSON, b"<testsuites>", b"<failure/>", b"pass"),
    ),
    "costs": Parser(function(read_document), corpus("costs"), JSON),
    "host kernel": Parser(function(kernel_image), host_kernels, (*BINARY, b"gzip", b"zimg", b"RSC\x05")),
    "host module": Parser(
        function(lambda path: kvm_module(path, "6.99.1")), lambda: [payload("hello").read_bytes()], BINARY
    ),
    "module's symbols": Parser(
        function(lambda path: code_sections(path.read_bytes(), "kvm")),
        lambda: [payload("hello").read_bytes()], BINARY,
    ),
    "arguments": Parser(arguments, words_of_commands, (*ARGUMENTS, *NUMBERS)),
    "frames": Parser(function(lambda path: FrameReader().feed(path.read_bytes())), frames, BINARY),
}  # fmt: skip


def damaged(rng: random.Random, files: list[bytes], words: tuple[bytes, ...]) -> bytes:
    """A file with a few things changed: bits, bytes, pieces cut out, doubled, put in, or another file's."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        head = rng.randrange(min(len(data), 256) + 1)  # headers hold what decides
        at, size = rng.choice((at, head)), rng.choice((0, 1, 4, 8, 30, 300))
        match rng.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.randrange(256)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size]
            case 4:
                data[at : at + size] = rng.choice(words)
            case 5:
                word = rng.choice(words)
                data[at : at + len(word)] = word
            case 6:
                other = rng.choice(files)
                start = rng.randrange(len(other) + 1)
                data[at : at + size] = other[start : start + size]
            case 7 if rng.random() < 0.3:
                del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", PARSERS)
def test_the_corpus(name: str, tmp_path: Path) -> None:
    for number, data in enumerate(PARSERS[name].files()):
        path = tmp_path / f"{number}{PARSERS[name].suffix}"
        path.write_bytes(data)
        PARSERS[name].read(path)


@pytest.mark.parametrize("name", PARSERS)
def test_anything(name: str, tmp_path: Path) -> None:
    parser = PARSERS[name]
    files = parser.files()
    path = tmp_path / f"file{parser.suffix}"
    for number in range(ROUNDS):
        path.write_bytes(damaged(random.Random(f"{name} {number}"), files, parser.words))
        parser.read(path)


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_no_file(name: str, tmp_path: Path) -> None:
    """Empty, zeros, text of the wrong kind, a very long line."""
    path = tmp_path / f"file{PARSERS[name].suffix}"
    for data in (b"", bytes(5000), b"\xff" * 5000, b"\n" * 5000, b"[" * 100_000, b"a=1\n", b"x" * 100_000):
        path.write_bytes(data)
        PARSERS[name].read(path)
