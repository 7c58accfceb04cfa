"""Snapshots whose checksums hold and whose content is anything: refused in one line, or a machine that runs.
VPMU_FUZZ=100000 does it at the size of a night.
"""

from __future__ import annotations

import copy
import json
import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from vpmu import Machine
from vpmu.errors import VpmuError
from vpmu.hart.state import STATE
from vpmu.payloads import path
from vpmu.vmm.snapshot import Snapshot
from vpmu.vmm.snapshot_file import _HEAD, MAGIC, VERSION, decode, encode

U64 = (1 << 64) - 1
ROUNDS = int(os.environ.get("VPMU_FUZZ", "400"))
PARTS = ("arguments", "fingerprint", "vcpus", "devices", "wanted", "flags")
KEPT = ("vcpus",) * 12 + ("devices",) * 4 + PARTS + ("slots", "runs", "profile", "host_pmu")
"""Where damage goes, by how much there is to hit."""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, 31, 32, 63, 64, 255, 256, 4096, (1 << 32) - 1, 1 << 32, (1 << 62) + 1,
    1 << 63, (1 << 64) - 1, 1 << 64, 1 << 200, -1, -(1 << 63), -(1 << 64), 0.5, float("inf"), "", "x",
    "cycles", "error", b"", b"x", bytearray(b"y"), [], [0], (), (1, 2), {}, {0: 0}, {"a": 1}, set(), "full",
)  # fmt: skip


class File:
    """A snapshot's file, taken apart."""

    def __init__(self, data: bytes) -> None:
        _, _, length, _ = _HEAD.unpack_from(data)
        self.header = json.loads(data[_HEAD.size : _HEAD.size + length])
        self.pages = data[_HEAD.size + length :]
        for part in PARTS:
            self.header[part] = decode(self.header[part])
        self.header["flags"] = zlib.decompress(self.header["flags"])

    def sealed(self, header: dict[str, Any]) -> bytes:
        """The file with that header and right checksums."""
        packed = {
            **header,
            "flags": zlib.compress(header["flags"]) if isinstance(header["flags"], bytes) else 0,
        }
        content = {key: encode(value) if key in PARTS else value for key, value in packed.items()}
        raw = json.dumps(content, default=str).encode()
        return _HEAD.pack(MAGIC, VERSION, len(raw), zlib.crc32(raw)) + raw + self.pages


def spoiled(rng: random.Random, value: Any) -> Any:
    """The value with one thing in it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.97:
        key = rng.choice(list(value))
        if rng.random() < 0.05:
            return {k: v for k, v in value.items() if k != key}
        if rng.random() < 0.03:
            return type(value)({**value, rng.choice((99, "other", (1, 2, 3))): rng.choice(VALUES)})
        return type(value)({**value, key: spoiled(rng, value[key])})
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.97:
        items = list(value)
        at = rng.randrange(len(items))
        if rng.random() < 0.05:
            del items[at]
        elif rng.random() < 0.05:
            items.insert(at, copy.deepcopy(items[at]))
        else:
            items[at] = spoiled(rng, items[at])
        return type(value)(items)
    if isinstance(value, (bytes, bytearray)) and value and rng.random() < 0.95:
        data = bytearray(value)
        if len(data) == 4096 and rng.random() < 0.9:  # the words of a hart: one of them
            at = 8 * rng.choice((*STATE.values(), *range(128)))
        else:
            at = rng.randrange(len(data)) // 8 * 8
        word = rng.choice((rng.getrandbits(64), rng.getrandbits(8), (1 << 64) - 1, 1 << rng.randrange(64)))
        data[at : at + 8] = struct.pack("<Q", word)[: len(data) - at]
        return type(value)(data)
    if isinstance(value, int) and not isinstance(value, bool) and rng.random() < 0.5:
        return value + rng.choice((-1, 1, 1 << 20, 1 << 40))
    if isinstance(value, bool) and rng.random() < 0.7:
        return not value
    return rng.choice(VALUES)


def states() -> list[tuple[str, Machine]]:
    """Machines in the middle of something: counters run, samples, two harts, an interrupt controller."""
    found = []
    for profile, payload, harts in (
        ("kvm-7.2", "overflow", 1), ("kvm-6.9", "failing-event", 2), ("opensbi-1.6", "counting", 1),
        ("spec-3.0", "snapshot", 1),
    ):  # fmt: skip
        machine = Machine(profile, host_pmu="full", memory=16 << 20, harts=harts, plic=harts == 2)
        machine.load(str(path(payload)))
        machine.console_input(b"some input")
        machine.run(max_instructions=100_000)
        found.append((f"{profile}-{payload}", machine))
    found.append(("whole", whole()))
    return found


def whole() -> Machine:
    """A machine with all modes, in M mode, with what gives its CSRs their bits."""
    loop = b"\x13\x05\x15\x00\x6f\xf0\xdf\xff"  # addi a0, a0, 1; j .-4
    isa = ("h", "sstc", "sscofpmf", "smaia", "ssaia", "smstateen", "svadu", "zicboz")
    machine = Machine(firmware=loop, host_pmu="full", memory=16 << 20, isa=isa, pmp=16)
    machine.load(None)
    machine.run(max_instructions=150_000)
    return machine


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[File]:
    made = []
    for name, machine in states():
        file = tmp_path_factory.mktemp("good") / name
        machine.snapshot().save(file)
        made.append(File(file.read_bytes()))
    return made


def test_what_is_sealed_again_unchanged_runs_on(files: list[File], tmp_path: Path) -> None:
    for file in files:
        (tmp_path / "again").write_bytes(file.sealed(file.header))
        assert Snapshot.load(tmp_path / "again").machine().run(max_instructions=1000).instructions > 100_000


def test_anything(files: list[File], tmp_path: Path) -> None:
    refused: list[str] = []
    for number in range(ROUNDS):
        rng = random.Random(number)
        file = rng.choice(files)
        header = dict(file.header)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            part = rng.choice(KEPT)
            header[part] = spoiled(rng, header[part])
        path = tmp_path / "spoiled"
        path.write_bytes(file.sealed(header))
        try:
            snapshot = Snapshot.load(path)
            machine = snapshot.become() if rng.random() < 0.5 else snapshot.machine()
            machine.run(max_instructions=3000)
        except VpmuError as error:
            refused.append(str(error))
    assert not any("\n" in message for message in refused)
    assert ROUNDS // 4 < len(refused) < ROUNDS


@pytest.mark.parametrize(
    ("word", "value", "expected"),
    [
        ("pc", 0x80200001, "an even address"),
        ("sepc", 0x80200001, "an even address"),
        ("mode", 2, "a mode"),
        ("satp", 5 << 60, "Bare, Sv39 or Sv48"),
        ("sstatus", 1 << 40, "bits that exist"),
        ("fp", 7, "1, got 7"),
        ("count_vs", (1 << 64) - 5, "0 to"),
    ],
)
def test_words_of_a_hart(word: str, value: int, expected: str, files: list[File], tmp_path: Path) -> None:
    header = copy.deepcopy(files[0].header)
    words = bytearray(header["vcpus"][0]["hart"]["words"])
    struct.pack_into("<Q", words, 8 * STATE[word], value)
    header["vcpus"][0]["hart"]["words"] = bytes(words)
    (tmp_path / "odd").write_bytes(files[0].sealed(header))
    snapshot = Snapshot.load(tmp_path / "odd")
    for go in (snapshot.machine, snapshot.become):
        with pytest.raises(VpmuError, match=rf"^snapshot: .*/odd: .*hart 0: {word}: expected .*{expected}"):
            go()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("mstatus", 2 << 11), ("mstatus", 1 << 62), ("misa", 0), ("medeleg", 1 << 11), ("mideleg", 0),
        ("mie", 1 << 30), ("mtvec", 0x80000002), ("mepc", 1), ("menvcfg", 1 << 8), ("menvcfg_mask", U64),
        ("medeleg_mask", U64), ("s_interrupts", 0xFFFF), ("miselect", 0x200), ("mstateen0", 1),
        ("hstatus", 1), ("hedeleg", 1 << 10), ("hideleg", 1 << 12), ("henvcfg", 1 << 20), ("hvip", 1),
        ("hgatp", 1 << 60), ("hgatp", 3), ("hvien", 2), ("hvictl", 1 << 31), ("other_satp", 7 << 60),
        ("other_sstatus", 1 << 30), ("other_sepc", 3), ("lines", 1), ("virt", 1), ("virt", 2),
        ("satp", 15 << 60), ("vsie_own", 1), ("counters", 0), ("sip", 1), ("hcounteren", 1 << 32),
    ],
)  # fmt: skip
def test_csrs_of_all_modes(word: str, value: int, files: list[File], tmp_path: Path) -> None:
    """Nothing that no write could have left there is loaded (WARL)."""
    header = copy.deepcopy(files[-1].header)
    words = bytearray(header["vcpus"][0]["hart"]["words"])
    struct.pack_into("<Q", words, 8 * STATE[word], value)
    header["vcpus"][0]["hart"]["words"] = bytes(words)
    (tmp_path / "odd").write_bytes(files[-1].sealed(header))
    with pytest.raises(
        VpmuError, match=rf"hart 0: expected what its CSRs can hold, got '?{word}|{word}: exp"
    ):
        Snapshot.load(tmp_path / "odd").machine()


@pytest.mark.parametrize(
    ("at", "value", "problem"),
    [(0, 0x1A, "pmp0cfg"), (0, 0x11, "pmp_fine"), (3, 0x60, "pmp3cfg"), (17, 0x1F, "pmp17cfg"),
     (64 + 7, 0xFF, "pmpaddr0"), (64 + 8 * 20, 1, "pmpaddr20")],
)  # fmt: skip
def test_protection(at: int, value: int, problem: str, files: list[File], tmp_path: Path) -> None:
    header = copy.deepcopy(files[-1].header)
    pmp = bytearray(header["vcpus"][0]["hart"]["pmp"])
    pmp[at] = value
    header["vcpus"][0]["hart"]["pmp"] = bytes(pmp)
    (tmp_path / "odd").write_bytes(files[-1].sealed(header))
    with pytest.raises(VpmuError, match=problem):
        Snapshot.load(tmp_path / "odd").machine()


def test_a_stream_that_is_none(files: list[File], tmp_path: Path) -> None:
    header = {**files[0].header, "flags": b""}
    sealed = files[0].sealed(header)
    length = _HEAD.unpack_from(sealed)[2]
    content = json.loads(sealed[_HEAD.size : _HEAD.size + length])
    content["flags"] = encode(b"\x78\x01\xff\xff no stream")
    raw = json.dumps(content).encode()
    head = _HEAD.pack(MAGIC, VERSION, len(raw), zlib.crc32(raw))
    (tmp_path / "stream").write_bytes(head + raw + files[0].pages)
    with pytest.raises(VpmuError, match="damaged snapshot: error: Error -3"):
        Snapshot.load(tmp_path / "stream")
